# SPDX-License-Identifier: Apache-2.0
"""The retrieval plan: what is fetched before anything asks for it, and no more."""

from pathlib import Path

import pytest
from builders.program import SAMPLES
from builders.runs import instant_of, runner

from medagent.evidence import Reading
from medagent_tools.guidelines.pack import shipped_pack
from medagent_workflows.reasoning.overview import OVERVIEW_TYPES
from medagent_workflows.retrieval import engine_types, plan


@pytest.mark.parametrize("sample", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_whatever_the_engine_asks_of_a_chart_is_in_the_plan(tmp_path: Path, sample: str) -> None:
    with runner(tmp_path) as made:
        recorded = made.record(SAMPLES / f"{sample}.json", as_of=instant_of("2026-06-30T23:59:59+00:00"))
    readings = [one for one in recorded.dossier.evidence if isinstance(one, Reading)]
    asked = {name for reading in readings for name in reading.query.resource_types}
    assert asked <= set(engine_types(shipped_pack()))


def test_the_plan_holds_what_is_needed_and_nothing_twice() -> None:
    planned = plan(shipped_pack(), has_model=False)
    assert len(planned) == len(set(planned))
    assert "Observation" in planned
    assert "Encounter" in planned  # clinical: 4
    assert not {"Binary", "FamilyMemberHistory", "DocumentReference"} & set(planned)


def test_a_model_is_told_of_more_than_the_engine_asks_for() -> None:
    assert set(plan(shipped_pack(), has_model=True)) == set(plan(shipped_pack(), has_model=False)) | set(OVERVIEW_TYPES)
