# SPDX-License-Identifier: Apache-2.0
"""The public sample charts: each is read, and each citation is found again by somebody who knows JSON and SHA-256."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from builders import fhir

from medagent.canonical import parse_json
from medagent.errors import ChartError
from medagent.evidence import Query, Role
from medagent_fhir.chart import SnapshotChart
from medagent_fhir.clinical import READERS

pytestmark = pytest.mark.data

EVERYTHING = Query(resource_types=tuple(READERS))


def charts(path: Path, most: int | None = None) -> Iterator[SnapshotChart]:
    """The charts of a source, at the end of each."""
    source = fhir.source(path)
    for patient in source.patients()[:most]:
        yield asyncio.run(source.chart(patient, "latest"))


def received(path: Path) -> dict[str, bytes]:
    """What was received, by hash: files after decompression, and lines."""
    found: dict[str, bytes] = {}
    for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        found[sha256(data).hexdigest()] = data
        if ".ndjson" in file.name:
            found |= {sha256(line).hexdigest(): line for line in data.splitlines()}
    return found


def at(document: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer."""
    for part in pointer.split("/")[1:]:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def unresolved(chart: SnapshotChart, containers: dict[str, bytes]) -> list[str]:
    """Pointers that lead nowhere, or to another value."""
    parsed: dict[str, Any] = {}
    wrong = []
    facts = [chart.patient_fact(), *(chart.fact(member) for member in chart.read(EVERYTHING, {}).members)]
    for fact in facts:
        container = fact.source.container_sha256
        document = parsed.setdefault(container, None) or parse_json(containers[container])
        parsed[container] = document
        resource = at(document, fact.source.pointer)
        assert chart.slice_of(fact.source.sha256) in containers[container]
        wrong += [one.pointer for one in fact.elements if at(resource, one.pointer) != one.value]
    return wrong


@pytest.mark.parametrize("folder", ["fhir-synthea-r4", "fhir-synthea-bulk-notes", "fhir-uscore-inferno"])
def test_every_citation_of_a_sample_is_found_again(shared_data: Path, folder: str) -> None:
    path = shared_data / folder
    containers = received(path)
    read = list(charts(path, most=8))
    assert read
    assert [unresolved(chart, containers) for chart in read] == [[] for _ in read]


def test_every_synthea_chart_is_complete_and_nothing_of_it_is_skipped(shared_data: Path) -> None:
    deceased = examined = 0
    for chart in charts(shared_data / "fhir-synthea-r4"):
        reading = chart.read(EVERYTHING, {})
        assert (reading.complete, reading.incomplete_because) == (True, ())
        assert [one.where for one in chart.skipped] == ["manifest.json"]
        deceased += chart.patient_fact().element(Role.DECEASED) is not None
        examined += reading.examined
    assert deceased == 17
    assert examined > 10_000


def test_as_many_entries_are_examined_as_stand_in_a_bundle(shared_data: Path) -> None:
    path = next((shared_data / "fhir-synthea-r4").glob("Josue_Sipes*.json"))
    entries = [entry["resource"]["resourceType"] for entry in json.loads(path.read_bytes())["entry"]]
    chart = next(charts(path))
    for name in READERS:
        assert chart.read(Query(resource_types=(name,)), {}).examined == entries.count(name)


def test_what_a_bulk_export_leaves_out_is_not_absent(shared_data: Path) -> None:
    chart = next(charts(shared_data / "fhir-synthea-bulk-notes"))
    assert chart.read(Query(resource_types=("Observation",)), {}).incomplete_because == ("Observation: not provided",)
    assert chart.read(Query(resource_types=("Condition", "Procedure")), {}).complete


def test_a_note_of_a_bulk_export_can_be_read(shared_data: Path) -> None:
    chart = next(charts(shared_data / "fhir-synthea-bulk-notes"))
    notes = [text for fact in fhir.facts(chart, "DocumentReference") for text in chart.texts(fact.id)]
    assert notes
    assert all(note.text and note.decode == "base64" for note in notes)


def test_intensive_care_records_are_read_by_patient_with_the_drugs_behind_references(shared_data: Path) -> None:
    path = shared_data / "fhir-mimic-iv-demo"
    codes = 0
    for chart in charts(path):
        reading = chart.read(Query(resource_types=("MedicationRequest", "MedicationDispense")), {})
        facts = [chart.fact(member) for member in reading.members]
        assert {fact.subject for fact in facts} <= {chart.patient}
        codes += sum(1 for fact in facts if fact.codings)
        assert not chart.read(Query(resource_types=("AllergyIntolerance",)), {}).complete
    assert codes > 1_000


@pytest.mark.parametrize(
    "name",
    ["raw_hapi_searchset_500_patients_with_next_link.json", "patients_500.ndjson"],
)
def test_pages_of_patients_are_read(shared_data: Path, name: str) -> None:
    path = shared_data / "medagentbench" / name
    assert len(fhir.source(path).patients()) >= 10
    chart = next(charts(path))
    assert not chart.read(EVERYTHING, {}).complete


def test_every_official_example_is_read_unless_two_patients_share_an_id(shared_data: Path) -> None:
    path = shared_data / "fhir-hl7-r4-examples"
    containers, source = received(path), fhir.source(path)
    contradicting = []
    for patient in source.patients():
        try:
            chart = asyncio.run(source.chart(patient, "latest"))
        except ChartError as error:
            assert "stands in the source twice" in str(error)  # noqa: PT017  # most of them raise nothing
            contradicting.append(patient)
        else:
            assert unresolved(chart, containers) == []
    assert contradicting == ["Patient/example", "Patient/pat1", "Patient/pat2"]
