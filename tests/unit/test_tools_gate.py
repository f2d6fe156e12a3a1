# SPDX-License-Identifier: Apache-2.0
"""The one gate between tools and chart: what a tool declares, as far as it was granted (standards: 11)."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from builders import fhir
from builders.chart import open_chart
from builders.fhir import Json
from builders.tools import asked, context_over, note, study, texts

from medagent.chart import Chart
from medagent.errors import ToolRefused
from medagent.evidence import Query, Reading, reading_id
from medagent.scopes import Grant
from medagent.value_sets import ValueSet
from medagent_tools.gate import GatedChart, may_answer
from medagent_tools.seam import Arguments, Line, ToolContext, ToolResult
from medagent_tools.toolbox import ALL_TOOLS

CONDITION, OBSERVATION = Query(resource_types=("Condition",)), Query(resource_types=("Observation",))
BOTH = Query(resource_types=("Condition", "Observation"))


@dataclass(frozen=True, slots=True)
class Reader:
    """A tool that reads what its test says."""

    name: ClassVar[str] = "reader"
    arguments: ClassVar[type[Arguments]] = Arguments
    scopes: tuple[str, ...] = ("patient/Condition.rs", "patient/Observation.rs")

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Answers nothing."""
        return ToolResult(heading="", lines=(Line(text=""),))


@dataclass(slots=True)
class AsGranted:
    """A chart as a server gives it: without what was not granted, which its readings say."""

    chart: Chart
    without: tuple[str, ...]
    provided: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chart, name)

    async def provide(self, resource_types: Collection[str]) -> None:
        """Notes what it was asked for."""
        self.provided += resource_types

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        """Incomplete where a type was not granted."""
        reading = self.chart.read(query, value_sets)
        because = tuple(f"{name}: not granted" for name in query.resource_types if name in self.without)
        fields = reading.model_dump(exclude={"id", "kind"}) | {"complete": not because, "incomplete_because": because}
        changed = reading.model_copy(update={"complete": not because, "incomplete_because": because})
        return changed.model_copy(update={"id": reading_id(fields)}) if because else reading


def resources() -> Iterator[Json]:
    yield fhir.condition("44054006", text="diabetes")
    yield fhir.observation("2160-0", "1.1", "mg/dL")
    yield fhir.medication_request("860975", text="metformin")
    yield note("Walks along the river.")
    yield study()


@pytest.fixture
def chart() -> Chart:
    return open_chart(resources())


def gated(chart: Chart, *granted: str, scopes: tuple[str, ...] = Reader().scopes) -> GatedChart:
    return GatedChart(chart, Reader(scopes), Grant.of(granted))


def fact_of(chart: Chart, resource_type: str) -> str:
    return chart.read(Query(resource_types=(resource_type,)), {}).members[0]


# What a tool may read.


# standards: 11
def test_what_was_granted_is_read_as_the_chart_has_it(chart: Chart) -> None:
    gate = gated(chart, "patient/Condition.rs", "patient/Observation.rs")
    assert gate.read(BOTH, {}) == chart.read(BOTH, {})
    assert gate.fact(fact_of(chart, "Condition")).resource_type == "Condition"
    assert gate.refused == ()


# standards: 11
def test_what_was_not_granted_is_refused_in_words_that_name_the_scope(chart: Chart) -> None:
    gate = gated(chart, "patient/Condition.rs")
    with pytest.raises(ToolRefused, match=r"patient/Observation\.rs was not granted: nothing of Observation is known"):
        gate.read(OBSERVATION, {})
    assert gate.refused == ("Observation",)


# standards: 11
def test_where_nothing_was_granted_nothing_is_read(chart: Chart) -> None:
    gate = gated(chart)
    for query in (CONDITION, OBSERVATION, BOTH):
        with pytest.raises(ToolRefused):
            gate.read(query, {})
    assert gate.refused == ("Condition", "Observation")


def test_where_the_source_asks_for_no_scopes_everything_declared_is_read(chart: Chart) -> None:
    gate = GatedChart(chart, Reader(), None)
    assert gate.read(BOTH, {}).examined == 2


# standards: 11
def test_what_a_tool_does_not_declare_is_refused_whatever_was_granted(chart: Chart) -> None:
    gate = gated(chart, "patient/*.rs", scopes=("patient/Condition.rs",))
    with pytest.raises(ToolRefused, match="reader does not read Observation"):
        gate.read(OBSERVATION, {})
    with pytest.raises(ToolRefused, match="reader does not read Observation"):
        gate.read(BOTH, {})
    assert gate.refused == ("Observation",)


# standards: 11
def test_a_fact_of_a_type_that_was_not_granted_is_refused(chart: Chart) -> None:
    creatinine = fact_of(chart, "Observation")
    gate = gated(chart, "patient/Condition.rs")
    with pytest.raises(ToolRefused):
        gate.fact(creatinine)
    assert gate.refused == ("Observation",)


# standards: 11
def test_the_bytes_of_what_was_not_read_are_refused(chart: Chart) -> None:
    creatinine, diabetes = chart.fact(fact_of(chart, "Observation")), fact_of(chart, "Condition")
    gate = gated(chart, "patient/Condition.rs")
    with pytest.raises(ToolRefused):
        gate.slice_of(creatinine.source.sha256)
    assert gate.slice_of(gate.fact(diabetes).source.sha256)


def test_the_patient_is_never_refused(chart: Chart) -> None:
    gate = gated(chart)
    assert gate.patient_fact() == chart.patient_fact()
    assert gate.slice_of(gate.patient_fact().source.sha256)


# Types side by side.


# standards: 11
def test_beside_what_was_granted_the_rest_keeps_a_reading_incomplete(chart: Chart) -> None:
    served = AsGranted(open_chart([fhir.condition("44054006")]), without=("Observation",))
    gate = gated(served, "patient/Condition.rs")
    reading = gate.read(BOTH, {})
    assert (reading.examined, reading.incomplete_because) == (1, ("Observation: not granted",))
    assert gate.refused == ("Observation",), "it was asked for, so it goes on record"


# standards: 11
@pytest.mark.parametrize("without", [("Observation",), ()], ids=["that says so", "that calls itself complete"])
def test_a_chart_that_holds_what_was_not_granted_gives_none_of_it(chart: Chart, without: tuple[str, ...]) -> None:
    gate = gated(AsGranted(chart, without), "patient/Condition.rs")
    with pytest.raises(ToolRefused, match=r"patient/Observation\.rs was not granted"):
        gate.read(BOTH, {})


def test_a_chart_that_calls_itself_complete_without_a_type_is_not_believed() -> None:
    gate = gated(open_chart([fhir.condition("44054006")]), "patient/Condition.rs")
    with pytest.raises(ToolRefused):
        gate.read(BOTH, {})


def test_only_what_may_be_read_is_fetched(chart: Chart) -> None:
    served = AsGranted(chart, without=("Observation",))
    asyncio.run(
        gated(served, "patient/Condition.rs", "patient/Procedure.rs").provide(("Condition", "Observation", "Procedure"))
    )
    assert served.provided == ["Condition"]


# Notes.

DOCUMENTS = ("patient/DocumentReference.rs", "patient/DiagnosticReport.rs")


def behind_a_binary() -> Chart:
    documents = fhir.document_reference({"contentType": "text/plain", "url": "Binary/walks"})
    return open_chart(
        [documents, {"resourceType": "Binary", "id": "walks", "contentType": "text/plain", "data": "V2Fsa3Mu"}]
    )


def test_a_text_in_the_document_needs_no_further_scope(chart: Chart) -> None:
    gate = gated(chart, *DOCUMENTS, scopes=(*DOCUMENTS, "patient/Binary.rs"))
    assert [one.text for one in gate.texts(fact_of(chart, "DocumentReference"))] == ["Walks along the river."]
    assert gate.refused == ()


# standards: 11
@pytest.mark.parametrize(
    ("granted", "said"),
    [
        pytest.param(("patient/Binary.r",), ["Walks."], id="granted, to be read by its id"),
        pytest.param((), [], id="not granted"),
    ],
)
def test_a_text_behind_a_document_needs_the_scope_of_binaries(granted: tuple[str, ...], said: list[str]) -> None:
    chart = behind_a_binary()
    gate = gated(chart, *DOCUMENTS, *granted, scopes=(*DOCUMENTS, "patient/Binary.rs"))
    found = gate.texts(fact_of(chart, "DocumentReference"))
    assert [one.text for one in found] == said
    assert gate.refused == (() if granted else ("Binary",))
    assert all(gate.slice_of(one.source.sha256) for one in found)


# The tools themselves.


def context_as_granted(chart: Chart, name: str, *granted: str) -> ToolContext:
    return context_over(GatedChart(chart, ALL_TOOLS[name], Grant.of(granted)))


ANSWERED: Mapping[str, tuple[Mapping[str, str], str]] = {
    "list_problems": ({}, "Condition"),
    "list_medications": ({}, "MedicationRequest"),
    "list_allergies": ({}, "AllergyIntolerance"),
    "list_labs": ({}, "Observation"),
    "timeline": ({}, "Encounter"),
    "search_notes": ({"words": "walks"}, "DocumentReference"),
    "list_images": ({}, "ImagingStudy"),
    "calculate": ({"formula": "body-mass-index"}, "Observation"),
}


# standards: 11
@pytest.mark.parametrize("name", ANSWERED)
def test_a_tool_that_is_called_without_its_scopes_says_nothing_of_the_chart(chart: Chart, name: str) -> None:
    arguments, needed = ANSWERED[name]
    gate = GatedChart(chart, ALL_TOOLS[name], Grant.of(["patient/Patient.rs"]))
    with pytest.raises(ToolRefused, match="was not granted"):
        asked(name, context_over(gate), **arguments)
    assert needed in gate.refused


def test_every_tool_reads_through_the_gate_what_it_declares(chart: Chart) -> None:
    """With all of its own scopes and no other, each answers as it does without a gate."""
    for name, (arguments, _) in ANSWERED.items():
        if name == "calculate":
            continue  # there is nothing to calculate from
        own = context_as_granted(chart, name, *ALL_TOOLS[name].scopes)
        assert asked(name, own, **arguments) == asked(name, context_over(chart), **arguments)


def test_a_tool_of_which_a_part_was_granted_says_what_is_missing() -> None:
    served = AsGranted(open_chart([fhir.encounter()]), without=("Procedure",))
    result = asked("timeline", context_as_granted(served, "timeline", "patient/Encounter.rs"))
    assert "Procedure: not granted" in result.heading
    assert len(texts(result)) == 1


@pytest.mark.parametrize(
    ("granted", "scopes", "expected"),
    [
        pytest.param(None, ("patient/Condition.rs",), True, id="a source that asks for none"),
        pytest.param((), (), True, id="a tool that reads nothing of a patient"),
        pytest.param((), ("patient/Condition.rs",), False, id="nothing was granted"),
        pytest.param(("patient/Condition.rs",), ("patient/Condition.rs", "patient/Observation.rs"), True, id="a part"),
        pytest.param(("patient/Patient.rs",), ("patient/Patient.rs", "patient/Condition.rs"), False, id="the patient"),
        pytest.param(("patient/Patient.r",), ("patient/Patient.rs",), True, id="a tool of the patient alone"),
    ],
)
def test_a_tool_may_answer(granted: tuple[str, ...] | None, scopes: tuple[str, ...], expected: bool) -> None:
    assert may_answer(None if granted is None else Grant.of(granted), scopes) is expected
