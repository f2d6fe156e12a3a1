# SPDX-License-Identifier: Apache-2.0
"""Runs whose processes are killed by SIGKILL, up to three times each, until one gets to the outcome: nothing is lost,
nothing is doubled, and nobody is asked again whose answer is recorded.

A few runs by default; `make soak` takes 100 on each database, which `MEDAGENT_SOAK_KILLED_RUNS` asks for.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from builders import postgresql
from builders.killed_runs import Life, Site, deadly_server, workers
from builders.moments import Moment, deaths, is_named
from builders.reasoning_scripts import chart_in, images_in
from builders.store import DATABASES, TENANT, Records, settings_in

from medagent_workflows.checkpoints import upgrade_checkpoints

pytestmark = pytest.mark.chaos

SEEDS = {"sqlite": 20, "postgresql": 21}
SAMPLES = {"sqlite": 12, "postgresql": 6}
RUNS = {name: int(os.environ.get("MEDAGENT_SOAK_KILLED_RUNS", number)) for name, number in SAMPLES.items()}
CASES = [
    pytest.param(name, number, id=f"{name}, run {number}", marks=[pytest.mark.services] if name == "postgresql" else [])
    for name, runs in RUNS.items()
    for number in range(runs)
]


@dataclass(frozen=True, slots=True)
class Ground:
    """What the runs on one database have in common."""

    site: Site
    """Its records are empty."""
    undisturbed: Life
    plans: list[tuple[Moment, ...]]
    """When the processes of each run die."""


@contextmanager
def ground(database: str, records: Records, folder: Path) -> Iterator[Ground]:
    """A chart, a model, processes, and how a run goes that nobody disturbs."""
    chart, images = chart_in(folder / "chart"), folder / "images"
    images_in(images)
    upgrade_checkpoints(settings_in(records.home, database_url=records.database_url))
    records.open().close()  # the keys are there
    with deadly_server() as server, workers(folder) as working:
        site = Site(records, server, working, chart, images)
        with on_a_copy(site, folder / "undisturbed") as copy:
            (undisturbed,) = copy.lives([])
        assert undisturbed.status == 0, working.complaints.read_text("utf-8")
        yield Ground(site, undisturbed, deaths(undisturbed.moments, RUNS[database], SEEDS[database]))


@contextmanager
def on_a_copy(site: Site, home: Path) -> Iterator[Site]:
    """The site with empty records of its own."""
    copy = replace(site, records=site.records.copied(home))
    yield copy
    if copy.records.url is not None:
        postgresql.drop(copy.records.url)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("sqlite")
    with ground("sqlite", Records(folder / "empty"), folder) as made:
        yield made


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgresql_url: str) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("postgresql")
    with ground("postgresql", Records(folder / "empty", postgresql.copied(postgresql_url)), folder) as made:
        yield made


# standards: 51
@pytest.mark.parametrize(("database", "number"), CASES)
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, number: int
) -> None:
    common: Ground = request.getfixturevalue(f"on_{database}")
    plan = common.plans[number]
    with on_a_copy(common.site, tmp_path / "home") as site:
        lives = []
        for life, death in zip(site.lives(plan), (*plan, None), strict=False):
            lives.append(life)
            assert life.was_killed or life.status == 0, (str(death), site.workers.complaints.read_text("utf-8"))
            assert_nothing_was_repeated(life)
            assert_nothing_was_lost(life)
        print(f"{database}, run {number}: killed at", "; at ".join(map(str, plan[: len(lives) - 1])))
        assert lives[0].was_killed, f"it never came to: {plan[0]}"
        assert_nothing_is_doubled(site)
    assert told_without_times(lives[-1]) == told_without_times(common.undisturbed)
    assert list(lives[-1].after.journaled) == list(common.undisturbed.after.journaled)


@pytest.mark.parametrize("database", DATABASES)
def test_a_hundred_runs_are_killed_at_every_node_call_and_record(request: pytest.FixtureRequest, database: str) -> None:
    moments = request.getfixturevalue(f"on_{database}").undisturbed.moments
    planned = {moment for plan in deaths(moments, 100, SEEDS[database]) for moment in plan}
    assert {moment for moment in moments if is_named(moment)} - planned == set()


def assert_nothing_was_repeated(life: Life) -> None:
    """No answer that is recorded was asked for again, and no tool run whose result is."""
    assert not life.before.answered.intersection(life.bodies)
    assert len(life.bodies) == len(set(life.bodies))
    assert not life.before.tools & life.tools


def assert_nothing_was_lost(life: Life) -> None:
    """What was recorded before the process is so after it."""
    before, after = life.before, life.after
    assert before.request in (None, after.request)
    assert before.stored in (None, after.stored)
    assert list(after.journaled)[: len(before.journaled)] == list(before.journaled)
    for key, (asked, result) in before.journaled.items():
        assert after.journaled[key][0] == asked
        assert result in (None, after.journaled[key][1])


def assert_nothing_is_doubled(site: Site) -> None:
    """One request, one dossier, an event for each; a log that verifies and is sealed; no checkpoint left behind."""
    events = "SELECT count(*) FROM audit_events WHERE type = '{}_recorded'"
    for query in ("SELECT count(*) FROM requests", "SELECT count(*) FROM dossiers",
                  events.format("request"), events.format("outcome")):  # fmt: skip
        assert site.records.scalar(query) == 1, query
    assert site.checkpoints() == 0
    with site.records.open() as store:
        report = store.verify(TENANT)
    assert [str(finding) for finding in report.findings] == []
    assert (report.ok, report.unsealed) == (True, 0)


def told_without_times(life: Life) -> Any:
    """The dossier without times, and without what is derived from them: ids of request and dossier, and hashes of
    results of tools, which hold when the tool ran."""
    assert life.after.stored is not None
    dossier = json.loads(life.after.stored)
    text = json.dumps(_timeless(dossier), sort_keys=True)
    return json.loads(text.replace(dossier["id"], "dossier").replace(dossier["request"]["id"], "request"))


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(member) for member in value]
    if not isinstance(value, dict):
        return value
    kept = {name: member for name, member in value.items() if not name.endswith("_at") and name != "result_sha256"}
    return {name: _timeless(member) for name, member in kept.items()}
