# SPDX-License-Identifier: Apache-2.0
"""What leaves of a criterion rest on, as ids."""

from collections.abc import Iterable, Iterator

from medagent.propositions import (
    Absence,
    AnyLeafProposition,
    Calculated,
    Leaf,
    Presence,
    Threshold,
    Timing,
    Trend,
    Value,
)

CITED_MAX = 8  # ids of one line


def evidence_of(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """Facts and calculations first, then readings; each once."""
    all_ = tuple(leaves)
    ids = [name for leaf in all_ for said in leaf.propositions for name in _named(said)]
    ids += [reading for leaf in all_ for reading in leaf.readings]
    return tuple(dict.fromkeys(ids))[:CITED_MAX]


def _named(said: AnyLeafProposition) -> Iterator[str]:
    match said:
        case Value() | Presence() | Timing():
            yield said.fact
        case Threshold():
            yield said.of
        case Trend():
            yield from said.facts
        case Absence():
            yield said.reading
        case Calculated():
            yield said.calculation
