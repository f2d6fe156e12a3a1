# SPDX-License-Identifier: Apache-2.0
"""A server gives the same resources in other pages each time. Its readings have other ids then, and a run that was cut
off goes on with them: the model's short names stand for what they stood for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from builders.fhir import Json
from builders.model_server import Script, model_server
from builders.reasoning import absence, threshold, value
from builders.reasoning_scripts import Cut, Dying, StandingClock, Told, chart_in, desk, model

from medagent_workflows.recommending import Recorded


def drafts(told: Told) -> list[Json]:
    """Of the overview, of what a tool said, and of readings of both."""
    return [
        value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%"),
        threshold(told.name("f", "creatinine [serum-creatinine]"), ">", Decimal("1.2"), "mg/dL"),
        absence(told.name("r", "Reading:", "heart failure"), "recorded"),
    ]


SCRIPT: Script = model(
    [("search_chart", {"kind": "condition", "value_set": "heart-failure"}), ("list_labs", {"analyte": "hba1c"})],
    drafts=drafts,
)
WRITES = 12
"""Intents and results of the opening, two turns, two tools, and the draft."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The same resources, byte for byte, in two containers."""

    first: Path
    second: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("pages")
    first, second = chart_in(folder / "first"), folder / "second.json"
    second.write_bytes(b"\n" + first.read_bytes())
    return Pages(first, second)


@pytest.fixture(scope="module")
def uncut(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with (
        model_server(SCRIPT) as server,
        desk(tmp_path_factory.mktemp("home"), server, clock=StandingClock()) as at,
    ):
        yield at.run(pages.first)


def said(recorded: Recorded) -> list[tuple[str, list[str]]]:
    return [(one.title, [claim.text for claim in one.claims]) for one in recorded.dossier.recommendations]


def test_the_run_that_is_cut_rests_on_readings(uncut: Recorded) -> None:
    reasoning = uncut.dossier.reasoning
    assert reasoning is not None
    assert reasoning.invalid == ()
    assert 2 * (1 + len(reasoning.model_calls) + len(reasoning.tool_calls)) == WRITES
    (noted,) = [one for one in uncut.dossier.recommendations if one.author == "model"]
    assert [claim.kind for claim in noted.claims] == ["value", "threshold", "absence"]


@pytest.mark.parametrize("number", range(WRITES))
def test_a_run_goes_on_though_the_pages_are_others(pages: Pages, uncut: Recorded, tmp_path: Path, number: int) -> None:
    with model_server(SCRIPT) as server:
        dies = desk(tmp_path, server, clock=StandingClock(), wrap=lambda journal: Dying(journal, number))
        with dies as at, pytest.raises(Cut):
            at.run(pages.first)
        with desk(tmp_path, server, clock=StandingClock()) as at:
            (request,) = at.services.store.open_requests("local")
            gone_on = at.go_on(pages.second, request)
            assert at.services.store.verify("local").ok
        asked = Counter(one.raw for one in server.requests)
    assert said(gone_on) == said(uncut)
    assert gone_on.dossier.reasoning is not None
    assert gone_on.dossier.reasoning.invalid == ()
    assert len(asked) == 3, "two turns and a draft: no question is another than before"
