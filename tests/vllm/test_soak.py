# SPDX-License-Identifier: Apache-2.0
"""Hundreds of drafts by models that know no medicine: nothing untrue is ever shown, and every run ends in an outcome.

A few drafts in each run of the tests; the full counts by

    MEDAGENT_SOAK_DRAFTS=1000 MEDAGENT_SOAK_SMOLLM2_DRAFTS=200 .venv/bin/pytest -s tests/vllm/test_soak.py

which prints what became of them, by kind. The random models write whatever their schema permits, SmolLM2 writes fluent
English about what it does not understand.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from builders.reasoning_scripts import Desk, chart_in, desk
from builders.soaking import ChartAsked, DrawnImages, Tally, real_charts, sample_charts, soaked
from builders.vllm_server import ONE_AT_A_TIME, VllmServer

pytestmark = [pytest.mark.vllm, pytest.mark.slow, ONE_AT_A_TIME]

RANDOM = ("gemma3", "qwen3_vl")
DRAFTS = int(os.environ.get("MEDAGENT_SOAK_DRAFTS", "20"))
"""By random models, all together."""
SMOLLM2_DRAFTS = int(os.environ.get("MEDAGENT_SOAK_SMOLLM2_DRAFTS", "3"))
BOUNDS: dict[str, Any] = {
    "model_temperature": 1.0,
    "model_steps_max": 2,
    "model_reply_tokens_max": 128,
    "model_images_max": 2,
    "model_seconds_max": 900.0,  # that all of them draft, however busy the machine is
}


@pytest.fixture
def charts(tmp_path: Path) -> list[ChartAsked]:
    """Samples, one with a note and an image, and those that nobody of this project wrote where they are at hand."""
    shared = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    own = [*sample_charts(), ChartAsked(chart_in(tmp_path / "chart"))]
    others = real_charts(shared) if shared.is_dir() else []
    return [one for pair in zip(own * len(others), others, strict=False) for one in pair] or own


@contextmanager
def served(server: VllmServer, **settings: Any) -> Iterator[Desk]:
    """Records that are gone when the runs are counted: there are gigabytes of them."""
    with (
        TemporaryDirectory() as home,
        desk(Path(home), images=DrawnImages(), model_url=server.url, model=server.model, **BOUNDS | settings) as at,
    ):
        yield at


def judge(tally: Tally, server: VllmServer) -> None:
    print(f"\n{server.model}: {tally.report()}")
    assert tally.unsupported == []
    assert tally.harmed == []
    assert "unavailable" not in tally.ends


@pytest.mark.parametrize("vllm_server", RANDOM, indirect=True)
def test_random_models_have_nothing_untrue_shown(vllm_server: VllmServer, charts: list[ChartAsked]) -> None:
    with served(vllm_server, model_draft_tokens_max=768) as at:
        judge(soaked(at, charts, DRAFTS // len(RANDOM)), vllm_server)


@pytest.mark.parametrize("vllm_server", ["smollm2"], indirect=True)
def test_a_small_language_model_has_nothing_untrue_shown(vllm_server: VllmServer, charts: list[ChartAsked]) -> None:
    slow = {"model_tools": False, "model_overview_tokens_max": 800, "model_draft_tokens_max": 192}
    with served(vllm_server, **slow, model_images_max=0) as at:  # two busy cores write ten tokens in a second
        judge(soaked(at, charts, SMOLLM2_DRAFTS), vllm_server)
