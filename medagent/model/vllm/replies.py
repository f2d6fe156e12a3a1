# SPDX-License-Identifier: Apache-2.0
"""What vLLM sends back, read strictly as far as it is used; what it sends beyond that is passed over.

An answer in one and an answer in pieces end as the same `Completion`. Errors name the field that is wrong, never what
stands in it.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from medagent.errors import ModelError
from medagent.model.exchange import Finish, TokenChance, Tokens, ToolRequest

T = TypeVar("T")
_FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


class Card(msgspec.Struct, frozen=True):
    """One entry of `/v1/models`: a model, or an adapter whose parent is one."""

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class Cards(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[Card]


class Version(msgspec.Struct, frozen=True):
    """The answer of `/version`."""

    version: str


class Count(msgspec.Struct, frozen=True):
    """The answer of `/tokenize`. The tokens themselves are not read."""

    count: int


class Details(msgspec.Struct, frozen=True):
    """Where the prompt's tokens came from."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """What an answer took."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None


class Chance(msgspec.Struct, frozen=True):
    """A chosen token."""

    token: str
    logprob: float


class Chances(msgspec.Struct, frozen=True):
    """The chosen tokens."""

    content: list[Chance] | None = None


class Function(msgspec.Struct, frozen=True):
    """A tool's name and arguments, or, of a stream, some more of either."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, frozen=True):
    """A request for a tool. `index` tells the pieces of a stream apart."""

    function: Function
    index: int = 0


class Content(msgspec.Struct, frozen=True):
    """What was said, or, of a stream, some more of it."""

    content: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct, frozen=True):
    """The one answer that was asked for."""

    message: Content
    finish_reason: str | None = None
    logprobs: Chances | None = None


class Completion(msgspec.Struct, frozen=True):
    """An answer in one."""

    choices: list[Choice]
    usage: Usage | None = None


class Piece(msgspec.Struct, frozen=True):
    """One event's part of the answer."""

    delta: Content
    finish_reason: str | None = None
    logprobs: Chances | None = None


class Fault(msgspec.Struct, frozen=True):
    """What a server says that went wrong."""

    message: str = ""
    code: int | str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream: a part of the answer, what it took, or what went wrong."""

    choices: list[Piece] = []
    usage: Usage | None = None
    error: Fault | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The body of an HTTP error."""

    error: Fault


def read(body: bytes | str, shape: type[T], where: str) -> T:
    """The body as that shape. The decoder's error is not chained: it may hold what was read."""
    problem = ""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        problem = str(error)  # names types and paths
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = "it is no JSON"
    raise ModelError("invalid_output", f"The model server's answer at {where} cannot be read: {problem}")


class Pieces:
    """Puts an answer together from the events of a stream."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._text: list[str] = []
        self._calls: dict[int, tuple[list[str], list[str]]] = {}
        self._chances: list[Chance] = []
        self._finish: str | None = None
        self._usage: Usage | None = None

    def add(self, chunk: Chunk) -> None:
        """Takes the next event."""
        self._usage = chunk.usage or self._usage
        for piece in chunk.choices[:1]:
            self._finish = piece.finish_reason or self._finish
            if piece.logprobs is not None and piece.logprobs.content is not None:
                self._chances += piece.logprobs.content
            for call in piece.delta.tool_calls or ():
                names, arguments = self._calls.setdefault(call.index, ([], []))
                names.append(call.function.name or "")
                arguments.append(call.function.arguments or "")
            if piece.delta.content:
                self._text.append(piece.delta.content)
                self._on_text(piece.delta.content)

    def whole(self) -> Completion | None:
        """The answer; None where its end never came."""
        if self._finish is None:
            return None
        calls = [
            Call(Function("".join(names), "".join(arguments)), index)
            for index, (names, arguments) in sorted(self._calls.items())
        ]
        choice = Choice(Content("".join(self._text), calls), self._finish, Chances(self._chances))
        return Completion([choice], self._usage)


def choice_of(completion: Completion) -> Choice:
    """The one answer."""
    if not completion.choices:
        raise ModelError("invalid_output", "The model server's answer has no choices")
    return completion.choices[0]


def finish_of(choice: Choice) -> Finish:
    """Why the model stopped. A server may say that a model stopped of itself where it stopped to call tools."""
    finish = _FINISHES.get(choice.finish_reason, "other")
    return "tool_calls" if finish == "stop" and choice.message.tool_calls else finish


def tool_requests_of(choice: Choice, earlier: int) -> tuple[ToolRequest, ...]:
    """The requests for tools, numbered on from those that the conversation holds: nine letters and digits, as the
    chat templates of some models (Mistral's) demand."""
    requests = []
    for position, call in enumerate(choice.message.tool_calls or (), start=earlier + 1):
        if not call.function.name:
            raise ModelError("invalid_output", "The model server's answer asks for a tool without a name")
        arguments = call.function.arguments or ""
        requests.append(ToolRequest(id=f"call{position:05d}", name=call.function.name, arguments=arguments))
    return tuple(requests)


def tokens_of(usage: Usage | None) -> Tokens:
    """What the answer took."""
    if usage is None:
        return Tokens()
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details is not None else None
    return Tokens(prompt=usage.prompt_tokens, cached=cached, completion=usage.completion_tokens or 0)


def chances_of(choice: Choice, tokens_max: int) -> tuple[TokenChance, ...]:
    """The chosen tokens, their log probabilities to a thousandth. More digits are noise: they change with what else a
    server computes at that moment, and with whether the prompt comes from its cache. A server that sends more than it
    was asked for is not followed: each of them costs far more here than in its answer."""
    content = (choice.logprobs.content if choice.logprobs is not None else None) or []
    return tuple(
        TokenChance(token=chance.token, logprob=f"{round(chance.logprob, 3) + 0.0:.3f}")
        for chance in content[:tokens_max]
    )
