# SPDX-License-Identifier: Apache-2.0
"""Time in which nobody worked on a run is none that its model took."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from builders.model_server import model_server
from builders.reasoning import value
from builders.reasoning_scripts import NOW, Cut, Desk, Dying, chart_in, desk, model, reached

SCRIPT = model(
    [("list_labs", {}), ("list_problems", {}), ("list_medications", {})],
    drafts=lambda told: [value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%")],
)
WRITES = ("opening", "opening", "model/0", "model/0", "tool/0/0", "tool/0/1", "tool/0/2", "tool/0/0", "tool/0/1")
"""Of the journal until the process dies: two of the three results of the turn are recorded."""


@dataclass(slots=True)
class At:
    """A clock that goes on by a second each time that it is looked at."""

    present: datetime

    def now(self) -> datetime:
        self.present += timedelta(seconds=1)
        return self.present


def spent(at: Desk, chart: Path, request: str) -> float:
    """The seconds of the model's part, once it is seen that it was cut short by none."""
    recorded = at.go_on(chart, request)
    assert recorded.dossier.reasoning is not None
    assert recorded.dossier.reasoning.ended == "drafted"
    assert reached(recorded) == set()
    (seconds,) = (limit.used for limit in recorded.dossier.reasoning.limits if limit.name == "seconds")
    return seconds


@pytest.mark.parametrize("nights", [0, 1, 30])
def test_a_night_between_two_tools_of_a_turn_takes_none_of_the_time(tmp_path: Path, nights: int) -> None:
    chart, home = chart_in(tmp_path / "chart"), tmp_path / "home"
    with model_server(SCRIPT) as server:
        dies = desk(home, server, clock=At(NOW), wrap=lambda journal: Dying(journal, len(WRITES)))
        with dies as at, pytest.raises(Cut):
            at.run(chart)
        with desk(home, server, clock=At(NOW + nights * timedelta(hours=10))) as at:
            (request,) = at.services.store.open_requests("local")
            assert spent(at, chart, request) < 60
