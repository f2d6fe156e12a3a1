# SPDX-License-Identifier: Apache-2.0
"""Tools under a launch: what they may read is fetched first, what they may not is on record before the model hears."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from builders import fhir
from builders.chart import open_chart
from builders.tools import context_over

from medagent.canonical import canonical_json, sha256_hex
from medagent.chart import Chart
from medagent.errors import AuditError
from medagent.evidence import Query, Reading
from medagent.journal import JournalEntry
from medagent.model.exchange import ToolRequest
from medagent.scopes import Grant
from medagent.value_sets import ValueSet
from medagent_fhir.calls import Call
from medagent_fhir.refusals import Refusals
from medagent_tools.toolbox import toolbox
from medagent_workflows.reasoning.acting import Acting, Refused
from medagent_workflows.reasoning.bounds import Bounds, Spent
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.recording import Used

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SEEN: tuple[str, ...] = ("patient/Observation.rs", "patient/Condition.rs", "patient/Procedure.rs")
BOUNDS = Bounds(
    steps=4, tool_calls=9, tokens=90_000, images=0, image_side=512, seconds=60, overview_tokens=2_000,
    tool_tokens=2_000, reply_tokens=500, draft_tokens=500, samples=1, temperature=0, seed=1,
)  # fmt: skip


class StandingClock:
    def now(self) -> datetime:
        return NOW


@dataclass(slots=True)
class Pages:
    """A journal on paper."""

    written: dict[str, JournalEntry] = field(default_factory=dict)

    def intend(self, run: str, key: str, request: bytes) -> JournalEntry:
        fresh = JournalEntry(
            run=run, key=key, request_sha256=sha256_hex(request), request=request, result_sha256=None, result=None,
            intended_at=NOW, concluded_at=None, attempts=1,
        )  # fmt: skip
        return self.written.setdefault(key, fresh)

    def conclude(self, run: str, key: str, result: bytes) -> None:
        self.written[key] = self.written[key].model_copy(update={"result": result})

    def entries(self, run: str) -> tuple[JournalEntry, ...]:
        return tuple(self.written.values())


@dataclass(slots=True)
class Served:
    """A chart that has of each type only what it was asked for before, as one over the wire; `said` tells in order what
    happened."""

    chart: Chart
    said: list[str]
    there: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chart, name)

    async def provide(self, resource_types: Collection[str]) -> None:
        await asyncio.sleep(0)
        self.said.append(f"provide {' '.join(resource_types)}")
        self.there.update(resource_types)

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        assert self.there.issuperset(query.resource_types), "read before it was there"
        return self.chart.read(query, value_sets)


@dataclass(slots=True)
class Desk:
    """The tools of one run under a launch's scopes."""

    granted: tuple[str, ...] | None = SEEN
    journal: Pages = field(default_factory=Pages)
    said: list[str] = field(default_factory=list)
    refuse: Refused | None = None

    def act(self, *requests: tuple[str, Mapping[str, Any]], allowed: int = 9) -> tuple[Used, ...]:
        """One turn of a process of its own."""

        async def noted(tool: str, resource_type: str) -> None:
            self.said.append(f"refused {tool} {resource_type}")

        async def count(text: str) -> int:
            self.said.append(f"told {'a refusal' if '<refused>' in text else 'an answer'}")
            return len(text) // 4

        chart = Served(open_chart([fhir.observation("2160-0", Decimal("1.1"), "mg/dL")]), self.said)
        acting = Acting(
            run="run",
            tools=toolbox(granted=self.granted),
            context=context_over(chart),
            journal=self.journal,
            clock=StandingClock(),
            bounds=replace(BOUNDS, tool_calls=allowed),
            spent=Spent(),
            handles=Handles(),
            count=count,
            grant=None if self.granted is None else Grant.of(self.granted),
            refused=self.refuse or noted,
        )
        asked = [
            ToolRequest(id=f"call-{place}", name=name, arguments=canonical_json(arguments).decode())
            for place, (name, arguments) in enumerate(requests)
        ]
        return asyncio.run(acting.act(0, asked, 4_000))


def outcomes(done: Sequence[Used]) -> list[str]:
    return [one.outcome for one in done]


# What is fetched.


def test_what_a_tool_declares_is_fetched_before_it_reads() -> None:
    desk = Desk()
    assert outcomes(desk.act(("list_labs", {}))) == ["answered"]
    assert desk.said[0] == "provide Observation"


def test_tools_that_run_side_by_side_are_fetched_for_at_once() -> None:
    """Nothing reads the chart while it grows."""
    desk = Desk(granted=None)
    assert outcomes(desk.act(("list_labs", {}), ("list_problems", {}), ("list_labs", {}))) == ["answered"] * 3
    assert [one for one in desk.said if one.startswith("provide")] == ["provide Observation Condition"]


@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        pytest.param("list_labs", {"limit": "many"}, 9, id="arguments that cannot be used"),
        pytest.param("delete_chart", {}, 9, id="a tool that does not exist"),
        pytest.param("list_medications", {}, 9, id="a tool that was not granted"),
        pytest.param("list_labs", {}, 0, id="a call beyond the bound"),
    ],
)
def test_for_a_call_that_is_not_made_nothing_is_fetched(name: str, arguments: Mapping[str, Any], allowed: int) -> None:
    desk = Desk()
    assert outcomes(desk.act((name, arguments), allowed=allowed)) != ["answered"]
    assert [one for one in desk.said if one.startswith("provide")] == ["provide "]


def test_a_process_that_goes_on_fetches_what_recorded_answers_rest_on() -> None:
    first = Desk()
    told = first.act(("list_labs", {}), ("nothing", {}))
    again = Desk(journal=first.journal)
    assert again.act(("list_labs", {}), ("nothing", {})) == told
    assert again.said == ["provide Observation"], "nothing is run, refused or told again"


# What is refused.


# standards: 11
def test_a_read_beyond_what_was_granted_is_on_record_before_the_model_hears_of_it() -> None:
    """`search_chart` is offered, since one kind of entry was granted; the other kinds were not."""
    desk = Desk(granted=("patient/Observation.rs",))
    seen, used = desk.act(("search_chart", {"kind": "observation"}), ("search_chart", {"kind": "allergy"}))
    assert (seen.outcome, used.outcome) == ("answered", "refused")
    assert "patient/AllergyIntolerance.rs was not granted" in used.told.text
    assert desk.said.index("refused search_chart AllergyIntolerance") < desk.said.index("told an answer")


# standards: 11
def test_a_tool_that_was_not_granted_is_on_record_though_it_is_not_offered() -> None:
    desk = Desk()
    (used,) = desk.act(("list_allergies", {}))
    assert used.outcome == "unknown_tool"
    assert "patient/AllergyIntolerance.rs was not granted" in used.told.text
    assert desk.said[0] == "refused list_allergies AllergyIntolerance"


def test_a_tool_that_does_not_exist_is_no_refusal_of_a_scope() -> None:
    desk = Desk()
    (used,) = desk.act(("delete_chart", {}))
    assert "There is no such tool" in used.told.text
    assert used.tool == "unknown"
    assert not any(one.startswith("refused") for one in desk.said)


# standards: 11, 48
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("list_allergies", {}, id="a tool that was not granted"),
        pytest.param("search_chart", {"kind": "allergy"}, id="a read beyond what was granted"),
    ],
)
def test_without_a_record_of_the_refusal_the_run_ends_and_the_model_hears_nothing(
    name: str, arguments: Mapping[str, Any]
) -> None:
    async def unwritten(tool: str, resource_type: str) -> None:
        raise AuditError("the audit log could not take an event")

    desk = Desk(granted=("patient/Observation.rs",), refuse=unwritten)
    with pytest.raises(AuditError):
        desk.act((name, arguments))
    assert not any(one.startswith("told") for one in desk.said)
    assert all(entry.result is None for entry in desk.journal.written.values())


# The record.


@dataclass(slots=True)
class Calls:
    """A recorder of calls."""

    retrieval: str = "retrieval-1"
    calls: list[Call] = field(default_factory=list)

    async def record(self, call: Call) -> None:
        self.calls.append(call)


# standards: 11, 47
def test_a_refusal_is_recorded_as_a_call_that_was_never_sent() -> None:
    recorder = Calls()
    refusals = Refusals(recorder, base="https://ehr.example/fhir/", patient="Patient/1", clock=StandingClock())
    Desk(granted=("patient/Observation.rs",), refuse=refusals).act(("list_allergies", {}), ("list_images", {}))
    assert [(one.url, one.patient, one.status, one.failure) for one in recorder.calls] == [
        ("https://ehr.example/fhir/AllergyIntolerance", "Patient/1", None, "forbidden"),
        ("https://ehr.example/fhir/ImagingStudy", "Patient/1", None, "forbidden"),
    ]
    assert [one.request_id for one in recorder.calls] == ["retrieval-1.refused-1", "retrieval-1.refused-2"]
    assert "list_allergies" in recorder.calls[0].detail
