# SPDX-License-Identifier: Apache-2.0
"""What every chart and chart source must do, whatever it reads from.

Files join by one line in `LAYOUTS`, servers by one in `SERVERS`."""

import asyncio
import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.hospital import hospital
from builders.server_chart import Served

from medagent.canonical import parse_json
from medagent.chart import Chart, ChartSource
from medagent.errors import ChartError
from medagent.evidence import Fact, Query, Reading, Status, listing_digest
from medagent.value_sets import ValueSet

MARCH = datetime(2024, 3, 31, tzinfo=UTC)
HBA1C = ValueSet(id="hba1c", title="HbA1c", kind="observation", source="test", codes={"LOINC": ("4548-4",)}, unit="%")
SETS = {"hba1c": HBA1C}
OBSERVATIONS = Query(resource_types=("Observation",))

RECORD = (
    fhir.patient("one", deceased="2024-06-01"),
    fhir.observation("4548-4", "7.1", "%", at="2024-03-02", patient="one", id="newer"),
    fhir.observation("4548-4", "6.5", "%", at="2023-03-02", patient="one", id="older"),
    fhir.observation("4548-4", "9.9", "%", at=None, patient="one", id="undated"),
    fhir.observation("4548-4", "1.0", "%", at="2022-01-01", status="entered-in-error", patient="one", id="void"),
    fhir.observation("718-7", "13", "g/dL", at="2024-01-01", patient="one", id="other-analyte"),
    fhir.observation("4548-4", "8.8", "%", at="2024-05-01", patient="one", id="later"),
    fhir.condition("44054006", onset="2020", abatement="2024-05-01", patient="one", id="ends-later"),
    fhir.patient("two"),
    fhir.observation("4548-4", "12.0", "%", at="2024-03-01", patient="two", id="somebody-else"),
)


def _bundle(folder: Path) -> Path:
    return fhir.write_bundle(folder / "all.json", *RECORD)


def _packed_bundle(folder: Path) -> Path:
    return fhir.write_bundle(folder / "all.json.gz", *RECORD, type="transaction")


def _bundles(folder: Path) -> Path:
    fhir.write_bundle(folder / "charts" / "deep" / "one.json", *RECORD[:8])
    fhir.write_bundle(folder / "charts" / "two.json", *RECORD[8:])
    return folder / "charts"


def _single_resources(folder: Path) -> Path:
    for resource in RECORD:
        fhir.write(folder / "charts" / f"{resource['resourceType']}-{resource['id']}.json", fhir.to_json(resource))
    return folder / "charts"


def _lines(ending: str) -> Callable[[Path], Path]:
    return lambda folder: fhir.write_ndjson(folder / "export", *RECORD, ending=ending)


def _one_file_of_lines(folder: Path) -> Path:
    return fhir.write(folder / "all.ndjson", fhir.to_ndjson(*RECORD))


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "a Bundle": _bundle,
    "a gzipped Bundle": _packed_bundle,
    "a folder of Bundles": _bundles,
    "a folder of single resources": _single_resources,
    "a folder of NDJSON": _lines(".ndjson"),
    "a folder of .ndjson.gz": _lines(".ndjson.gz"),
    "a folder of .jsonl": _lines(".jsonl"),
    "one file of NDJSON": _one_file_of_lines,
}


SERVERS: dict[str, dict[str, Any]] = {
    "a server": {},
    "a server of small pages": {"page": 2},
    "a server of relative links": {"page": 3, "links": "relative"},
    "a server that includes nothing and takes no search by POST": {"lacks": ("post_search", "include")},
    "a server that says neither what it can do nor how much there is": {"page": 3, "lacks": ("metadata", "total")},
}

Outside = Callable[[], dict[str, bytes]]
"""What was received, by hash, as somebody outside would find it."""


@pytest.fixture(params=[*LAYOUTS.items(), *SERVERS.items()], ids=[*LAYOUTS, *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ChartSource, Outside]]:
    """The record, and a source of charts over it."""
    _, how = request.param
    if callable(how):
        path = how(tmp_path)
        yield fhir.source(path), lambda: containers(path)
        return
    with hospital(*RECORD, **how) as ehr:
        served = Served(ehr.url)
        yield served, lambda: served.bodies


@pytest.fixture
def source(place: tuple[ChartSource, Outside]) -> ChartSource:
    """A source of charts."""
    return place[0]


@pytest.fixture
def chart(source: ChartSource) -> Chart:
    """The first patient's chart at the end of March."""
    return asyncio.run(source.chart("one", MARCH))


def ids(chart: Chart, query: Query = OBSERVATIONS) -> list[str]:
    """The resources that a reading's members come from."""
    members = chart.read(query, SETS).members
    return [chart.fact(member).source.uri.split("/")[1] for member in members]


@pytest.mark.parametrize("name", ["one", "Patient/one", "urn:uuid:one"])
def test_a_patient_is_named_in_any_form(source: ChartSource, name: str) -> None:
    assert asyncio.run(source.chart(name, MARCH)).patient == "Patient/one"


@pytest.mark.parametrize(
    "name", [None, "three", "Patient/three", ""], ids=["ambiguous", "absent", "absent too", "empty"]
)
def test_a_patient_who_is_not_certain_is_an_error(source: ChartSource, name: str | None) -> None:
    with pytest.raises(ChartError, match="--patient"):
        asyncio.run(source.chart(name, MARCH))


def test_members_match_and_come_oldest_first_undated_last_void_ones_too(chart: Chart) -> None:
    assert ids(chart, Query(resource_types=("Observation",), value_set="hba1c")) == [
        "void",
        "older",
        "newer",
        "undated",
    ]


def test_nothing_of_another_patient_is_there(chart: Chart) -> None:
    reading = chart.read(OBSERVATIONS, SETS)
    listed = [parse_json(chart.slice_of(digest)) for digest in chart.listing(reading.listing)]
    assert {resource["subject"]["reference"] for resource in listed} == {"Patient/one"}  # type: ignore[index]  # JSON
    assert {chart.fact(member).subject for member in reading.members} == {"Patient/one"}


def test_what_came_later_is_hidden(chart: Chart) -> None:  # clinical: 3
    assert "later" not in ids(chart)
    assert chart.past
    [condition] = [chart.fact(member) for member in chart.read(Query(resource_types=("Condition",)), {}).members]
    assert (condition.end, condition.element("end")) == (None, None)
    assert (chart.patient_fact().end, chart.patient_fact().element("deceased")) == (None, None)
    assert chart.newest is not None
    assert chart.newest.text == "2024-03-02"


def test_the_latest_instant_is_that_of_the_newest_entry_or_the_death(source: ChartSource) -> None:
    latest = asyncio.run(source.chart("one", "latest"))
    assert latest.as_of.isoformat() == "2024-06-01T23:59:59.999999+00:00"
    assert not latest.past
    assert "later" in ids(latest)
    assert latest.patient_fact().element("deceased") is not None


def test_a_chart_that_lies_wholly_in_the_future_hints_at_latest(source: ChartSource) -> None:
    with pytest.raises(ChartError, match="--as-of latest"):
        asyncio.run(source.chart("two", datetime(2020, 1, 1, tzinfo=UTC)))


def test_the_same_query_gives_the_same_reading(source: ChartSource, chart: Chart) -> None:
    query = Query(resource_types=("Observation",), value_set="hba1c")
    assert chart.read(query, SETS) is chart.read(query, SETS)
    again = asyncio.run(source.chart("one", MARCH)).read(query, SETS)
    # A server gives other pages each time, though the same resources stand in them.
    assert said(again) == said(chart.read(query, SETS))


def test_a_reading_lists_all_that_it_examined(chart: Chart) -> None:  # clinical: 5
    reading = chart.read(Query(resource_types=("Observation",), value_set="hba1c"), SETS)
    listed = chart.listing(reading.listing)
    assert (reading.examined, len(listed), reading.complete, reading.uncovered) == (5, 5, True, 0)
    assert listing_digest(listed) == reading.listing
    assert all(sha256(chart.slice_of(digest)).hexdigest() == digest for digest in listed)
    assert reading.newest is not None
    assert reading.newest.text == "2024-03-02"


def test_every_element_stands_where_its_pointer_says(chart: Chart) -> None:
    facts = [chart.patient_fact(), *_facts(chart, "Observation", "Condition")]
    for fact in facts:
        resource = parse_json(chart.slice_of(fact.source.sha256))
        for element in fact.elements:
            assert at(resource, element.pointer) == element.value


def test_a_container_and_a_pointer_lead_back_to_the_resource(chart: Chart, place: tuple[ChartSource, Outside]) -> None:
    found = place[1]()
    for fact in _facts(chart, "Observation", "Condition"):
        container = found[fact.source.container_sha256]
        assert at(parse_json(container), fact.source.pointer) == parse_json(chart.slice_of(fact.source.sha256))
        assert chart.slice_of(fact.source.sha256) in container


@pytest.mark.parametrize("name", ["fact-unknown", "0" * 64])
def test_what_it_never_gave_out_is_an_error(chart: Chart, name: str) -> None:
    for ask in (chart.fact, chart.slice_of, chart.listing):
        with pytest.raises(ChartError):
            ask(name)


def test_a_query_for_a_value_set_that_is_not_there_is_an_error(chart: Chart) -> None:
    with pytest.raises(ChartError, match="unheard-of"):
        chart.read(Query(resource_types=("Observation",), value_set="unheard-of"), SETS)


def test_a_type_that_is_not_read_is_never_absent(chart: Chart) -> None:
    reading = chart.read(Query(resource_types=("Claim",)), {})
    assert (reading.examined, reading.complete) == (0, False)


def test_void_statements_are_kept(chart: Chart) -> None:
    [void] = [fact for fact in _facts(chart, "Observation") if fact.status is Status.ENTERED_IN_ERROR]
    assert void.source.uri == "Observation/void"


def _facts(chart: Chart, *types: str) -> list[Fact]:
    return [chart.fact(member) for member in chart.read(Query(resource_types=types), {}).members]


def said(reading: Reading) -> dict[str, Any]:
    """Without where it came in, and the id that is made of that, too."""
    return reading.model_dump(exclude={"id", "pages"})


def at(document: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer."""
    for part in pointer.split("/")[1:]:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def containers(path: Path) -> dict[str, bytes]:
    """Files after decompression and their lines, by hash, as somebody outside would find them."""
    found: dict[str, bytes] = {}
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        for part in (data, *data.splitlines()):
            found[sha256(part).hexdigest()] = part
    return found
