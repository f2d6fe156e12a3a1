# SPDX-License-Identifier: Apache-2.0
"""Step 8: every number and every unit of a rendered sentence comes from a slot or from the evidence that it names.

It guards our own templates: a sentence is compared with what it may draw on, not with how it was made.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from medagent.evidence import Calculation, Fact, Passage, Reading
from medagent.evidence_set import EvidenceSet
from medagent.formulas import FORMULAS
from medagent.propositions import (
    AnyProposition,
    Criterion,
    Hypothesis,
    ImageReading,
    Proposal,
    Statement,
    Summary,
    Trend,
)
from medagent.rules import Guideline
from medagent.sentences import forbidden_wording
from medagent.sentences.parts import title_of
from medagent.unit_table import UNITS
from medagent.value_sets import is_single_code

_NUMBER = re.compile(r"\d+(?:[.,:-]\d+)*")
_UNIT = re.compile(
    r"(?<![\w/])(?:"
    + "|".join(sorted((re.escape(unit.code) for unit in UNITS if len(unit.code) > 1), key=len, reverse=True))
    + r"|%)(?![\w/])"
)


def uncovered(text: str, proposition: AnyProposition, evidence: EvidenceSet) -> str | None:
    """What of a sentence no slot and no evidence accounts for. None: all of it is accounted for."""
    sources = "\n".join(_sources(proposition, evidence))
    numbers = set(_NUMBER.findall(sources)) | {piece for found in _NUMBER.findall(sources) for piece in _cut(found)}
    for number in _NUMBER.findall(text):
        if number not in numbers:
            return "a number that no slot holds"
    known = set(_UNIT.findall(sources))
    if any(unit not in known for unit in _UNIT.findall(text)):
        return "a unit that no slot holds"
    own = text.replace(proposition.quote, "") if isinstance(proposition, Statement) else text
    if (word := forbidden_wording(own)) is not None:
        return f"the word {word!r}"
    return None


def _cut(number: str) -> tuple[str, ...]:
    """A day may be shown of a time, and nothing else of a number may be left out."""
    return (number[:10],) if re.match(r"\d{4}-\d\d-\d\d", number) else ()


def _sources(proposition: AnyProposition, evidence: EvidenceSet) -> Iterator[str]:
    slots = proposition.model_dump(mode="python")
    if isinstance(proposition, Criterion | Proposal):
        slots = {"rule": proposition.rule}  # a tree and a gate are told in words
    if isinstance(proposition, Hypothesis | ImageReading):
        slots = {}  # a model's own words account for nothing, least of all for themselves
    if isinstance(proposition, Trend):
        yield str(len(proposition.facts))
    for slot in _texts(slots):
        if slot not in evidence.items:  # the digits of an id are no number
            yield slot
        yield from _of_evidence(slot, evidence)
    rule = evidence.rules.get(getattr(proposition, "rule", ""))
    if isinstance(proposition, Proposal) and rule is not None:
        yield from (rule.title, rule.action.option)
    if isinstance(proposition, Criterion) and rule is not None:
        yield rule.title
    if isinstance(proposition, Summary) and rule is not None:
        yield from (rule.summary, rule.section, *_edition(rule.guideline))


def _of_evidence(slot: str, evidence: EvidenceSet) -> Iterator[str]:
    if slot in evidence.value_sets or is_single_code(slot):
        yield title_of(evidence, slot)
    match evidence.items.get(slot):
        case Fact() as fact:
            yield from _texts([fact.value, fact.time, fact.end, fact.text, fact.codings, fact.value_codings])
        case Reading() as reading:
            yield from (str(reading.examined), reading.newest.text if reading.newest else "")
        case Calculation() as calculation:
            yield from _texts([calculation.result, calculation.result_high, calculation.unit, calculation.at])
            for item in calculation.inputs.values():
                yield from _of_evidence(item, evidence)
            formula = FORMULAS.get(calculation.formula)
            yield from (formula.title, formula.edition) if formula is not None else ()
        case Passage() as passage:
            yield from (passage.section, passage.guideline)
            for rule in evidence.rules.values():
                yield from _edition(rule.guideline) if _is_of(passage, rule.guideline) else ()


def _is_of(passage: Passage, guideline: Guideline) -> bool:
    return (guideline.id, guideline.edition) == (passage.guideline, passage.edition)


def _edition(guideline: Guideline) -> tuple[str, ...]:
    return guideline.publisher, guideline.title, guideline.edition


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, BaseModel):
        yield from _texts(value.model_dump(mode="python"))
    elif hasattr(value, "__slots__"):  # quantities and intervals
        for name in value.__slots__:
            yield from _texts(getattr(value, name))
    elif isinstance(value, Decimal):
        yield from (format(value, "f"), format(Decimal(format(value, ".4g")), "f"))  # exact, or marked as rounded
    elif value is not None:
        yield str(value)
