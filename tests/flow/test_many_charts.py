# SPDX-License-Identifier: Apache-2.0
"""Many charts of one server at once, in one process: how much of the server and of the memory they take together."""

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from builders import fhir
from builders.fhir_client import Recording, asked
from builders.hospital import Hospital, hospital
from builders.hospital_alone import hospital_alone
from builders.hospital_faults import padded, slow
from builders.server_chart import members

from medagent.clock import SystemClock
from medagent_fhir.authorization import Open
from medagent_fhir.calls import Call
from medagent_fhir.client import ClientLimits, FhirClient, Received
from medagent_fhir.sensitivity import Sensitivity
from medagent_fhir.server import ServerChart, ServerChartSource

CHARTS = 12
PAGES = 3
PAGE = 40
AT_ONCE = 3
"""Calls under way that the limit allows: fewer than there are charts."""
WORDS = "seen on the ward round; " * 40  # some 1 KB, as long as public resources are


class Watching(Recording):
    """Counts, whenever a call goes on record, how many answers somebody still holds."""

    held = 0

    async def record(self, call: Call) -> None:
        await super().record(call)
        self.held = max(self.held, sum(type(one) is Received for one in gc.get_objects()))


def patient(number: int) -> str:
    """The id of one of them."""
    return f"patient-{number}"


def record(number: int) -> list[fhir.Json]:
    """What is known of one of them: some pages of results."""
    whose = patient(number)
    results = [
        fhir.observation(
            "2345-7", f"{90 + place}", "mg/dL", patient=whose, id=f"{whose}-{place}", note=[{"text": WORDS}]
        )
        for place in range(PAGES * PAGE)
    ]
    return [fhir.patient(whose), *results]


def read(base: str, count: int, recording: Recording) -> list[ServerChart]:
    """So many charts at once, each by a client of its own, as each run has one."""

    async def chart(number: int) -> ServerChart:
        limits = ClientLimits(concurrency=AT_ONCE)
        async with FhirClient(Open(base), recording, clock=SystemClock(), limits=limits) as client:
            source = ServerChartSource(
                client,
                zone=ZoneInfo("UTC"),
                clock=SystemClock(),
                plan=("Observation",),
                sensitivity=Sensitivity.default(),
                bytes_max=10**7,
                count=PAGE,
            )
            return await source.chart(patient(number), "latest")

    async def charts() -> list[ServerChart]:
        return await asyncio.gather(*map(chart, range(count)))

    return asyncio.run(charts())


@pytest.fixture(scope="module")
def ehr() -> Iterator[Hospital]:
    """A hospital that takes its time, with the records of all."""
    with hospital(*(one for number in range(CHARTS) for one in record(number)), page=PAGE) as running:
        running.on("*", slow(0.02))
        yield running


def test_each_chart_is_its_own_patients(ehr: Hospital) -> None:
    charts = read(ehr.url, CHARTS, Recording())
    for number, chart in enumerate(charts):
        assert chart.patient == f"Patient/{patient(number)}"
        found = members(chart, "Observation")
        assert sorted(found) == sorted(f"{patient(number)}-{place}" for place in range(PAGES * PAGE))


def test_the_server_never_answers_more_at_once_than_the_limit(ehr: Hospital) -> None:
    read(ehr.url, CHARTS, Recording())
    assert 1 < ehr.at_once <= AT_ONCE


def test_who_waits_for_the_next_page_holds_none(ehr: Hospital) -> None:
    """So bodies take no more memory than the limit of calls allows, however many charts wait."""
    recording = Watching()
    gc.freeze()  # what was there before is not looked through
    try:
        read(ehr.url, CHARTS, recording)
    finally:
        gc.unfreeze()
    assert len(recording.calls) == 1 + CHARTS * (1 + PAGES)
    assert recording.held <= 2 * AT_ONCE, "those under way, and those that are being taken in"


def test_memory_grows_by_what_charts_hold(tmp_path: Path) -> None:
    """Many charts take no more than as many times what one takes that is read alone."""
    folder = fhir.write_ndjson(tmp_path / "records", *(one for number in range(CHARTS) for one in record(number)))
    with hospital_alone(folder, page=PAGE) as base:
        read(base, 1, Recording())  # what is loaded and cached once
        alone, together = peak(base, 1), peak(base, CHARTS)
    assert together <= CHARTS * alone
    assert alone <= 8 * PAGES * PAGE * len(WORDS), "of one chart, in terms of its bytes"


def peak(base: str, count: int) -> int:
    """Bytes above what there was before."""
    gc.collect()
    tracemalloc.start()
    try:
        read(base, count, Recording())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("padding", "is_aside"), [(0, False), (3_000_000, True)], ids=["short", "long"])
def test_a_long_page_is_taken_apart_beside_the_event_loop(padding: int, is_aside: bool) -> None:
    """Others are served meanwhile; a short page is not worth a change of threads."""
    threads: list[threading.Thread] = []

    def judge(page: Received) -> None:
        threads.append(threading.current_thread())

    async def search(client: FhirClient) -> int:
        pages = client.search("Observation", [("patient", "patient-1")], judge=judge)
        return len([page async for page in pages])

    with hospital(fhir.patient(), fhir.observation("2345-7", "95", "mg/dL")) as ehr:
        ehr.on("Observation", padded(padding))
        assert asked(ehr.url, search) == 1
    assert [one is not threading.main_thread() for one in threads] == [is_aside]
