# SPDX-License-Identifier: Apache-2.0
"""How a run ends where only a model has something to say: its notes are offered, and why no rule puts anything forward
stays in the outcome, so that nobody takes the notes for an all-clear."""

from pathlib import Path

import pytest
from builders import fhir
from builders.fhir import Json
from builders.model_server import model_server
from builders.program import SAMPLES
from builders.reasoning import presence
from builders.reasoning_scripts import Told, desk, model

from medagent.records import Reason

HEALTHY = SAMPLES / "healthy.json"


def notes(told: Told) -> list[Json]:
    """One true statement."""
    return [presence(told.name("f", "No known allergy"), "active")]


def a_chart_that_ends_years_ago(folder: Path) -> Path:
    """A man of forty of whom only an allergy is recorded: of today no rule can say that nothing is due."""
    person = fhir.patient("long-ago", birth_date="1986-01-01", gender="male")
    allergy = fhir.allergy("716186003", text="No known allergy", patient="long-ago", recorded="2020-06-01")
    path = folder / "long-ago.json"
    path.write_bytes(fhir.to_json(fhir.bundle(person, allergy)))
    return path


@pytest.mark.parametrize(
    ("is_old", "reason"),
    [
        pytest.param(False, None, id="every rule was decided, and nothing is due"),
        pytest.param(True, Reason.MISSING_DATA, id="the chart ends years before, so nothing can be said of today"),
    ],
)
def test_notes_alone_are_offered_with_the_reason_of_the_rules(
    tmp_path: Path, *, is_old: bool, reason: Reason | None
) -> None:
    chart = a_chart_that_ends_years_ago(tmp_path) if is_old else HEALTHY
    with model_server(model(drafts=notes)) as server, desk(tmp_path / "home", server) as at:
        dossier = at.run(chart).dossier
    assert [one.author for one in dossier.recommendations] == ["model"]
    assert (dossier.outcome, dossier.reason) == ("offered", reason)
