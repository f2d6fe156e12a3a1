# SPDX-License-Identifier: Apache-2.0
"""How fast and in how much memory charts come from a FHIR server.

    pytest -m bench -s tests/bench/bench_fhir_server.py

All read the same chart from the same simulated hospital, in a process of its own, by searches for the same types, page
after page: fhirclient, and fhirpy with fhir.resources, as their users would write it; an HTTP client that only parses;
and MedAgent, which also judges every page, puts every call on record (here in memory) and makes facts that can be
cited. The others ask for the longest pages that the server gives, MedAgent for those of its default.
"""

import asyncio
import importlib
from collections.abc import Iterable, Iterator
from functools import partial
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest
from bench.bench_chart import Statement, statements, synthetic_chart
from bench.measuring import Timing, in_turns, milliseconds, peak_memory, show
from builders import fhir
from builders.fhir_client import Recording
from builders.hospital_alone import hospital_alone

from medagent.canonical import public_json
from medagent.clock import SystemClock
from medagent.evidence import Query
from medagent.settings import Settings
from medagent_fhir.authorization import Open
from medagent_fhir.calls import Call
from medagent_fhir.client import ClientLimits, FhirClient
from medagent_fhir.sensitivity import Sensitivity
from medagent_fhir.server import ServerChart, ServerChartSource

pytestmark = pytest.mark.bench

PATIENT = "patient-1"
TYPES = ("Observation", "MedicationRequest", "Condition", "Procedure", "Encounter")
RESOURCES = 10_000
CHARTS = 50
OF_EACH = 1_000
"""Resources of each chart, where many are read."""

_ROUNDS = 5
_ROUNDS_OF_MANY = 3
_LONGEST_PAGE = 1000
_PAGE = int(Settings.model_fields["fhir_page"].default)


async def chart_of(base: str, patient: str, recording: Recording) -> ServerChart:
    """By a client of its own, as each run has one."""
    async with FhirClient(Open(base), recording, clock=SystemClock()) as client:
        source = ServerChartSource(
            client,
            zone=ZoneInfo("UTC"),
            clock=SystemClock(),
            plan=TYPES,
            sensitivity=Sensitivity.default(),
            bytes_max=10**9,
            count=_PAGE,
        )
        return await source.chart(patient, "latest")


def facts_of(base: str) -> int:
    """Everything from the server to facts that can be cited, with a reading over all of them."""
    chart = asyncio.run(chart_of(base, PATIENT, Recording()))
    reading = chart.read(Query(resource_types=TYPES), {})
    assert reading.complete, reading.incomplete_because
    return len([chart.fact(member) for member in reading.members])


def bare(base: str) -> int:
    """What reading the pages and parsing their JSON takes at the least, one after another."""
    found = 0
    with httpx.Client(trust_env=False, timeout=60) as client:
        for name in TYPES:
            link: str | None = f"{base}/{name}?patient={PATIENT}&_count={_LONGEST_PAGE}"
            while link is not None:
                page = orjson.loads(client.get(link).content)
                found += len(page["entry"])
                link = next((each["url"] for each in page["link"] if each["relation"] == "next"), None)
    return found


def with_fhirclient(base: str) -> int:
    """By the search and the models of the SMART on FHIR client, which has no other way than one after another."""
    server = importlib.import_module("fhirclient.server").FHIRServer(None, base_uri=base)
    found: list[Statement] = []
    for name in TYPES:
        model = getattr(importlib.import_module(f"fhirclient.models.{name.lower()}"), name)
        search = model.where({"patient": PATIENT, "_count": str(_LONGEST_PAGE)})
        for resource in search.perform_resources_iter(server):
            found += statements(resource, name)
    return len(found)


def with_fhirpy(base: str) -> int:
    """By fhirpy's search, types side by side; its resources are dictionaries, so fhir.resources has the models."""
    client = importlib.import_module("fhirpy").AsyncFHIRClient(base)
    models = importlib.import_module("fhir.resources.R4B")

    async def all_of(name: str) -> list[Any]:
        search = client.resources(name).search(patient=PATIENT).limit(_LONGEST_PAGE)
        found: list[Any] = await search.fetch_all()
        return found

    async def searched() -> list[list[Any]]:
        return await asyncio.gather(*map(all_of, TYPES))

    found: list[Statement] = []
    for name, resources in zip(TYPES, asyncio.run(searched()), strict=True):
        model = models.get_fhir_model_class(name)
        for resource in resources:
            found += statements(model.model_validate(dict(resource)), name)
    return len(found)


def charts(base: str, count: int, *, together: bool, recording: Recording | None = None) -> list[ServerChart]:
    """So many charts, all of which are there at the end."""
    record = recording or Recording()
    patients = [f"patient-{number}" for number in range(count)]

    async def read() -> list[ServerChart]:
        if together:
            return await asyncio.gather(*(chart_of(base, patient, record) for patient in patients))
        return [await chart_of(base, patient, record) for patient in patients]

    return asyncio.run(read())


def most_at_once(calls: Iterable[Call]) -> int:
    """How many calls were under way side by side at the most."""
    moments = sorted(moment for call in calls for moment in ((call.started_at, 1), (call.ended_at, -1)))
    under_way = most = 0
    for _, change in moments:
        under_way += change
        most = max(most, under_way)
    return most


def _of(patient: str, chart: bytes) -> bytes:
    """The same chart of another patient: every id is another."""
    return chart.replace(b"patient-1", patient.encode()).replace(b"resource-", f"{patient}-".encode())


@pytest.fixture(scope="module")
def one_chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base of a hospital with one long chart."""
    path = tmp_path_factory.mktemp("hospital") / "chart.json"
    fhir.write(path, public_json(synthetic_chart(RESOURCES)))
    with hospital_alone(path, page=_LONGEST_PAGE) as base:
        yield base


@pytest.fixture(scope="module")
def many_charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base of a hospital with many ordinary charts."""
    folder = tmp_path_factory.mktemp("hospital")
    chart = public_json(synthetic_chart(OF_EACH))
    for number in range(CHARTS):
        fhir.write(folder / f"chart-{number}.json", _of(f"patient-{number}", chart))
    with hospital_alone(folder, page=_LONGEST_PAGE) as base:
        yield base


def test_facts_of_a_long_chart(one_chart: str) -> None:
    for needed in ("fhirclient", "fhirpy"):
        pytest.importorskip(needed, reason=f"needs {needed}: pip install .[bench]")
    libraries = {"fhirclient": with_fhirclient, "fhirpy with fhir.resources": with_fhirpy}
    facts = facts_of(one_chart)
    assert {name: library(one_chart) for name, library in libraries.items()} == dict.fromkeys(libraries, facts)
    contenders = {"HTTP, bare parse": bare, "MedAgent": facts_of, **libraries}
    timings = in_turns({name: partial(work, one_chart) for name, work in contenders.items()}, _ROUNDS)
    ours = timings["MedAgent"]
    rows = [
        (
            name,
            *(milliseconds(one.wall), against(one.wall, ours.wall)),
            *(milliseconds(one.processor), against(one.processor, ours.processor)),
        )
        for name, one in timings.items()
    ]
    show(
        f"Facts out of a chart of {RESOURCES:,} resources over HTTP: {facts:,} facts",
        ("", "wall ms", "× MedAgent", "processor ms", "× MedAgent"),
        rows,
        f"Median of {_ROUNDS} rounds (best); ratios of medians (least–greatest of a round). Processor time is the "
        "client's; the wall has the hospital's, too.",
    )


def test_many_charts_at_once(many_charts: str) -> None:
    recording = Recording()
    assert len(charts(many_charts, CHARTS, together=True, recording=recording)) == CHARTS
    ways = {"one after another": False, "all at once": True}
    timings = in_turns(
        {name: partial(charts, many_charts, CHARTS, together=together) for name, together in ways.items()},
        _ROUNDS_OF_MANY,
    )
    peaks = {name: _peak(many_charts, CHARTS, together=together) for name, together in ways.items()}
    one = _peak(many_charts, 1, together=False)
    after_another = timings["one after another"]
    rows: list[tuple[str, ...]] = [("one chart", "", "", "", f"{one / 1e6:.1f}", "1")]
    rows += [_row(name, timing, after_another, peaks[name], one) for name, timing in timings.items()]
    show(
        f"{CHARTS} charts of {OF_EACH:,} resources each, of one server, in one process",
        ("", "wall ms", "× one after another", "processor ms", "peak MB", "× one chart"),
        rows,
        f"Peak above that of the imports, all charts kept. {most_at_once(recording.calls)} of {len(recording.calls):,} "
        f"calls were under way at once; the limit is {ClientLimits().concurrency}.",
    )


def against(mine: list[float], base: list[float]) -> str:
    """Ratio of the medians, and the extremes of the rounds."""
    rounds = [one / other for one, other in zip(mine, base, strict=True)]
    return f"{median(mine) / median(base):.2f} ({min(rounds):.2f}–{max(rounds):.2f})"


def _row(name: str, timing: Timing, base: Timing, peak: int, one: int) -> tuple[str, ...]:
    times = (milliseconds(timing.wall), against(timing.wall, base.wall), milliseconds(timing.processor))
    return name, *times, f"{peak / 1e6:.0f}", f"{peak / one:.1f}"


def _peak(base: str, count: int, *, together: bool) -> int:
    """In a process of its own, above what the imports take."""
    program = (
        "from bench.bench_fhir_server import charts\n"
        "IMPORTED = PEAK()\n"
        f"kept = charts(sys.argv[1], {count}, together={together})\n"
    )
    return peak_memory(program, base)
