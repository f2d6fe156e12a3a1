# SPDX-License-Identifier: Apache-2.0
"""Entries of one thing together: a chart holds one refill, one coded problem many times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medagent.evidence import Fact
from medagent_tools.charts.lines import label
from medagent_tools.charts.reading import newest_first

CITED_MAX = 4  # facts that a line names; the others are counted


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that the chart calls and codes alike, newest first."""

    facts: tuple[Fact, ...]

    @property
    def called(self) -> str:
        """As the newest has it."""
        return label(self.facts[0])

    @property
    def count(self) -> str:
        """How many entries it is, where that is more than one."""
        return "" if len(self.facts) == 1 else f"{len(self.facts)} entries"


def grouped(facts: Iterable[Fact]) -> list[Group]:
    """Groups, that of the newest entry first."""
    found: dict[object, list[Fact]] = {}
    for fact in newest_first(facts):
        found.setdefault(_concept(fact), []).append(fact)
    return [Group(tuple(group)) for group in found.values()]


def _concept(fact: Fact) -> object:
    codes = frozenset((coding.system, coding.code) for coding in fact.codings if coding.code)
    return codes or (fact.text or "").casefold()


def cited(first: Fact | None, facts: Sequence[Fact]) -> tuple[str, ...]:
    """Ids for a line: what decides first, then the newest others."""
    ids = ([first.id] if first is not None else []) + [fact.id for fact in facts]
    return tuple(dict.fromkeys(ids))[:CITED_MAX]
