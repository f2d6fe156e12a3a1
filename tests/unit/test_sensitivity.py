# SPDX-License-Identifier: Apache-2.0
"""What is withheld of a chart: by label, by a site's own codes, and from whom not (clinical: 19)."""

import json
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.chart import open_chart
from builders.fhir import Json

from medagent.errors import SettingsError
from medagent.evidence import Query
from medagent_fhir.sensitivity import Sensitivity, withheld

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


def label(code: str, system: str | None = ACT) -> Json:
    return {"code": code} if system is None else {"system": system, "code": code}


def labelled(*labels: Json, **fields: Any) -> Json:
    return fhir.condition("44054006", **fields) | {"meta": {"security": list(labels)}}


def withheld_from(policy: Sensitivity, resource: Json) -> bool:
    return policy.withholds(fhir.to_json(resource), resource["resourceType"])


# Labels.


# clinical: 19
@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(labelled(label("SUD")), id="substance use"),
        pytest.param(labelled(label("HIV")), id="HIV"),
        pytest.param(labelled(label("BH")), id="behavioural health"),
        pytest.param(labelled(label("SEX")), id="reproductive health"),
        pytest.param(labelled(label("42CFRPart2")), id="a law"),
        pytest.param(labelled(label("R", CONFIDENTIALITY)), id="restricted"),
        pytest.param(labelled(label("V", CONFIDENTIALITY)), id="very restricted"),
        pytest.param(labelled(label("N", CONFIDENTIALITY), label("PSY")), id="a sensitive one beside a normal one"),
        pytest.param(labelled(label("HIV", "http://hl7.org/fhir/v3/ActCode")), id="the system's older name"),
        pytest.param(labelled(label("R", "urn:oid:2.16.840.1.113883.5.25")), id="the system's OID"),
        pytest.param(labelled(label("R", None)), id="a label without a system"),
        pytest.param(
            fhir.document_reference({}) | {"securityLabel": [{"coding": [label("R", CONFIDENTIALITY)]}]},
            id="the label of a document",
        ),
        pytest.param(
            fhir.condition("44054006") | {"evidence": [{"extension": [{"url": "urn:x", "valueCoding": label("SUD")}]}]},
            id="the label of a part of it",
        ),
        pytest.param(
            fhir.medication_request("1") | {"contained": [{"resourceType": "Medication", "code": label("SUD")}]},
            id="a label of what it contains",
        ),
    ],
)
def test_what_is_labelled_sensitive_is_withheld(resource: Json) -> None:
    assert withheld_from(Sensitivity.default(), resource)


# clinical: 19
@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(fhir.condition("44054006"), id="no label"),
        pytest.param(labelled(label("N", CONFIDENTIALITY)), id="normal confidentiality"),
        pytest.param(labelled(label("L", CONFIDENTIALITY)), id="low confidentiality"),
        pytest.param(labelled(label("HIV", "urn:of-others")), id="the same letters of another system"),
        pytest.param(labelled(label("SUBSETTED", "urn:tags")), id="a tag"),
        pytest.param(fhir.observation("2160-0", {"value": 1, "code": "V", "unit": "V"}), id="volts"),
        pytest.param(fhir.encounter("AMB"), id="another code of the same system"),
        pytest.param(fhir.condition("44054006", text="SUD R V HIV"), id="the letters in words"),
    ],
)  # fmt: skip
def test_what_is_not_labelled_sensitive_is_not_withheld(resource: Json) -> None:
    assert not withheld_from(Sensitivity.default(), resource)


ESCAPED = (
    pytest.param("SUD", r"S\u0055D", id="a letter of the code"),
    pytest.param('"code"', r'"c\u006fde"', id="a letter of the element"),
    pytest.param("security", r"secur\u0069ty", id="a letter of what holds it"),
    pytest.param(ACT, ACT.replace("/", r"\/"), id="strokes of the system"),
    pytest.param('"code": "SUD"', '"code"\n :\t"SUD"', id="white space between"),
    pytest.param('"SUD"', '" SUD  "', id="white space around the code"),
)


@pytest.mark.parametrize(("plain", "written"), ESCAPED)
def test_a_label_cannot_be_hidden_by_another_way_to_write_it(plain: str, written: str) -> None:
    text = json.dumps(labelled(label("SUD")))
    assert plain in text
    assert Sensitivity.default().withholds(text.replace(plain, written).encode(), "Condition")


SPELLINGS = (
    pytest.param(CONFIDENTIALITY.replace("http:", "https:"), id="with https"),
    pytest.param(f"{CONFIDENTIALITY}/", id="with a slash at its end"),
    pytest.param(f"{CONFIDENTIALITY}|2.2.0", id="with a version"),
    pytest.param(CONFIDENTIALITY.upper(), id="in capitals"),
    pytest.param(f" {CONFIDENTIALITY}", id="behind a space"),
    pytest.param("2.16.840.1.113883.5.25", id="as a bare OID"),
)


# clinical: 19
@pytest.mark.parametrize("system", SPELLINGS)
def test_a_label_cannot_be_hidden_by_another_way_to_write_its_system(system: str) -> None:
    assert withheld_from(Sensitivity.default(), labelled(label("R", system)))


@pytest.mark.parametrize(
    "system", [f"{fhir.ICD10CM}/", f"{fhir.ICD10CM}|2024", fhir.ICD10CM.replace("http:", "https:")]
)
def test_a_sites_code_cannot_be_hidden_so_either(site: Sensitivity, system: str) -> None:
    assert withheld_from(site, fhir.condition("F11.20", system=system))


def test_what_cannot_be_told_is_withheld() -> None:
    deep = b'{"code":"SUD","extension":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert Sensitivity.default().withholds(deep, "Condition")
    assert Sensitivity.default().withholds(b'{"code":"SUD"', "Condition")


# clinical: 19
def test_what_is_withheld_is_not_in_the_chart_and_counts_as_unknown() -> None:
    chart = open_chart([fhir.condition("44054006"), labelled(label("HIV"), text="of one label")])
    reading = chart.read(Query(resource_types=("Condition",)), {})
    assert (reading.examined, reading.complete) == (1, False)
    assert reading.incomplete_because == (f"Condition: {withheld(1)}",)
    assert chart.read(Query(resource_types=("Observation",)), {}).complete, "nothing is withheld of another type"


MIXTURE = {
    "resourceType": "Medication",
    "id": "mixture",
    "ingredient": [{"itemReference": {"reference": "Medication/m"}}],
}


# clinical: 19
@pytest.mark.parametrize("order", [fhir.medication_request, fhir.medication_statement, fhir.medication_dispense])
@pytest.mark.parametrize("name", ["m", "mixture"])
def test_who_names_a_withheld_drug_is_withheld_with_it(order: Any, name: str) -> None:
    drug = fhir.medication("6813", id="m") | {"meta": {"security": [label("SUD")]}}
    told = order(None, means={"reference": f"Medication/{name}", "display": "Methadone"})
    chart = open_chart([told, order("6809"), drug, MIXTURE])

    reading = chart.read(Query(resource_types=(told["resourceType"],)), {})
    assert reading.examined == 1
    assert reading.incomplete_because == (f"{told['resourceType']}: {withheld(1)}",)
    assert "Methadone" not in "".join(chart.fact(member).model_dump_json() for member in reading.members)


# A site's own.

SITE = f"""
[[category]]
name = "substance use"
codes = ["{ACT}|SUD", "{ICD10}|F11.*", "http://snomed.info/sct|66214007"]
roles = ["addiction-medicine"]
purposes = ["TREAT"]

[[category]]
name = "visits to one clinic"
codes = ["urn:site|clinic/7"]
types = ["Encounter"]
roles = ["clinic-seven"]

[[category]]
name = "legal"
codes = ["urn:site|legal hold"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Sensitivity:
    return Sensitivity.load(site_file(tmp_path, SITE))


def site_file(folder: Path, text: str) -> Path:
    path = folder / "sensitivity.toml"
    path.write_text(text)
    return path


# clinical: 19
@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param(fhir.condition("66214007"), True, id="a code"),
        pytest.param(fhir.condition("F11.20", system=ICD10), True, id="a code that begins so"),
        pytest.param(fhir.condition("F12.20", system=ICD10), False, id="a code that begins otherwise"),
        pytest.param(fhir.observation("2160-0", reasonCode=[{"coding": [label("66214007", fhir.SNOMED)]}]), True,
                     id="a code anywhere in it"),
        pytest.param(fhir.encounter(types=[{"coding": [label("clinic/7", "urn:site")]}]), True,
                     id="a code of one type"),
        pytest.param(fhir.condition("clinic/7", system="urn:site"), False, id="that code in another type"),
        pytest.param(fhir.condition("legal hold", system="urn:site"), True, id="a code of two words"),
        pytest.param(labelled(label("HIV")), True, id="a label that the file does not name"),
    ],
)  # fmt: skip
def test_a_site_adds_its_own_categories(site: Sensitivity, resource: Json, expected: bool) -> None:
    assert withheld_from(site, resource) is expected


VIEWERS = (
    pytest.param((), (), True, id="nobody in particular"),
    pytest.param(("addiction-medicine",), ("TREAT",), False, id="the role, for the purpose"),
    pytest.param(("addiction-medicine",), (), True, id="the role, for no stated purpose"),
    pytest.param(("addiction-medicine",), ("HRESCH",), True, id="the role, for another purpose"),
    pytest.param(("nurse",), ("TREAT",), True, id="another role, for the purpose"),
    pytest.param(("nurse", "addiction-medicine"), ("HRESCH", "TREAT"), False, id="both among others"),
)


# clinical: 19
@pytest.mark.parametrize(("roles", "purposes", "expected"), VIEWERS)
@pytest.mark.parametrize("resource", [fhir.condition("66214007"), labelled(label("SUD"))], ids=["code", "label"])
def test_a_category_is_shown_to_its_roles_for_its_purposes(
    site: Sensitivity, resource: Json, roles: tuple[str, ...], purposes: tuple[str, ...], expected: bool
) -> None:
    assert withheld_from(site.seen_by(roles, purposes), resource) is expected


def test_what_is_of_several_categories_is_shown_to_who_may_see_all_of_them(site: Sensitivity) -> None:
    expert = site.seen_by(("addiction-medicine",), ("TREAT",))
    assert withheld_from(expert, labelled(label("SUD"), label("R", CONFIDENTIALITY)))
    assert withheld_from(expert, labelled(label("SUD"), label("HIV")))


def test_a_category_without_roles_and_purposes_is_shown_to_nobody(site: Sensitivity) -> None:
    everybody = site.seen_by(("addiction-medicine", "clinic-seven", ""), ("TREAT", ""))
    assert withheld_from(everybody, fhir.condition("legal hold", system="urn:site"))
    assert withheld_from(Sensitivity.default().seen_by(("any",), ("TREAT",)), labelled(label("HIV")))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("[[category", "is not TOML", id="no TOML"),
        pytest.param("", "category: Field required", id="nothing"),
        pytest.param('[[category]]\nname = "x"\ncodes = []', "category.0.codes", id="no code"),
        pytest.param('[[category]]\nname = "x"\ncodes = ["SUD"]', r"category.0.codes.0: write it as", id="no system"),
        pytest.param('[[category]]\nname = "x"\ncodes = ["urn:x|a*b"]', r"category.0.codes.0", id="a star inside"),
        pytest.param('[[category]]\nname = "x"\ncodes = ["urn:x|*"]', r"category.0.codes.0", id="a star alone"),
        pytest.param('[[category]]\nname = "x"\ncodes = ["urn:x|a"]\nrole = ["y"]', "category.0.role",
                     id="a misspelt key"),
        pytest.param('[[category]]\nname = "x"\ncodes = ["urn:x|a"]\ntypes = ["condition"]', "category.0.types.0",
                     id="no resource type"),
    ],
)  # fmt: skip
def test_a_file_that_says_otherwise_is_refused_by_its_field(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=rf"^sensitivity\.toml: {complaint}"):
        Sensitivity.load(site_file(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Sensitivity.load(tmp_path / "sensitivity.toml")


# clinical: 19
def test_the_reason_names_no_category() -> None:
    assert withheld(1) == "1 entry is not shown here by the site's policy"
    assert withheld(2) == "2 entries are not shown here by the site's policy"
