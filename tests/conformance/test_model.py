# SPDX-License-Identifier: Apache-2.0
"""What every model must do, whoever serves it. A new kind of server joins by one line in `SERVERS`."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from builders.model_server import Asked, Turn, after, call, draft, model_server, say
from builders.vllm_server import ABSENT, ONE_AT_A_TIME, VllmServer, vllm_environment
from PIL import Image
from pydantic import BaseModel

from medagent.errors import ModelError, ModelFailure
from medagent.model.exchange import Message, ModelReply, ModelRequest, Picture, Sampling, ToolSpec
from medagent.model.validation import decisive_tokens, parse_arguments
from medagent.model.vllm import VllmModel

T = TypeVar("T")


class Arguments(BaseModel):
    kind: Literal["hba1c", "ldl"]
    count: Literal[1, 2, 3]


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs, and the model's name there."""

    url: str
    name: str


def _obedient(asked: Asked) -> Turn:
    """Does what it is asked for, as a model does that a grammar binds."""
    if asked.body.get("tool_choice") == "required":
        return call("labs", kind="ldl", count=3)
    if asked.schema is not None:
        return draft({"kind": "ldl", "count": 3})
    return after(0.2, say("Words without end. " * 200))


@contextmanager
def _scripted(_: Path) -> Iterator[Serving]:
    with model_server(_obedient) as server:
        yield Serving(server.url, server.name)


@contextmanager
def _vllm(folder: Path) -> Iterator[Serving]:
    environment = vllm_environment()
    if environment is None:
        pytest.skip(ABSENT)
    with VllmServer(environment, "qwen3_vl", folder) as server:
        yield Serving(server.url, server.model)


SERVERS: list[Any] = [
    pytest.param(_scripted, id="scripted"),
    pytest.param(_vllm, id="vLLM", marks=[pytest.mark.vllm, pytest.mark.slow, ONE_AT_A_TIME]),
]


@pytest.fixture(scope="module", params=SERVERS)
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with request.param(tmp_path_factory.mktemp("server")) as running:
        yield running


def ask(serving: Serving, act: Callable[[VllmModel], Awaitable[T]]) -> T:
    """One conversation by a client of its own."""

    async def story() -> T:
        async with VllmModel(serving.url, serving.name, revision="r1", weights_digest="0" * 64) as model:
            return await act(model)

    return asyncio.run(story())


def answer(serving: Serving, request: ModelRequest, *, seconds: float = 60, streamed: bool = False) -> ModelReply:
    pieces: list[str] = []
    on_text = pieces.append if streamed else None
    reply = ask(serving, lambda model: model.answer(request, seconds=seconds, on_text=on_text))
    assert not streamed or "".join(pieces) == reply.text
    return reply


def _picture() -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    return Picture(media_type="image/png", data=buffer.getvalue(), evidence="image-1")


LABS = ToolSpec(name="labs", description="Laboratory values.", parameters=Arguments.model_json_schema())


def request(text: str = "Which value is due?", *, tokens_max: int = 24, **more: Any) -> ModelRequest:
    message = Message(role="user", text=text, pictures=more.pop("pictures", ()))
    system = Message(role="system", text="Answer briefly. " * 20)
    return ModelRequest(messages=(system, message), sampling=Sampling(tokens_max=tokens_max, seed=5), **more)


FREE = request()
BOUND = request(answer_schema=Arguments.model_json_schema(), tokens_max=200, logprobs=True)
TOOLS = request(tools=(LABS,), tool_choice="required", tokens_max=200)
PICTURED = request(pictures=(_picture(),))
KINDS = [
    pytest.param(FREE, id="free text"),
    pytest.param(BOUND, id="bound to a schema"),
    pytest.param(TOOLS, id="tools"),
    pytest.param(PICTURED, id="an image"),
]


def test_it_says_what_it_serves(serving: Serving) -> None:
    served = ask(serving, lambda model: model.served())
    assert (served.name, served.revision, served.weights_digest) == (serving.name, "r1", "0" * 64)
    assert served.context_tokens > 1000
    assert served.server is not None
    assert served.root is not None
    assert not served.root.startswith("/")


@pytest.mark.parametrize("asked", KINDS)
def test_tokens_are_counted_before_as_they_are_counted_after(serving: Serving, asked: ModelRequest) -> None:
    counted = ask(serving, lambda model: model.tokens(asked))
    assert counted == answer(serving, asked).tokens.prompt


def test_a_longer_text_takes_more_tokens(serving: Serving) -> None:
    async def both(model: VllmModel) -> tuple[int, int]:
        return await model.text_tokens("one"), await model.text_tokens("one and two and three")

    shorter, longer = ask(serving, both)
    assert 0 < shorter < longer


def test_text_ends_at_the_limit(serving: Serving) -> None:
    # Free text would end where a model with random weights likes, on each processor elsewhere; a schema's cannot end.
    reply = answer(serving, BOUND.model_copy(update={"sampling": Sampling(tokens_max=5)}))
    assert reply.finish == "length"
    assert reply.text
    assert reply.tokens.completion == 5


def test_a_schema_binds_the_answer(serving: Serving) -> None:
    reply = answer(serving, BOUND)
    assert reply.finish == "stop"
    assert parse_arguments(reply.text, Arguments)
    assert list(json.loads(reply.text)) == ["kind", "count"], "in the order of the schema"


def test_every_slot_of_a_bound_answer_has_its_least_likely_token(serving: Serving) -> None:
    reply = answer(serving, BOUND)
    decisive = dict(decisive_tokens(reply.text, reply.chances))
    assert decisive.keys() == {"/kind", "/count"}
    assert all(Decimal(logprob) <= 0 for logprob in decisive.values())


def test_log_probabilities_come_only_where_they_are_asked_for(serving: Serving) -> None:
    assert answer(serving, FREE).chances == ()


def test_tools_are_asked_for_under_ids_of_ours(serving: Serving) -> None:
    reply = answer(serving, TOOLS)
    assert reply.finish == "tool_calls"
    assert [one.id for one in reply.tool_requests] == [f"call{n:05d}" for n in range(1, len(reply.tool_requests) + 1)]
    for one in reply.tool_requests:
        assert one.name == "labs"
        assert parse_arguments(one.arguments, Arguments)


def test_a_conversation_goes_on_after_a_tool(serving: Serving) -> None:
    first = answer(serving, TOOLS)
    called = Message(role="assistant", text=first.text, tool_requests=first.tool_requests)
    told = (Message(role="tool", text="LDL 3.1 mmol/L", answers=one.id) for one in first.tool_requests)
    second = answer(serving, TOOLS.model_copy(update={"messages": (*TOOLS.messages, called, *told)}))
    assert second.tokens.prompt > first.tokens.prompt
    assert second.tool_requests[0].id == f"call{len(first.tool_requests) + 1:05d}"


@pytest.mark.parametrize("asked", KINDS)
def test_streamed_or_not_the_answer_is_the_same(serving: Serving, asked: ModelRequest) -> None:
    whole, streamed = answer(serving, asked), answer(serving, asked, streamed=True)
    # A server may write the same arguments with other white space.
    read = [[json.loads(one.arguments) for one in reply.tool_requests] for reply in (whole, streamed)]
    assert read[0] == read[1]
    assert (whole.text, whole.finish) == (streamed.text, streamed.finish)
    assert (whole.tokens.prompt, whole.tokens.completion) == (streamed.tokens.prompt, streamed.tokens.completion)
    assert [one.token for one in whole.chances] == [one.token for one in streamed.chances]
    # Prompts that come from the cache are added up in another order than those that do not.
    assert [float(one.logprob) for one in whole.chances] == pytest.approx(
        [float(one.logprob) for one in streamed.chances], abs=0.002
    )


@pytest.mark.parametrize("asked", KINDS)
def test_asked_again_it_answers_the_same(serving: Serving, asked: ModelRequest) -> None:
    first, second = answer(serving, asked), answer(serving, asked)
    assert first.request_sha256 == second.request_sha256
    assert (first.text, first.tool_requests) == (second.text, second.tool_requests)


def test_a_repeated_beginning_comes_from_the_cache(serving: Serving) -> None:
    long = request("A long beginning. " * 60)
    answer(serving, long)
    cached = answer(serving, long).tokens.cached
    assert cached is not None
    assert cached > 0


def test_requests_run_side_by_side(serving: Serving) -> None:
    async def many(model: VllmModel) -> list[ModelReply]:
        return await asyncio.gather(*(model.answer(request(f"Question {n}"), seconds=60) for n in range(12)))

    replies = ask(serving, many)
    assert len({reply.request_sha256 for reply in replies}) == 12
    latest_start, first_end = max(one.started_at for one in replies), min(one.ended_at for one in replies)
    assert latest_start < first_end


FAILURES: list[Any] = [
    pytest.param(request("word " * 100_000), "too_long", 60.0, id="a prompt beyond the context"),
    pytest.param(request(adapter="nobody-loaded-it"), "refused", 60.0, id="an adapter that is not served"),
    pytest.param(request(tokens_max=3000), "deadline", 0.05, id="no time"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("asked", "expected", "seconds"), FAILURES)
def test_what_cannot_be_answered_is_one_failure(
    serving: Serving, asked: ModelRequest, expected: ModelFailure, seconds: float, streamed: bool
) -> None:
    with pytest.raises(ModelError) as failed:
        answer(serving, asked, seconds=seconds, streamed=streamed)
    assert failed.value.failure == expected


def test_a_cancelled_question_leaves_the_model_usable(serving: Serving) -> None:
    async def story(model: VllmModel) -> ModelReply:
        waiting = asyncio.create_task(model.answer(request(tokens_max=3000), seconds=60))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await model.answer(BOUND, seconds=60)

    assert parse_arguments(ask(serving, story).text, Arguments)
