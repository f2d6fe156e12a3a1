# SPDX-License-Identifier: Apache-2.0
"""A run that was cut off at any write of its journal goes on to the same dossier, byte for byte, and nothing of what
was answered is asked again; and the same run twice says the same."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from builders import fhir
from builders.fhir import Json
from builders.model_server import Script, model_server, status
from builders.reasoning import presence, threshold, value
from builders.reasoning_scripts import (
    PATIENT,
    Cut,
    Dying,
    StandingClock,
    Told,
    chart_in,
    desk,
    images_in,
    model,
)

from medagent.errors import AuditError, JournalError, UsageError
from medagent.journal import Journal
from medagent_workflows.recommending import Recorded

TURNS: tuple[list[tuple[str, Json]], ...] = (
    [("list_labs", {"analyte": "creatinine"}), ("view_image", {"image": "i1"}), ("nothing", {})],
    [("search_notes", {"words": "along"})],
)
ANSWERED = 5
"""Two turns with tools, one that has seen enough, a draft of which a part does not hold, and another one."""


def drafts(told: Told) -> list[Json]:
    """At first with something that is not so; once it was told, without."""
    true = [
        value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%"),
        presence(told.name("f", "«chronic kidney disease»"), "active"),
    ]
    false = threshold(told.name("f", "creatinine [serum-creatinine]"), "<", Decimal("1.2"), "mg/dL")
    return true if "could not be used" in told.text else [*true, false]


SCRIPT = model(*TURNS, drafts=drafts)


@dataclass(frozen=True, slots=True)
class Place:
    """A chart and images, alike for each run."""

    chart: Path
    images: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    images_in(folder / "images")
    return Place(chart_in(folder / "chart"), folder / "images")


def whole(place: Place, home: Path, script: Script = SCRIPT) -> Recorded:
    """A run that nothing cuts off, at an instant that stands still."""
    with (
        model_server(script) as server,
        desk(home, server, images=images_in(place.images), clock=StandingClock()) as at,
    ):
        return at.run(place.chart)


@pytest.fixture(scope="module")
def uncut(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return whole(place, tmp_path_factory.mktemp("home"))


def writes_of(recorded: Recorded) -> int:
    """Intents and results of the opening and of each call."""
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    return 2 * (1 + len(reasoning.model_calls) + len(reasoning.tool_calls))


def test_the_run_that_is_cut_has_a_moment_of_every_kind(uncut: Recorded) -> None:
    reasoning = uncut.dossier.reasoning
    assert reasoning is not None
    assert [one.key for one in reasoning.model_calls] == [
        "model/0", "model/1", "model/2", "draft/0/0/0", "draft/1/0/0",
    ]  # fmt: skip
    assert [one.outcome for one in reasoning.tool_calls] == ["answered", "answered", "unknown_tool", "answered"]
    assert len(reasoning.images) == 1
    assert writes_of(uncut) == 20


# standards: 51
@pytest.mark.parametrize("number", range(20))
def test_a_run_that_is_cut_before_any_write_goes_on_to_the_same_dossier(
    place: Place, uncut: Recorded, tmp_path: Path, number: int
) -> None:
    images = images_in(place.images)
    with model_server(SCRIPT) as server:
        dies = desk(tmp_path, server, images=images, clock=StandingClock(), wrap=lambda journal: Dying(journal, number))
        with dies as at, pytest.raises(Cut):
            at.run(place.chart)
        with desk(tmp_path, server, images=images, clock=StandingClock()) as at:
            (request,) = at.services.store.open_requests("local")
            gone_on = at.go_on(place.chart, request)
            assert at.go_on(place.chart, request).stored == gone_on.stored
            report = at.services.store.verify("local")
        asked = Counter(one.raw for one in server.requests)
    assert report.ok
    if is_answer_lost(number):
        # The model had answered, and nobody had written it down: it is asked once more.
        assert sorted(asked.values()) == [1] * (ANSWERED - 1) + [2]
        assert told_apart_from_the_cache(gone_on) == told_apart_from_the_cache(uncut)
    else:
        assert set(asked.values()) == {1}
        assert gone_on.stored == uncut.stored
    assert len(asked) == ANSWERED


LOST = frozenset({3, 11, 15, 17, 19})
"""Writes that would have been the result of a call of the model."""


def is_answer_lost(number: int) -> bool:
    return number in LOST


def told_apart_from_the_cache(recorded: Recorded) -> Json:
    """The dossier without what a server says of its cache, which an answer given twice changes."""
    dumped = recorded.dossier.model_dump()
    for call in dumped["reasoning"]["model_calls"]:
        del call["cached_tokens"], call["response_sha256"]
    return dumped


def test_a_process_that_dies_again_and_again_gets_to_the_end(place: Place, uncut: Recorded, tmp_path: Path) -> None:
    """Each life takes a little more of the journal than the one before."""
    images, lives = images_in(place.images), 0
    with model_server(SCRIPT) as server:
        with desk(tmp_path, server, images=images, clock=StandingClock(), wrap=dying(5)) as at, pytest.raises(Cut):
            at.run(place.chart)
        for lives in range(1, 60):
            with desk(tmp_path, server, images=images, clock=StandingClock(), wrap=dying(5 + lives)) as at:
                (request,) = at.services.store.open_requests("local")
                try:
                    gone_on = at.go_on(place.chart, request)
                except Cut:
                    continue
                break
        asked = Counter(one.raw for one in server.requests)
    assert lives > 5
    assert told_apart_from_the_cache(gone_on) == told_apart_from_the_cache(uncut)
    assert len(asked) == ANSWERED


def dying(writes: int) -> Callable[[Journal], Journal]:
    return lambda journal: Dying(journal, writes)


@contextmanager
def no_outcome_is_taken(home: Path) -> Iterator[None]:
    """The database refuses outcomes."""
    refusal = (
        "CREATE TRIGGER full BEFORE INSERT ON audit_events WHEN new.type = 'outcome_recorded' "
        "BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    with closing(sqlite3.connect(home / "medagent.db")) as database:
        database.execute(refusal)
        yield
        database.execute("DROP TRIGGER full")


def test_a_server_that_was_down_stays_down_for_that_run(place: Place, tmp_path: Path) -> None:
    """How the run began is on record: when it goes on, nobody is asked whether the server is there by now."""
    with model_server(SCRIPT, metadata=status(500)) as server, desk(tmp_path, server) as at:
        with no_outcome_is_taken(tmp_path), pytest.raises(AuditError):
            at.run(place.chart)
        server.metadata = None
        (request,) = at.services.store.open_requests("local")
        recorded = at.go_on(place.chart, request)
        assert server.requests == []
    assert recorded.dossier.reasoning is not None
    assert recorded.dossier.reasoning.ended == "unavailable"


def test_an_outcome_that_could_not_be_recorded_is_recorded_later_as_it_was(
    place: Place, uncut: Recorded, tmp_path: Path
) -> None:
    images = images_in(place.images)
    with model_server(SCRIPT) as server, desk(tmp_path, server, images=images, clock=StandingClock()) as at:
        with no_outcome_is_taken(tmp_path), pytest.raises(AuditError):
            at.run(place.chart)
        (request,) = at.services.store.open_requests("local")
        assert at.go_on(place.chart, request).stored == uncut.stored
        assert len(server.requests) == ANSWERED


def test_a_run_whose_chart_has_changed_meanwhile_is_not_gone_on_with(place: Place, tmp_path: Path) -> None:
    """What was asked rests on another chart; the request stays open."""
    with model_server(SCRIPT) as server:
        with desk(tmp_path / "home", server, wrap=dying(6)) as at, pytest.raises(Cut):
            at.run(place.chart)
        changed = chart_in(
            tmp_path / "changed", fhir.observation("718-7", "9.1", "g/dL", at="2026-06-01", patient=PATIENT)
        )
        with desk(tmp_path / "home", server) as at:
            (request,) = at.services.store.open_requests("local")
            with pytest.raises(JournalError):
                at.go_on(changed, request)
            assert at.services.store.open_requests("local") == (request,)


@pytest.mark.parametrize("writes", [5, 9, 12, 16])
def test_a_run_keeps_the_bounds_that_it_began_with(place: Place, uncut: Recorded, tmp_path: Path, writes: int) -> None:
    """What a site has set meanwhile is for runs to come: else turns that were taken would be taken otherwise."""
    images = images_in(place.images)
    with model_server(SCRIPT) as server:
        with desk(tmp_path, server, images=images, clock=StandingClock(), wrap=dying(writes)) as at, pytest.raises(Cut):
            at.run(place.chart)
        meanwhile = desk(
            tmp_path, server, images=images, clock=StandingClock(), model_steps_max=1, model_tool_calls_max=1
        )
        with meanwhile as at:
            (request,) = at.services.store.open_requests("local")
            gone_on = at.go_on(place.chart, request)
    assert told_apart_from_the_cache(gone_on) == told_apart_from_the_cache(uncut)


def test_a_run_is_not_gone_on_with_by_another_model(place: Place, tmp_path: Path) -> None:
    """Its dossier would say of one model what another one wrote."""
    images = images_in(place.images)
    with model_server(SCRIPT) as server, model_server(SCRIPT, name="another") as other:
        with desk(tmp_path, server, images=images, wrap=dying(12)) as at, pytest.raises(Cut):
            at.run(place.chart)
        with desk(tmp_path, other, images=images) as at:
            (request,) = at.services.store.open_requests("local")
            recorded = at.go_on(place.chart, request)
        assert other.requests == []
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert (reasoning.ended, {call.model for call in reasoning.model_calls}) == ("refused", {"scripted"})
    assert "another model" in reasoning.detail


def test_a_run_that_began_with_a_model_is_not_gone_on_with_by_the_engine_alone(place: Place, tmp_path: Path) -> None:
    """Its dossier would leave out what was asked and answered."""
    with model_server(SCRIPT) as server, desk(tmp_path, server, wrap=dying(9)) as at, pytest.raises(Cut):
        at.run(place.chart)
    with desk(tmp_path) as at:
        (request,) = at.services.store.open_requests("local")
        with pytest.raises(UsageError, match="MEDAGENT_MODEL_URL"):
            at.go_on(place.chart, request)
        assert at.services.store.open_requests("local") == (request,)


def test_the_same_run_twice_says_the_same_byte_for_byte(place: Place, uncut: Recorded, tmp_path: Path) -> None:
    again = whole(place, tmp_path)
    assert again.stored == uncut.stored
    assert [one.kind for part in again.dossier.considerations for one in part.propositions]


def test_nothing_is_left_of_a_run_that_has_ended(place: Place, tmp_path: Path) -> None:
    whole(place, tmp_path)
    with closing(sqlite3.connect(tmp_path / "graph.db")) as checkpoints:
        assert checkpoints.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
        assert checkpoints.execute("SELECT count(*) FROM writes").fetchone() == (0,)
