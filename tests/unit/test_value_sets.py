# SPDX-License-Identifier: Apache-2.0
"""What a value set can tell of an entry: that it belongs to it, that it does not, or neither."""

import pytest

from medagent.errors import RuleError
from medagent.evidence import Coding
from medagent.value_sets import SYSTEMS, ValueSet, single_code, value_set_named

SNOMED = SYSTEMS["SNOMED"]
ICD_10 = SYSTEMS["ICD-10-CM"]
ICD_9 = SYSTEMS["ICD-9-CM"]
MIMIC_ICD_10 = "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10"
MIMIC_ICD_9 = "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd9"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"


def made(kind: str, **fields: object) -> ValueSet:
    return ValueSet.model_validate({"id": kind, "title": kind, "kind": kind, "source": "the tests'", **fields})


HYPERTENSION = made(
    "condition",
    codes={"SNOMED": ["38341003"], "ICD-10-CM": ["I10", "I11.0"], "ICD-9-CM": ["401"]},
    names=["hypertension"],
    not_names=["pulmonary"],
)
DIALYSIS = made("procedure", codes={"SNOMED": ["265764009"]}, names=["dialysis"])
METFORMIN = made("medication", codes={"RxNorm": ["6809"]}, names=["metformin"])
NO_ALLERGY = made("allergy", codes={"SNOMED": ["716186003"]}, names=["no known allergy"])
SMOKES = made("finding", codes={"SNOMED": ["77176002"]})
CREATININE = made("observation", codes={"LOINC": ["2160-0"]})

BELONGS, OTHER, CANNOT_TELL = (True, True), (False, True), (False, False)


def told(value_set: ValueSet, *codings: Coding, text: str | None = None) -> tuple[bool, bool]:
    matches = value_set.matches(codings, text)
    return matches, matches or value_set.covers(codings, text)


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        pytest.param(Coding(ICD_10, "I10", None), BELONGS, id="the code itself"),
        pytest.param(Coding(ICD_10, "I11.0", None), BELONGS, id="with its dot"),
        pytest.param(Coding(ICD_10, "I110", None), BELONGS, id="without its dot"),
        pytest.param(Coding(ICD_10, "I11.9", None), OTHER, id="beside it"),
        pytest.param(Coding(ICD_10, "i110", None), BELONGS, id="in small letters"),
        pytest.param(Coding(ICD_9, "401.9", None), BELONGS, id="below it"),
        pytest.param(Coding(ICD_9, "4019", None), BELONGS, id="below it, without its dot"),
        pytest.param(Coding(MIMIC_ICD_10, "I110", None), BELONGS, id="an alias of ICD-10-CM"),
        pytest.param(Coding(MIMIC_ICD_9, "4019", None), BELONGS, id="an alias of ICD-9-CM"),
        pytest.param(Coding(MIMIC_ICD_9, "25000", None), OTHER, id="another code of the alias"),
        pytest.param(Coding(SNOMED, "3834100", None), OTHER, id="no prefix outside of ICD"),
        pytest.param(Coding("urn:local", "I10", None), CANNOT_TELL, id="a system that the set does not speak"),
        pytest.param(Coding(SNOMED, None, "Hypertension"), BELONGS, id="a display without a code"),
        pytest.param(Coding(SNOMED, "70995007", "Pulmonary hypertension"), OTHER, id="the code of something else"),
    ],
)
def test_codes_tell(coding: Coding, expected: tuple[bool, bool]) -> None:
    assert told(HYPERTENSION, coding) == expected


# clinical: 5
@pytest.mark.parametrize(
    ("value_set", "text", "expected"),
    [
        pytest.param(HYPERTENSION, "Essential hypertension", BELONGS, id="the name"),
        pytest.param(HYPERTENSION, "HYPERTENSION NOS", BELONGS, id="in capitals, not otherwise specified"),
        pytest.param(HYPERTENSION, "Pulmonary hypertension", CANNOT_TELL, id="another disease of this name"),
        pytest.param(HYPERTENSION, "Family history of hypertension", CANNOT_TELL, id="of a relative"),
        pytest.param(HYPERTENSION, "No hypertension", CANNOT_TELL, id="denied"),
        pytest.param(HYPERTENSION, "Rule out hypertension", CANNOT_TELL, id="a question"),
        pytest.param(HYPERTENSION, "Hypertension ruled out", CANNOT_TELL, id="an answer"),
        pytest.param(HYPERTENSION, "Suspected hypertension", CANNOT_TELL, id="a suspicion"),
        pytest.param(HYPERTENSION, "History of hypertension", CANNOT_TELL, id="perhaps over"),
        pytest.param(HYPERTENSION, "Hypertension with nodules", BELONGS, id="a word that begins with no"),
        pytest.param(HYPERTENSION, "High blood pressure", CANNOT_TELL, id="other words"),
        pytest.param(HYPERTENSION, None, CANNOT_TELL, id="nothing"),
        pytest.param(DIALYSIS, "Dialysis, history of transplant", BELONGS, id="a procedure that was done"),
        pytest.param(DIALYSIS, "Dialysis refused", CANNOT_TELL, id="a procedure that was refused"),
        pytest.param(DIALYSIS, "Renal replacement", CANNOT_TELL, id="a procedure in other words"),
        pytest.param(METFORMIN, "Metformin 500 mg", BELONGS, id="a drug"),
        pytest.param(METFORMIN, "Lisinopril 10 mg", OTHER, id="another drug: a product states its substance"),
        pytest.param(NO_ALLERGY, "No known allergy", BELONGS, id="a name that begins with no"),
    ],
)
def test_a_text_proves_what_it_names_and_disproves_only_drugs(
    value_set: ValueSet, text: str | None, expected: tuple[bool, bool]
) -> None:
    assert told(value_set, text=text) == expected


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        pytest.param(Coding(SYSTEMS["RxNorm"], "6809", None), BELONGS, id="a listed code"),
        pytest.param(Coding("urn:local", "METF500", None), CANNOT_TELL, id="a code is no name"),
        pytest.param(Coding("urn:local", "LISI10", None), CANNOT_TELL, id="a code of anything"),
        pytest.param(Coding("urn:local", "LISI10", "Lisinopril"), OTHER, id="a code with a name"),
        pytest.param(Coding(SYSTEMS["RxNorm"], "314076", None), CANNOT_TELL, id="a strength that is not listed"),
        pytest.param(Coding("urn:local", "M5", "Metformin"), BELONGS, id="a code with the name"),
    ],
)
def test_a_bare_code_names_no_drug(coding: Coding, expected: tuple[bool, bool]) -> None:
    assert told(METFORMIN, coding) == expected


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        pytest.param(Coding(SNOMED, "77176002", None), BELONGS, id="smokes"),
        pytest.param(Coding(SNOMED, "266919005", None), OTHER, id="never smoked"),
        pytest.param(Coding(SNOMED, "266927001", None), CANNOT_TELL, id="smoking not known"),
        pytest.param(Coding(SYSTEMS["LOINC"], "LA18980-5", None), CANNOT_TELL, id="unknown if ever smoked"),
        *(pytest.param(Coding(NULL_FLAVOR, code, None), CANNOT_TELL, id=code) for code in ("UNK", "ASKU", "NI")),
    ],
)
def test_an_answer_that_is_not_known_is_no_other_answer(coding: Coding, expected: tuple[bool, bool]) -> None:
    assert told(SMOKES, coding) == expected


def test_one_text_that_is_about_something_else_voids_the_others() -> None:
    coding = Coding("urn:local", "1", "Hypertension")
    assert told(HYPERTENSION, coding) == BELONGS
    assert told(HYPERTENSION, coding, text="Family history of hypertension") == CANNOT_TELL


def test_a_set_without_names_can_tell_nothing_of_a_text() -> None:
    assert told(CREATININE, text="creatinine") == CANNOT_TELL


IPS = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"


@pytest.mark.parametrize(
    ("value_set", "code", "expected"),
    [
        pytest.param(HYPERTENSION, "no-known-problems", OTHER, id="no problems known"),
        pytest.param(HYPERTENSION, "no-problem-info", CANNOT_TELL, id="nothing known of problems"),
        pytest.param(METFORMIN, "no-known-medications", OTHER, id="no drugs known"),
        pytest.param(METFORMIN, "no-medication-info", CANNOT_TELL, id="nothing known of drugs"),
    ],
)
def test_an_entry_may_say_that_there_is_none(value_set: ValueSet, code: str, expected: tuple[bool, bool]) -> None:
    assert told(value_set, Coding(IPS, code, None)) == expected


HEMOGLOBIN = "observation:http://loinc.org|718-7"


def test_a_single_code_is_a_set_of_its_own() -> None:
    value_set = value_set_named({}, HEMOGLOBIN)
    assert value_set is single_code("observation", SYSTEMS["LOINC"], "718-7")
    assert (value_set.id, value_set.title, value_set.kind) == (HEMOGLOBIN, "LOINC 718-7", "observation")
    assert told(value_set, Coding(SYSTEMS["LOINC"], "718-7", None)) == BELONGS
    assert told(value_set, Coding(SYSTEMS["LOINC"], "4548-4", None)) == OTHER
    assert told(value_set, Coding("urn:local", "718-7", None)) == CANNOT_TELL
    assert told(value_set, text="718-7") == CANNOT_TELL


def test_a_system_without_a_short_name_goes_by_its_uri() -> None:
    assert single_code("procedure", "urn:oid:1.2.3", "A-1").title == "urn:oid:1.2.3 A-1"


def test_a_packs_own_set_comes_first() -> None:
    assert value_set_named({CREATININE.id: CREATININE}, CREATININE.id) is CREATININE


def test_a_source_s_own_uri_of_a_public_system_is_the_public_one() -> None:
    assert single_code("condition", MIMIC_ICD_10, "E119").id == f"condition:{ICD_10}|E119"
    with pytest.raises(RuleError, match="name it"):
        value_set_named({}, f"condition:{MIMIC_ICD_10}|E119")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("hemoglobin", id="a name that no pack has"),
        pytest.param("718-7", id="a code alone"),
        pytest.param("http://loinc.org|718-7", id="no kind"),
        pytest.param("analysis:http://loinc.org|718-7", id="another kind"),
        pytest.param("observation:loinc|718-7", id="a system that is no URI"),
        pytest.param("observation:|718-7", id="no system"),
        pytest.param("observation:http://loinc.org|", id="no code"),
        pytest.param("observation:http://loinc.org|take two", id="words instead of a code"),
        pytest.param("observation:http://loinc.org|718-7\n", id="a line break"),
        pytest.param("observation:http://loinc.org|\u202e718-7", id="a direction sign"),
        pytest.param("observation:http://loinc.org|" + "7" * 65, id="a code longer than any"),
    ],
)
def test_what_is_no_code_names_no_set(name: str) -> None:
    with pytest.raises(RuleError):
        value_set_named({}, name)
