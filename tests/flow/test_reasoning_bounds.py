# SPDX-License-Identifier: Apache-2.0
"""What the model's part of a run may take: each bound holds, is reported where it was reached, and costs the run no
more than what lies beyond it. The draft is asked for all the same."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders.model_server import Asked, Script, Turn, after, call, calls, hang, model_server, say
from builders.model_server_chat import prompt_tokens
from builders.reasoning import value
from builders.reasoning_scripts import Told, answer, chart_in, desk, drafting, images_in, model, of_engine, reached
from builders.tools import study

UID = "1.2.826.0.1.3680043.8.498.77"
SECOND_IMAGE = f"{UID}.3"


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    other = study(SECOND_IMAGE, uid=f"{UID}.1", patient="person-of-this-chart", at="2026-02-10T09:00:00Z")
    return chart_in(tmp_path_factory.mktemp("chart"), other)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def newest(told: Told) -> Turn:
    return answer(value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%"))


def restless(*requests: tuple[str, Mapping[str, Any]]) -> Script:
    """Asks for the same tools in every turn, and never has seen enough; drafts when it must."""

    def script(asked: Asked) -> Turn:
        return newest(Told(asked.text)) if asked.schema is not None else calls(*requests)

    return script


def slow(asked: Asked) -> Turn:
    """Takes its time over a turn, and none over the draft."""
    return newest(Told(asked.text)) if asked.schema is not None else after(5.0, say("Let me think."))


def looking(asked: Asked) -> Turn:
    """Wants to see every image."""
    told = Told(asked.text)
    if asked.schema is not None:
        return newest(told)
    if asked.step == 0:
        return calls(("view_image", {"image": "i1"}), ("view_image", {"image": "i2"}))
    return say("Seen.")


@dataclass(frozen=True, slots=True)
class Bound:
    """A model that knows no end, and what ends it."""

    name: str
    script: Script
    settings: Mapping[str, Any] = field(default_factory=dict)
    context_tokens: int = 32_768


BOUNDS = {
    "turns": Bound("steps", restless(("list_labs", {})), {"model_steps_max": 2}),
    "no turn at all": Bound("steps", restless(("list_labs", {})), {"model_steps_max": 0}),
    "tool calls of many turns": Bound("tool_calls", restless(("list_labs", {})), {"model_tool_calls_max": 3}),
    "tool calls of one turn": Bound(
        "tool_calls", restless(*[("list_problems", {"limit": n}) for n in range(1, 6)]), {"model_tool_calls_max": 3}
    ),
    "tokens": Bound("tokens", restless(("list_labs", {})), {"model_tokens_max": 24_000, "model_steps_max": 64}),
    "images": Bound("images", looking, {"model_images_max": 1}),
    "seconds": Bound("seconds", slow, {"model_seconds_max": 3.0}),
    "context": Bound(
        "context", restless(("search_guidelines", {"words": "kidney diabetes"})), {"model_steps_max": 64}, 12_000
    ),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_a_bound_holds_and_is_reported_and_a_draft_follows(home: Path, chart: Path, tmp_path: Path, case: str) -> None:
    bound = BOUNDS[case]
    images = images_in(tmp_path, "1.2.826.0.1.3680043.8.498.3", SECOND_IMAGE)
    with (
        model_server(bound.script, context_tokens=bound.context_tokens) as server,
        desk(home, server, images=images, **bound.settings) as at,
    ):
        recorded = at.run(chart)
        asked = [one for one in server.requests if one.schema is not None]
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert reached(recorded) == {bound.name}
    (limit,) = [one for one in reasoning.limits if one.name == bound.name]
    assert limit.used <= limit.most
    assert (len(asked), reasoning.ended) == (1, "drafted")
    assert [one.author for one in recorded.dossier.recommendations].count("model") == 1
    longest = max(len(prompt_tokens(body)) + body["max_completion_tokens"] for body in server.bodies)
    assert longest <= bound.context_tokens


def test_of_hundreds_of_tools_in_one_turn_no_more_are_taken_up_than_the_bound_and_one(home: Path, chart: Path) -> None:
    """Each would be journaled twice and answered in the context, which their refusals alone would fill."""
    requests = [("list_problems", {"limit": 1 + number % 9}) for number in range(500)]
    with (
        model_server(model(requests, drafts=lambda _: [])) as server,
        desk(home, server, model_tool_calls_max=3) as at,
    ):
        recorded = at.run(chart)
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert [one.outcome for one in reasoning.tool_calls] == ["answered"] * 3 + ["over_limit"]
    assert (reached(recorded), reasoning.ended) == ({"tool_calls"}, "abstained")


def test_a_server_that_stops_counting_tokens_takes_no_more_time_than_there_is(home: Path, chart: Path) -> None:
    with model_server(model()) as server, desk(home, server, model_seconds_max=4.0) as at:

        def script(asked: Asked) -> Turn:
            server.metadata = hang()
            return answer(abstain="nothing_to_add") if asked.schema is not None else calls(*[("list_labs", {})] * 5)

        server.script = script
        begun = time.monotonic()
        recorded = at.run(chart)
        took = time.monotonic() - begun
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert (reasoning.ended, len(reasoning.tool_calls)) == ("deadline", 5)
    assert took < 12  # a single count is given fifteen seconds otherwise


def test_calls_beyond_the_bound_are_not_run_and_the_model_is_told(home: Path, chart: Path) -> None:
    with (
        model_server(model([("list_labs", {}), ("list_problems", {}), ("timeline", {})])) as server,
        desk(home, server, model_tool_calls_max=2) as at,
    ):
        recorded = at.run(chart)
        told = [one["content"] for one in server.bodies[-1]["messages"] if one["role"] == "tool"]
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert [one.outcome for one in reasoning.tool_calls] == ["answered", "answered", "over_limit"]
    assert "No tool call is left" in told[-1]


def test_repairs_end_where_the_tokens_do(home: Path, chart: Path) -> None:
    """The first draft is asked for whatever is left; another one only within the bound."""
    with model_server(drafting(say("no JSON"))) as server, desk(home, server, model_tokens_max=10_000) as at:
        recorded = at.run(chart)
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert (reasoning.ended, reasoning.repairs) == ("invalid_output", 0)
    assert reached(recorded) == {"tokens"}


SMALL = {
    "with tools it holds no chart": (True, "too_long"),
    "without tools it holds what matters most": (False, "drafted"),
}


@pytest.mark.parametrize(("tools", "ended"), SMALL.values(), ids=SMALL)
def test_a_context_of_2048_tokens(home: Path, chart: Path, tools: bool, ended: str) -> None:
    def script(asked: Asked) -> Turn:
        return answer(value(Told(asked.text).name("f", "recorded gender male"), "male"))

    with model_server(script, context_tokens=2_048) as server, desk(home, server, model_tools=tools) as at:
        recorded = at.run(chart)
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert reasoning.ended == ended
    assert ("context" in reasoning.detail) == (ended == "too_long")
    assert reasoning.left_out or ended == "too_long"
    assert all(len(prompt_tokens(body)) + body["max_completion_tokens"] <= 2_048 for body in server.bodies)
    with desk(home) as alone:
        assert of_engine(recorded) == of_engine(alone.run(chart))


def test_without_tools_the_newest_images_are_shown_within_the_bound(home: Path, chart: Path, tmp_path: Path) -> None:
    images = images_in(tmp_path, "1.2.826.0.1.3680043.8.498.3", SECOND_IMAGE)
    with (
        model_server(lambda asked: newest(Told(asked.text))) as server,
        desk(home, server, images=images, model_tools=False, model_images_max=1) as at,
    ):
        recorded = at.run(chart)
        (request,) = server.requests
    assert (request.pictures, "tools" in request.body) == (1, False)
    assert reached(recorded) == {"images"}
    assert recorded.dossier.mode.images


def test_an_image_that_the_context_would_not_hold_is_not_shown(home: Path, chart: Path, tmp_path: Path) -> None:
    with (
        model_server(lambda _: answer(abstain="nothing_to_add"), context_tokens=3_600) as server,
        desk(home, server, images=images_in(tmp_path), model_tools=False) as at,
    ):
        recorded = at.run(chart)
        (request,) = server.requests
    assert (request.pictures, reached(recorded)) == (0, {"context"})
    assert "i1 (not shown)" in request.text
    assert not recorded.dossier.mode.images


def test_where_the_server_counts_nothing_the_context_holds_all_the_same(home: Path, chart: Path) -> None:
    script = restless(("search_guidelines", {"words": "kidney diabetes"}))
    with (
        model_server(script, context_tokens=12_000, lacks=["usage"]) as server,
        desk(home, server, model_steps_max=64) as at,
    ):
        recorded = at.run(chart)
    assert recorded.dossier.reasoning is not None
    assert recorded.dossier.reasoning.ended == "drafted"
    assert reached(recorded) == {"context"}


def test_an_image_that_cannot_be_read_is_named_in_the_dossier(home: Path, chart: Path, tmp_path: Path) -> None:
    """Found readable when it was listed, and not when it was to be shown."""
    images = images_in(tmp_path)
    (file,) = tmp_path.glob("*.png")

    def script(asked: Asked) -> Turn:
        if asked.schema is not None:
            return newest(Told(asked.text))
        if asked.step == 0:
            data = file.read_bytes()
            file.write_bytes(data[: len(data) // 2])  # the size stands at its beginning
            return call("view_image", image="i1")
        return say("Nothing to see.")

    with model_server(script) as server, desk(home, server, images=images) as at:
        recorded = at.run(chart)
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert reasoning.images == ()
    assert any(what.startswith("image ") and what.endswith("cannot be read") for what in reasoning.left_out)
