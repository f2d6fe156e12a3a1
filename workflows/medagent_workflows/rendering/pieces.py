# SPDX-License-Identifier: Apache-2.0
"""What every card at a terminal is made of: one statement with its sources, text of strangers made harmless."""

import re
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medagent.evidence import Calculation, Evidence, Fact, ImageRef
from medagent.propositions import Calculated, Threshold
from medagent.records import Claim


def statement(claim: Claim, evidence: dict[str, Evidence], lead: str = "") -> RenderableType:
    """A claim with its resources. `lead`: how its text begins, where a heading says that already."""
    mark = {"verified": "•", "summary": "§", "consider": "?", "model_reading": "?"}[claim.standing]
    text = Text(claim.text.removeprefix(lead), style="dim" if claim.kind == "absence" else "")
    sources = dict.fromkeys(name for citation in claim.citations for name in resources(citation.evidence, evidence))
    if sources:
        text.append(f"  {', '.join(sources)}", style="dim")
    return marked(mark, text)


def telling(claims: Sequence[Claim]) -> list[Claim]:
    """Without results that a comparison of the same claim's list repeats; JSON has them all."""
    compared = {claim.proposition.of for claim in claims if isinstance(claim.proposition, Threshold)}
    return [
        claim
        for claim in claims
        if not (isinstance(claim.proposition, Calculated) and claim.proposition.calculation in compared)
    ]


def resources(evidence_id: str, evidence: dict[str, Evidence]) -> Iterator[str]:
    """The resources behind a citation, random ids shortened; hashes and pointers stand in the JSON."""
    one = evidence.get(evidence_id)
    if isinstance(one, Calculation):
        for name in one.inputs.values():
            yield from resources(name, evidence)
    elif isinstance(one, ImageRef):
        yield f"{_named(one.source.uri)} frame {one.frame}"
    elif isinstance(one, Fact) and one.resource_type != "Patient":
        yield _named(one.source.uri)


def marked(mark: str, text: Text) -> RenderableType:
    """A line of a card behind its mark; what does not fit goes on below the text, not below the mark."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=text.style), text)
    return Padding(grid, (0, 0, 0, 3))


def indented(text: Text) -> RenderableType:
    """A line of a card that has no mark."""
    return Padding(text, (0, 0, 0, 5))


_RANDOM = re.compile(r"[0-9a-fA-F-]{32,36}")  # a UUID tells a reader nothing


def plain(text: str) -> str:
    """Ids and file names of a stranger, without anything that a terminal would act on."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _named(uri: str) -> str:
    kind, _, name = uri.rpartition("/")
    return plain(f"{kind.rpartition('/')[2]}/{name[:8] + '…' if _RANDOM.fullmatch(name) else name}")
