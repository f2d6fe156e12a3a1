# SPDX-License-Identifier: Apache-2.0
"""The whole run with real vLLM behind it: chart, images, tools and a question, in each way in which models are served.

The models are random, so what they say is noise; that is the point. Whatever it is, the run ends in an outcome, the
engine says what it says alone, nothing is shown that is not true of the chart, and every call is on record.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from builders.reasoning_scripts import Desk, chart_in, desk, of_engine
from builders.reevaluation import unsupported
from builders.soaking import ChartAsked, DrawnImages, second_look, side_by_side
from builders.vllm_server import ONE_AT_A_TIME, VllmServer

from medagent.records import CallOutcome, ModelCall, OutcomeKind, Reasoning
from medagent_workflows.recommending import Recorded

pytestmark = [pytest.mark.vllm, ONE_AT_A_TIME]

in_every_way = pytest.mark.parametrize(
    ("vllm_server", "with_tools"),
    [
        pytest.param("gemma3", True, id="gemma3"),
        pytest.param("gemma3", False, id="gemma3 without tools"),
        pytest.param("qwen3_vl", True, id="qwen3_vl"),
        pytest.param("qwen3_vl", False, id="qwen3_vl without tools"),
        pytest.param("llava", False, id="llava without tools"),
        pytest.param("smolvlm", False, id="smolvlm without tools"),
        pytest.param("blip2", False, id="blip2 without tools"),
    ],
    indirect=True,
)
without_tools = pytest.mark.parametrize(
    ("vllm_server", "with_tools"),
    [pytest.param(name, False, id=name) for name in ("gemma3", "qwen3_vl", "llava", "smolvlm")],
    indirect=True,
)

QUESTION = "What should be looked at first, and what speaks against it?"
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Loop:
    """A few runs over one chart, each with another seed."""

    at: Desk
    server: VllmServer
    runs: list[Recorded]
    alone: bytes
    """What the engine says of the chart where no model is configured."""


@pytest.fixture(scope="module")
def with_tools(request: pytest.FixtureRequest) -> bool:
    """Whether the model is offered tools."""
    offered: bool = request.param
    return offered


@pytest.fixture(scope="module")
def loop(vllm_server: VllmServer, with_tools: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    chart = ChartAsked(chart_in(folder / "chart"))
    with desk(folder / "alone") as at:
        alone = of_engine(at.run(chart.path, question=QUESTION))
    with desk(
        folder / "home",
        images=DrawnImages(),
        model_url=vllm_server.url,
        model=vllm_server.model,
        model_tools=with_tools,
        model_temperature=1.0,
        model_steps_max=3,
        model_reply_tokens_max=256,
        model_draft_tokens_max=min(1024, vllm_server.serving.window // 4),
        model_images_max=1,
    ) as at:
        yield Loop(at, vllm_server, side_by_side(at, chart, SEEDS, question=QUESTION), alone)


def reasoning_of(recorded: Recorded) -> Reasoning:
    assert recorded.dossier.reasoning is not None
    return recorded.dossier.reasoning


def calls_of(recorded: Recorded) -> tuple[ModelCall, ...]:
    return reasoning_of(recorded).model_calls


@in_every_way
def test_a_run_ends_with_what_the_engine_says_alone_and_nothing_untrue(loop: Loop) -> None:
    for recorded in loop.runs:
        assert recorded.dossier.outcome is OutcomeKind.OFFERED
        assert of_engine(recorded) == loop.alone
        assert unsupported(second_look(loop.at, recorded)) == []
    assert loop.at.services.store.open_requests("local") == ()


@in_every_way
def test_every_call_is_on_record_with_its_hashes_and_tokens(loop: Loop) -> None:
    for recorded in loop.runs:
        request, calls = recorded.dossier.request, calls_of(recorded)
        journaled = {one.key: one for one in loop.at.services.store.journal(request.tenant).entries(request.id)}
        assert "draft" in [call.purpose for call in calls]
        for call in calls:
            assert (call.outcome, call.model) == (CallOutcome.ANSWERED, loop.server.model)
            assert call.recorded_sha256 == journaled[call.key].request_sha256
            assert call.request_sha256 != call.response_sha256
            assert min(call.prompt_tokens, call.completion_tokens) > 0
            assert call.prompt_tokens + call.completion_tokens <= loop.server.serving.window
            assert call.finish in ("stop", "length", "tool_calls")
        for used in reasoning_of(recorded).tool_calls:
            assert used.result_sha256 == journaled[used.key].result_sha256


@in_every_way
def test_from_the_second_step_on_most_of_a_prompt_comes_from_the_cache(loop: Loop) -> None:
    for recorded in loop.runs:
        for call in calls_of(recorded)[1:]:
            assert (call.cached_tokens or 0) >= 0.8 * call.prompt_tokens, call.key


@without_tools
def test_images_go_along_where_a_model_cannot_ask_for_them(loop: Loop) -> None:
    for recorded in loop.runs:
        (shown,) = reasoning_of(recorded).images
        assert recorded.dossier.mode.images
        assert all(len(call.images) == 1 for call in calls_of(recorded))
        assert shown.startswith("image-")
