# SPDX-License-Identifier: Apache-2.0
"""What a model states truly survives the verifier, kind by kind; what it states falsely does not."""

from decimal import Decimal

import pytest
from builders.chart import ZONE
from builders.fhir import Json
from builders.reasoning import (
    Situation,
    absence,
    criterion,
    hypothesis,
    presence,
    situation,
    threshold,
    timing,
    trend,
    value,
)
from builders.screening import has, rule_of

from medagent.propositions import AnyProposition
from medagent.verifier import Verifier
from medagent_workflows.evidence import gathered
from medagent_workflows.reasoning.compiling import Compiled

RULE = rule_of(
    "criteria: {all: [{condition: {in: diabetes}}, {calculated: {formula: ckd-epi-2021, "
    "inputs: {creatinine: creatinine}, below: 60, max_age: 12 months}}]}"
)
RESOURCES = (
    has("observation", "hba1c", value="6.40", unit="%", time="2025-03-01"),
    has("observation", "hba1c", value="8.10", unit="%", time="2025-12-01"),
    has("observation", "creatinine", value="1.9", unit="mg/dL", time="2025-12-02"),
    has("observation", "smoking", answer="former-smoker", time="2025-12-01"),
    has("observation", "creatinine", code="LOINC 718-7", value="11.2", unit="g/dL", time="2025-12-03"),
    has("condition", "diabetes", onset="2015-03-02"),
    has("medication_request", "metformin", authored="2025-10-01"),
    has("procedure", "colonoscopy", time="2024-05-01"),
)


@pytest.fixture(scope="module")
def told() -> Situation:
    return situation(*RESOURCES, rules=(RULE,))


def standing(told: Situation, made: Compiled) -> tuple[AnyProposition, ...]:
    """What the verifier leaves of a draft."""
    assert made.invalid == ()
    assert made.considerations is not None
    context = told.context
    evidence = gathered(context.chart, context.pack, told.screening, ZONE.key, made.evidence)
    verdict = Verifier(evidence).consider(made.considerations)
    return () if verdict.recommendation is None else tuple(one.proposition for one in verdict.recommendation.claims)


def truths(told: Situation) -> dict[str, Json]:
    """A true statement of each kind, by what it says."""
    newest, creatinine = told.fact("hba1c"), told.fact("creatinine")
    diabetes, drug = told.fact("diabetes", "Condition"), told.fact("metformin", "MedicationRequest")
    result = told.calculation("ckd-epi-2021")
    return {
        "a value": value(newest, Decimal("8.1"), "%"),
        "a coded value": value(told.fact("smoking"), "8517006"),
        "the patient's gender": value(told.patient(), "male"),
        "a value of a code that no rule names": value(
            told.fact("observation:http://loinc.org|718-7"), Decimal("11.2"), "g/dL"
        ),
        "a threshold": threshold(creatinine, ">", Decimal("1.5"), "mg/dL"),
        "a threshold over a calculation": threshold(result, "<", 45, "mL/min/{1.73_m2}"),
        "a trend": trend(told.reading("hba1c"), "rising", Decimal("1.5"), "%", "12 months"),
        "a presence": presence(diabetes, "active"),
        "a listed drug": presence(drug, "listed"),
        "an absence": absence(told.reading("bronchitis", "Condition"), "recorded"),
        "a timing": timing(diabetes, "longer_ago_than", "5 years"),
        "a timing between events": timing(diabetes, "before", event=drug),
        "a calculation": {"kind": "calculation", "calculation": result, "result": 39},
        "a criterion": criterion("rule", "criteria", "met"),
    }


def lies(told: Situation) -> dict[str, Json]:
    """A false statement of each kind."""
    newest, oldest = told.fact("hba1c"), told.fact("hba1c", place=0)
    diabetes, drug = told.fact("diabetes", "Condition"), told.fact("metformin", "MedicationRequest")
    result = told.calculation("ckd-epi-2021")
    return {
        "another value": value(newest, Decimal("8.2"), "%"),
        "another unit": value(newest, Decimal("8.1"), "mmol/mol"),
        "an old value as if there were no newer one": value(oldest, Decimal("6.4"), "%"),
        "another gender": value(told.patient(), "female"),
        "a bound that is not passed": threshold(newest, "<", 7, "%"),
        "a course the other way": trend(told.reading("hba1c"), "falling", Decimal("0.1"), "%", "12 months"),
        "a course of more than there was": trend(told.reading("hba1c"), "rising", 2, "%", "12 months"),
        "a state that it does not have": presence(drug, "confirmed"),
        "the absence of what is there": absence(told.reading("diabetes", "Condition"), "active"),
        "a time that it was not": timing(diabetes, "within", "2 years"),
        "an order of events that was not": timing(diabetes, "after", event=drug),
        "another result": {"kind": "calculation", "calculation": result, "result": 40},
        "another truth": criterion("rule", "criteria", "not_met"),
    }


_EXAMPLE = situation(*RESOURCES, rules=(RULE,))


@pytest.mark.parametrize("said", list(truths(_EXAMPLE)))
def test_what_is_true_stands(told: Situation, said: str) -> None:
    """Beside it stands what its facts are: a time alone tells nothing, and a rule's criterion no patient."""
    beside = [truths(told)[name] for name in ("a presence", "a listed drug")]
    made = told.draft(*beside, truths(told)[said])
    assert made.considerations is not None
    assert set(standing(told, made)) == set(made.considerations.propositions)


@pytest.mark.parametrize("said", list(lies(_EXAMPLE)))
def test_what_is_false_falls(told: Situation, said: str) -> None:
    """Beside it stands something true, so that it is not for want of company that it falls."""
    true = truths(told)["a presence"]
    made = told.draft(true, lies(told)[said])
    assert [one.kind for one in standing(told, made)] == ["presence"]


def test_an_old_value_stands_beside_the_newest(told: Situation) -> None:
    old, new = value(told.fact("hba1c", place=0), Decimal("6.4"), "%"), truths(told)["a value"]
    assert len(standing(told, told.draft(old, new))) == 2


def test_a_thought_stands_on_what_stands(told: Situation) -> None:
    true, false = truths(told)["a presence"], lies(told)["another value"]
    made = told.draft(true, false, hypothesis("The course may have changed.", 1), hypothesis("It may rest on it.", 2))
    assert [one.kind for one in standing(told, made)] == ["presence", "hypothesis"]


def test_a_whole_draft_stands(told: Situation) -> None:
    made = told.draft(*list(truths(told).values())[-12:])
    assert len(standing(told, made)) == 12
