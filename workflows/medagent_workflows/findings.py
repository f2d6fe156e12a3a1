# SPDX-License-Identifier: Apache-2.0
"""What a check of somebody's server found: finding by finding, each with what to do where it does not hold."""

from collections.abc import Iterable
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medagent.evidence import Record

Status = Literal["holds", "fails", "lacks", "untried"]
"""`lacks`: it does not hold, and this installation does not need it. `untried`: what it rests on is not there."""

_MARKS = {"holds": ("✔", "green"), "fails": ("✘", "bold red"), "lacks": ("–", "yellow"), "untried": ("–", "dim")}
_TITLE_WIDTH = 26  # columns


class Finding(Record):
    """What came of one check."""

    check: str
    title: str
    status: Status
    needed: bool
    detail: str
    remedy: str | None = None
    """What to do, where it does not hold."""


def show(console: Console, finding: Finding) -> None:
    """Writes one."""
    mark, style = _MARKS[finding.status]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=_TITLE_WIDTH)
    line.add_column(overflow="fold")
    line.add_row(Text(mark, style), finding.title, Text(finding.detail))
    if finding.remedy is not None:
        whether = "" if finding.status == "fails" else "optional: "
        line.add_row("", "", Text(f"→ {whether}{finding.remedy}"))
    console.print(line)


def hold(findings: Iterable[Finding]) -> bool:
    """Whether all that is needed holds."""
    return all(finding.status in ("holds", "lacks") for finding in findings)
