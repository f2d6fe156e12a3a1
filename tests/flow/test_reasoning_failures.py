# SPDX-License-Identifier: Apache-2.0
"""However and whenever the model's server fails, the run ends in time with an outcome: what the engine puts forward is
shown with a line that says what became of the model, and where there is nothing of it, there is no all-clear."""

import socket
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders.model_server import (
    Asked,
    ModelServer,
    Turn,
    after,
    calls,
    close,
    die_mid_answer,
    garbage,
    hang,
    model_server,
    reset,
    say,
    status,
    too_long,
)
from builders.program import SAMPLES
from builders.reasoning import value
from builders.reasoning_scripts import Told, answer, chart_in, desk, of_engine, on_screen, reached

from medagent.errors import ModelFailure
from medagent.records import OutcomeKind, Reason, ReasoningEnd
from medagent_workflows.recommending import Recorded

ALONE = "what follows is the guideline engine's alone."
HEALTHY = SAMPLES / "healthy.json"
"""A chart for which the engine has nothing to put forward."""
QUICKLY: Mapping[str, Any] = {"model_seconds_max": 4.0}
NO_ALL_CLEAR: Mapping[ReasoningEnd, Reason] = {
    "unavailable": Reason.UNAVAILABLE,
    "refused": Reason.UNAVAILABLE,
    "too_long": Reason.UNAVAILABLE,
    "deadline": Reason.DEADLINE,
    "invalid_output": Reason.FAILED_VERIFICATION,
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_in(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def alone(home: Path, chart: Path) -> bytes:
    with desk(home) as at:
        return of_engine(at.run(chart))


def assert_clear_end(recorded: Recorded, ended: ReasoningEnd, alone: bytes) -> None:
    """The engine's part is whole, and everybody sees that the model's is not."""
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert (reasoning.ended, recorded.dossier.outcome) == (ended, OutcomeKind.OFFERED)
    assert reasoning.detail
    assert of_engine(recorded) == alone
    assert ALONE in " ".join(on_screen(recorded).replace("│", " ").split())


def assert_no_all_clear(recorded: Recorded, ended: ReasoningEnd) -> None:
    assert (recorded.dossier.outcome, recorded.dossier.reason) == (OutcomeKind.ABSTAINED, NO_ALL_CLEAR[ended])


FAULTS: Mapping[str, tuple[Turn, ModelFailure]] = {
    "resets the connection": (reset(), "unavailable"),
    "closes the connection": (close(), "unavailable"),
    "is in trouble": (status(500), "unavailable"),
    "is overloaded": (status(429, retry_after="3600"), "unavailable"),
    "does not let us in": (status(401), "refused"),
    "answers with garbage": (garbage(), "invalid_output"),
    "never answers": (hang(), "deadline"),
}
AMID_AN_ANSWER: Mapping[str, tuple[Turn, ModelFailure]] = {
    "says that the prompt is too long": (too_long(), "too_long"),
    "dies in the middle of its answer": (die_mid_answer(), "unavailable"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_server_that_fails_at_the_start(home: Path, chart: Path, alone: bytes, case: str) -> None:
    fault, ended = FAULTS[case]
    with model_server(metadata=fault) as server, desk(home, server, model_seconds_max=1.5) as at:
        started = time.monotonic()
        sick, well = at.run(chart), at.run(HEALTHY)
        took = time.monotonic() - started
    assert_clear_end(sick, ended, alone)
    assert_no_all_clear(well, ended)
    assert sick.dossier.mode.model is None
    assert took < 2 * 1.5 + 10  # what two runs take without a model, on a busy machine


def test_nobody_listens(home: Path, chart: Path, alone: bytes) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with desk(home, model_url=url, model="gone") as at:
        assert_clear_end(at.run(chart), "unavailable", alone)
        assert_no_all_clear(at.run(HEALTHY), "unavailable")


def test_another_model_is_served(home: Path, chart: Path, alone: bytes) -> None:
    with model_server(name="another") as server, desk(home, server, model="wanted") as at:
        assert_clear_end(at.run(chart), "refused", alone)


def at_a_turn(fault: Turn) -> Any:
    return lambda _: fault


def at_the_draft(fault: Turn) -> Any:
    return lambda asked: fault if asked.schema is not None else say("Enough.")


@pytest.mark.parametrize("moment", [at_a_turn, at_the_draft], ids=["in a turn", "at the draft"])
@pytest.mark.parametrize("case", [*FAULTS, *AMID_AN_ANSWER])
def test_a_server_that_fails_later(home: Path, chart: Path, alone: bytes, case: str, moment: Any) -> None:
    fault, ended = {**FAULTS, **AMID_AN_ANSWER}[case]
    with model_server(moment(fault)) as server, desk(home, server, **QUICKLY) as at:
        sick, well = at.run(chart), at.run(HEALTHY)
    assert_clear_end(sick, ended, alone)
    assert_no_all_clear(well, ended)
    assert (sick.dossier.mode.model is not None) == (moment is at_the_draft)
    assert ("seconds" in reached(sick)) == (ended == "deadline")


def test_a_tokenizer_that_fails_costs_room_and_nothing_else(home: Path, chart: Path, alone: bytes) -> None:
    """What a tool says is then cut by its bytes, of which no tokenizer makes more tokens."""
    servers: list[ModelServer] = []

    def script(asked: Asked) -> Turn:
        if asked.schema is not None:
            return answer(value(Told(asked.text).name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%"))
        if asked.step:
            return say("Enough.")
        servers[0].metadata = status(404)
        return calls(("search_guidelines", {"words": "kidney diabetes"}))

    with model_server(script) as server, desk(home, server) as at:
        servers.append(server)
        recorded = at.run(chart)
    assert recorded.dossier.reasoning is not None
    (used,) = recorded.dossier.reasoning.tool_calls
    assert used.outcome == "answered"
    assert used.shown < used.total
    assert recorded.dossier.reasoning.ended == "drafted"
    assert of_engine(recorded) == alone


def test_a_server_that_comes_back_between_attempts_is_asked_again(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        return status(503) if asked.turn == 0 else answer(abstain="nothing_to_add")

    with model_server(script) as server, desk(home, server, model_tools=False) as at:
        recorded = at.run(chart)
    assert recorded.dossier.reasoning is not None
    (made,) = recorded.dossier.reasoning.model_calls
    assert (made.outcome, made.attempts) == ("answered", 2)


def test_a_turn_that_takes_too_long_leaves_time_for_the_draft(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        return answer(abstain="nothing_to_add") if asked.schema is not None else after(30, say("Hm."))

    with model_server(script) as server, desk(home, server, model_seconds_max=2.0) as at:
        recorded = at.run(chart)
    assert recorded.dossier.reasoning is not None
    assert [one.outcome for one in recorded.dossier.reasoning.model_calls] == ["deadline", "answered"]
    assert reached(recorded) == {"seconds"}
