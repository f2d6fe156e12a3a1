# SPDX-License-Identifier: Apache-2.0
"""A site whose processes are killed, and what it knows of a request after each of them.

The scripted model outlives them all. It looks for laboratory values, problems and guidelines at once, calculates and
lists images, looks at one, and drafts: first something false, and, told so by the verifier, something true.
"""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from builders.fhir import Json
from builders.killing import Order
from builders.model_server import Asked, ModelServer, Turn, calls, say, trickle
from builders.model_server_wire import Exchange
from builders.moments import Moment, Moments, noted
from builders.reasoning import value
from builders.reasoning_scripts import Told, answer
from builders.store import TENANT, Records

_SECONDS = 120.0  # one life takes one; who needs this long, hangs
_HALF = 0.3  # seconds after which a client has read a part of an answer
TURNS: tuple[tuple[tuple[str, Json], ...], ...] = (
    (("list_labs", {"analyte": "creatinine"}), ("list_problems", {}), ("search_guidelines", {"words": "metformin"})),
    (("calculate", {"formula": "ckd-epi-2021"}), ("list_images", {})),
)


def speaks(asked: Asked) -> Turn:
    """What the model says: a function of what it was asked, so the same to every process."""
    told = Told(asked.text)
    if asked.schema is not None:
        is_repair = asked.step > len(TURNS) + 1
        return answer(value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6" if is_repair else "7.1"), "%"))
    if asked.step < len(TURNS):
        return calls(*TURNS[asked.step])
    if asked.step == len(TURNS):
        return calls(("view_image", {"image": told.name("i", "pixels")}))
    return say("That is enough.")


class DeadlyServer(ModelServer):
    """The model's server. Where a life is to end while it is asked, or half-way through its answer, it kills."""

    def __init__(self) -> None:
        super().__init__(self._says, "scripted", 32_768, (), "models/scripted-1b")
        self.lacks = frozenset({"cached_tokens"})  # how many there are depends on what was asked before
        self._moments: Moments | None = None
        self._death: Moment | None = None
        self._victim = 0
        self._is_named = threading.Event()

    def await_life(self, notes: Path, death: Moment | None) -> None:
        """Another process is going to ask, which keeps these notes. The requests stand among its moments."""
        self.end_life()
        self._moments, self._death = Moments(notes, None), death
        self._is_named.clear()

    def end_life(self) -> None:
        """Nobody asks now."""
        if self._moments is not None:
            self._moments.close()
        self._moments = None

    def name_process(self, process: int) -> None:
        """It is this one."""
        self._victim = process
        self._is_named.set()

    def respond(self, exchange: Exchange) -> None:
        """Kills at the request, or answers it."""
        if self._is_death(f"asked {exchange.path}"):
            self._kill()
            exchange.close()
        else:
            super().respond(exchange)

    def _says(self, asked: Asked) -> Turn:
        if not self._is_death("half answered"):
            return speaks(asked)
        threading.Timer(_HALF, self._kill).start()
        return trickle()

    def _is_death(self, name: str) -> bool:
        assert self._moments is not None
        return self._moments(name) == self._death

    def _kill(self) -> None:
        assert self._is_named.wait(_SECONDS)
        os.kill(self._victim, signal.SIGKILL)


@contextmanager
def deadly_server() -> Iterator[DeadlyServer]:
    """A running one."""
    server = DeadlyServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.end_life()


@dataclass(frozen=True, slots=True)
class Workers:
    """The process that forks a process for each order."""

    process: "subprocess.Popen[str]"
    complaints: Path

    def carry_out(self, order: Order, server: DeadlyServer) -> int:
        """How the process of this order ended."""
        assert self.process.stdin is not None
        server.await_life(Path(order.notes), order.death)
        self.process.stdin.write(order.line() + "\n")
        self.process.stdin.flush()
        victim = self._number()
        server.name_process(victim)
        watch = threading.Timer(_SECONDS, os.kill, (victim, signal.SIGABRT))
        watch.start()
        try:
            return self._number()
        finally:
            watch.cancel()

    def _number(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.complaints.read_text("utf-8")
        return int(line)


@contextmanager
def workers(folder: Path) -> Iterator[Workers]:
    """Ready for orders."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("MEDAGENT_")}
    complaints = folder / "complaints"
    with complaints.open("w") as errors, subprocess.Popen(
        [sys.executable, "-m", "builders.killing"],
        env=own | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
    ) as process:  # fmt: skip
        yield Workers(process, complaints)


# What is known of a request.


@dataclass(frozen=True, slots=True)
class Known:
    """What the records hold after a process ended."""

    request: str | None = None
    stored: bytes | None = None
    """The dossier. None: there is no outcome yet."""
    journaled: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """By key, in order: hashes of what was asked and of what came back."""
    answered: frozenset[str] = frozenset()
    """Hashes of the HTTP bodies whose answer is journaled."""
    tools: frozenset[str] = frozenset()
    """Tools whose result is journaled; the model asks for each once."""


def known(records: Records) -> Known:
    """That, read from the records."""
    if records.scalar("SELECT count(*) FROM requests") == 0:
        return Known()
    (request,) = records.row("SELECT id FROM requests")
    with records.open() as store:
        entries = store.journal(TENANT).entries(request)
        stored = store.outcome_of(request, TENANT)
    done = [one for one in entries if one.result is not None]
    asked = [json.loads(one.result or b"") for one in done if one.key.startswith(("model/", "draft/"))]
    return Known(
        request=request,
        stored=stored,
        journaled={one.key: (one.request_sha256, one.result_sha256) for one in entries},
        answered=frozenset(one["reply"]["request_sha256"] for one in asked),
        tools=frozenset(json.loads(one.request)["tool"] for one in done if one.key.startswith("tool/")),
    )


@dataclass(frozen=True, slots=True)
class Life:
    """One process: what was known before it, what it did, and how it ended."""

    before: Known
    after: Known
    moments: Sequence[Moment]
    """Its own, and those of the server, in order."""
    bodies: Sequence[str]
    """Hashes of the HTTP bodies that it asked the model."""
    status: int

    @property
    def tools(self) -> frozenset[str]:
        """The tools that it ran."""
        return frozenset(one.name.removeprefix("before tool ") for one in self.moments if "before tool " in one.name)

    @property
    def was_killed(self) -> bool:
        """Else it got to the outcome, or failed."""
        return self.status == -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Site:
    """Records of one request, with everything that is needed to work on it."""

    records: Records
    server: DeadlyServer
    workers: Workers
    chart: Path
    images: Path

    def lives(self, deaths: Sequence[Moment]) -> Iterator[Life]:
        """Process after process until one lives. Each goes on with what it finds."""
        before = known(self.records)
        for number, death in enumerate((*deaths, None)):
            notes = self.records.home / f"moments-{number}"
            asked = len(self.server.requests)
            order = Order(
                home=str(self.records.home), database_url=self.records.database_url, model_url=self.server.url,
                model=self.server.name, chart=str(self.chart), images=str(self.images), request=before.request,
                life=number, notes=str(notes), death=death,
            )  # fmt: skip
            status = self.workers.carry_out(order, self.server)
            bodies = [hashlib.sha256(one.raw).hexdigest() for one in self.server.requests[asked:]]
            life = Life(before, known(self.records), noted(notes), bodies, status)
            yield life
            if not life.was_killed:
                return
            before = life.after

    def checkpoints(self) -> int:
        """How many rows LangGraph keeps."""
        if self.records.url is None:
            with closing(sqlite3.connect(self.records.home / "graph.db")) as connection:
                return _rows(connection.execute("SELECT (SELECT count(*) FROM checkpoints) + count(*) FROM writes"))
        query = "SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM checkpoint_blobs) + count(*) FROM "
        with psycopg.connect(self.records.url, options="-c search_path=langgraph") as client:
            return _rows(client.execute(f"{query} checkpoint_writes".encode()))


def _rows(found: Any) -> int:
    (number,) = found.fetchone()
    return int(number)
