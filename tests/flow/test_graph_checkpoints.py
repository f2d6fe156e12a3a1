# SPDX-License-Identifier: Apache-2.0
"""LangGraph's checkpoints: a killed process is followed by one that goes on, and nothing but plain JSON is kept."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest
from builders.store import DATABASES, Records, settings_in
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph

from medagent.errors import IntegrityError, StoreError
from medagent.settings import Settings
from medagent_workflows.checkpoints import PlainSerializer, open_checkpointer, upgrade_checkpoints

STEPS = ("first", "second", "third")


class Walked(TypedDict, total=False):
    """What the checkpoint holds."""

    steps: list[str]


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings for either database, at this version's schema."""
    records = Records.fresh(request, tmp_path)
    settings = settings_in(tmp_path, **({} if records.url is None else {"database_url": records.url}))
    upgrade_checkpoints(settings)
    return settings


async def walk(settings: Settings, notes: Path, killed_in: str | None, start: Walked | None) -> dict[str, Any]:
    """Walks through the steps, or goes on where an earlier walk was killed. Each notes that it began."""

    def step(name: str) -> Any:
        def run(state: Walked) -> Walked:
            with notes.open("a", encoding="ascii") as file:
                file.write(f"{name}\n")
            if name == killed_in:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"steps": [*state.get("steps", []), name]}

        return run

    graph = StateGraph(Walked)
    for name, before in zip(STEPS, (START, *STEPS[:-1]), strict=True):
        graph.add_node(name, step(name))
        graph.add_edge(before, name)
    graph.add_edge(STEPS[-1], END)
    async with open_checkpointer(settings) as saver:
        configuration: RunnableConfig = {"configurable": {"thread_id": "request-1"}}
        return await graph.compile(checkpointer=saver).ainvoke(start, configuration, durability="sync")


_WALKS = """
import asyncio, sys
from pathlib import Path
from medagent.settings import Settings
from test_graph_checkpoints import walk
asyncio.run(walk(Settings.load(), Path(sys.argv[1]), sys.argv[2], {"steps": []}))
"""


@pytest.mark.parametrize("killed_in", STEPS)
def test_a_killed_walk_goes_on_at_the_step_that_it_died_in(settings: Settings, tmp_path: Path, killed_in: str) -> None:
    notes = tmp_path / "notes"
    tests = Path(__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tests), str(tests / "flow"))),
        "MEDAGENT_HOME": str(settings.home),
        "MEDAGENT_DATABASE_URL": settings.database_url.get_secret_value(),
    }
    killed = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _WALKS, str(notes), killed_in], env=environment, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    walked = asyncio.run(walk(settings, notes, None, None))
    assert walked == {"steps": list(STEPS)}
    begun = notes.read_text(encoding="ascii").split()
    assert begun == sorted((*STEPS, killed_in), key=STEPS.index)  # that step twice, every other one once


def test_a_walk_that_ended_is_not_walked_again(settings: Settings, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    walked = asyncio.run(walk(settings, notes, None, {"steps": []}))
    assert asyncio.run(walk(settings, notes, None, None)) == walked
    assert notes.read_text(encoding="ascii").split() == list(STEPS)


@dataclass
class Person:
    """Something that must not be in a checkpoint."""

    name: str


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Person("somebody"), id="an object"),
        pytest.param({"steps": [{"who": Person("somebody")}]}, id="an object deep inside"),
        pytest.param(Path("chart.json"), id="a path"),
        pytest.param(b"bytes", id="bytes"),
    ],
)
def test_what_is_not_plain_is_refused_without_being_quoted(value: object) -> None:
    with pytest.raises(StoreError, match="put its id or hash there") as refusal:
        PlainSerializer().dumps_typed(value)
    assert "somebody" not in str(refusal.value)


def test_of_an_error_only_its_kind_is_kept() -> None:
    serializer = PlainSerializer()
    assert serializer.loads_typed(serializer.dumps_typed(ValueError("quotes a patient"))) == "ValueError"


@pytest.mark.parametrize("kind", ["pickle", "json", "bytes"])
def test_what_we_never_write_is_not_read(kind: str) -> None:
    with pytest.raises(IntegrityError, match=f"of the kind {kind}, which is never written"):
        PlainSerializer().loads_typed((kind, b"{}"))


def test_no_object_is_made_of_what_a_forger_wrote() -> None:
    forged = JsonPlusSerializer(allowed_msgpack_modules=True).dumps_typed({"steps": Person("somebody")})
    assert not isinstance(PlainSerializer().loads_typed(forged)["steps"], Person)


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    """Settings whose checkpoints lie in a file."""
    return settings_in(tmp_path)


def test_the_file_is_its_owners_alone_and_does_not_wait_for_readers(sqlite_settings: Settings) -> None:
    asyncio.run(walk(sqlite_settings, sqlite_settings.home / "notes", None, {"steps": []}))
    path = sqlite_settings.home / "graph.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_damaged_file_is_named_and_may_be_deleted(sqlite_settings: Settings) -> None:
    (sqlite_settings.home / "graph.db").write_text("This is a letter and not a database. " * 200)
    with pytest.raises(StoreError, match=r"graph\.db cannot be used .*: delete it"):
        asyncio.run(walk(sqlite_settings, sqlite_settings.home / "notes", None, {"steps": []}))
