# SPDX-License-Identifier: Apache-2.0
"""The same request with the same seed comes to the same considerations, alone and among others, of a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.reasoning_scripts import Desk, chart_in, desk
from builders.soaking import ChartAsked, DrawnImages, drafts_written, side_by_side
from builders.vllm_server import ONE_AT_A_TIME, VllmServer

from medagent.canonical import canonical_json, sha256_hex
from medagent_workflows.recommending import Recorded

pytestmark = [pytest.mark.vllm, ONE_AT_A_TIME]

GREEDY: dict[str, Any] = {"model_temperature": 0.0}
SEEDED: dict[str, Any] = {"model_temperature": 1.0}
SAMPLES: dict[str, Any] = {"model_temperature": 1.0, "model_samples": 3}
each_sampling = pytest.mark.parametrize(
    ("vllm_server", "sampling"),
    [
        pytest.param("gemma3", GREEDY, id="gemma3, greedy"),
        pytest.param("gemma3", SEEDED, id="gemma3, seeded"),
        pytest.param("qwen3_vl", GREEDY, id="qwen3_vl, greedy"),
        pytest.param("qwen3_vl", SEEDED, id="qwen3_vl, seeded"),
        pytest.param("qwen3_vl", SAMPLES, id="qwen3_vl, three seeded samples"),
    ],
    indirect=["vllm_server"],
)
MANY = 8


@pytest.fixture
def at(tmp_path: Path, vllm_server: VllmServer, sampling: dict[str, Any]) -> Iterator[Desk]:
    with desk(
        tmp_path / "home",
        images=DrawnImages(),
        model_url=vllm_server.url,
        model=vllm_server.model,
        model_steps_max=2,
        model_reply_tokens_max=96,
        model_draft_tokens_max=384,
        model_images_max=1,
        **sampling,
    ) as one:
        yield one


@pytest.fixture
def chart(tmp_path: Path) -> ChartAsked:
    return ChartAsked(chart_in(tmp_path / "chart"))


def said(at: Desk, recorded: Recorded) -> tuple[str, str]:
    """Hashes of what the model wrote when it drafted, and of what was made of it."""
    written = canonical_json(list(drafts_written(at, recorded)))
    return sha256_hex(written), sha256_hex(canonical_json(list(recorded.dossier.considerations)))


@each_sampling
def test_a_run_repeats_itself_alone_and_among_others(at: Desk, chart: ChartAsked) -> None:
    (alone,) = side_by_side(at, chart, [7], talkative=True)
    among_others = side_by_side(at, chart, [7] * MANY, talkative=True)
    assert {said(at, one) for one in among_others} == {said(at, alone)}


@pytest.mark.parametrize(
    ("vllm_server", "sampling"), [("qwen3_vl", SEEDED)], indirect=["vllm_server"], ids=["qwen3_vl"]
)
def test_another_seed_says_something_else(at: Desk, chart: ChartAsked) -> None:
    runs = side_by_side(at, chart, range(4))
    assert len({said(at, one)[0] for one in runs}) > 1
