# SPDX-License-Identifier: Apache-2.0
"""What it costs that every call to an EHR is on record before its answer is used. Reports, never fails on a time.

Run it with: pytest -s -m bench tests/bench/bench_accesses.py
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

import pytest
from bench.measuring import milliseconds, show
from builders.calls import PARTIES, search
from builders.store import ACTOR, TENANT, Records

from medagent.clock import SystemClock
from medagent.settings import Settings
from medagent.store import Store
from medagent_fhir.audit_events import Auditor
from medagent_fhir.balp import audit_event

CALLS = 100
ROUNDS = 7
SPACING = 0.001  # seconds between the ends of two calls, where a chart's searches end one after the other


async def _in_a_row(auditor: Auditor) -> None:
    for number in range(CALLS):
        await auditor.record(search(request_id=f"retrieval-1.{number}"))


async def _together(auditor: Auditor) -> None:
    await asyncio.gather(*(auditor.record(search(request_id=f"retrieval-1.{number}")) for number in range(CALLS)))


async def _side_by_side(auditor: Auditor) -> None:
    async def ends(number: int) -> None:
        await asyncio.sleep(number * SPACING)
        await auditor.record(search(request_id=f"retrieval-1.{number}"))

    await asyncio.gather(*map(ends, range(CALLS)))


WAYS: dict[str, Callable[[Auditor], Awaitable[None]]] = {
    "each waits for the one before": _in_a_row,
    "all end at once": _together,
    f"one ends every {SPACING * 1e3:g} ms": _side_by_side,
}


# standards: 46
@pytest.mark.bench
def test_what_recording_a_hundred_calls_costs(records: Records) -> None:
    overrides = {} if records.url is None else {"database_url": records.url}
    with Store.open(Settings.load(home=records.home, **overrides), SystemClock()) as store:
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for counted in (False, *[True] * ROUNDS):
            for way, work in WAYS.items():
                took = asyncio.run(_timed(store, work))
                if counted:
                    times[way].append(took)
        store.seal()
        assert store.verify(TENANT).ok
    started = time.perf_counter()
    for _ in range(1_000):
        audit_event(search(), PARTIES, ACTOR)
    built = (time.perf_counter() - started) / 1_000
    rows = [[way, milliseconds(each), f"{median(each) / CALLS * 1e3:.2f}"] for way, each in times.items()]
    title = f"{CALLS} calls on record ({'SQLite' if records.on_sqlite else 'PostgreSQL'})"
    disk = "that of the temporary folder" if records.on_sqlite else "not waited for, as the tests' server is set up"
    note = f"Building an AuditEvent alone takes {built * 1e6:.0f} µs. The disk is {disk}."
    show(title, ["", "ms (best)", "ms per call"], rows, note)


async def _timed(store: Store, work: Callable[[Auditor], Awaitable[None]]) -> float:
    async with Auditor(store.access_log(TENANT), PARTIES, actor=ACTOR) as auditor:
        started = time.perf_counter()
        await work(auditor)
        return time.perf_counter() - started
