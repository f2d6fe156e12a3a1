# SPDX-License-Identifier: Apache-2.0
"""A scripted model behind a real socket: what it says is a list of turns, or a function of what it was asked.

    with model_server([call("labs", kind="hba1c"), say("Done.")]) as server:
        model = VllmModel(server.url, server.name)

It speaks as much of vLLM's HTTP as the client uses: `/v1/models`, `/version`, `/tokenize`, `/v1/chat/completions`
streamed or not, with token counts, cached prefixes, log probabilities and vLLM's own words for what is too long.
Faults (`hang`, `reset`, `garbage`, `die_mid_stream`, `status` …) are turns like any other. To outlive the process that
asks it, it runs as its own: `python -m builders.model_server --script module:name --port-file FILE --record FILE`.
"""

import argparse
import importlib
import json
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from builders.model_server_chat import Answer, Asked, JsonObject, prompt_tokens
from builders.model_server_turns import (
    Turn,
    after,
    call,
    calls,
    close,
    die_mid_answer,
    die_mid_stream,
    draft,
    garbage,
    hang,
    redirect,
    reset,
    say,
    status,
    stream_garbage,
    too_long,
    trickle,
)
from builders.model_server_wire import Exchange, Listener, fold_tokens, token_texts

__all__ = [
    "Ability",
    "Asked",
    "ModelServer",
    "Script",
    "Turn",
    "after",
    "call",
    "calls",
    "close",
    "die_mid_answer",
    "die_mid_stream",
    "draft",
    "garbage",
    "hang",
    "model_server",
    "redirect",
    "reset",
    "say",
    "status",
    "stream_garbage",
    "too_long",
    "trickle",
]

Ability = Literal["images", "logprobs", "schema", "stream", "tokenize", "tools", "usage", "cached_tokens", "version"]


Script = Sequence[Turn] | Callable[[Asked], Turn]


class ModelServer:
    """The server while it runs. Threads of it write here; tests read when their call has returned."""

    def __init__(self, script: Script, name: str, context_tokens: int, adapters: Collection[str], root: str) -> None:
        self.script = script
        self.name = name
        self.context_tokens = context_tokens
        self.adapters = tuple(adapters)
        self.root = root
        self.lacks: frozenset[Ability] = frozenset()
        self.metadata: Turn | None = None
        self.api_key: str | None = None
        self.record: Path | None = None
        self.requests: list[Asked] = []
        """Requests for completions, in order of arrival, also those that met a fault."""
        self.paths: list[str] = []
        """Every request's path, in order of arrival."""
        self.aborted = 0
        """How many requests their client left before the answer was out."""
        self.connections = 0
        self.overran = 0
        """How many requests came after the last turn of a list."""
        self._cached: set[int] = set()
        self._lock = threading.Lock()
        self._listener = Listener(self.respond)

    @property
    def port(self) -> int:
        """Of loopback."""
        return self._listener.port

    @property
    def url(self) -> str:
        """The base URL that a site would configure."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[JsonObject]:
        """The parsed bodies of the requests for completions."""
        return [request.body for request in self.requests]

    def start(self) -> None:
        """Answers from now on."""
        self._listener.start()

    def stop(self) -> None:
        """Ends every connection and the thread."""
        self._listener.stop()

    def respond(self, exchange: Exchange) -> None:
        """Answers one HTTP request."""
        with self._lock:
            self.paths.append(exchange.path)
            self.connections = self._listener.connections
        if self.api_key is not None and exchange.headers.get("authorization") != f"Bearer {self.api_key}":
            self._play(exchange, status(401, "Unauthorized"))
        elif exchange.path == "/v1/chat/completions":
            self._complete(exchange)
        elif self.metadata is not None:
            self._play(exchange, self.metadata)
        elif exchange.path == "/v1/models":
            exchange.json({"object": "list", "data": self._models()})
        elif exchange.path == "/version" and "version" not in self.lacks:
            exchange.json({"version": "0.0.0-scripted"})
        elif exchange.path == "/tokenize" and "tokenize" not in self.lacks:
            self._tokenize(exchange)
        else:
            self._play(exchange, status(404, "Not Found"))

    def _models(self) -> list[JsonObject]:
        card = {"id": self.name, "object": "model", "root": self.root, "parent": None}
        own = card | {"max_model_len": self.context_tokens}
        return [own, *({"id": one, "object": "model", "root": one, "parent": self.name} for one in self.adapters)]

    def _tokenize(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        texts = prompt_tokens(body) if "messages" in body else token_texts(body["prompt"])
        exchange.json({"count": len(texts), "max_model_len": self.context_tokens, "tokens": list(range(len(texts)))})

    def _complete(self, exchange: Exchange) -> None:
        with self._lock:
            asked = Asked(json.loads(exchange.body), len(self.requests), exchange.headers, exchange.body)
            self.requests.append(asked)
            if self.record is not None:
                with self.record.open("ab") as record:
                    record.write(exchange.body + b"\n")
        turn = self._refusal(asked) or self._turn(asked)
        if not exchange.wait(turn.delay):
            self._left()
        elif turn.fault is not None:
            self._play(exchange, turn, asked)
        else:
            exchange.guard(lambda: self._answer(exchange, asked, turn), self._left)

    def _left(self) -> None:
        with self._lock:
            self.aborted += 1

    def _turn(self, asked: Asked) -> Turn:
        if callable(self.script):
            return self.script(asked)
        if asked.turn < len(self.script):
            return self.script[asked.turn]
        self.overran += 1
        return status(400, "The script has no turn for this request")

    def _refusal(self, asked: Asked) -> Turn | None:
        """What this server cannot do, or not at this length."""
        needed: tuple[tuple[Ability, bool], ...] = (
            ("images", asked.pictures > 0),
            ("schema", asked.schema is not None),
            ("tools", "tools" in asked.body),
            ("stream", bool(asked.body.get("stream"))),
        )
        for ability, needs in needed:
            if needs and ability in self.lacks:
                return status(400, f"This server does not support {ability}")
        if asked.body["model"] not in (self.name, *self.adapters):
            return status(404, f"The model `{asked.body['model']}` does not exist.")
        count = len(prompt_tokens(asked.body))
        return too_long(self.context_tokens, count) if count >= self.context_tokens else None

    def _answer(self, exchange: Exchange, asked: Asked, turn: Turn) -> None:
        answer = Answer(asked.body, turn, self._usage(asked, turn), "logprobs" not in self.lacks)
        if asked.body.get("stream"):
            exchange.events(answer.chunks())
        else:
            exchange.json(answer.whole())

    def _usage(self, asked: Asked, turn: Turn) -> JsonObject | None:
        if "usage" in self.lacks:
            return None
        prompt = prompt_tokens(asked.body)
        with self._lock:
            cached = fold_tokens(prompt, self._cached)
        written = len(token_texts(turn.text)) + sum(len(token_texts(name + given)) for name, given in turn.calls) + 1
        completion = min(written, int(asked.body.get("max_completion_tokens", written)))
        usage: JsonObject = {"prompt_tokens": len(prompt), "completion_tokens": completion}
        usage["total_tokens"] = len(prompt) + completion
        if "cached_tokens" not in self.lacks:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        return usage

    def _play(self, exchange: Exchange, turn: Turn, asked: Asked | None = None) -> None:
        """A fault, on whatever path."""
        streamed = asked is not None and bool(asked.body.get("stream"))
        match turn.fault:
            case "hang":
                exchange.wait(None)
                self._left()
            case "reset":
                exchange.reset()
            case "close":
                exchange.close()
            case "die_mid_answer":
                exchange.partial(turn.text, streamed=streamed)
                exchange.reset()
            case "die_mid_stream":
                exchange.events(Answer({}, turn, None, False).half(), ends=False)
            case "trickle":
                exchange.trickle(turn.text, streamed=streamed)
                self._left()
            case _:
                exchange.send(turn.code, turn.body.encode(), dict(turn.headers))


@contextmanager
def model_server(
    script: Script = (),
    *,
    name: str = "scripted",
    context_tokens: int = 32_768,
    adapters: Collection[str] = (),
    root: str = "models/scripted-1b",
    lacks: Collection[Ability] = (),
    metadata: Turn | None = None,
    api_key: str | None = None,
    record: Path | None = None,
) -> Iterator[ModelServer]:
    """A running server. A list of turns that was too short fails the test at the end.

    `metadata`: a fault for every path but the completions'. `api_key`: who does not send it gets 401.
    `record`: a file that gets the body of each request for a completion, a line each.
    """
    server = ModelServer(script, name, context_tokens, adapters, root)
    server.lacks = frozenset(lacks)
    server.metadata, server.api_key, server.record = metadata, api_key, record
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert server.overran == 0, f"{server.overran} request(s) came after the script's last turn"


def _named_script(name: str) -> Script:
    """`module:attribute`: turns, or a function that is asked for one."""
    module, _, attribute = name.partition(":")
    found: Script = getattr(importlib.import_module(module), attribute)
    return found


def main() -> None:
    """Serves until it is killed. The port file appears, whole, once it answers."""
    parser = argparse.ArgumentParser(description="A scripted model server on loopback")
    parser.add_argument("--script", required=True, help="module:attribute of a list of turns or a function")
    parser.add_argument("--port-file", required=True, type=Path)
    parser.add_argument("--record", type=Path, help="file that gets every request's body, a line each")
    parser.add_argument("--name", default="scripted")
    options = parser.parse_args()
    with model_server(_named_script(options.script), name=options.name, record=options.record) as server:
        partial = options.port_file.with_suffix(".partial")
        partial.write_text(str(server.port), encoding="ascii")
        partial.replace(options.port_file)
        threading.Event().wait()


if __name__ == "__main__":
    main()
