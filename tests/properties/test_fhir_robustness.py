# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes a file holds: a chart or a ChartError, and every citation of a chart leads back to the file."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builders import fhir
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.canonical import parse_json
from medagent.errors import ChartError
from medagent.evidence import Query
from medagent_fhir.chart import SnapshotChart
from medagent_fhir.clinical import READERS

EVERYTHING = Query(resource_types=tuple(READERS))

RECORD = fhir.bundle(
    fhir.patient(birth_sex="F", deceased="2025-01-01"),
    fhir.observation("85354-9", components=[fhir.component("8480-6", "132", "mm[Hg]")], issued="2024-03-02T10:00:00Z"),
    fhir.observation("4548-4", "6.50", "%", comparator="<"),
    fhir.condition("44054006", abatement="2023-01-01", recorded="2020-02-01"),
    fhir.allergy("716186003"),
    fhir.medication("860975", id="m"),
    fhir.medication_request(None, means=fhir.reference("Medication/m")),
    fhir.medication_statement("860975"),
    fhir.medication_administration("860975"),
    fhir.medication_dispense("860975", at="2023-11-01T12:00:00Z"),
    fhir.procedure("73761001"),
    fhir.immunization("140"),
    fhir.encounter(),
    fhir.diagnostic_report("24627-2", conclusions=[fhir.concept("427359005", fhir.SNOMED)]),
    fhir.document_reference({"contentType": "text/plain", "data": "bm90ZQ=="}),
    fhir.imaging_study(),
    fhir.family_history("254837009"),
    fhir.care_plan("698360004"),
    fhir.service_request("4548-4"),
)

PLAIN = json.loads(fhir.to_json(RECORD))
"""The same with floats, as hypothesis and the JSON encoder of the standard library have them."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(document, dict):
        for name, inner in document.items():
            yield from _places(inner, (*path, name))
    elif isinstance(document, list):
        for place, inner in enumerate(document):
            yield from _places(inner, (*path, place))


LENGTH = len(fhir.to_json(RECORD))
PLACES = [path for path in _places(RECORD) if path]


def _replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(document, list):
        return [_replaced(inner, rest, value) if place == first else inner for place, inner in enumerate(document)]
    return {name: _replaced(inner, rest, value) if name == first else inner for name, inner in document.items()}


def _read(data: bytes, name: str = "chart.json") -> SnapshotChart | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return fhir.read_chart(fhir.write(Path(folder) / name, data))
        except ChartError:
            return None


def _check_citations(chart: SnapshotChart) -> None:
    for member in chart.read(EVERYTHING, {}).members:
        fact = chart.fact(member)
        resource: Any = parse_json(chart.slice_of(fact.source.sha256))
        for element in fact.elements:
            found = resource
            for part in element.pointer.split("/")[1:]:
                found = found[int(part)] if isinstance(found, list) else found[part]
            assert found == element.value
            assert isinstance(found, bool) == isinstance(element.value, bool)


@settings(max_examples=120, deadline=None)
@given(path=st.sampled_from(PLACES), value=JSON)
def test_one_element_replaced_by_anything(path: tuple[str | int, ...], value: Any) -> None:
    chart = _read(json.dumps(_replaced(PLAIN, path, value)).encode())
    if chart is not None:
        _check_citations(chart)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, LENGTH - 1), ending=st.sampled_from([".json", ".ndjson"]))
def test_a_file_cut_anywhere_is_never_a_whole_chart(cut: int, ending: str) -> None:
    chart = _read(fhir.to_json(RECORD)[:cut], f"chart{ending}")
    assert chart is None


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, LENGTH - 1), byte=st.integers(0, 255))
def test_one_byte_replaced_by_any(place: int, byte: int) -> None:
    data = bytearray(fhir.to_json(RECORD))
    data[place] = byte
    chart = _read(bytes(data))
    if chart is not None:
        _check_citations(chart)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(1, len(RECORD["entry"]))))
def test_the_order_of_entries_decides_nothing(order: list[int]) -> None:
    entries = RECORD["entry"]
    shuffled = RECORD | {"entry": [entries[0], *(entries[place] for place in order)]}
    first, other = _read(fhir.to_json(RECORD)), _read(fhir.to_json(shuffled))
    assert first is not None
    assert other is not None
    assert first.read(EVERYTHING, {}).members == other.read(EVERYTHING, {}).members
    assert first.as_of == other.as_of
