# SPDX-License-Identifier: Apache-2.0
"""When a reading is complete, so that absence may be concluded, and when it is not (clinical: 5)."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import fhir

from medagent.chart import AsOf
from medagent.evidence import Query, Reading
from medagent.value_sets import ValueSet
from medagent_workflows.gathering import threshold

HBA1C = ValueSet(id="hba1c", title="HbA1c", kind="observation", source="test", codes={"LOINC": ("4548-4",)})
METFORMIN = ValueSet(
    id="metformin",
    title="metformin",
    kind="medication",
    source="test",
    codes={"RxNorm": ("6809",)},
    names=("metformin",),
)
SETS = {"hba1c": HBA1C, "metformin": METFORMIN}
RESULT = fhir.observation("718-7", "13", "g/dL", id="r")


def read(path: Path, *types: str, value_set: str | None = None, partial: bool = False) -> Reading:
    """A reading of the only patient's chart at its end."""
    query = Query(resource_types=types or ("Observation",), value_set=value_set)
    return fhir.read_chart(path, partial=partial).read(query, SETS)


def bundle(folder: Path, *resources: fhir.Json, **elements: Any) -> Path:
    return fhir.write_bundle(folder / "chart.json", fhir.patient(), *resources, **elements)


def test_a_bundle_is_a_whole_record(tmp_path: Path) -> None:
    reading = read(bundle(tmp_path), "Observation", "AllergyIntolerance")
    assert (reading.examined, reading.complete, reading.newest) == (0, True, None)


INCOMPLETE: list[tuple[str, Callable[[Path], Path], bool, str]] = [
    ("a source declared partial", lambda folder: bundle(folder, RESULT), True, "declared partial"),
    (
        "a page with a further one",
        lambda folder: bundle(
            folder, RESULT, type="searchset", link=[{"relation": "next", "url": "https://h.example"}]
        ),
        False,
        "further page",
    ),
    (
        "a page that holds fewer than its total",
        lambda folder: bundle(folder, RESULT, type="searchset", total=9),
        False,
        "fewer entries than its total",
    ),
    ("a type that no page was given of", lambda folder: bundle(folder, type="searchset"), False, "not provided"),
    (
        "an export without the type",
        lambda folder: fhir.write_ndjson(folder / "export", fhir.patient(), fhir.condition("1")),
        False,
        "Observation: not provided",
    ),
    (
        "a resource that was skipped",
        lambda folder: bundle(folder, fhir.observation("718-7", at="yesterday")),
        False,
        "Observation: 1 skipped",
    ),
    (
        "a resource of an unknown type that was skipped",
        lambda folder: bundle(folder, {"resourceType": None, "id": "nameless"}),
        False,
        "could not be read",
    ),
]


@pytest.mark.parametrize(
    ("make", "partial", "reason"), [case[1:] for case in INCOMPLETE], ids=[case[0] for case in INCOMPLETE]
)
def test_absence_cannot_be_concluded_from(
    tmp_path: Path, make: Callable[[Path], Path], partial: bool, reason: str
) -> None:
    reading = read(make(tmp_path), partial=partial)
    assert not reading.complete
    assert any(reason in said for said in reading.incomplete_because)


def test_a_page_without_a_next_one_is_complete_for_what_it_holds(tmp_path: Path) -> None:
    assert read(bundle(tmp_path, RESULT, type="searchset", total=2)).complete


def test_an_outcome_of_the_server_makes_its_page_incomplete(tmp_path: Path) -> None:
    page = fhir.bundle(fhir.patient(), RESULT, type="searchset")
    page["entry"].append({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}})
    assert not read(fhir.write(tmp_path / "page.json", fhir.to_json(page))).complete


def test_other_types_than_the_skipped_one_stay_complete(tmp_path: Path) -> None:
    path = bundle(tmp_path, fhir.observation("718-7", at="yesterday"), fhir.condition("1"))
    assert read(path, "Condition").complete


COVERED = [
    ("a code of the system, though another", fhir.observation("718-7"), 0),
    ("a local code", fhir.observation("HBA", system="urn:local"), 1),
    ("a text alone", fhir.observation("1") | {"code": {"text": "HbA1c"}}, 1),
    ("a panel whose component is coded", fhir.observation("P", system="urn:local",
     components=[fhir.component("8480-6")]), 0),
    ("a panel that is coded, its component is not", fhir.observation("85354-9",
     components=[fhir.component("X", system="urn:local")]), 0),
    ("an entry that was entered in error", fhir.observation("HBA", system="urn:local", status="entered-in-error"), 0),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "uncovered"), [case[1:] for case in COVERED], ids=[case[0] for case in COVERED])
def test_what_a_value_set_cannot_tell_is_counted(tmp_path: Path, resource: fhir.Json, uncovered: int) -> None:
    reading = read(bundle(tmp_path, resource), value_set="hba1c")
    assert (reading.uncovered, reading.complete, reading.members) == (uncovered, not uncovered, ())


def test_names_match_the_text_of_what_has_no_code(tmp_path: Path) -> None:
    request = fhir.medication_request(None, means={"display": "Metformin 500 mg"})
    reading = read(bundle(tmp_path, request), "MedicationRequest", value_set="metformin")
    assert (len(reading.members), reading.uncovered) == (1, 0)


def test_pages_are_named_as_long_as_they_are_a_handful(tmp_path: Path) -> None:
    few = [fhir.observation("718-7", str(number)) for number in range(8)]
    many = [*few, fhir.observation("718-7", "99")]
    assert len(read(fhir.write_ndjson(tmp_path / "few", fhir.patient(), *few)).pages) == 8
    assert len(read(fhir.write_ndjson(tmp_path / "many", fhir.patient(), *many)).pages) == 1


def test_the_id_of_a_reading_is_its_content(tmp_path: Path) -> None:
    one = read(bundle(tmp_path / "a", RESULT))
    other = read(bundle(tmp_path / "b", fhir.observation("718-7", "14", "g/dL", id="r")))
    assert one.id == read(bundle(tmp_path / "c", RESULT)).id
    assert one.id != other.id


def test_the_order_of_entries_never_counts(tmp_path: Path) -> None:  # clinical: 7
    same_time = [fhir.observation("4548-4", value, "%", at="2024-01-01") for value in ("6.1", "7.9", "5.5")]
    forwards = read(bundle(tmp_path / "a", *same_time))
    backwards = read(bundle(tmp_path / "b", *reversed(same_time)))
    assert (forwards.members, forwards.listing) == (backwards.members, backwards.listing)


VERSIONS = [
    fhir.observation("4548-4", value, "%", id="v", at="2024-01-01", meta={"versionId": number, "lastUpdated": updated})
    for number, value, updated in (("1", "6.1", "2024-01-02T00:00:00Z"), ("2", "6.3", "2024-02-02T00:00:00Z"))
]


@pytest.mark.parametrize(
    ("as_of", "value"),
    [("latest", "6.3"), (datetime(2024, 1, 15, tzinfo=UTC), "6.1")],
    ids=["latest", "before the change"],
)
def test_of_several_versions_the_one_that_stood_then_counts(tmp_path: Path, as_of: AsOf, value: str) -> None:
    later = fhir.encounter(start="2024-03-01")
    chart = fhir.chart(tmp_path, *VERSIONS, later, as_of=as_of, type="history")
    assert [str(fact.element("value").value) for fact in fhir.facts(chart, "Observation")] == [value]  # type: ignore[union-attr]


def test_versions_without_an_order_are_all_used_and_said(tmp_path: Path) -> None:
    twice = [fhir.observation("4548-4", value, "%", id="v") for value in ("6.1", "9.9")]
    chart = fhir.chart(tmp_path, *twice)
    assert len(fhir.facts(chart, "Observation")) == 2
    assert [one.reason for one in chart.skipped] == ["stands in the source more than once, differently; all are used"]


def test_a_resource_that_stands_twice_counts_once(tmp_path: Path) -> None:
    assert read(bundle(tmp_path, RESULT, RESULT)).examined == 1


def test_a_planned_visit_is_not_the_newest_entry(tmp_path: Path) -> None:
    planned = fhir.encounter(start="2030-01-01", end=None, status="planned")
    chart = fhir.chart(tmp_path, RESULT, planned)
    assert chart.as_of.isoformat() == "2024-03-01T23:59:59.999999+00:00"
    assert not chart.past


def test_what_the_sites_policy_does_not_show_is_said_by_number_alone(tmp_path: Path) -> None:
    """clinical: 19"""
    restricted = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}
    hidden = fhir.observation("4548-4", "9.9", "%", id="hidden", meta=restricted)
    chart = fhir.chart(tmp_path, RESULT, hidden)
    said = "1 entry is not shown here by the site's policy"
    assert [(one.where, one.reason) for one in chart.skipped] == [("Observation", said)]
    assert chart.read(Query(resource_types=("Observation",)), {}).incomplete_because == (f"Observation: {said}",)
    assert threshold(chart, "UTC").banners[:1] == (
        "Not read completely: Observation. What would rest on that is unknown.",
    )
