# SPDX-License-Identifier: Apache-2.0
"""How long a whole run takes, step by step, in how much memory, and how long the command line takes to start.

    pytest -m bench -s tests/bench/bench_run.py

Steps are the nodes of the graph that every run walks, with what stands before and after it: reading the chart,
the records of the request and the log, and the public JSON.
"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from statistics import median

import orjson
import pytest
from bench.bench_chart import synthetic_chart, terse_chart
from bench.measuring import in_turns, milliseconds, peak_memory, show, spread
from builders import fhir
from builders.runs import Runner, runner

import medagent_workflows
from medagent.canonical import content_id, public_json
from medagent.records import Request
from medagent_workflows.graph import build_graph
from medagent_workflows.rendering.document import document_json
from medagent_workflows.workbench import Workbench

pytestmark = pytest.mark.bench

ACTOR = "user/benchmark"
SAMPLES = Path(medagent_workflows.__file__).parent / "samples"
_ROUNDS = 3  # of each chart; the charts are many
_GRAPH = build_graph()

Steps = dict[str, float]
"""Processor seconds by step, in order."""


class _Watch:
    """Notes the processor time that has passed since it was last asked."""

    def __init__(self) -> None:
        self.steps: Steps = {}
        self._last = time.process_time()

    def note(self, step: str) -> None:
        now = time.process_time()
        self.steps[step] = self.steps.get(step, 0.0) + now - self._last
        self._last = now


async def _walk(run: Runner, path: Path) -> Steps:
    """One request as `recommending.recommend` runs it, with a look at the clock after each step."""
    services, source, watch = run.services, run.source(path), _Watch()
    chart = await source.chart(None, "latest")
    watch.note("read the chart")
    identity = {
        "tenant": services.settings.tenant,
        "actor": ACTOR,
        "patient": chart.patient,
        "question": None,
        "as_of": chart.as_of,
        "created_at": services.clock.now(),
    }
    request = Request(id=content_id("request", identity), **identity)
    services.store.record_request(
        request_id=request.id, body=public_json(request), patient=request.patient, actor=ACTOR, tenant=request.tenant
    )
    watch.note("record the request")
    bench = Workbench(
        request=request,
        source=source,
        pack=services.pack,
        store=services.store,
        clock=services.clock,
        stage=services.stage,
        time_zone=services.settings.time_zone,
    )
    async for update in _GRAPH.astream({"request": request.id}, context=bench, stream_mode="updates"):
        watch.note(" ".join(update))
    services.store.seal()
    watch.note("seal the log")
    assert bench.dossier is not None
    document_json(bench.dossier, bench.stored)
    watch.note("write the JSON")
    return watch.steps


def _measured(run: Runner, path: Path) -> tuple[Steps, float]:
    """Of the round that took least: its steps, and a bare parse of the same bytes."""
    rounds = []
    for _ in range(_ROUNDS):
        gc.collect()
        steps = asyncio.run(_walk(run, path))
        started = time.process_time()
        orjson.loads(path.read_bytes())
        rounds.append((steps, time.process_time() - started))
    return min(rounds, key=lambda one: sum(one[0].values()))


def _report(what: str, charts: Iterable[Path], home: Path) -> None:
    paths = sorted(charts)
    with runner(home) as run:
        asyncio.run(_walk(run, paths[0]))  # opens the pack and the store's first pages
        measured = [_measured(run, path) for path in paths]
    screened = [one for one in measured if "screen" in one[0]]
    wholes = [sum(steps.values()) for steps, _ in screened]
    ratios = [whole / bare for whole, (_, bare) in zip(wholes, screened, strict=True)]
    rows = []
    for name in screened[0][0]:
        times = [steps[name] for steps, _ in screened]
        rows.append((name, milliseconds(times), f"{sum(times) / sum(wholes):.0%}"))
    rows.append(("the whole run", milliseconds(wholes), "100%"))
    at_once = [sum(steps.values()) for steps, _ in measured if "screen" not in steps]
    size = median(path.stat().st_size for path in paths)
    show(
        f"A whole run: {len(screened)} of {len(paths)} {what}, median {size / 1e3:,.0f} KB",
        ("step", "processor ms a chart", "share"),
        rows,
        f"Median over the charts (least); the longest run took {max(wholes) * 1e3:,.0f} ms.\n"
        f"Against a bare parse of the file: {spread(ratios)} times.\n"
        f"The others end before screening, after {milliseconds(at_once or [0.0])} ms.",
    )


def test_a_run_of_each_sample(tmp_path: Path) -> None:
    _report("samples", SAMPLES.glob("*.json"), tmp_path)


@pytest.mark.data
def test_a_run_of_each_public_chart(tmp_path: Path, shared_data: Path) -> None:
    _report("public Synthea charts", (shared_data / "fhir-synthea-r4").glob("*_*.json"), tmp_path)


WHOLE_RUN = """
import os
from medagent_workflows.command_line import app
from bench.bench_run import SAMPLES
os.environ["MEDAGENT_HOME"] = sys.argv[1]
recommend = ["recommend", "--as-of", "latest", "--format", "json", "--out", sys.argv[2]]
app([*recommend, "--fhir", str(SAMPLES / "healthy.json")], standalone_mode=False)
IMPORTED = PEAK()
app([*recommend, "--fhir", sys.argv[3]], standalone_mode=False)
"""
"""`medagent recommend` with everything that it opens. The first run opens the store and the guidelines: what a process
keeps whatever the chart is. Arguments: home, output, chart."""


@pytest.mark.parametrize("what", ["in the mix of a real chart", "terse Observations"])
def test_peak_memory_of_a_run(tmp_path: Path, what: str) -> None:
    terse = what == "terse Observations"
    chart = terse_chart(60_000) if terse else synthetic_chart(22_500)
    path = fhir.write(tmp_path / "chart.json", public_json(chart, indent=not terse))
    peak = peak_memory(WHOLE_RUN, tmp_path / "home", tmp_path / "document.json", path)
    size = path.stat().st_size
    show(
        "Peak memory of a whole run, above that of a run over a short chart",
        ("", "file MB", "peak MB", "× file"),
        [(what, f"{size / 1e6:.1f}", f"{peak / 1e6:.0f}", f"{peak / size:.1f}")],
    )


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own commands


def test_start_up() -> None:
    medagent = str(Path(sys.executable).with_name("medagent"))
    timings = in_turns(
        {
            "python -c pass": partial(_call, sys.executable, "-c", "pass"),
            "medagent --help": partial(_call, medagent, "--help"),
        }
    )
    bare = timings["python -c pass"]
    show(
        "Start-up",
        ("", "processor ms", "wall ms", "× bare Python"),
        [
            (name, milliseconds(one.processor), milliseconds(one.wall), spread(one.ratios(bare)))
            for name, one in timings.items()
        ],
        "Median of 7 rounds (best).",
    )
