# SPDX-License-Identifier: Apache-2.0
"""What a scripted model server does with a request: one turn each, an answer or a fault."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Fault = Literal[
    "hang", "reset", "close", "garbage", "status", "die_mid_answer", "die_mid_stream", "redirect", "trickle"
]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the server does with one request: an answer, or a fault in place of one."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Tools with their arguments as text, which need not be JSON."""
    finish: str | None = None
    """None: what fits the answer."""
    logprob: float = -0.1
    """Of every token."""
    delay: float = 0.0
    """Seconds until the answer starts."""
    fault: Fault | None = None
    code: int = 200
    body: str = ""
    """Of a fault that sends one."""
    headers: tuple[tuple[str, str], ...] = ()


def say(text: str, *, finish: str | None = None, logprob: float = -0.1) -> Turn:
    """Answers with text."""
    return Turn(text=text, finish=finish, logprob=logprob)


def draft(content: Mapping[str, Any], *, logprob: float = -0.1) -> Turn:
    """Answers with JSON, as a model does that a schema binds."""
    return say(json.dumps(content, ensure_ascii=False, separators=(",", ":")), logprob=logprob)


def call(tool: str, /, **arguments: Any) -> Turn:
    """Asks for one tool."""
    return calls((tool, arguments))


def calls(*requests: tuple[str, Mapping[str, Any] | str], text: str = "") -> Turn:
    """Asks for several tools at once. Arguments given as text are sent as they are, also where they are no JSON."""
    written = ((tool, given if isinstance(given, str) else json.dumps(given)) for tool, given in requests)
    return Turn(text=text, calls=tuple(written))


def after(seconds: float, turn: Turn) -> Turn:
    """The turn, so many seconds later."""
    return replace(turn, delay=seconds)


def hang() -> Turn:
    """Never answers."""
    return Turn(fault="hang")


def reset() -> Turn:
    """Resets the connection before a byte of the answer."""
    return Turn(fault="reset")


def close() -> Turn:
    """Closes the connection without an answer, as a server does with one that was kept alive too long."""
    return Turn(fault="close")


def garbage(body: str = "<html>gateway</html>") -> Turn:
    """Status 200 and a body that is no answer."""
    return Turn(fault="garbage", body=body)


def stream_garbage(body: str = "data: {not json\n\n") -> Turn:
    """Status 200 and a stream of events that are no answer."""
    return Turn(fault="garbage", body=body, headers=(("Content-Type", "text/event-stream"),))


def die_mid_answer(text: str = "half an answer") -> Turn:
    """Resets the connection in the middle of the body, streamed or not."""
    return Turn(text=text, fault="die_mid_answer")


def die_mid_stream(text: str = "half an answer that stops") -> Turn:
    """Streams a part of the text and ends cleanly, without the end that a whole answer has."""
    return Turn(text=text, fault="die_mid_stream")


def trickle(text: str = "one word at a time " * 100) -> Turn:
    """Sends a little of the body every tenth of a second, and never all of it."""
    return Turn(text=text, fault="trickle")


def status(code: int, message: str = "", *, retry_after: str | None = None) -> Turn:
    """An HTTP error in vLLM's form."""
    body = {"error": {"message": message or f"status {code}", "type": "Error", "param": None, "code": code}}
    headers = (("Retry-After", retry_after),) if retry_after is not None else ()
    return Turn(fault="status", code=code, body=json.dumps(body), headers=headers)


def redirect(location: str) -> Turn:
    """Points elsewhere."""
    return Turn(fault="redirect", code=307, headers=(("Location", location),))


def too_long(limit: int = 4096, tokens: int = 5000) -> Turn:
    """What vLLM says to a prompt that exceeds the context."""
    return status(
        400,
        f"This model's maximum context length is {limit} tokens. However, your prompt contains {tokens} input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
    )
