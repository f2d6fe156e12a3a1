# SPDX-License-Identifier: Apache-2.0
"""One request as a graph: what its state may hold, and what happens where a part of the world fails."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from builders.runs import Runner, instant_of, runner
from builders.store import FixedClock

from medagent.chart import AsOf, Chart, ChartSource
from medagent.errors import AuditError, ChartError
from medagent.records import Request
from medagent.settings import Settings
from medagent_workflows.graph import build_graph
from medagent_workflows.recommending import Recorded
from medagent_workflows.wiring import open_services
from medagent_workflows.workbench import Workbench

SAMPLE = Path(str(files("medagent_workflows") / "samples" / "diabetes-kidney.json"))
AS_OF = instant_of("2026-06-30T23:59:59+00:00")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[Runner]:
    with runner(tmp_path / "home") as running:
        yield running


class Unplugged:
    """A source whose server has gone."""

    async def chart(self, patient: str | None, as_of: AsOf) -> Chart:
        raise ChartError("the source cannot be reached")


def workbench(at_work: Runner, source: ChartSource) -> Workbench:
    services = at_work.services
    request = Request(id="request-1", actor="test", patient="Patient/one", as_of=AS_OF, created_at=NOON)
    services.store.record_request(
        request_id=request.id, body=b"{}", patient=request.patient, actor=request.actor, tenant=request.tenant
    )
    return Workbench(
        request=request,
        source=source,
        pack=services.pack,
        store=services.store,
        clock=services.clock,
        stage=services.stage,
        time_zone="UTC",
    )


def test_a_chart_that_cannot_be_read_is_an_outcome_and_recorded(at_work: Runner) -> None:
    bench = workbench(at_work, Unplugged())
    asyncio.run(build_graph().ainvoke({"request": "request-1"}, context=bench))
    assert bench.dossier is not None
    assert (bench.dossier.outcome, bench.dossier.reason) == ("abstained", "unavailable")
    stored = at_work.services.store.dossier(bench.dossier.id, "local", "test")
    assert stored == bench.stored


def test_the_state_that_a_checkpointer_may_see_holds_nothing_of_the_patient(at_work: Runner) -> None:
    source = at_work.source(SAMPLE)
    bench = workbench(at_work, source)
    bench.chart = asyncio.run(source.chart(None, AS_OF))

    async def states() -> list[object]:
        stream = build_graph().astream({"request": "request-1"}, context=bench, stream_mode="values")
        return [state async for state in stream]

    seen = json.dumps(asyncio.run(states()))
    assert "recommendation-" in seen
    chart = json.loads(SAMPLE.read_bytes())
    patient = next(e["resource"] for e in chart["entry"] if e["resource"]["resourceType"] == "Patient")
    for told in (patient["id"], patient["birthDate"], patient["name"][0]["family"], "Metformin", "metformin"):
        assert told not in seen, told


def test_without_an_audit_event_there_is_no_recommendation(at_work: Runner, tmp_path: Path) -> None:
    """standards: 48"""
    bench = workbench(at_work, at_work.source(SAMPLE))
    with closing(sqlite3.connect(tmp_path / "home" / "medagent.db")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit_events WHEN new.type = 'outcome_recorded' "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        database.commit()
    bench.request = bench.request.model_copy(update={"patient": "Patient/diabetes-kidney-patient"})
    with pytest.raises(AuditError):
        asyncio.run(build_graph().ainvoke({"request": "request-1"}, context=bench))
    assert bench.stored == b""
    with closing(sqlite3.connect(tmp_path / "home" / "medagent.db")) as database:
        counts = [database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES]  # noqa: S608 - ours
    assert counts == [0, 0, 0]


TABLES = ("dossiers", "recommendations", "evidence_bytes")


def at_noon(home: Path) -> Recorded:
    with open_services(Settings.load(home=home), FixedClock(NOON)) as services:
        return Runner(services).record(SAMPLE, as_of=AS_OF)


def test_the_same_request_at_the_same_time_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = at_noon(tmp_path / "one"), at_noon(tmp_path / "two")
    assert first.stored == second.stored
    assert len(first.stored) > 10_000
