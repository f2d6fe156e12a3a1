# SPDX-License-Identifier: Apache-2.0
"""How much of a run's time is ours, where a model takes two seconds for each answer.

    pytest -m bench -s tests/bench/bench_model.py

Aim: at most 3 % of the time on the wall outside of calls of the model. The model is scripted and runs in a process of
its own; everything else is the product as its user starts it: chart, engine, tools, journal, checkpoints, verifier,
records and log, each step durable on the disk before the next. The fewer calls a run makes, the greater our share.
"""

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median

import pytest
from bench.bench_run import SAMPLES
from bench.measuring import milliseconds, percent, show
from builders.model_server import Asked, Turn, after, calls, say
from builders.reasoning import value
from builders.reasoning_scripts import answer
from builders.runs import Runner, runner

from medagent_workflows.recommending import Recorded

pytestmark = pytest.mark.bench

ANSWER = 2.0  # seconds
ROUNDS = 5
_START = 60.0  # seconds that the scripted server may take to start
_WANTED = (("list_labs", "list_medications"), ("timeline", "list_allergies"), ("list_problems",))
_VALUE = re.compile(r"^\[(f\d+)\] .* newest ([\d.]+) (\S+) \(", re.MULTILINE)
_VALUES = 6  # in a draft


def looks_around(asked: Asked) -> Turn:
    """Asks for tools in three turns, has seen enough, and drafts: five calls."""
    turns = [calls(*((tool, {}) for tool in tools)) for tools in _WANTED]
    return _slowly(asked, [*turns, say("That is enough.")])


def drafts_at_once(asked: Asked) -> Turn:
    """Has seen enough at the first look, and drafts: two calls, the fewest that there are."""
    return _slowly(asked, [say("That is enough.")])


def _slowly(asked: Asked, turns: list[Turn]) -> Turn:
    return after(ANSWER, turns[asked.step] if asked.schema is None else _draft(asked.text))


def _draft(told: str) -> Turn:
    """States values that it was told of, as they are; without any, the patient's own fact."""
    named = {fact: (Decimal(number), unit) for fact, number, unit in _VALUE.findall(told)}
    stated = [value(fact, *said) for fact, said in list(named.items())[:_VALUES]]
    return answer(*stated, abstain=None if stated else "nothing_to_add")


@contextmanager
def served(script: str, folder: Path) -> Iterator[str]:
    """The URL of a scripted server in a process of its own."""
    port = folder / "port"
    command = [sys.executable, "-m", "builders.model_server", "--script", f"{__name__}:{script}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([*command, "--port-file", str(port)], env=environment)  # noqa: S603  # our own program
    try:
        deadline = time.monotonic() + _START
        while not port.exists():
            assert process.poll() is None, "the scripted server ended"
            assert time.monotonic() < deadline, "the scripted server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text(encoding='ascii')}/v1"
    finally:
        process.terminate()
        process.wait()


def _run(at: Runner, chart: Path) -> tuple[float, float, Recorded]:
    """Seconds on the wall and of the processor that one request takes, and what came of it."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    recorded = at.record(chart, as_of="latest", question="What should be looked at first?")
    return time.perf_counter() - wall, time.process_time() - processor, recorded


def _row(what: str, script: str, chart: Path, folder: Path) -> tuple[str, ...]:
    """A line of the table: rounds of one chart with one script."""
    walls, ours, processor, number = [], [], [], 0
    with served(script, folder) as url, runner(folder / "home", model_url=url, model="scripted") as at:
        _run(at, SAMPLES / "healthy.json")  # loads the guidelines and opens the store
        for _ in range(ROUNDS):
            wall, busy, recorded = _run(at, chart)
            reasoning = recorded.dossier.reasoning
            assert reasoning is not None
            assert {call.outcome for call in reasoning.tool_calls} <= {"answered"}
            number = len(reasoning.model_calls)
            asked = sum((call.ended_at - call.started_at).total_seconds() for call in reasoning.model_calls)
            walls.append(wall)
            ours.append(wall - asked)
            processor.append(busy)
    shares = [mine / wall for mine, wall in zip(ours, walls, strict=True)]
    return what, str(number), f"{median(walls):.2f}", milliseconds(ours), milliseconds(processor), percent(shares)


def _report(title: str, chart: Path, folder: Path) -> None:
    rows, load = [], os.getloadavg()[0]
    for what, script in (("three turns with tools", looks_around), ("a draft at once", drafts_at_once)):
        own = folder / script.__name__
        own.mkdir()
        rows.append(_row(what, script.__name__, chart, own))
    show(
        f"Time outside of calls of a model that takes {ANSWER:.0f} s for an answer: {title}",
        ("", "calls", "wall s", "outside ms", "processor ms", "share of the wall"),
        rows,
        f"Median of {ROUNDS} rounds (best); shares: median (least–greatest). Aim: at most 3 %. "
        f"Load before: {load:.1f}.",
    )


def test_time_outside_of_the_model_with_a_sample(tmp_path: Path) -> None:
    _report("the sample with diabetes and kidney disease", SAMPLES / "diabetes-kidney.json", tmp_path)


@pytest.mark.data
def test_time_outside_of_the_model_with_a_public_chart(tmp_path: Path, shared_data: Path) -> None:
    """The largest of a living patient, and the one of median size."""
    charts = (shared_data / "fhir-synthea-r4").glob("*_*.json")
    living = sorted(filter(_is_of_a_living_patient, charts), key=lambda path: path.stat().st_size)
    for name, chart in (("the median", living[len(living) // 2]), ("the largest", living[-1])):
        folder = tmp_path / name.split()[-1]
        folder.mkdir()
        _report(f"{name} public Synthea chart, {chart.stat().st_size / 1e6:.1f} MB", chart, folder)


def _is_of_a_living_patient(path: Path) -> bool:
    entries = json.loads(path.read_bytes())["entry"]
    resources = (entry["resource"] for entry in entries)
    return not any(one["resourceType"] == "Patient" and "deceasedDateTime" in one for one in resources)
