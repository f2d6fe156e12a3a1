# SPDX-License-Identifier: Apache-2.0
"""However a model's server fails, the call ends as one clear failure, within its time, and gives nothing away."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from builders.model_server import (
    Asked,
    Script,
    Turn,
    after,
    call,
    close,
    die_mid_answer,
    die_mid_stream,
    garbage,
    hang,
    model_server,
    redirect,
    reset,
    say,
    status,
    stream_garbage,
    too_long,
    trickle,
)
from pydantic import SecretStr

from medagent.errors import ModelError, ModelFailure, SettingsError
from medagent.model.breaker import Breaker
from medagent.model.exchange import Message, ModelReply, ModelRequest, Sampling
from medagent.model.vllm import VllmModel
from medagent.model.vllm.channel import Retries

QUICK = Retries(attempts=3, first_seconds=0.01, longest_seconds=0.02)
KEY = "key-that-nobody-may-see"
PROMPT = "prompt-that-nobody-may-see"
ANSWER = "answer-that-nobody-may-see"
REQUEST = ModelRequest(messages=(Message(role="user", text=PROMPT),), sampling=Sampling(tokens_max=200))


def model(url: str, **options: Any) -> VllmModel:
    defaults: dict[str, Any] = {"retries": QUICK, "api_key": SecretStr(KEY)}
    return VllmModel(url, "scripted", **defaults | options)


def answer(url: str, *, seconds: float = 10, streamed: bool = False, **options: Any) -> ModelReply:
    """One call by a client of its own."""

    async def once() -> ModelReply:
        async with model(url, **options) as asked:
            return await asked.answer(REQUEST, seconds=seconds, on_text=(lambda _: None) if streamed else None)

    return asyncio.run(once())


def failure(act: Callable[[], object], expected: ModelFailure) -> ModelError:
    """The failure; it and what is chained to it hold neither prompt, answer nor key."""
    with pytest.raises(ModelError) as failed:
        act()
    chained: BaseException | None = failed.value
    while chained is not None:
        assert not isinstance(chained, httpx.HTTPError), "it holds the request with its key"
        assert not [text for text in (PROMPT, ANSWER, KEY) if text in repr(chained) + repr(vars(chained))]
        chained = chained.__cause__ or chained.__context__
    assert failed.value.failure == expected, failed.value
    return failed.value


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever level a site sets, also for the libraries below."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert not [text for text in (PROMPT, ANSWER, KEY) if text in caplog.text]


FAULTS: list[Any] = [
    pytest.param([reset()] * 3, "unavailable", 3, id="connections are reset"),
    pytest.param([close()] * 3, "unavailable", 3, id="connections are closed without an answer"),
    pytest.param([status(500)] * 3, "unavailable", 3, id="500"),
    pytest.param([status(502)] * 3, "unavailable", 3, id="502"),
    pytest.param([status(504)] * 3, "unavailable", 3, id="504"),
    pytest.param([status(503, retry_after="0")] * 3, "unavailable", 3, id="503 that says to come back"),
    pytest.param([status(429)] * 3, "unavailable", 3, id="429"),
    pytest.param([status(429, retry_after="3600")], "unavailable", 1, id="429 for an hour is not waited for"),
    pytest.param([die_mid_answer(ANSWER)], "unavailable", 1, id="a reset in the middle of the answer is final"),
    pytest.param([too_long()], "too_long", 1, id="a prompt beyond the context"),
    pytest.param([status(413, PROMPT)], "too_long", 1, id="a body beyond what a proxy takes"),
    pytest.param([status(400, f"cannot parse {PROMPT}")], "refused", 1, id="400 that quotes the prompt"),
    pytest.param([status(422, PROMPT)], "refused", 1, id="422 that quotes the prompt"),
    pytest.param([status(401, KEY)], "refused", 1, id="401"),
    pytest.param([status(403, KEY)], "refused", 1, id="403"),
    pytest.param([status(404)], "refused", 1, id="404"),
    pytest.param([garbage()], "invalid_output", 1, id="a page in place of an answer"),
    pytest.param([garbage("")], "invalid_output", 1, id="an empty body"),
    pytest.param([garbage("\xff\xfe")], "invalid_output", 1, id="bytes that are no text"),
    pytest.param([garbage("[" * 100_000)], "invalid_output", 1, id="JSON that nests without end"),
    pytest.param([garbage('{"choices": []}')], "invalid_output", 1, id="no choices"),
    pytest.param([garbage(f'{{"choices": ["{ANSWER}"]}}')], "invalid_output", 1, id="choices of another shape"),
    pytest.param([garbage(f'{{"error": "{PROMPT}"}}')], "invalid_output", 1, id="an error with status 200"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("turns", "expected", "asked"), FAULTS)
def test_each_fault_is_one_failure(turns: list[Turn], expected: ModelFailure, asked: int, streamed: bool) -> None:
    with model_server(turns) as server:
        failure(lambda: answer(server.url, streamed=streamed), expected)
        assert len(server.requests) == asked


STREAM_FAULTS: list[Any] = [
    pytest.param(die_mid_stream(ANSWER), "unavailable", id="a stream that ends before its end"),
    pytest.param(stream_garbage(), "invalid_output", id="an event that is no JSON"),
    pytest.param(stream_garbage(f'data: ["{ANSWER}"]\n\n'), "invalid_output", id="an event of another shape"),
    pytest.param(stream_garbage("data: [DONE]\n\n"), "unavailable", id="an end without an answer"),
    pytest.param(stream_garbage(f": {ANSWER}\n\n"), "unavailable", id="nothing but comments"),
    pytest.param(
        stream_garbage(f'data: {{"error": {{"message": "{PROMPT}", "code": 500}}}}\n\n'),
        "unavailable",
        id="an error in the stream, which is not asked again",
    ),
    pytest.param(
        stream_garbage(f'data: {{"error": {{"message": "{PROMPT}", "code": 400}}}}\n\n'),
        "refused",
        id="a refusal in the stream",
    ),
]


@pytest.mark.parametrize(("turn", "expected"), STREAM_FAULTS)
def test_a_stream_that_goes_wrong_is_asked_for_once(turn: Turn, expected: ModelFailure) -> None:
    with model_server([turn]) as server:
        failure(lambda: answer(server.url, streamed=True), expected)


@contextmanager
def nobody_listens() -> Iterator[str]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"


def test_a_server_that_is_down_is_unavailable() -> None:
    with nobody_listens() as url:
        error = failure(lambda: answer(url), "unavailable")
    assert "MEDAGENT_MODEL_URL" in str(error)


@pytest.mark.parametrize("host", ["model.invalid", "a" * 70 + ".invalid", "a..invalid"])
def test_a_host_that_has_no_address_is_unavailable(host: str) -> None:
    failure(lambda: answer(f"http://{host}:8000/v1"), "unavailable")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "turn",
    [hang(), trickle(), after(30, say("late"))],
    ids=["hangs", "sends a byte now and then", "answers too late"],
)
def test_time_is_of_the_whole_exchange(turn: Turn, streamed: bool) -> None:
    with model_server([turn]) as server:
        began = time.monotonic()
        failure(lambda: answer(server.url, seconds=0.4, streamed=streamed), "deadline")
        assert time.monotonic() - began < 3
        _until(lambda: server.aborted == 1, "the connection is closed, so that the server stops")


def test_retries_end_before_the_time_does() -> None:
    def overloaded(_: Asked) -> Turn:
        return status(503, retry_after="1")

    with model_server(overloaded) as server:
        began = time.monotonic()
        failure(lambda: answer(server.url, seconds=0.5, retries=Retries(attempts=50)), "unavailable")
        assert time.monotonic() - began < 0.5, "who may not come back in time is told so at once"
        assert len(server.requests) == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_nothing_is_sent(seconds: float) -> None:
    with model_server([]) as server:
        failure(lambda: answer(server.url, seconds=seconds), "deadline")
        assert server.paths == []


@pytest.mark.parametrize(
    "fault",
    [reset(), close(), status(429), status(429, retry_after="0"), status(503), status(500)],
    ids=["a reset", "a closed connection", "429", "429 with a time", "503", "500"],
)
def test_what_passes_is_tried_again(fault: Turn) -> None:
    with model_server([fault, fault, say("Well.")]) as server:
        reply = answer(server.url)
    assert (reply.text, reply.attempts) == ("Well.", 3)
    assert len({asked.raw for asked in server.requests}) == 1, "the same bytes each time"


def test_a_date_to_come_back_at_is_waited_for() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with model_server([status(503, retry_after=soon), say("Well.")]) as server:
        began = time.monotonic()
        assert answer(server.url).text == "Well."
        assert time.monotonic() - began > 0.9


def test_a_connection_that_was_kept_alive_too_long_is_replaced() -> None:
    async def twice(url: str) -> list[ModelReply]:
        async with model(url) as asked:
            return [await asked.answer(REQUEST, seconds=10) for _ in range(2)]

    with model_server([say("One."), close(), say("Two.")]) as server:
        first, second = asyncio.run(twice(server.url))
        assert (first.text, second.text, second.attempts) == ("One.", "Two.", 2)
        assert server.connections == 2


def test_an_outage_is_not_multiplied_by_retries() -> None:
    async def many(url: str) -> None:
        # The breaker is out of the way, so that the budget alone is seen.
        async with model(
            url, retries=Retries(attempts=5, first_seconds=0.001), breaker=Breaker(failures=10**9)
        ) as asked:
            for _ in range(50):
                with pytest.raises(ModelError):
                    await asked.answer(REQUEST, seconds=10)

    with model_server(lambda _: status(500)) as server:
        asyncio.run(many(server.url))
        assert 50 < len(server.requests) <= 50 * 1.2 + 5


def test_a_server_that_keeps_failing_is_left_alone_and_asked_again_after_a_pause() -> None:
    seconds = [0.0]
    breaker = Breaker(failures=3, pause_seconds=10, monotonic=lambda: seconds[0])

    async def story(url: str, count: Callable[[], int]) -> str:
        async with model(url, retries=Retries(attempts=1), breaker=breaker) as asked:
            for _ in range(6):
                with pytest.raises(ModelError, match=r"status 500|in a row"):
                    await asked.answer(REQUEST, seconds=10)
            assert count() == 3, "while it is open nothing is sent"
            seconds[0] = 10.0
            return (await asked.answer(REQUEST, seconds=10)).text

    with model_server([status(500)] * 3 + [say("Well.")]) as server:
        assert asyncio.run(story(server.url, lambda: len(server.requests))) == "Well."


def test_cancelling_closes_the_connection_and_leaves_the_client_usable() -> None:
    async def story(url: str) -> str:
        async with model(url) as asked:
            waiting = asyncio.create_task(asked.answer(REQUEST, seconds=30))
            await asyncio.sleep(0.3)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return (await asked.answer(REQUEST, seconds=10)).text

    with model_server([hang(), say("Well.")]) as server:
        assert asyncio.run(story(server.url)) == "Well."
        _until(lambda: server.aborted == 1, "the server sees its client leave")


def test_what_the_listener_raises_is_the_callers_and_ends_the_stream() -> None:
    class Full(Exception):
        pass

    async def story(url: str) -> None:
        def full(_: str) -> None:
            raise Full

        async with model(url) as asked:
            await asked.answer(REQUEST, seconds=10, on_text=full)

    with model_server([say("much text")]) as server, pytest.raises(Full):
        asyncio.run(story(server.url))


@pytest.mark.parametrize("path", ["served", "tokens", "text_tokens"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [(status(500), "unavailable"), (garbage(), "invalid_output"), (garbage("{}"), "invalid_output")],
    ids=["fails", "answers with a page", "answers with nothing"],
)
def test_questions_about_the_model_fail_as_clearly(path: str, fault: Turn, expected: ModelFailure) -> None:
    async def ask(url: str) -> object:
        async with model(url) as asked:
            match path:
                case "served":
                    return await asked.served()
                case "tokens":
                    return await asked.tokens(REQUEST)
                case _:
                    return await asked.text_tokens(PROMPT)

    with model_server(metadata=fault) as server:
        failure(lambda: asyncio.run(ask(server.url)), expected)


@pytest.mark.parametrize("name", ["another", "radiology"], ids=["unknown", "of an adapter, which is named per request"])
def test_a_name_that_no_model_has_is_refused(name: str) -> None:
    async def ask(url: str) -> object:
        async with VllmModel(url, name) as asked:
            return await asked.served()

    with model_server(adapters=["radiology"]) as server:
        failure(lambda: asyncio.run(ask(server.url)), "refused")


def test_adapters_are_listed_and_asked_for_by_name() -> None:
    async def ask(url: str) -> tuple[str, ...]:
        async with VllmModel(url, "scripted") as asked:
            await asked.answer(REQUEST.model_copy(update={"adapter": "radiology"}), seconds=10)
            return (await asked.served()).adapters

    with model_server([say("Well.")], adapters=["radiology", "cardiology"]) as server:
        assert asyncio.run(ask(server.url)) == ("cardiology", "radiology")
        assert server.bodies[0]["model"] == "radiology"


def test_a_redirect_is_not_followed_and_the_key_stays_where_it_belongs() -> None:
    with model_server() as other:
        with model_server([redirect(other.url + "/chat/completions")]) as server:
            error = failure(lambda: answer(server.url), "refused")
        assert other.paths == []
        assert "MEDAGENT_MODEL_URL" in str(error)


def test_the_key_is_sent_to_the_server() -> None:
    with model_server([say("Well.")], api_key=KEY) as server:
        assert answer(server.url).text == "Well."
        failure(lambda: answer(server.url, api_key=SecretStr("wrong")), "refused")


def test_proxies_of_the_environment_are_not_used() -> None:
    """The prompt goes to the server that the site named, and nowhere else."""
    program = (
        "import asyncio, sys\n"
        "from medagent.model.vllm import VllmModel\n"
        "async def main():\n"
        "    async with VllmModel(sys.argv[1], 'scripted') as model:\n"
        "        print((await model.served()).name)\n"
        "asyncio.run(main())\n"
    )
    with nobody_listens() as proxy, model_server() as server:
        own = {name: text for name, text in os.environ.items() if name.lower() != "no_proxy"}
        environment = own | dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), proxy)
        done = subprocess.run(  # noqa: S603  # our own interpreter, our own program
            [sys.executable, "-c", program, server.url], env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.stdout == "scripted\n", done.stderr


@pytest.mark.parametrize("key", ["", "two words\n", "schlüssel", " padded"])
def test_a_key_that_no_header_can_hold_is_refused_unquoted(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        VllmModel("http://127.0.0.1:1/v1", "scripted", api_key=SecretStr(key))
    assert not key.strip() or key.strip() not in str(refused.value)


def test_an_answer_without_end_is_cut_off() -> None:
    with model_server([garbage('{"choices": "' + "x" * 33_000_000)]) as server:
        error = failure(lambda: answer(server.url, seconds=30), "invalid_output")
    assert "longer than" in str(error)


def test_the_server_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    port_file, record = tmp_path / "port", tmp_path / "requests.jsonl"
    options = ["--script", "builders.model_server_example:echo", "--port-file", str(port_file), "--record", str(record)]
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
        [sys.executable, "-m", "builders.model_server", *options], env=dict(os.environ) | {"PYTHONPATH": tests}
    )
    try:
        _until(port_file.exists, "the server has started")
        reply = answer(f"http://127.0.0.1:{port_file.read_text()}/v1")
        assert reply.text == PROMPT
        assert PROMPT in record.read_text()
    finally:
        process.kill()
        process.wait()


def test_a_script_that_was_too_short_fails_the_test() -> None:
    def story(script: Script) -> None:
        with model_server(script) as server:
            failure(lambda: answer(server.url), "refused")

    with pytest.raises(AssertionError, match="1 request"):
        story([])
    story(lambda _: status(400))


def test_scripts_see_what_they_are_asked() -> None:
    seen: list[Asked] = []

    def script(asked: Asked) -> Turn:
        seen.append(asked)
        return call("labs", kind="ldl") if asked.step == 0 else say(asked.last)

    with model_server(script) as server:
        assert answer(server.url).tool_requests[0].arguments == '{"kind": "ldl"}'
    assert (seen[0].text, seen[0].tools, seen[0].schema, seen[0].pictures) == (PROMPT, (), None, 0)


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)
