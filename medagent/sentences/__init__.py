# SPDX-License-Identifier: Apache-2.0
"""Sentences: propositions in words. The only text about a patient that anybody is shown.

Situation and option, never a command (clinical: 18). Absence is "none found in ..." with what was examined (clinical:
5), a medication is "listed since ..." (clinical: 8), a publisher's words stand in quotes and ours are called ours.
Every number and every unit comes from a slot or from the evidence that the slot names; the verifier checks that.
"""

from typing import Literal

from medagent.evidence import Calculation, Passage, Reading, Role
from medagent.evidence_set import EvidenceSet
from medagent.kleene import Truth
from medagent.propositions import (
    Absence,
    AnyProposition,
    Calculated,
    Criterion,
    Hypothesis,
    ImageReading,
    Presence,
    Proposal,
    Statement,
    Summary,
    Threshold,
    Timing,
    Trend,
    Value,
    leaves,
)
from medagent.rules import Guideline
from medagent.sentences.parts import (
    COMPARISONS,
    amount,
    day,
    fact_of,
    formula_text,
    implausible,
    inputs_text,
    measured,
    named,
    patient_words,
    result_text,
    title_of,
    value_text,
)
from medagent.sentences.reasons import (
    GATE,
    OUTCOME,
    WHY,
    warning_of_gate,
    warning_of_part,
    why_of,
    withheld_because,
)
from medagent.sentences.wording import LONGEST_CHART_TEXT, LONGEST_MODEL_TEXT, chart_text, forbidden_wording
from medagent.value_sets import value_set_named

__all__ = [
    "GATE",
    "LEAD_OF_READING",
    "LEAD_OF_THOUGHT",
    "LONGEST_CHART_TEXT",
    "OUTCOME",
    "WHY",
    "chart_text",
    "forbidden_wording",
    "sentence",
    "warning_of_gate",
    "warning_of_part",
    "withheld_because",
]

Author = Literal["engine", "model"]
"""Who chose what is said: the engine by a rule, or a model by itself."""

LEAD_OF_THOUGHT = "A model's thought, to consider: "
LEAD_OF_READING = "A model's reading of an image, not confirmed "

_TRUTHS = {Truth.MET: "met", Truth.NOT_MET: "not met", Truth.UNKNOWN: "undecided"}
_PARTS = {
    "population": "Whom the rule concerns",
    "criteria": "When the rule applies",
    "contraindications": "What speaks against it",
    "already": "Whether it is already done",
}
_STATES = {
    "active": "listed since {day}",
    "recorded": "recorded, {day}",
    "listed": "listed since {day}",
    "done": "recorded as done, {day}",
    "ordered": "ordered, {day}",
    "declined": "recorded as not done, {day}",
    "ongoing": "listed as ongoing since {day}",
    "measured": "measured, {day}",
}
_ABSENT = {
    "active": "none listed as active found",
    "listed": "none listed found",
    "ordered": "no order found",
    "declined": "no refusal found",
    "ongoing": "none ongoing found",
}
_CONFIRMED = {
    "MedicationDispense": "dispensed, {day}",
    "MedicationAdministration": "administered, {day}",
    "MedicationStatement": "stated as taken, {day}",
}


def sentence(proposition: AnyProposition, evidence: EvidenceSet, author: Author = "engine") -> str:
    """A checked proposition in words. What it names MUST be in the evidence. What a rule would set and a model chose
    is said to be its choice."""
    text = _words(proposition, evidence)
    if author == "model":
        text = _chosen(text, proposition, evidence)
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.rstrip(":").islower() else text  # not eGFR, not pH


def _chosen(text: str, proposition: AnyProposition, evidence: EvidenceSet) -> str:
    match proposition:
        case Threshold():
            return f"{text} (the bound is the model's choice)"
        case Trend():
            return f"{text} (change and window are the model's choice)"
        case Timing(period=str()) | Absence(within=str()):
            return f"{text} (the period is the model's choice)"
        case Criterion():
            return f"The rule “{evidence.rules[proposition.rule].title}”: {text[:1].lower()}{text[1:]}"
    return text


def _words(proposition: AnyProposition, evidence: EvidenceSet) -> str:
    match proposition:
        case Value():
            return _value(proposition, evidence)
        case Threshold():
            return _threshold(proposition, evidence)
        case Trend():
            return _trend(proposition, evidence)
        case Presence():
            return _presence(proposition, evidence)
        case Absence():
            return _absence(proposition, evidence)
        case Timing():
            return _timing(proposition, evidence)
        case Calculated():
            return _calculated(proposition, evidence)
        case Criterion():
            return _criterion(proposition)
        case Statement():
            return _statement(proposition, evidence)
        case Summary():
            return _summary(proposition, evidence)
        case Proposal():
            return _proposal(proposition, evidence)
        case Hypothesis():
            return f"{LEAD_OF_THOUGHT}{chart_text(proposition.text, LONGEST_MODEL_TEXT)}"
        case ImageReading():
            return _image_reading(proposition)


def _value(proposition: Value, evidence: EvidenceSet) -> str:
    fact = fact_of(evidence, proposition.fact)
    if proposition.of is None:
        return f"{patient_words(proposition.element)}: {proposition.value}"
    if proposition.element == Role.VALUE:
        limits = value_set_named(evidence.value_sets, proposition.of)
        doubt = ", outside of what is plausible" if implausible(fact, limits) else ""
        return f"{measured(evidence, fact, proposition.of)}: {value_text(fact)}, {day(fact.time)}{doubt}"
    what = proposition.element.replace("_", " ")
    said = day(fact.time) if proposition.element == Role.TIME else chart_text(str(proposition.value))
    if proposition.element == Role.END:
        said = day(fact.end)
    return f"{named(evidence, fact, proposition.of)}: recorded {what} {said}"


def _threshold(proposition: Threshold, evidence: EvidenceSet) -> str:
    item = evidence.items[proposition.of]
    bound = f"{COMPARISONS[proposition.comparison]} {amount(proposition.bound, proposition.unit)}"
    if isinstance(item, Calculation):
        when = f", {day(item.at)}" if item.at is not None else ""
        return f"{formula_text(item)}: {result_text(item)}{inputs_text(item, evidence)}{when}, {bound}"
    fact = fact_of(evidence, proposition.of)
    name = measured(evidence, fact, proposition.value_set or "")
    return f"{name}: {value_text(fact)}, {day(fact.time)}, {bound}"


def _trend(proposition: Trend, evidence: EvidenceSet) -> str:
    first, last = fact_of(evidence, proposition.facts[0]), fact_of(evidence, proposition.facts[-1])
    change = f"at least {amount(proposition.least_change, proposition.unit)}"
    return (
        f"{measured(evidence, first, proposition.value_set)}: {proposition.direction} from {value_text(first)} "
        f"({day(first.time)}) to {value_text(last)} ({day(last.time)}), {change}, "
        f"over {len(proposition.facts)} values in {proposition.window}"
    )


def _presence(proposition: Presence, evidence: EvidenceSet) -> str:
    fact = fact_of(evidence, proposition.fact)
    words = _STATES.get(proposition.state) or _CONFIRMED[fact.resource_type]
    if fact.time is None:
        said = words.partition(" since")[0].partition(",")[0] + ", undated"
    else:
        said = words.format(day=day(fact.time))
    return f"{named(evidence, fact, proposition.value_set)}: {said}"


def _absence(proposition: Absence, evidence: EvidenceSet) -> str:
    reading = evidence.items[proposition.reading]
    assert isinstance(reading, Reading)
    window = f" in {proposition.within}" if proposition.within else ""
    newest = f", newest {day(reading.newest)}" if reading.newest is not None else ""
    kind = _ABSENT.get(proposition.state, "none found")
    entries = "entry" if reading.examined == 1 else "entries"
    examined = f"({reading.examined} {entries} examined{newest})"
    return f"{title_of(evidence, proposition.value_set)}: {kind}{window} {examined}"


def _timing(proposition: Timing, evidence: EvidenceSet) -> str:
    fact = fact_of(evidence, proposition.fact)
    name = named(evidence, fact, proposition.value_set)
    when = day(fact.time) if proposition.element == "time" else value_text(fact)
    if proposition.event is not None:
        other = fact_of(evidence, proposition.event)
        return f"{name}: {when}, {proposition.relation} {named(evidence, other, None)}, {day(other.time)}"
    relation = "within" if proposition.relation == "within" else "longer ago than"
    return f"{name}: {when}, {relation} {proposition.period}"


def _calculated(proposition: Calculated, evidence: EvidenceSet) -> str:
    calculation = evidence.items[proposition.calculation]
    assert isinstance(calculation, Calculation)
    result = f"{formula_text(calculation)}: {result_text(calculation)}{inputs_text(calculation, evidence)}"
    return result if calculation.at is None else f"{result}, calculated for {day(calculation.at)}"


def _criterion(proposition: Criterion) -> str:
    text = f"{_PARTS[proposition.part]}: {_TRUTHS[proposition.truth]}"
    reasons = [leaf.why for leaf in leaves(proposition.tree) if leaf.why is not None]
    if proposition.truth is Truth.UNKNOWN and reasons:
        return f"{text}; {why_of([*reasons])}"
    return text


def _statement(proposition: Statement, evidence: EvidenceSet) -> str:
    passage = evidence.items[proposition.passage]
    assert isinstance(passage, Passage)
    editions = (rule.guideline for rule in evidence.rules.values())
    edition = passage.guideline, passage.edition
    guideline = next((one for one in editions if (one.id, one.edition) == edition), None)
    source = passage.guideline if guideline is None else _source(guideline)
    return f"{source}, {passage.section}: “{proposition.quote}”"


def _summary(proposition: Summary, evidence: EvidenceSet) -> str:
    rule = evidence.rules[proposition.rule]
    return f"MedAgent's summary of {_source(rule.guideline)}, {rule.section}: {rule.summary}"


def _source(guideline: Guideline) -> str:
    return f"{guideline.publisher}, {guideline.title} ({guideline.edition})"


def _proposal(proposition: Proposal, evidence: EvidenceSet) -> str:
    rule = evidence.rules[proposition.rule]
    match proposition.stance:
        case "option":
            return f"{rule.title}: consider {rule.action.option}"
        case "considered":
            return f"{rule.title}: considered, not proposed, {rule.action.option}; confirm pregnancy status"
        case "obtain":
            return f"{rule.title}: undecided; once the missing data are known, consider {rule.action.option}"
        case "withheld":
            return f"{rule.title}: withheld, {rule.action.option}"


def _image_reading(proposition: ImageReading) -> str:
    finding = chart_text(proposition.finding, LONGEST_MODEL_TEXT)
    return f"{LEAD_OF_READING}({proposition.confidence} confidence): {finding}"
