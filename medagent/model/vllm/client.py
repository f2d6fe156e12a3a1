# SPDX-License-Identifier: Apache-2.0
"""The `Model` that a vLLM server serves. https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html"""

import re
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import NamedTuple, Self

import httpx
from httpx_sse import EventSource
from pydantic import SecretStr

from medagent.canonical import sha256_hex
from medagent.clock import Clock, SystemClock
from medagent.errors import ModelError
from medagent.model.breaker import Breaker
from medagent.model.exchange import ModelReply, ModelRequest, Served
from medagent.model.vllm import replies
from medagent.model.vllm.bodies import completion_body, conversation_body, text_body
from medagent.model.vllm.channel import Channel, Question, Retries, server_root
from medagent.model.vllm.failures import Transient, refusal

ANSWER_BYTES_MAX = 32_000_000  # bounds memory per call; a stream spends about 300 bytes on a token
_QUESTION_SECONDS = 15.0  # for what needs no generation; a tokenizer reads 100,000 tokens in less than one
_COMPLETIONS = "/v1/chat/completions"
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+", re.ASCII)
_VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)


class _Answer(NamedTuple):
    completion: replies.Completion
    sha256: str


class VllmModel:
    """One model of one server. It belongs to the event loop that uses it first, and is closed with `aclose`."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        revision: str | None = None,
        weights_digest: str | None = None,
        api_key: SecretStr | None = None,
        clock: Clock | None = None,
        retries: Retries | None = None,
        breaker: Breaker | None = None,
        connections: int = 64,
    ) -> None:
        """`url` is the server's base URL with or without `/v1`, `name` what it serves the model as. `revision` and
        `weights_digest` are what the site says of it: vLLM reports neither. `connections` bounds requests at once.
        Raises SettingsError."""
        self.name = name
        self._revision = revision
        self._weights_digest = weights_digest
        self._clock = clock or SystemClock()
        self._channel = Channel(
            server_root(url),
            api_key,
            clock=self._clock,
            retries=retries or Retries(),
            breaker=breaker or Breaker(),
            connections=connections,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._channel.aclose()

    async def served(self) -> Served:
        """What is served, asked anew each time: a server may be restarted with another model of the same name."""
        cards = replies.read(await self._short(Question("GET", "/v1/models")), replies.Cards, "/v1/models").data
        own = next((card for card in cards if card.id == self.name and card.parent is None), None)
        if own is None:
            raise ModelError("refused", "The model server serves no model of the name that MEDAGENT_MODEL says")
        if own.max_model_len is None or own.max_model_len <= 0:
            raise ModelError("invalid_output", "The model server's answer at /v1/models has no max_model_len")
        # Adapters name as parent whichever name of the model was given first.
        names = {card.id for card in cards if card.parent is None and card.root == own.root}
        return Served(
            name=self.name,
            root=_shown_root(own.root),
            revision=self._revision,
            weights_digest=self._weights_digest,
            server=await self._server(),
            context_tokens=own.max_model_len,
            adapters=tuple(sorted(card.id for card in cards if card.parent in names)),
        )

    async def tokens(self, request: ModelRequest) -> int:
        """How many tokens the prompt takes, images included: rendered and tokenized as the completion's is."""
        return await self._count(conversation_body(request, self.name))

    async def text_tokens(self, text: str) -> int:
        """How many tokens a text takes by itself."""
        return await self._count(text_body(text, self.name))

    async def answer(
        self, request: ModelRequest, *, seconds: float, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Answers, within that time or not at all. With `on_text` the answer is streamed: it is given each piece of
        text as it comes, also of an answer that then breaks off."""
        body = completion_body(request, self.name, stream=on_text is not None)
        started_at = self._clock.now()

        async def take(response: httpx.Response) -> _Answer:
            return await (_whole(response) if on_text is None else _streamed(response, on_text))

        accept = "application/json" if on_text is None else "text/event-stream"
        question = Question("POST", _COMPLETIONS, body, accept)
        (completion, digest), attempts = await self._channel.ask(question, take, seconds=seconds)
        choice = replies.choice_of(completion)
        return ModelReply(
            text=choice.message.content or "",
            tool_requests=replies.tool_requests_of(choice, sum(len(one.tool_requests) for one in request.messages)),
            finish=replies.finish_of(choice),
            tokens=replies.tokens_of(completion.usage),
            chances=replies.chances_of(choice, request.sampling.tokens_max),
            request_sha256=sha256_hex(body),
            response_sha256=digest,
            attempts=attempts,
            started_at=started_at,
            ended_at=self._clock.now(),
        )

    async def _short(self, question: Question) -> bytes:
        """A question that needs no generation."""
        body, _ = await self._channel.ask(question, _read_all, seconds=_QUESTION_SECONDS, late="unavailable")
        return body

    async def _count(self, body: bytes) -> int:
        answer = await self._short(Question("POST", "/tokenize", body))
        return replies.read(answer, replies.Count, "/tokenize").count

    async def _server(self) -> str | None:
        """None: another server than vLLM."""
        try:
            version = replies.read(await self._short(Question("GET", "/version")), replies.Version, "/version").version
        except ModelError as error:
            if error.failure not in ("refused", "invalid_output"):
                raise
            return None
        return f"vllm {version}" if _VERSION.fullmatch(version) else None


def _shown_root(root: str | None) -> str | None:
    """A repository's name as it is; of a folder the last part: its path is the server's own affair."""
    if root is None or _REPOSITORY.fullmatch(root):
        return root
    return re.split(r"[/\\]", root.rstrip("/\\"))[-1] or None


async def _bytes(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it arrives, up to what memory allows."""
    length = 0
    async for part in response.aiter_bytes():
        length += len(part)
        if length > ANSWER_BYTES_MAX:
            raise ModelError("invalid_output", f"The model server's answer is longer than {ANSWER_BYTES_MAX} bytes")
        yield part


async def _read_all(response: httpx.Response) -> bytes:
    return b"".join([part async for part in _bytes(response)])


async def _whole(response: httpx.Response) -> _Answer:
    """An answer in one."""
    body = await _read_all(response)
    return _Answer(replies.read(body, replies.Completion, _COMPLETIONS), sha256_hex(body))


async def _streamed(response: httpx.Response, on_text: Callable[[str], None]) -> _Answer:
    """An answer in pieces (server-sent events), until `[DONE]`. What ends before that has died."""
    digest = sha256()

    async def hashed() -> AsyncIterator[bytes]:
        async for part in _bytes(response):
            digest.update(part)
            yield part

    if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
        raise ModelError("invalid_output", "The model server's answer is no stream of events")
    pieces = replies.Pieces(on_text)
    done = False
    # Events are UTF-8, whatever the header says.
    copy = httpx.Response(httpx.codes.OK, headers={"Content-Type": "text/event-stream"}, content=hashed())
    async for event in EventSource(copy).aiter_sse():
        done = done or event.data == "[DONE]"
        if event.data and not done:
            pieces.add(_checked(replies.read(event.data, replies.Chunk, _COMPLETIONS)))
    completion = pieces.whole() if done else None
    if completion is None:
        raise ModelError("unavailable", "The model server ended its answer in the middle")
    return _Answer(completion, digest.hexdigest())


def _checked(chunk: replies.Chunk) -> replies.Chunk:
    """The chunk, unless it is an error: status 200 was sent before the server knew."""
    if chunk.error is None:
        return chunk
    code = chunk.error.code if isinstance(chunk.error.code, int) else 500
    failure = refusal(code, chunk.error.message)
    # The answer has started, so it is not asked for again.
    raise ModelError("unavailable", str(failure)) if isinstance(failure, Transient) else failure
