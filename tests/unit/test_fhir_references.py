# SPDX-License-Identifier: Apache-2.0
"""References: what means the patient, and what drug a medication resource means."""

from pathlib import Path
from typing import Any

import pytest
from builders import fhir

from medagent.evidence import Query, Role
from medagent_fhir.chart import SnapshotChart

METFORMIN = {"coding": [{"system": fhir.RXNORM, "code": "6809"}]}
HOSPITAL = "https://hospital.example/fhir"


def examined(folder: Path, subject: fhir.Json, full_url: str | None, **patient: Any) -> tuple[int, bool]:
    """How many observations with this subject belong to the patient, and whether that is all that may be said."""
    person = {"resource": fhir.patient(**patient)} | ({"fullUrl": full_url} if full_url else {})
    result = {"fullUrl": f"{HOSPITAL}/Observation/1", "resource": fhir.observation("718-7", id="1", subject=subject)}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [person, result]}
    chart = fhir.read_chart(fhir.write(folder / "chart.json", fhir.to_json(bundle)))
    reading = chart.read(Query(resource_types=("Observation",)), {})
    return reading.examined, reading.complete


URN = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
NUMBERED = {"identifier": [{"system": "urn:numbers", "value": "7"}]}
Cases = list[tuple[str, fhir.Json, str | None, fhir.Json]]
OURS: Cases = [
    ("relative", {"reference": "Patient/patient-1"}, None, {}),
    ("relative, of one version", {"reference": "Patient/patient-1/_history/3"}, None, {}),
    ("relative to the base of the entry", {"reference": "Patient/patient-1"}, f"{HOSPITAL}/Patient/patient-1", {}),
    ("absolute", {"reference": f"{HOSPITAL}/Patient/patient-1"}, f"{HOSPITAL}/Patient/patient-1", {}),
    ("urn:uuid", {"reference": URN}, URN, {}),
    ("logical", {"identifier": {"system": "urn:numbers", "value": "7"}}, URN, NUMBERED),
    ("conditional", {"reference": "Patient?identifier=urn:numbers|7"}, URN, NUMBERED),
]
THEIRS: Cases = [
    ("another id", {"reference": "Patient/patient-2"}, None, {}),
    ("another server", {"reference": "https://elsewhere.example/fhir/Patient/patient-2"}, None, {}),
    ("a group", {"reference": "Group/patient-1"}, None, {}),
]
UNCERTAIN: Cases = [
    ("the same id on another server", {"reference": "https://elsewhere.example/fhir/Patient/patient-1"}, None, {}),
    ("a urn that stands nowhere", {"reference": URN}, None, {}),
    ("an identifier without its system", {"identifier": {"value": "7"}}, None, {"identifier": [{"value": "7"}]}),
    ("an identifier of nobody here", {"identifier": {"system": "urn:numbers", "value": "8"}}, None, NUMBERED),
    ("a contained patient", {"reference": "#p"}, None, {}),
    ("nobody at all", {"display": "somebody"}, None, {}),
]


def _cases(*groups: tuple[Cases, int, bool]) -> list[object]:
    return [
        pytest.param(subject, url, patient, count, complete, id=name)
        for group, count, complete in groups
        for name, subject, url, patient in group
    ]


@pytest.mark.parametrize(
    ("subject", "full_url", "patient", "count", "complete"),
    _cases((OURS, 1, True), (THEIRS, 0, True), (UNCERTAIN, 0, False)),
)
def test_whose_a_resource_is(
    tmp_path: Path, subject: fhir.Json, full_url: str | None, patient: fhir.Json, count: int, complete: bool
) -> None:
    """What may be the patient's and is not certain is not used, and nothing can be said to be absent."""
    assert examined(tmp_path, subject, full_url, **patient) == (count, complete)


def test_the_names_of_a_patient_are_those_of_its_entries(tmp_path: Path) -> None:
    assert fhir.chart(tmp_path).patient_names == (f"{HOSPITAL}/Patient/patient-1",)


def codes(chart: SnapshotChart) -> set[str | None]:
    """The codes of the one medication request."""
    [fact] = fhir.facts(chart, "MedicationRequest")
    return {coding.code for coding in fact.codings}


def test_a_drug_may_stand_in_a_contained_medication(tmp_path: Path) -> None:
    inside = [{"resourceType": "Medication", "id": "m", "code": METFORMIN}]
    chart = fhir.chart(tmp_path, fhir.medication_request(None, means={"reference": "#m"}, contained=inside))
    [fact] = fhir.facts(chart, "MedicationRequest")
    assert codes(chart) == {"6809"}
    assert [one.pointer for one in fact.elements if one.role is Role.CODE] == ["/contained/0/code/coding/0/code"]


@pytest.mark.parametrize(
    "means",
    [
        {"reference": "Medication/m"},
        {"reference": f"{HOSPITAL}/Medication/m"},
        {"identifier": {"system": "urn:shelf", "value": "12"}},
        {"reference": "Medication?identifier=urn:shelf|12"},
    ],
    ids=["relative", "absolute", "logical", "conditional"],
)
def test_a_drug_may_stand_in_another_resource(tmp_path: Path, means: fhir.Json) -> None:
    shelf = fhir.medication("6809", id="m", identifier=[{"system": "urn:shelf", "value": "12"}])
    chart = fhir.chart(tmp_path, shelf, fhir.medication_request(None, means=means))
    [fact] = fhir.facts(chart, "MedicationRequest")
    assert codes(chart) == {"6809"}
    [consulted] = chart.consulted(fact.source.sha256)
    assert chart.slice_of(consulted) == fhir.to_json(shelf)


def test_a_mixture_has_the_codes_of_all_that_is_in_it(tmp_path: Path) -> None:
    inside = [
        {"itemReference": fhir.reference("Medication/a")},
        {"itemCodeableConcept": fhir.concept("8123", fhir.RXNORM)},
    ]
    mixture = fhir.medication("mix", id="mix", ingredient=inside)
    means = fhir.reference("Medication/mix")
    chart = fhir.chart(tmp_path, mixture, fhir.medication("6809", id="a"), fhir.medication_request(None, means=means))
    assert codes(chart) == {"mix", "6809", "8123"}
    assert chart.read(Query(resource_types=("MedicationRequest",)), {}).complete


def test_a_cycle_ends_and_is_said(tmp_path: Path) -> None:
    one = fhir.medication("1", id="one", ingredient=[{"itemReference": fhir.reference("Medication/two")}])
    two = fhir.medication("2", id="two", ingredient=[{"itemReference": fhir.reference("Medication/one")}])
    request = fhir.medication_request(None, means=fhir.reference("Medication/one"), id="round")
    chart = fhir.chart(tmp_path, one, two, request)
    assert codes(chart) == {"1", "2"}
    assert [(skipped.where, skipped.reason) for skipped in chart.skipped] == [
        (
            "chart.json entry 3 MedicationRequest/round",
            "medicationReference: Medication resources refer to each other in a cycle",
        )
    ]
    assert not chart.read(Query(resource_types=("MedicationRequest",)), {}).complete


def test_a_drug_that_stands_nowhere_makes_readings_incomplete(tmp_path: Path) -> None:
    chart = fhir.chart(tmp_path, fhir.medication_request(None, means=fhir.reference("Medication/gone")))
    assert not chart.read(Query(resource_types=("MedicationRequest",)), {}).complete


def test_the_text_of_a_document_stands_in_it_or_in_a_binary(tmp_path: Path) -> None:
    inline = fhir.document_reference({"contentType": "text/plain", "data": "bm90ZSBvbmU="}, id="inline")
    linked = fhir.document_reference({"contentType": "text/plain", "url": "Binary/b"}, id="linked")
    film = fhir.document_reference({"contentType": "image/png", "data": "bm90ZQ=="}, id="film")
    chart = fhir.chart(tmp_path, inline, linked, film, fhir.binary("bm90ZSB0d28=", id="b"))
    texts = {fact.source.uri: chart.texts(fact.id) for fact in fhir.facts(chart, "DocumentReference")}
    assert texts["DocumentReference/film"] == ()
    [one], [two] = texts["DocumentReference/inline"], texts["DocumentReference/linked"]
    assert (one.text, one.pointer, one.decode) == ("note one", "/content/0/attachment/data", "base64")
    assert (two.text, two.pointer, two.source.uri) == ("note two", "/data", "Binary/b")
    assert b"bm90ZSB0d28=" in chart.slice_of(two.source.sha256)


@pytest.mark.parametrize(
    ("context", "is_told"),
    [
        pytest.param(f"Patient/{fhir.SUBJECT}", True, id="of the patient"),
        pytest.param("DocumentReference/linked", True, id="of the document"),
        pytest.param("Patient/somebody-else", False, id="of another patient, who is not here"),
        pytest.param("https://ehr.example/fhir/Patient/1", False, id="of another server's patient"),
    ],
)
def test_a_text_under_another_patients_access_rules_is_not_told(tmp_path: Path, context: str, is_told: bool) -> None:
    linked = fhir.document_reference({"contentType": "text/plain", "url": "Binary/b"}, id="linked")
    held = fhir.binary("bm90ZSB0d28=", id="b", securityContext=fhir.reference(context))
    chart = fhir.chart(tmp_path, linked, held)
    [document] = fhir.facts(chart, "DocumentReference")
    assert bool(chart.texts(document.id)) is is_told
