# SPDX-License-Identifier: Apache-2.0
"""Calls to an EHR in the audit log: durable before anything of an answer is used, verified like everything else."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders import postgresql
from builders.calls import PARTIES, failed, read, search
from builders.program import Program
from builders.store import ACTOR, NOON, PATIENT, TENANT, FixedClock, Records, record

from medagent.accesses import Access
from medagent.errors import AuditError
from medagent.store import EventFilter, Store
from medagent_fhir.audit_events import Auditor
from medagent_fhir.balp import audit_event
from medagent_fhir.calls import Call
from medagent_fhir.refusals import Refusals


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """An empty store."""
    with records.open() as opened:
        yield opened


def auditor(store: Store, **options: Any) -> Auditor:
    """The auditor of one run."""
    return Auditor(store.access_log(TENANT), PARTIES, actor=ACTOR, **options)


def recorded(store: Store, *calls: Call, **options: Any) -> None:
    """Records calls that end together."""

    async def together() -> None:
        async with auditor(store, **options) as one:
            await asyncio.gather(*map(one.record, calls))

    asyncio.run(together())


def access(**changes: Any) -> Access:
    """A call as the access log takes it."""
    whole = {"type": "fhir_search", "actor": ACTOR, "patient": PATIENT, "body": audit_event(search(), PARTIES, ACTOR)}
    return Access.model_validate(whole | changes)


# standards: 46
def test_each_call_is_an_event_of_its_own_filed_under_its_patient(store: Store) -> None:
    recorded(store, read(), search(), search(patient=None), failed(search(), "forbidden", status=403))
    index = store.patient_index(PATIENT, TENANT)
    about = store.audit_events(TENANT, EventFilter(patient_index=index))
    assert sorted(event.header.type for event in about) == ["fhir_read", "fhir_search", "fhir_search_failed"]
    assert {event.header.actor for event in about} == {ACTOR}
    (nobody,) = [event for event in store.audit_events(TENANT, EventFilter(type="fhir_search")) if event not in about]
    assert nobody.header.patient_index is None


# standards: 46
def test_the_auditevent_can_be_read_again_as_it_was_built(store: Store) -> None:
    recorded(store, search())
    (event,) = store.audit_events(TENANT, EventFilter(type="fhir_search"))
    _, body = store.audit_event(event.header.id, TENANT, ACTOR)
    assert body == {"patient": PATIENT, "audit_event": audit_event(search(), PARTIES, ACTOR)}


def test_nothing_about_the_patient_stands_in_the_clear(store: Store, records: Records) -> None:
    recorded(store, search(), read(), failed(search(), "invalid", status=200, detail=f"{PATIENT} is named"))
    sealed = records.scalar("SELECT count(*) FROM audit_events WHERE type LIKE 'fhir%'")
    assert sealed == 3
    name = PATIENT.removeprefix("Patient/").encode()
    if records.on_sqlite:
        files = [path for path in records.home.rglob("*") if path.is_file()]
        assert [path.name for path in files if name in path.read_bytes()] == []
    else:
        rows = records.scalar("SELECT string_agg(audit_events::text, '') FROM audit_events")
        assert name.decode() not in rows
        assert name.hex() not in rows


# standards: 54
def test_the_log_with_them_is_sealed_and_verified(store: Store) -> None:
    record(store)
    recorded(store, *(search(request_id=f"retrieval-1.{number}") for number in range(20)))
    store.seal()
    report = store.verify(TENANT)
    assert report.ok
    assert report.entries == 2 + 2 + 20


# standards: 54
def test_an_event_that_is_filed_under_another_patient_is_found(store: Store, records: Records) -> None:
    recorded(store, search())
    store.seal()
    other = store.patient_index("Patient/another", TENANT)
    records.attack(f"UPDATE audit_events SET patient_index = '{other}' WHERE type = 'fhir_search'")  # noqa: S608 - an attack is SQL
    assert not store.verify(TENANT).ok


def test_calls_are_recorded_of_the_request_once_it_is_known(store: Store) -> None:
    async def run() -> None:
        async with auditor(store) as one:
            await one.record(read())
            one.request = "request-1"
            await one.record(search())

    asyncio.run(run())
    events = store.audit_events(TENANT)
    assert {event.header.type: event.header.request for event in events if event.header.type.startswith("fhir")} == {
        "fhir_read": None,
        "fhir_search": "request-1",
    }


def test_each_run_has_a_retrieval_of_its_own_unless_it_is_told_one(store: Store) -> None:
    async def retrievals() -> tuple[str, ...]:
        runs = (auditor(store), auditor(store), auditor(store, retrieval="told"))
        return tuple(one.retrieval for one in runs)

    first, second, told = asyncio.run(retrievals())
    assert first != second
    assert told == "told"


# standards: 11
# standards: 47
def test_what_a_tool_was_refused_is_on_record(store: Store) -> None:
    async def run() -> None:
        async with auditor(store, request="request-1") as one:
            refused = Refusals(one, base="https://ehr.example/fhir", patient=PATIENT, clock=FixedClock(NOON))
            await refused("read_notes", "DocumentReference")

    asyncio.run(run())
    (event,) = store.audit_events(TENANT, EventFilter(type="scope_refused"))
    header, body = store.audit_event(event.header.id, TENANT, ACTOR)
    assert header.header.request == "request-1"
    assert header.header.patient_index == store.patient_index(PATIENT, TENANT)
    said = body["audit_event"]
    assert isinstance(said, dict)
    assert said["outcome"] == "8"
    assert "read_notes was refused here: patient/DocumentReference.rs was not granted" in said["outcomeDesc"]


# standards: 48
@pytest.mark.parametrize("table", ["audit_events", "unsealed_events"])
def test_what_cannot_be_recorded_may_not_be_used(store: Store, records: Records, table: str) -> None:
    before = records.scalar("SELECT count(*) FROM audit_events")
    with records.refusing(table, "broken"), pytest.raises(AuditError, match="nothing of it counts: broken"):
        recorded(store, search(), read())
    assert records.scalar("SELECT count(*) FROM audit_events") == before


# standards: 48
def test_a_table_that_is_away_is_an_audit_error(store: Store, records: Records) -> None:
    records.attack("ALTER TABLE audit_events RENAME TO gone")
    with pytest.raises(AuditError, match=r"no such table|does not exist"):
        store.access_log(TENANT).record([access()])


# standards: 48
def test_a_database_that_is_away_is_an_audit_error(store: Store, records: Records) -> None:
    store.close()  # no connection is left over
    if records.url is None:
        (records.home / "medagent.db").rename(records.home / "gone")
        (records.home / "medagent.db").mkdir()
    else:
        postgresql.drop(records.url)
    with pytest.raises(AuditError, match=r"not on record, so nothing of them may be used: The database .* refused"):
        store.access_log(TENANT).record([access()])


def test_what_has_no_canonical_form_is_an_audit_error(store: Store) -> None:
    with pytest.raises(AuditError, match="cannot be put on record"):
        store.access_log(TENANT).record([access(body={"outcomeDesc": "\ud800"})])


def test_several_are_recorded_together_or_not_at_all(store: Store, records: Records) -> None:
    before = records.scalar("SELECT count(*) FROM audit_events")
    with pytest.raises(AuditError):
        store.access_log(TENANT).record([access(), access(body={"outcomeDesc": "\ud800"})])
    store.access_log(TENANT).record([])
    assert records.scalar("SELECT count(*) FROM audit_events") == before


@dataclass(slots=True)
class SlowLog:
    """An access log whose transactions end when they are let."""

    ends: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    transactions: list[int] = field(default_factory=list)
    at_once: int = 0

    def record(self, accesses: Sequence[Access]) -> None:
        """Waits, and then has them."""
        self.at_once += 1
        assert self.at_once == 1
        assert self.ends.wait(10)
        self.at_once -= 1
        if self.fails:
            raise AuditError("the disk is full")
        self.transactions.append(len(accesses))


class TestTransactions:
    """Calls that end while a transaction is under way share the next one."""

    def test_are_shared_by_calls_that_end_meanwhile(self) -> None:
        async def run(log: SlowLog) -> None:
            one = Auditor(log, PARTIES, actor=ACTOR)
            first = asyncio.ensure_future(one.record(search()))
            while not log.at_once:
                await asyncio.sleep(0.001)
            others = [asyncio.ensure_future(one.record(search())) for _ in range(29)]
            await asyncio.sleep(0.01)
            assert not any(each.done() for each in (first, *others))  # nothing is handed out before it is durable
            log.ends.set()
            await asyncio.gather(first, *others)

        log = SlowLog()
        asyncio.run(run(log))
        assert log.transactions == [1, 29]

    def test_fail_for_everybody_who_shares_them_and_not_for_the_next(self) -> None:
        async def run(log: SlowLog) -> list[BaseException | None]:
            one = Auditor(log, PARTIES, actor=ACTOR)
            log.ends.set()
            log.fails = True
            ended = await asyncio.gather(*(one.record(search()) for _ in range(3)), return_exceptions=True)
            log.fails = False
            await one.record(search())
            return list(ended)

        log = SlowLog()
        ended = asyncio.run(run(log))
        assert [type(each) for each in ended] == [AuditError] * 3
        assert log.transactions == [1]

    def test_end_although_whoever_waits_is_cancelled(self) -> None:
        async def run(log: SlowLog) -> None:
            async with Auditor(log, PARTIES, actor=ACTOR) as one:
                waiting = [asyncio.ensure_future(one.record(search())) for _ in range(2)]
                while not log.at_once:
                    await asyncio.sleep(0.001)
                waiting.append(asyncio.ensure_future(one.record(search())))
                await asyncio.sleep(0)
                for each in waiting:
                    each.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                assert all(each.cancelled() for each in waiting)
                log.ends.set()

        log = SlowLog()
        asyncio.run(run(log))
        assert log.transactions == [2, 1]  # the calls were made, so they are on record


# standards: 46
def test_a_reviewer_sees_the_calls_of_a_run_on_one_line_and_one_of_them_in_words(tmp_path: Path) -> None:
    with Records(tmp_path).open() as store:
        recorded(store, failed(search(), "forbidden", status=403, detail="no scope"))
        recorded(store, read(), *(search(request_id=f"retrieval-1.{number}") for number in range(27)))
        (refused,) = store.audit_events(TENANT, EventFilter(type="fhir_search_failed"))
    program = Program(tmp_path)
    listed = program.run("audit", "list", "--limit", "2", COLUMNS="120").stdout
    assert "fhir_search ×27, fhir_read ×1" in listed
    assert refused.header.id in listed
    assert len(json.loads(program.run("audit", "list", "--limit", "20", "--format", "json").stdout)) == 20
    shown = program.run("audit", "show", refused.header.id, COLUMNS="120").stdout
    for words in ("serious failure; forbidden: no scope", PATIENT, "Observation/_search", "token-name-1"):
        assert words in shown
    whole = json.loads(program.run("audit", "show", refused.header.id, "--format", "json").stdout)
    assert whole["body"]["audit_event"]["resourceType"] == "AuditEvent"
