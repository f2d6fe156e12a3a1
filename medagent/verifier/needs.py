# SPDX-License-Identifier: Apache-2.0
"""What a statement of a model's needs beside it, and what it tells, so that others can rest on it."""

from collections.abc import Iterable
from dataclasses import dataclass

from medagent.evidence import Calculation, Role
from medagent.propositions import AnyProposition, Calculated, Criterion, Presence, Threshold, Timing, Trend, Value
from medagent.verifier.slices import Slices

Token = tuple[str, ...]
"""What a statement tells, so that another can ask for it: `value` or `told` with the id of a fact, a part of a rule."""


@dataclass(frozen=True, slots=True)
class Need:
    """What must be told beside a statement: any one of these."""

    any_of: frozenset[Token]
    because: str


def told(fact: str, because: str) -> Need:
    """That it is told of a fact what it is."""
    return Need(frozenset({("told", fact)}), because)


def tells(proposition: AnyProposition, slices: Slices) -> frozenset[Token]:
    """What others may rest on being told."""
    match proposition:
        case Value(element=Role.VALUE, of=str()):
            return _valued([proposition.fact])
        case Threshold() | Calculated():
            of = proposition.of if isinstance(proposition, Threshold) else proposition.calculation
            item = slices.item(of)
            return _valued(item.inputs.values() if isinstance(item, Calculation) else [of])
        case Trend():
            return _valued(proposition.facts)
        case Timing(element="value"):
            return _valued([proposition.fact])
        case Presence():
            return frozenset({("told", proposition.fact)})
        case Criterion():
            return frozenset({("part", proposition.rule, proposition.part)})
    return frozenset()


def _valued(facts: Iterable[str]) -> frozenset[Token]:
    return frozenset(token for fact in facts for token in (("value", fact), ("told", fact)))
