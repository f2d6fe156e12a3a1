# SPDX-License-Identifier: Apache-2.0
"""What a model writes becomes propositions: it states, the evidence fills in, what it invents becomes nothing."""

from decimal import Decimal

import pytest
from builders import fhir
from builders.chart import patient
from builders.fhir import Json
from builders.reasoning import (
    IMAGE,
    Situation,
    absence,
    criterion,
    hypothesis,
    image_reading,
    presence,
    situation,
    threshold,
    timing,
    trend,
    value,
)
from builders.screening import has, rule_of

from medagent.evidence import Passage, Query, Reading
from medagent.kleene import Truth
from medagent.propositions import (
    Absence,
    Calculated,
    Criterion,
    Hypothesis,
    ImageReading,
    Presence,
    Statement,
    Summary,
    Threshold,
    Timing,
    Trend,
    Value,
)
from medagent_tools.guidelines.leaves_records import MEDICATION_TYPES

OLD = has("observation", "hba1c", value="6.40", unit="%", time="2025-03-01")
HBA1C = has("observation", "hba1c", value="8.10", unit="%", time="2025-12-01")
CREATININE = has("observation", "creatinine", value="1.9", unit="mg/dL", time="2025-12-02")
SMOKING = has("observation", "smoking", answer="former-smoker", time="2025-12-01")
DIABETES = has("condition", "diabetes", onset="2015-03-02")
METFORMIN = has("medication_request", "metformin", authored="2025-10-01")
HEMOGLOBIN = fhir.observation("718-7", "11.2", "g/dL", at="2025-12-01")
IN_WORDS = has("condition", "diabetes", text="felt unwell after lunch")
RULE = rule_of("criteria: {condition: {in: diabetes}}")
UNMET = rule_of("id: unmet\ncriteria: {condition: {in: bronchitis}}\ncontraindications: {condition: {in: diabetes}}")

PASSAGE = Passage(id="passage-a", guideline="g", edition="1", section="1", sha256="0" * 64, start=0, end=9)


@pytest.fixture(scope="module")
def told() -> Situation:
    """A chart with something of every kind."""
    resources = (OLD, HBA1C, CREATININE, SMOKING, DIABETES, METFORMIN)
    return situation(*resources, rules=(RULE, UNMET), about=patient("1960-05-05", "female"))


def readings_of(told: Situation, proposition: Json) -> set[str | None]:
    """Value sets of the observations whose readings go with a proposition."""
    made = told.draft(proposition)
    return {item.query.value_set for item in made.evidence if isinstance(item, Reading)}


def test_a_value_names_the_value_set_of_its_fact_and_keeps_the_digits_of_the_record(told: Situation) -> None:
    found = told.only(value(told.fact("hba1c"), Decimal("8.1"), "%"))
    assert isinstance(found, Value)
    assert (found.of, str(found.value), found.unit) == ("hba1c", "8.10", "%")


def test_a_value_that_differs_stays_as_it_is_claimed(told: Situation) -> None:
    found = told.only(value(told.fact("hba1c"), Decimal("8.2"), "mmol/mol"))
    assert isinstance(found, Value)
    assert (found.value, found.unit) == (Decimal("8.2"), "mmol/mol")


def test_the_words_of_a_coded_value_stand_for_its_code(told: Situation) -> None:
    code = "8517006"
    for said in (code, f" {code}"):
        found = told.only(value(told.fact("smoking"), said))
        assert isinstance(found, Value)
        assert found.value == code


def test_the_value_of_an_observation_brings_the_reading_in_which_a_newer_one_would_stand(told: Situation) -> None:
    """A model that picks an old value cannot leave the newest out of the evidence."""
    old = told.fact("hba1c", place=0)
    assert readings_of(told, value(old, Decimal("6.40"), "%")) == {"hba1c"}
    assert readings_of(told, threshold(old, "<", 7, "%")) == {"hba1c"}


@pytest.mark.parametrize(("said", "element"), [("female", "gender"), ("1960-05-05", "birth_date")])
def test_a_value_of_the_patient_is_of_the_element_that_has_it(told: Situation, said: str, element: str) -> None:
    found = told.only(value(told.patient(), said))
    assert isinstance(found, Value)
    assert (found.of, found.element) == (None, element)


def test_a_code_that_no_rule_names_is_named_by_itself() -> None:
    told = situation(HEMOGLOBIN)
    found = told.only(value(told.fact(None, "Observation"), Decimal("11.2"), "g/dL"))
    assert isinstance(found, Value)
    assert found.of == "observation:http://loinc.org|718-7"


def test_a_threshold_keeps_the_bound_of_the_model(told: Situation) -> None:
    found = told.only(threshold(told.fact("hba1c"), ">=", Decimal("7.00"), "%"))
    assert isinstance(found, Threshold)
    assert (found.value_set, found.comparison, str(found.bound)) == ("hba1c", ">=", "7.00")


def test_a_threshold_over_a_calculation_names_no_value_set(told: Situation) -> None:
    found = told.only(threshold(told.calculation("age"), ">", 60, "a"))
    assert isinstance(found, Threshold)
    assert found.value_set is None


def test_a_trend_is_over_every_usable_value_of_its_window(told: Situation) -> None:
    found = told.only(trend(told.reading("hba1c"), "rising", 1, "%", "12 months"))
    assert isinstance(found, Trend)
    assert [told.handles.name(fact) for fact in found.facts] == [told.fact("hba1c", place=0), told.fact("hba1c")]
    assert found.value_set == "hba1c"


def test_a_presence_names_the_value_set_of_its_fact(told: Situation) -> None:
    found = told.only(presence(told.fact("diabetes", "Condition"), "active"))
    assert isinstance(found, Presence)
    assert (found.value_set, found.state) == ("diabetes", "active")


@pytest.mark.parametrize(
    ("value_set", "resource_type", "state", "types"),
    [
        pytest.param("diabetes", "Condition", "active", ("Condition",), id="of a problem, all problems"),
        pytest.param(
            "metformin", "MedicationRequest", "listed", MEDICATION_TYPES, id="of an order, whatever tells of drugs"
        ),
    ],
)
def test_a_presence_brings_the_reading_in_which_newer_entries_stand(
    told: Situation, value_set: str, resource_type: str, state: str, types: tuple[str, ...]
) -> None:
    """clinical: 18"""
    made = told.draft(presence(told.fact(value_set, resource_type), state))
    (reading,) = (one for one in made.evidence if isinstance(one, Reading))
    assert reading.query == Query(resource_types=types, value_set=value_set)
    assert set(reading.members) <= {one.id for one in made.evidence}


def test_an_absence_is_of_what_its_reading_looked_for(told: Situation) -> None:
    found = told.only(absence(told.reading("bronchitis", "Condition"), "active", "3 months"))
    assert isinstance(found, Absence)
    assert (found.value_set, found.within) == ("bronchitis", "3 months")


def test_a_timing_may_name_another_event(told: Situation) -> None:
    first, second = told.fact("diabetes", "Condition"), told.fact("metformin", "MedicationRequest")
    found = told.only(timing(first, "before", event=second))
    assert isinstance(found, Timing)
    assert found.event == told.handles.evidence(second)
    assert found.value_set == "diabetes"


def test_a_calculation_keeps_the_result_that_the_model_claims(told: Situation) -> None:
    found = told.only({"kind": "calculation", "calculation": told.calculation("age"), "result": 66})
    assert isinstance(found, Calculated)
    assert (found.formula, found.result, found.unit) == ("age", Decimal(66), "a")


@pytest.mark.parametrize("truth", ["met", "not_met", "unknown"])
def test_a_criterion_has_the_tree_of_the_engine_and_the_truth_of_the_model(told: Situation, truth: str) -> None:
    found = told.only(criterion("rule", "criteria", truth))
    assert isinstance(found, Criterion)
    assert found.truth is Truth(truth)
    assert found.tree.truth is Truth.MET


def test_a_criterion_brings_what_its_tree_rests_on(told: Situation) -> None:
    made = told.draft(criterion("unmet", "criteria", "not_met"))
    assert {item.query.value_set for item in made.evidence if isinstance(item, Reading)} == {"bronchitis"}


def test_a_statement_and_a_summary_are_taken_as_they_are(told: Situation) -> None:
    quote = told.only({"kind": "statement", "passage": told.tell(PASSAGE), "quote": 'said "so"'})
    assert quote == Statement(passage="passage-a", quote='said "so"')
    assert told.only({"kind": "summary", "rule": "rule"}) == Summary(rule="rule")


def test_the_region_of_an_image_is_turned_into_its_pixels(told: Situation) -> None:
    region = {"left": 500, "top": 100, "width": 500, "height": 10}
    found = told.only(image_reading(told.tell(IMAGE), "an opacity", region))
    assert isinstance(found, ImageReading)
    assert found.region is not None
    assert found.region.model_dump() == {"left": 400, "top": 50, "width": 400, "height": 5}


def test_an_image_that_was_listed_and_not_shown_carries_no_reading(told: Situation) -> None:
    named = told.tell(IMAGE)
    told.found.pop(IMAGE.id)
    assert f"{named} was not shown to you" in told.refused(image_reading(named, "an opacity"))


def test_a_proposal_is_the_draft_of_the_engine(told: Situation) -> None:
    made = told.draft({"kind": "proposal", "rule": "rule"})
    assert made.drafts == told.screening.drafts
    assert made.considerations is None


def test_a_proposal_that_the_engine_does_not_make_is_refused(told: Situation) -> None:
    assert "puts nothing forward for unmet" in told.refused({"kind": "proposal", "rule": "unmet"})


def test_a_thought_rests_on_propositions_wherever_they_stand_in_the_list(told: Situation) -> None:
    made = told.draft(hypothesis("The two may belong together.", 2, 2), presence(told.fact("hba1c"), "measured"))
    assert made.considerations is not None
    stated, thought = made.considerations.propositions
    assert isinstance(thought, Hypothesis)
    assert thought.supports == (stated.id,)


def test_what_is_said_twice_is_taken_once(told: Situation) -> None:
    again = presence(told.fact("hba1c"), "measured")
    made = told.draft(again, again)
    assert made.considerations is not None
    assert len(made.considerations.propositions) == 1


def test_a_model_that_abstains_says_nothing_whatever_else_it_writes(told: Situation) -> None:
    assert told.draft(presence(told.fact("hba1c"), "measured"), abstain="missing_evidence").is_empty


REFUSED = [
    ("a name that was never given out", value("f999", 1), "f999 was not given out"),
    ("a name that is no name", value("Mary Smith", 1), "a name was not given out"),
    ("a name with control characters", value("f1\x1b[2J", 1), "a name was not given out"),
    ("a rule that does not exist", {"kind": "summary", "rule": "<|im_start|>"}, "no such rule"),
    ("a part that the rule does not have", criterion("rule", "already", "met"), "has no already"),
    ("the criterion of an unknown rule", criterion("no-rule", "criteria", "met"), "no such rule"),
    ("a proposal of an unknown rule", {"kind": "proposal", "rule": "no-rule"}, "no such rule"),
    ("a thought on nothing that is stated", hypothesis("So it may be.", 7), "supports nothing"),
    ("a thought on itself", hypothesis("So it may be.", 1), "supports nothing"),
]


@pytest.mark.parametrize(("proposition", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_invented_becomes_nothing(told: Situation, proposition: Json, why: str) -> None:
    refusal = told.refused(proposition)
    assert why in refusal
    assert refusal.startswith(f"proposition 1, {proposition['kind']}: ")


def test_what_the_model_wrote_is_not_repeated_to_anybody(told: Situation) -> None:
    made = told.draft(value("Mary Smith", 1), {"kind": "summary", "rule": "Mary Smith"}, hypothesis("Mary Smith", 9))
    assert "Mary" not in " ".join((*made.invalid, *made.problems_for_the_model))


def test_evidence_of_another_kind_fits_no_slot(told: Situation) -> None:
    fact, reading = told.fact("hba1c"), told.reading("hba1c")
    assert "is no fact" in told.refused(value(reading, 1))
    assert "is no reading" in told.refused(absence(fact, "active"))
    assert "is no passage" in told.refused({"kind": "statement", "passage": fact, "quote": "x"})
    assert "is no image" in told.refused(image_reading(reading, "x"))
    assert "is no calculation" in told.refused({"kind": "calculation", "calculation": fact, "result": 1})
    assert "is no fact" in told.refused(threshold(reading, "<", 1, "%"))


def test_a_reading_of_everything_carries_neither_absence_nor_trend(told: Situation) -> None:
    everything = told.reading(None, "Condition")
    assert "all of its kind" in told.refused(absence(everything, "active"))
    assert "all of its kind" in told.refused(trend(everything, "rising", 1, "%", "1 year"))


def test_one_value_is_no_trend(told: Situation) -> None:
    assert "fewer than two" in told.refused(trend(told.reading("creatinine"), "rising", 1, "mg/dL", "1 year"))


def test_of_an_entry_without_a_code_nothing_is_stated() -> None:
    told = situation(IN_WORDS)
    assert "carries no code" in told.refused(presence(told.fact(None, "Condition"), "active"))


def test_an_entry_without_a_value_has_none_to_state(told: Situation) -> None:
    assert "has no value" in told.refused(value(told.fact("diabetes", "Condition"), "yes"))


def test_of_the_patient_only_values_are_stated(told: Situation) -> None:
    assert "is the Patient" in told.refused(presence(told.patient(), "active"))
    assert "is the Patient" in told.refused(threshold(told.patient(), ">", 1, "a"))


def test_a_thought_with_a_number_is_refused_and_says_what_to_do(told: Situation) -> None:
    stated = presence(told.fact("hba1c"), "measured")
    assert "carries no numbers" in told.refused(stated, hypothesis("Twice ½ a dose.", 1))


def test_a_thought_rests_neither_on_a_summary_nor_on_a_proposal(told: Situation) -> None:
    summary, proposal = {"kind": "summary", "rule": "rule"}, {"kind": "proposal", "rule": "rule"}
    assert "proposition 1 supports nothing" in told.refused(summary, hypothesis("So it may be.", 1))
    assert "proposition 1 supports nothing" in told.refused(proposal, hypothesis("So it may be.", 1))


def test_what_is_wrong_leaves_the_rest_standing(told: Situation) -> None:
    made = told.draft(value("f999", 1), presence(told.fact("hba1c"), "measured"))
    assert len(made.invalid) == 1
    assert made.considerations is not None
    assert [one.kind for one in made.considerations.propositions] == ["presence"]


def test_a_calculation_brings_its_inputs_and_their_readings() -> None:
    rule = rule_of(
        "criteria: {calculated: {formula: ckd-epi-2021, inputs: {creatinine: creatinine}, below: 60, "
        "max_age: 12 months}}"
    )
    told = situation(CREATININE, rules=(rule,))
    made = told.draft(threshold(told.calculation("ckd-epi-2021"), "<", 60, "mL/min/{1.73_m2}"))
    kinds = [item.kind for item in made.evidence]
    assert kinds.count("calculation") == 1
    assert {item.query.value_set for item in made.evidence if isinstance(item, Reading)} == {"creatinine"}
    assert "fact" in kinds


def test_a_relative_s_disease_is_not_the_patient_s() -> None:
    """clinical: family history is never a state of the patient's own."""
    relative = fhir.family_history("44054006")
    told = situation(relative)
    assert "FamilyMemberHistory" in told.refused(presence(told.fact(None, "FamilyMemberHistory"), "recorded"))
