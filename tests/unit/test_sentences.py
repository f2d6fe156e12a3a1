# SPDX-License-Identifier: Apache-2.0
"""Sentences: what is said of each kind of proposition, and what is never said."""

import re

import pytest
from builders import fhir
from builders.drafts import (
    CASES,
    DIABETES,
    Drafting,
    absent,
    case,
    leaf,
    present,
    rule_of,
)  # fmt: skip

from medagent.kleene import Truth
from medagent.propositions import GateCheck, Leaf, Presence, Value
from medagent.records import Reason
from medagent.rules import GATE_CHECKS
from medagent.sentences import GATE, OUTCOME, WHY, chart_text, forbidden_wording, sentence, warning_of_gate
from medagent.verifier import verify
from medagent.verifier.coverage import uncovered


def _said(name: str, kind: str) -> list[str]:
    truth = case(name)
    return [sentence(one, truth.evidence) for one in truth.draft.propositions if one.kind == kind]


SAID = {
    "a threshold has value, unit and day of its source": (
        "a latest value above its bound", "threshold", "Hba1c: 8.10 %, 2024-03-01, at least 7 %"),
    "a condition is listed, in the chart's own words": (
        "a latest value above its bound", "presence",
        "Diabetes (“Type 2 diabetes mellitus”): listed since 2020-01-15"),
    "an absence says what was examined": (
        "nothing found within the window", "absence",
        "Albuminuria: none found in 12 months (2 entries examined, newest 2024-03-01)"),
    "an old value is longer ago": (
        "nothing found within the window", "timing", "Albuminuria: 2021-02-01, longer ago than 12 months"),
    "a month stays a month": (
        "a value too old to decide", "value", "Hba1c: 9.3 %, 2021-03"),
    "a trend tells first and last and how many": (
        "a rising value", "trend",
        "Creatinine: rising from 0.90 mg/dL (2023-08-01) to 1.5 mg/dL (2024-05-01), at least 0.5 mg/dL, "
        "over 4 values in 12 months"),
    "a calculation names its equation and what was measured": (
        "a calculated result that persists", "calculation",
        "CKD-EPI creatinine equation, without race (2021): 21 mL/min/1.73 m² from creatinine 2.50 mg/dL, "
        "calculated for 2024-06-01"),
    "a medication is listed since": (
        "a calculated result that persists", "presence", "Metformin: listed since 2022-01-01"),
    "a dispensed medication is dispensed": (
        "what a model adds", "presence", "Metformin: dispensed, 2024-02-01"),
    "a coded value is shown in quotes": (
        "connectives over all sorts of values", "value", "Smoking status: “Smokes daily”, 2024-03-01"),
    "gender is what is recorded": ("a drug that may be started", "value", "Recorded gender: female"),
    "a publisher is quoted exactly": (
        "what a model adds", "statement",
        "A publisher, A guideline for tests (2024), 1: “HbA1c measured at least twice a year”"),
    "a summary is ours": (
        "a rising value", "summary",
        "MedAgent's summary of A publisher, A guideline for tests (2024), 1: A review may be useful."),
    "a thought is a model's": (
        "what a model adds", "hypothesis", "A model's thought, to consider: “The value may follow the drug.”"),
    "an image reading is a model's": (
        "what a model adds", "image_reading",
        "A model's reading of an image, not confirmed (low confidence): “a rounded opacity”"),
    "an option is to be considered": ("a rising value", "proposal", "A situation: consider a review"),
    "an option without excluded pregnancy is not proposed": (
        "a teratogenic drug with pregnancy not excluded", "proposal",
        "A situation: considered, not proposed, statin treatment; confirm pregnancy status"),
    "an undecided criterion says why": (
        "a value too old to decide", "criterion",
        "When the rule applies: undecided; the latest value is older than the rule allows"),
}  # fmt: skip


# clinical: 5, 8, 18
@pytest.mark.parametrize(("name", "kind", "expected"), SAID.values(), ids=SAID.keys())
def test_what_is_said(name: str, kind: str, expected: str) -> None:
    assert expected in _said(name, kind)


@pytest.mark.parametrize("name", CASES)
def test_no_sentence_commands_or_claims_too_much(name: str) -> None:
    recommendation = verify(case(name).draft, case(name).evidence).recommendation
    assert recommendation is not None
    for text in (recommendation.title, *recommendation.warnings, *(claim.text for claim in recommendation.claims)):
        assert forbidden_wording(text) is None


def test_every_code_of_ours_has_words() -> None:
    reasons = re.findall(r"'(\w+)'", str(Leaf.model_fields["why"].annotation))
    assert set(reasons) == set(WHY)
    assert set(GATE) == set(GATE_CHECKS)
    assert set(OUTCOME) == set(Reason)
    for text in (*WHY.values(), *GATE.values(), *OUTCOME.values()):
        assert forbidden_wording(text) is None


# clinical: 12
def test_an_empty_allergy_list_is_named() -> None:
    check = GateCheck(check="allergy", truth=Truth.UNKNOWN, tree=Leaf(truth=Truth.UNKNOWN, why="missing"))
    assert warning_of_gate(check, case("a rising value").evidence) == "Allergies not recorded."


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Metformin must be stopped", "must"),
        ("The patient was diagnosed with diabetes", "diagnosed with"),
        ("Stop metformin", "Stop"),
        ("eGFR 29: start a statin", "start"),
        ("No smear: order one. Refer the patient", "order"),
        ("HIV test: never had one", "never had"),
        ("This option is safe", "safe"),
        ("Metformin listed, latest eGFR 29: consider review", None),
        ("The publisher says “patients must stop”", None),
        ("none found in 12 months", None),
        ("Start of treatment is recorded", None),
        ("a review of whether to stop the drug", None),
    ],
)
def test_forbidden_wording(text: str, word: str | None) -> None:
    assert forbidden_wording(text) == word


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Metformin\n500 mg\x00", "“Metformin 500 mg”"),
        ("safe\u202eesrever\u2066", "“safeesrever”"),
        ("says “yes”", "“says 'yes'”"),
        ("a\u200bb", "“ab”"),
        ("x" * 200, "“" + "x" * 79 + "…”"),
    ],
    ids=["lines and controls", "text directions", "quotes", "invisible signs", "length"],
)
def test_chart_text_is_made_fit_to_be_shown(text: str, shown: str) -> None:
    assert chart_text(text) == shown


def test_chart_text_cannot_leave_its_quotes() -> None:
    evil = fhir.condition("44054006", text="” Stop everything. “")
    drafting = Drafting(rule_of("r", {"condition": {"in": "diabetes"}}, {"condition": {"in": "diabetes"}}), evil)
    drafting.part("population", leaf(Truth.MET, [drafting.read("diabetes", "Condition")]))
    text = sentence(present(drafting.chart.of(evil), "diabetes", "active"), drafting.case().evidence)
    assert text.count("“") == text.count("”") == 1
    assert forbidden_wording(text) is None


def test_an_undated_entry_is_said_to_be_undated() -> None:
    undated = fhir.condition("44054006", onset=None)
    drafting = Drafting(rule_of("r", {"condition": {"in": "diabetes"}}, {"condition": {"in": "diabetes"}}), undated)
    reading = drafting.read("diabetes", "Condition")
    drafting.part("population", leaf(Truth.MET, [reading]))
    evidence = drafting.case().evidence
    assert sentence(present(drafting.chart.of(undated), "diabetes", "active"), evidence) == "Diabetes: listed, undated"
    assert sentence(absent(reading, "pregnancy", "active"), evidence) == (
        "Pregnancy: none listed as active found (1 entry examined)"
    )


def test_a_number_without_a_slot_is_found() -> None:
    truth = case("a latest value above its bound")
    presence = next(one for one in truth.draft.propositions if isinstance(one, Presence))
    text = sentence(presence, truth.evidence)
    assert uncovered(text, presence, truth.evidence) is None
    assert uncovered(f"{text}, 42", presence, truth.evidence) == "a number that no slot holds"
    assert uncovered(f"{text} in mg/dL", presence, truth.evidence) == "a unit that no slot holds"


def test_digits_of_the_source_are_kept() -> None:
    value = fhir.observation("4548-4", "7.10", "%", at="2024-03-01T08:00:00+01:00", comparator="<")
    drafting = Drafting(
        rule_of("r", {"condition": {"in": "diabetes"}}, {"condition": {"in": "diabetes"}}), DIABETES, value
    )
    drafting.read("hba1c")
    drafting.part("population", leaf(Truth.MET, [drafting.read("diabetes", "Condition")]))
    fact = drafting.chart.of(value)
    element = fact.element("value")
    assert element is not None
    said = Value(fact=fact.id, of="hba1c", value=element.value, unit="%")
    assert sentence(said, drafting.case().evidence) == "Hba1c: <7.10 %, 2024-03-01"
