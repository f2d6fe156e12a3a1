# SPDX-License-Identifier: Apache-2.0
"""The words of vLLM's chat protocol, as the scripted model server reads and writes them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builders.model_server_turns import Turn
from builders.model_server_wire import token_texts

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a completion, as it arrived."""

    body: JsonObject
    turn: int
    """How many completions were asked for before."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    raw: bytes = b""

    @property
    def messages(self) -> list[JsonObject]:
        """The conversation."""
        return list(self.body["messages"])

    @property
    def step(self) -> int:
        """How many turns of the assistant the conversation holds: the same for each attempt of the same step."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools that may be called; none where the choice is none."""
        if self.body.get("tool_choice") == "none":
            return ()
        return tuple(tool["function"]["name"] for tool in self.body.get("tools", ()))

    @property
    def schema(self) -> JsonObject | None:
        """The schema that binds the answer."""
        found = self.body.get("response_format", {}).get("json_schema", {}).get("schema")
        return found if isinstance(found, dict) else None

    @property
    def pictures(self) -> int:
        """How many images came along."""
        return sum(part["type"] == "image_url" for message in self.messages for part in _parts(message))

    @property
    def text(self) -> str:
        """All text of the conversation, a message a paragraph: what a script looks for handles in."""
        return "\n\n".join(_text(message) for message in self.messages)

    @property
    def last(self) -> str:
        """The text of the last message."""
        return _text(self.messages[-1])


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn in the words of the protocol."""

    body: JsonObject
    turn: Turn
    usage: JsonObject | None
    with_logprobs: bool

    def _tokens(self) -> list[str]:
        limit = self.body.get("max_completion_tokens")
        return token_texts(self.turn.text)[:limit]

    def _finish(self) -> str:
        if self.turn.finish is not None:
            return self.turn.finish
        if len(self._tokens()) < len(token_texts(self.turn.text)):
            return "length"
        return "tool_calls" if self.turn.calls else "stop"

    def _logprobs(self, tokens: Sequence[str]) -> JsonObject | None:
        if not (self.with_logprobs and self.body.get("logprobs")):
            return None
        return {"content": [{"token": token, "logprob": self.turn.logprob, "bytes": None} for token in tokens]}

    def whole(self) -> JsonObject:
        """The answer in one."""
        tokens = self._tokens()
        message: JsonObject = {"role": "assistant", "content": "".join(tokens)}
        if self.turn.calls:
            message["tool_calls"] = [
                {"id": f"server-{index}", "type": "function", "function": {"name": name, "arguments": given}}
                for index, (name, given) in enumerate(self.turn.calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._finish(), "logprobs": self._logprobs(tokens)}
        whole = {"id": "completion", "object": "chat.completion", "model": "scripted", "choices": [choice]}
        return whole | ({"usage": self.usage} if self.usage is not None else {})

    def chunks(self) -> Iterator[JsonObject]:
        """The answer token by token, as vLLM streams it."""
        yield _chunk({"role": "assistant", "content": ""})
        for token in self._tokens():
            yield _chunk({"content": token}, logprobs=self._logprobs((token,)))
        for index, (name, given) in enumerate(self.turn.calls):
            yield _chunk({"tool_calls": [{"index": index, "id": f"server-{index}", "function": {"name": name}}]})
            for token in token_texts(given):
                yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": token}}]})
        yield _chunk({}, finish=self._finish())
        if self.usage is not None and self.body.get("stream_options", {}).get("include_usage"):
            yield {"object": "chat.completion.chunk", "choices": [], "usage": self.usage}

    def half(self) -> Iterator[JsonObject]:
        """The first half of the text."""
        yield _chunk({"role": "assistant", "content": ""})
        tokens = self._tokens()
        yield from (_chunk({"content": token}) for token in tokens[: len(tokens) // 2])


def _chunk(delta: JsonObject, *, finish: str | None = None, logprobs: JsonObject | None = None) -> JsonObject:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "completion", "object": "chat.completion.chunk", "choices": [choice]}


def _parts(message: JsonObject) -> list[JsonObject]:
    content = message.get("content") or ""
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _text(message: JsonObject) -> str:
    return "\n".join(part["text"] for part in _parts(message) if part["type"] == "text")


def prompt_tokens(body: JsonObject) -> list[str]:
    """The tokens of a prompt: words and signs of tools and messages; an image is 64."""
    tokens = token_texts(json.dumps(body.get("tools", []), sort_keys=True))
    for message in body["messages"]:
        tokens += ["<turn>", message["role"]]
        for part in _parts(message):
            tokens += token_texts(part["text"]) if part["type"] == "text" else ["<image>"] * 64
        tokens += token_texts(json.dumps(message["tool_calls"])) if message.get("tool_calls") else []
    return [*tokens, "<turn>", "assistant"]
