# SPDX-License-Identifier: Apache-2.0
"""What the journal keeps of each call, and the record that the dossier keeps of it.

The journal's bytes are the whole exchange, encrypted at rest; the dossier names them by hash. Reading them back gives
the same run again, without a server.
"""

from datetime import datetime
from typing import Literal

from medagent.canonical import canonical_json, sha256_hex
from medagent.errors import ModelError, ModelFailure
from medagent.evidence import Record
from medagent.model.exchange import ModelReply, ModelRequest, Served
from medagent.records import CallOutcome, ModelCall, ToolCall
from medagent_tools.seam import ToolResult

ToolOutcome = Literal["answered", "refused", "invalid_arguments", "unknown_tool", "over_limit"]


class Answered(Record):
    """What came of asking the model: a reply, or how it failed."""

    reply: ModelReply | None = None
    failure: ModelFailure | None = None
    message: str = ""
    """What the failure says; ours, without what was asked or answered."""
    started_at: datetime
    ended_at: datetime

    @classmethod
    def failed(cls, error: ModelError, started_at: datetime, ended_at: datetime) -> "Answered":
        """A call that gave nothing."""
        return cls(failure=error.failure, message=str(error), started_at=started_at, ended_at=ended_at)

    @property
    def seconds(self) -> float:
        """How long it took when it was made."""
        return (self.ended_at - self.started_at).total_seconds()


class Told(Record):
    """A text that the model was told, and the evidence that it was given a handle for by that, in order."""

    text: str
    tokens: int
    shown: int = 0
    total: int = 0
    named: tuple[str, ...] = ()


class Used(Record):
    """What came of one call of a tool."""

    tool: str
    outcome: ToolOutcome
    result: ToolResult | None = None
    told: Told
    started_at: datetime
    ended_at: datetime


class Opened(Record):
    """How the conversation began: who is asked, and what of the chart it was told; or why it did not begin."""

    served: Served | None = None
    told: Told = Told(text="", tokens=0)
    left_out: tuple[str, ...] = ()
    tokens: int = 0
    """Of the first request, tools included."""
    bounds: str = ""
    """Those that the run keeps, as JSON, whatever a site sets while it is cut off."""
    failure: ModelFailure | None = None
    message: str = ""
    """What the failure says; ours."""
    started_at: datetime
    ended_at: datetime

    @property
    def seconds(self) -> float:
        """How long it took when it was done."""
        return (self.ended_at - self.started_at).total_seconds()


def model_call(key: str, purpose: Literal["reason", "draft", "repair"], request: ModelRequest, served: Served,
               answered: Answered) -> ModelCall:  # fmt: skip
    """The record of one exchange."""
    reply, sampling = answered.reply, request.sampling
    outcome = CallOutcome.ANSWERED if answered.failure is None else CallOutcome(answered.failure)
    return ModelCall(
        key=key,
        purpose=purpose,
        outcome=outcome,
        recorded_sha256=sha256_hex(request.recorded()),
        request_sha256=None if reply is None else reply.request_sha256,
        response_sha256=None if reply is None else reply.response_sha256,
        model=served.name,
        adapter=request.adapter,
        revision=served.revision,
        weights_digest=served.weights_digest,
        server=served.server,
        temperature=str(sampling.temperature),
        top_p=str(sampling.top_p),
        seed=sampling.seed,
        tokens_max=sampling.tokens_max,
        prompt_tokens=0 if reply is None else reply.tokens.prompt,
        cached_tokens=None if reply is None else reply.tokens.cached,
        completion_tokens=0 if reply is None else reply.tokens.completion,
        finish=None if reply is None else reply.finish,
        images=tuple(picture.sha256 for picture in request.pictures),
        attempts=1 if reply is None else reply.attempts,
        started_at=answered.started_at,
        ended_at=answered.ended_at,
    )


def tool_call(key: str, request: bytes, used: Used) -> ToolCall:
    """The record of one call of a tool."""
    return ToolCall(
        key=key,
        tool=used.tool,
        outcome=used.outcome,
        request_sha256=sha256_hex(request),
        result_sha256=sha256_hex(canonical_json(used)),
        evidence=len(used.told.named),
        shown=used.told.shown,
        total=used.told.total,
        tokens=used.told.tokens,
        started_at=used.started_at,
        ended_at=used.ended_at,
    )
