# SPDX-License-Identifier: Apache-2.0
"""One exchange with a served model, as data: messages, tools, schema and sampling in; text, tool requests, tokens out.

Nothing here speaks to a server (`medagent.model.vllm` does). What is recorded of a request holds images by their hash.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from medagent.canonical import canonical_json, sha256_hex
from medagent.evidence import Record

JsonObject = dict[str, Any]

Finish = Literal["stop", "length", "tool_calls", "other"]
"""Why the model stopped: of itself, at the limit of tokens, to call tools, or for a reason that we do not know."""


class Picture(Record):
    """One image for the model."""

    media_type: Literal["image/png", "image/jpeg"]
    data: bytes = Field(repr=False)
    evidence: str
    """Id of the `ImageRef` that it shows."""

    @property
    def sha256(self) -> str:
        """Of the bytes that the model is given."""
        return sha256_hex(self.data)


class ToolRequest(Record):
    """The model asks for a tool."""

    id: str
    """Ours and deterministic, whatever the server called it."""
    name: str
    arguments: str
    """JSON as the model wrote it; nobody has checked it yet."""


class Message(Record):
    """One turn of the conversation. Pictures come before the text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    pictures: tuple[Picture, ...] = ()
    tool_requests: tuple[ToolRequest, ...] = ()
    answers: str | None = None
    """Of a tool's message: the id of the request that it answers."""


class ToolSpec(Record):
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: JsonObject
    """JSON Schema of its arguments."""


class Sampling(Record):
    """How tokens are chosen, and how many at most: free text of a model may never end."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0
    tokens_max: int = Field(gt=0)


class ModelRequest(Record):
    """What a model is asked."""

    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    answer_schema: JsonObject | None = None
    """JSON Schema that binds the text of the answer. None: free text."""
    sampling: Sampling
    adapter: str | None = None
    """Name of a LoRA adapter that the server has loaded; it is served under that name."""
    logprobs: bool = False
    """Whether the log probability of each chosen token is asked for."""

    def recorded(self) -> bytes:
        """The canonical bytes of it, images by their hash: what is kept, and what two equal requests share."""
        dumped = self.model_dump(mode="python", exclude={"messages"})
        messages = [
            message.model_dump(mode="python", exclude={"pictures"})
            | {"pictures": [{"evidence": one.evidence, "sha256": one.sha256} for one in message.pictures]}
            for message in self.messages
        ]
        # The canonical form has no floats.
        sampling = {name: str(value) for name, value in dumped.pop("sampling").items()}
        return canonical_json(dumped | {"messages": messages, "sampling": sampling})

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All images, in order."""
        return tuple(picture for message in self.messages for picture in message.pictures)


class Served(Record):
    """The model as its server reports it and the site configures it."""

    name: str
    """As it is asked for."""
    root: str | None = None
    """What the server says that it loaded: a name or a folder's last part, never a whole path."""
    revision: str | None = None
    weights_digest: str | None = None
    """SHA-256 of the weights, as the site configured it. vLLM does not report one."""
    server: str | None = None
    """The server's software with its version, such as `vllm 0.32.0`."""
    context_tokens: int = Field(gt=0)
    """Most tokens of prompt and answer together."""
    adapters: tuple[str, ...] = ()
    """Names of the LoRA adapters that it serves beside the model."""


class Tokens(Record):
    """What an exchange took. Cached ones are part of the prompt's. None: the server did not say."""

    prompt: int = 0
    cached: int | None = None
    completion: int = 0


class TokenChance(Record):
    """A chosen token with the logarithm of the probability that it had. Recorded, never shown as a probability."""

    token: str
    logprob: str
    """A decimal number; text, since it is hashed."""


class ModelReply(Record):
    """What came back of one request."""

    text: str = ""
    tool_requests: tuple[ToolRequest, ...] = ()
    finish: Finish
    tokens: Tokens
    chances: tuple[TokenChance, ...] = ()
    request_sha256: str
    """Of the HTTP body as it was sent."""
    response_sha256: str
    """Of the HTTP body as it was received, content encoding undone."""
    attempts: int = 1
    """How often it was sent, the first time included."""
    started_at: datetime
    ended_at: datetime
