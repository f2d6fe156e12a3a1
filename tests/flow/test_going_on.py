# SPDX-License-Identifier: Apache-2.0
"""A run that did not get to its outcome says how to go on, and what it says works as it is printed."""

import shlex
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders.model_server import Asked, ModelServer, Turn, hang, model_server
from builders.program import SAMPLES, Ended, Program, recommend_sample
from builders.reasoning_scripts import model

QUESTION = "Does the metformin still suit the kidneys?"
SPOKEN = model([("list_labs", {"analyte": "creatinine"})])
assert callable(SPOKEN)


@dataclass(slots=True)
class Site:
    """The program, and a model whose server does something of the test's when it is asked for the first draft."""

    program: Program
    happens: Callable[[], Turn | None] = field(default=lambda: None)
    has_happened: threading.Event = field(default_factory=threading.Event)
    server: ModelServer | None = None

    def says(self, asked: Asked) -> Turn:
        """What the model says."""
        instead = None
        if asked.schema is not None and not self.has_happened.is_set():
            instead = self.happens()
            self.has_happened.set()
        assert callable(SPOKEN)
        return instead or SPOKEN(asked)

    @property
    def variables(self) -> dict[str, str]:
        """The settings of a site with that model."""
        assert self.server is not None
        return {"MEDAGENT_MODEL_URL": self.server.url, "MEDAGENT_MODEL": self.server.name}

    @property
    def asked(self) -> int:
        """How many completions were asked for."""
        assert self.server is not None
        return len(self.server.requests)

    def run(self, *more: str) -> Ended:
        """A run to its end."""
        return self.program.run(*recommend_sample("diabetes-kidney", "--question", QUESTION, *more), **self.variables)

    def start(self) -> "subprocess.Popen[bytes]":
        """A run that goes on by itself."""
        return self.program.start(*recommend_sample("diabetes-kidney", "--question", QUESTION), **self.variables)

    def obey(self, said: str, *more: str) -> Ended:
        """Runs the command that was printed."""
        _, _, command = said.partition("To go on: ")
        name, *arguments = shlex.split(command)
        assert name == "medagent"
        return self.program.run(*arguments, *more, **self.variables)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    at = Site(Program(tmp_path / "home"))
    with model_server(at.says) as server:
        at.server = server
        yield at


def interrupted(site: Site) -> str:
    """What a run says that gets Ctrl-C while it waits for a draft."""
    site.happens = hang
    running = site.start()
    assert site.has_happened.wait(60)
    running.send_signal(signal.SIGINT)
    said, complained = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, b"")
    return complained.decode()


def test_ctrl_c_says_how_to_go_on_and_asks_nothing_twice_when_that_is_done(site: Site) -> None:
    said = interrupted(site)
    before = site.asked
    ended = site.obey(said, "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f'"question": "{QUESTION}"' in ended.stdout
    assert site.obey(said, "--format", "json").stdout == ended.stdout, "of a run that has ended, its outcome"
    assert (before, site.asked) == (3, 4), "a turn with a tool, a turn without, a draft that never came; the draft"


def test_what_is_to_be_given_again_stands_in_the_command(site: Site, tmp_path: Path) -> None:
    """A source that was said to be incomplete, or images, would else be another chart than the one asked about."""
    folder = tmp_path / "all of the images"
    folder.mkdir()

    def breaks() -> Turn:
        with closing(sqlite3.connect(site.program.home / "medagent.db")) as connection:
            connection.execute("ALTER TABLE journal RENAME TO lost")
        return hang()

    site.happens = breaks
    variables: dict[str, Any] = {"MEDAGENT_MODEL_IMAGES_MAX": "2", "MEDAGENT_MODEL_SECONDS_MAX": "3"}
    arguments = recommend_sample("diabetes-kidney", "--partial", "--images", folder)
    failed = site.program.run(*arguments, **site.variables, **variables)
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert f"--partial --images '{folder}' --resume request-" in failed.stderr


def test_without_a_model_a_run_says_nothing_of_going_on(site: Site) -> None:
    ended = site.program.run(*recommend_sample("healthy"))
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("given", [("--question", "Another one?"), ("--as-of", "2026-01-01"), ("--patient", "x")])
def test_what_the_request_says_already_is_not_said_again(site: Site, given: tuple[str, str]) -> None:
    """Refused before anything is looked at."""
    ended = site.program.run("recommend", "--fhir", SAMPLES, "--resume", "request-x", *given, **site.variables)
    assert ended.returncode == 2
    assert given[0] in ended.stderr


def test_a_request_that_nobody_made_is_refused(site: Site) -> None:
    ended = site.program.run("recommend", "--fhir", SAMPLES / "healthy.json", "--resume", "request-x", **site.variables)
    assert ended.returncode == 1
    assert "request-x" in ended.stderr
    assert "To go on" not in ended.stderr
