# SPDX-License-Identifier: Apache-2.0
"""Calculators and the medication check: what they find, what they refuse, and on what they rest."""

from decimal import Decimal
from typing import Any

import pytest
from builders import fhir
from builders.chart import patient
from builders.fhir import Json
from builders.screening import has, pack_of, rule_of
from builders.tools import all_text, asked, context_of, texts

from medagent.errors import ToolRefused
from medagent.formulas import FORMULAS
from medagent.verifier.calculations import checked
from medagent.verifier.slices import Slices
from medagent_tools.charts.calculator import CalculateArguments
from medagent_tools.guidelines.engine import screen
from medagent_tools.seam import ToolContext
from medagent_workflows.evidence import gathered

NOT_IN_PREGNANCY = rule_of(
    """
    criteria:
      calculated:
        formula: ckd-epi-2021
        inputs: {creatinine: creatinine}
        max_age: 1 year
        below: 30
        invalid_if: {any: [{pregnant: {}}, {condition: {in: bronchitis}}]}
    """
)


def creatinine(value: str, time: str | None = "2025-12-01", unit: str = "mg/dL", **fields: Any) -> Json:
    return has("observation", "creatinine", value=value, unit=unit, time=time, **fields)


def body(weight: str = "80", height: str = "180", time: str = "2025-11-01") -> tuple[Json, Json]:
    return fhir.observation("29463-7", weight, "kg", at=time), fhir.observation("8302-2", height, "cm", at=time)


def entry_of(context: ToolContext, code: str, kind: str = "observation") -> str:
    """The id of the newest entry with this code."""
    return asked("search_chart", context, kind=kind, code=code).lines[1].evidence[0]


@pytest.mark.parametrize(
    ("formula", "result"),
    [
        pytest.param(
            "ckd-epi-2021", "ckd-epi-2021: 84 mL/min/{1.73_m2}, from creatinine 1.0 mg/dL (2025-12-01)", id="eGFR"
        ),
        pytest.param(
            "cockcroft-gault",
            "cockcroft-gault: 83 mL/min, from creatinine 1.0 mg/dL (2025-12-01), weight 80 kg",
            id="clearance",
        ),
        pytest.param(
            "body-mass-index", "body-mass-index: 24.7 kg/m2, from weight 80 kg (2025-11-01), height 180 cm", id="BMI"
        ),
    ],
)
def test_a_formula_over_the_newest_values(formula: str, result: str) -> None:
    """clinical: 11"""
    answer = asked(
        "calculate", context_of(creatinine("1.0"), creatinine("3.0", "2020-01-01"), *body()), formula=formula
    )
    assert texts(answer)[0].startswith(result)
    (calculation,) = answer.calculations
    assert answer.lines[0].evidence[0] == calculation.id
    assert set(answer.lines[0].evidence[1:]) == set(calculation.inputs.values()) - {_patient_id()}


def _patient_id() -> str:
    return context_of().chart.patient_fact().id


def test_every_formula_can_be_asked_for() -> None:
    schema = CalculateArguments.model_json_schema()
    assert set(schema["properties"]["formula"]["enum"]) == set(FORMULAS)
    measured = {needed.name for formula in FORMULAS.values() for needed in formula.inputs} - {"age", "sex"}
    assert measured == set(schema["properties"]) - {"formula"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(creatinine("1.0"), id="an exact value"),
        pytest.param(creatinine("88.4", unit="umol/L"), id="a value in another unit"),
        pytest.param(creatinine("0.5", comparator="<"), id="a value known on one side only"),
        pytest.param(creatinine("1.0", "2025-05"), id="a month in which the patient grew older"),
    ],
)
def test_the_verifier_makes_the_same_calculation_anew(value: Json) -> None:
    context = context_of(value)
    answer = asked("calculate", context, formula="ckd-epi-2021")
    (calculation,) = answer.calculations
    readings = [context.chart.read(query, context.pack.value_sets) for query in answer.queries]
    facts = [context.chart.fact(member) for reading in readings for member in reading.members]
    screening = screen(context.chart, context.pack, time_zone=context.time_zone)
    evidence = gathered(context.chart, context.pack, screening, context.time_zone, (*readings, *facts, calculation))
    assert checked(Slices(evidence), calculation.id) == calculation


def test_an_input_can_be_named() -> None:
    context = context_of(creatinine("1.0"), creatinine("3.0", "2020-01-01"))
    older = asked("list_labs", context, analyte="creatinine").lines[-1].evidence[0]
    answer = asked("calculate", context, formula="ckd-epi-2021", creatinine=older)
    assert "from creatinine 3.0 mg/dL (2020-01-01)" in texts(answer)[0]


def test_pack_years_take_what_is_named() -> None:
    packs = fhir.observation("8663-7", at="2025-01-01", valueQuantity={"value": Decimal("1.5"), "unit": "{packs}/d",
                             "system": fhir.UCUM, "code": "{packs}/d"})  # fmt: skip
    years = fhir.observation("88029-4", "20", "a", at="2025-01-01")
    context = context_of(packs, years)
    named = {"packs_per_day": entry_of(context, "8663-7"), "years": entry_of(context, "88029-4")}
    assert texts(asked("calculate", context, formula="pack-years", **named))[0].startswith(
        "pack-years: 30.0 {PackYears}"
    )


def test_values_that_contradict_each_other_give_a_result_each() -> None:
    """clinical: 7"""
    answer = asked("calculate", context_of(creatinine("2.27"), creatinine("2.50")), formula="ckd-epi-2021")
    assert sorted(line.partition(",")[0] for line in texts(answer)[:2]) == [
        "ckd-epi-2021: 28 mL/min/{1.73_m2}",
        "ckd-epi-2021: 31 mL/min/{1.73_m2}",
    ]
    assert texts(answer)[2] == "Contradictory: values of one time differ, and so do the results."


def test_of_many_contradictions_some_are_calculated_and_the_others_counted() -> None:
    values = [creatinine(f"1.{digit}") for digit in range(10)]
    answer = asked("calculate", context_of(*values), formula="ckd-epi-2021")
    assert len(answer.calculations) == 8
    assert "2 more combinations of values of one time are not calculated." in texts(answer)


def test_a_value_known_within_limits_gives_a_least_and_a_greatest_result() -> None:
    answer = asked("calculate", context_of(creatinine("0.5", comparator="<")), formula="ckd-epi-2021")
    assert texts(answer)[0].startswith("ckd-epi-2021: between 113 and ")


@pytest.mark.parametrize(
    ("resources", "about", "said"),
    [
        pytest.param((), {}, "None found in 0 entries examined. No usable value", id="nothing measured"),
        pytest.param((creatinine("1.0"),), {"birth_date": "2010-01-01"}, "adults only", id="a child"),
        pytest.param((creatinine("1.0"),), {"birth_date": "2008"}, "may be, under 18", id="perhaps a child"),
        pytest.param((creatinine("1.0"),), {"birth_date": None}, "no date of birth", id="no birth date"),
        pytest.param((creatinine("1.0"),), {"gender": "unknown"}, "does not state it", id="no recorded sex"),
        pytest.param(
            (creatinine("1.0"),), {"birth_sex": "F"}, "the sources disagree", id="sources disagree on the sex"
        ),
        pytest.param((creatinine("60"),), {}, "questionable", id="an implausible value"),
        pytest.param((creatinine("1.0", unit="kg"),), {}, "cannot be read in mg/dL", id="a unit of another kind"),
        pytest.param((creatinine("1.0", time=None),), {}, "No usable value is recorded", id="an undated value"),
        pytest.param(
            (creatinine("1.0"), has("condition", "bronchitis", onset="2025-12-01")),
            {},
            "does not hold for this",
            id="a state in which it does not hold",
        ),
    ],
)
def test_what_the_publication_does_not_cover_is_refused(
    resources: tuple[Json, ...], about: dict[str, Any], said: str
) -> None:
    """clinical: 2, 7, 9, 10, 11"""
    context = context_of(*resources, about=patient(**about), pack=pack_of(NOT_IN_PREGNANCY))
    with pytest.raises(ToolRefused, match=said):
        asked("calculate", context, formula="ckd-epi-2021")


def test_what_could_make_it_invalid_and_is_not_known_is_said() -> None:
    """clinical: 9"""
    woman = patient(gender="female", birth_date="1990-05-05")
    context = context_of(creatinine("1.0"), about=woman, pack=pack_of(NOT_IN_PREGNANCY))
    answer = asked("calculate", context, formula="ckd-epi-2021")
    assert "Not excluded: Pregnancy status (not found in the chart)" in texts(answer)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("29463-7", "is of another analyte", id="another analyte"),
        pytest.param("2160-0", "no usable value", id="a value that is not final"),
    ],
)
def test_a_named_input_must_be_a_usable_value_of_its_kind(code: str, said: str) -> None:
    context = context_of(creatinine("1.0", status="registered"), *body())
    with pytest.raises(ToolRefused, match=said):
        asked("calculate", context, formula="ckd-epi-2021", creatinine=entry_of(context, code))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({"formula": "ckd-epi-2021", "weight": "fact-1"}, "takes no weight", id="an input too many"),
        pytest.param(
            {"formula": "ckd-epi-2021", "creatinine": "fact-1"}, "no entry of Observation", id="an unknown id"
        ),
        pytest.param({"formula": "pack-years"}, "name the entry that states it", id="an input that must be named"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolRefused, match=said):
        asked("calculate", context_of(creatinine("1.0")), **arguments)


MALE = "pregnancy: passed"


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        pytest.param(
            (),
            "allergy: unknown (Allergies: statin allergy: no allergy is recorded, nor that there is none)",
            id="an empty allergy list is unknown",
        ),
        pytest.param((has("allergy", "no-known-allergy"),), "allergy: passed", id="no known allergy passes"),
        pytest.param((has("allergy", "statin-allergy"),), "allergy: failed", id="an allergy to it fails"),
        pytest.param(
            (has("medication_request", "interacting", authored="2025-06-01"),),
            "interaction: failed",
            id="a drug that interacts fails",
        ),
        pytest.param(
            (has("medication_dispense", "statins", time="2025-12-01"),),
            "duplicate: failed",
            id="one that is taken already fails",
        ),
        pytest.param(
            (has("medication_request", "statins", authored="2025-12-01"),),
            "duplicate: unknown",
            id="one that is only listed is a question",
        ),
        pytest.param((), "renal: passed, not needed", id="a check that is not needed says why"),
        pytest.param((), MALE, id="no pregnancy in a man"),
    ],
)
def test_the_gate_of_a_drug_for_this_patient(resources: tuple[Json, ...], told: str) -> None:
    """clinical: 12"""
    answer = asked("check_medication", context_of(*resources), drug="atorvastatin")
    assert any(line.startswith(told) for line in texts(answer))
    assert len([line for line in texts(answer) if line.split(":")[0] in _CHECKS and ": " in line]) >= 5


_CHECKS = ("allergy", "interaction", "renal", "pregnancy", "duplicate")


def test_what_speaks_against_a_drug_is_shown_and_cited() -> None:
    answer = asked("check_medication", context_of(has("allergy", "statin-allergy")), drug="statins")
    (shown,) = [line for line in answer.lines if line.text.startswith("allergy: AllergyIntolerance")]
    (failed,) = [line for line in answer.lines if line.text.startswith("allergy: failed")]
    assert "«statin»" in shown.text
    assert shown.evidence[0] in failed.evidence
    assert "4 of 5 checks passed" in answer.heading


@pytest.mark.parametrize("drug", ["statins", "STATINS", "atorvastatin 20 mg", "Atorvastatin"])
def test_a_drug_goes_by_its_class_or_its_name(drug: str) -> None:
    assert "[statins]" in asked("check_medication", context_of(), drug=drug).heading


@pytest.mark.parametrize("drug", ["digoxin", "metformin", "statinsx", "in", "Patient/2"])
def test_a_drug_without_a_gate_is_refused_and_never_passed(drug: str) -> None:
    """clinical: 12"""
    with pytest.raises(ToolRefused, match=r"no gate for it, so nothing can be said of its safety here.*\[statins\]"):
        asked("check_medication", context_of(), drug=drug)


def test_a_reading_that_was_cut_short_lets_no_check_pass_on_absence() -> None:
    """clinical: 5"""
    answer = asked("check_medication", context_of(has("allergy", "no-known-allergy"), partial=True), drug="statins")
    assert "interaction: unknown" in all_text(answer)
    assert "allergy: unknown" in all_text(answer)
