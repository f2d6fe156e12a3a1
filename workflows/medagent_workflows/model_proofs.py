# SPDX-License-Identifier: Apache-2.0
"""How each ability of a model server is proven: what is asked, and what must come back.

What is sent stands in this file or among the prompts; no chart and no patient is involved. A proof says what was seen,
or raises Unproven or ModelError where it does not hold.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Annotated, Literal, TypeVar

from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field

from medagent.errors import InvalidOutput, MedAgentError, ModelError
from medagent.model.catalogue import load_catalogue
from medagent.model.exchange import Message, ModelReply, ModelRequest, Picture, Sampling, Served, ToolRequest, ToolSpec
from medagent.model.validation import parse_arguments
from medagent.model.vllm import VllmModel
from medagent.settings import Settings
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.prompts.schemas import plain_schema
from medagent_workflows.reasoning.drafting import WireDraft

T = TypeVar("T", bound=BaseModel)
SECONDS = 120.0  # for one question; a server that has just started compiles on its first ones
_IMAGES_TRIED = 8
_AT_ONCE = 8
_SIDE = 224  # pixels; every image encoder takes that much
_ANSWER_TOKENS = 256  # an answer of `_Measured` takes 40; a model that cannot end is found out


class Unproven(MedAgentError):
    """A check does not hold. Says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an installation asks of its model."""

    evidence_tokens: int
    """Room for the overview of a chart and one answer of a tool."""
    draft_tokens: int
    concurrency: int
    tools: bool
    images: int
    adapter: str | None

    @classmethod
    def of(cls, settings: Settings) -> "Needs":
        """As the settings have it."""
        told = settings.model_tool_tokens_max if settings.model_tools else 0
        return cls(
            evidence_tokens=settings.model_overview_tokens_max + told,
            draft_tokens=settings.model_draft_tokens_max,
            concurrency=settings.model_concurrency,
            tools=settings.model_tools,
            images=settings.model_images_max,
            adapter=settings.model_adapter,
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """The server under examination."""

    model: VllmModel
    served: Served
    needs: Needs

    async def ask(self, request: ModelRequest, on_text: Callable[[str], None] | None = None) -> ModelReply:
        """One answer."""
        return await self.model.answer(request, seconds=SECONDS, on_text=on_text)

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The agent's own, where it may use any."""
        return PROMPTS.tools if self.needs.tools else ()


# --- what is sent -----------------------------------------------------------------------------------------------------

_QUESTION = "Which of these is a laboratory test: creatinine, radiograph, aspirin? Answer with one word."
_RESULT = "Record the result: potassium 4 mmol/L."
_PASSAGE = " ".join(f"This is line {number} of a text that is sent twice, for its own sake." for number in range(60))


class _Measured(BaseModel):
    """The shapes that drafts and tools use: choices, bounded numbers and lists, alternatives, what may be null."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    analyte: Literal["creatinine", "potassium", "haemoglobin"]
    result: Annotated[int, Field(ge=0, le=500)] | Literal["pending"]
    unit: Literal["mg/dL", "mmol/L", "g/dL"] | None
    flags: Annotated[list[Literal["low", "high"]], Field(max_length=2)]


_TOOL = ToolSpec(name="record_result", description="Records a laboratory result.", parameters=plain_schema(_Measured))
_CALL = ToolRequest(
    id="call00001", name=_TOOL.name, arguments='{"analyte":"potassium","result":4,"unit":null,"flags":[]}'
)


@cache
def _picture() -> Picture:
    """A white disc on black."""
    image = Image.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(image).ellipse((_SIDE // 4, _SIDE // 4, _SIDE * 3 // 4, _SIDE * 3 // 4), fill=255)
    written = BytesIO()
    image.save(written, "PNG")
    return Picture(media_type="image/png", data=written.getvalue(), evidence="drawn")


def _asking(text: str, images: int = 0) -> tuple[Message, ...]:
    system = Message(role="system", text="Answer briefly.")  # a run has one, and some chat templates refuse it
    return (system, Message(role="user", text=text, pictures=(_picture(),) * images))


def _chosen(tokens_max: int) -> Sampling:
    return Sampling(tokens_max=tokens_max)


_PLAIN = ModelRequest(messages=_asking(_QUESTION), sampling=_chosen(32))


def _fitting(kind: type[T], text: str, what: str) -> T:
    """The text as that type, read as strictly as a run reads it."""
    try:
        return parse_arguments(text, kind)
    except InvalidOutput as error:
        raise Unproven(f"{what} is not valid: {error}") from None


def _called(reply: ModelReply, kind: type[BaseModel], names: frozenset[str]) -> str:
    for call in reply.tool_requests:
        if call.name not in names:
            raise Unproven("calls a tool that was not offered")
        _fitting(kind, call.arguments, "a call")
    return f"{len(reply.tool_requests)} called, arguments valid"


# --- proofs -----------------------------------------------------------------------------------------------------------


async def version(subject: Subject) -> str:
    """The server is vLLM, and not older than what was tried."""
    compared, said = load_catalogue().vllm, subject.served.server
    if said is None:
        raise Unproven("does not say that it is vLLM")
    if _numbers(said) < _numbers(compared):
        raise Unproven(f"{said} is older than {compared}, with which MedAgent was tried")
    return said


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


async def context(subject: Subject) -> str:
    """A run's prompts, overview, an answer of a tool and the draft fit."""
    messages = (Message(role="system", text=PROMPTS.system.filled()), *_asking(PROMPTS.draft_request())[1:])
    prompts = await subject.model.tokens(ModelRequest(messages=messages, tools=subject.tools, sampling=_chosen(1)))
    needed = prompts + subject.needs.evidence_tokens + subject.needs.draft_tokens
    seen = f"{subject.served.context_tokens:,} tokens; a run needs at least {needed:,}"
    if subject.served.context_tokens < needed:
        raise Unproven(seen)
    return seen


async def tokenizer(subject: Subject) -> str:
    """Texts and conversations are counted."""
    alone, whole = await subject.model.text_tokens(_QUESTION), await subject.model.tokens(_PLAIN)
    if not 0 < alone <= whole:
        raise Unproven(f"{alone} for a text and {whole} for a conversation that holds it cannot be")
    return f"{alone} for a text, {whole} as a conversation"


async def chat(subject: Subject) -> str:
    """It answers."""
    reply = await subject.ask(_PLAIN)
    if not (reply.text or reply.tokens.completion):
        raise Unproven("answers with nothing")
    return _took(reply)


def _took(reply: ModelReply) -> str:
    return f"{(reply.ended_at - reply.started_at).total_seconds():.1f} s for {reply.tokens.completion} token(s)"


async def image(subject: Subject) -> str:
    """An image reaches the model: it takes tokens of the prompt."""
    counts = []
    for images in (0, 1):
        reply = await subject.ask(ModelRequest(messages=_asking(_QUESTION, images), sampling=_chosen(1)))
        counts.append(reply.tokens.prompt)
    if counts[1] <= counts[0]:
        raise Unproven("an image makes the prompt no longer: the model is not shown it")
    return f"{counts[1] - counts[0]} tokens for one of {_SIDE} pixels"


async def images(subject: Subject) -> str:
    """As many images as a run may show stand in one prompt."""
    tried, taken = max(_IMAGES_TRIED, subject.needs.images), 0
    while taken < tried:
        try:
            await subject.ask(ModelRequest(messages=_asking(_QUESTION, taken + 1), sampling=_chosen(1)))
        except ModelError as error:
            if error.failure not in ("refused", "too_long"):
                raise
            break
        taken += 1
    if taken < max(subject.needs.images, 1):
        raise Unproven(f"{taken} at most; MEDAGENT_MODEL_IMAGES_MAX is {subject.needs.images}")
    return f"{'at least' if taken == tried else 'at most'} {taken}"


async def schema(subject: Subject) -> str:
    """An answer fits the schema that binds it."""
    reply = await subject.ask(
        ModelRequest(messages=_asking(_RESULT), sampling=_chosen(_ANSWER_TOKENS), answer_schema=plain_schema(_Measured))
    )
    _fitting(_Measured, reply.text, "the answer")
    return "valid, with choices, alternatives, bounds and null"


async def draft(subject: Subject) -> str:
    """The last request of a run: the agent's tools told of and not callable, its schema, log probabilities."""
    wanted = "There is nothing to add: abstain with nothing_to_add, no propositions and empty notes."
    reply = await subject.ask(
        ModelRequest(
            messages=_asking(f"{wanted} {PROMPTS.draft_request()}"),
            tools=subject.tools,
            tool_choice="none",
            answer_schema=PROMPTS.draft_schema,
            sampling=_chosen(subject.needs.draft_tokens),
            logprobs=True,
        )
    )
    if reply.finish == "length":
        raise Unproven(f"no end within {subject.needs.draft_tokens} tokens (MEDAGENT_MODEL_DRAFT_TOKENS_MAX)")
    _fitting(WireDraft, reply.text, "the draft")
    return f"valid, {_took(reply)}, its grammar's making included"


async def tools_required(subject: Subject) -> str:
    """Where a tool must be called, one is, and its arguments fit."""
    reply = await subject.ask(
        ModelRequest(
            messages=_asking(_RESULT), tools=(_TOOL,), tool_choice="required", sampling=_chosen(_ANSWER_TOKENS)
        )
    )
    if not reply.tool_requests and reply.finish == "length":
        raise Unproven(f"no end within {_ANSWER_TOKENS} tokens: the call is cut off")
    if not reply.tool_requests:
        raise Unproven("none is called where one is required")
    return _called(reply, _Measured, frozenset({_TOOL.name}))


async def tools_auto(subject: Subject) -> str:
    """The agent's own tools are taken, and calling them is left to the model."""
    reply = await subject.ask(ModelRequest(messages=_asking(_QUESTION), tools=PROMPTS.tools, sampling=_chosen(64)))
    unknown = {call.name for call in reply.tool_requests} - {tool.name for tool in PROMPTS.tools}
    if unknown:
        raise Unproven("calls a tool that was not offered")
    return f"{len(PROMPTS.tools)} taken, {len(reply.tool_requests)} called"


async def tools_answered(subject: Subject) -> str:
    """What a tool answers reaches the model. Chat templates that know no tools refuse it or leave it out."""
    counts = []
    for answer in ("Recorded.", f"Recorded. {_PASSAGE}"):
        messages = (
            *_asking(_RESULT),
            Message(role="assistant", tool_requests=(_CALL,)),
            Message(role="tool", text=answer, answers=_CALL.id),
        )
        request = ModelRequest(messages=messages, tools=(_TOOL,), sampling=_chosen(16))
        counts.append(await subject.model.tokens(request))
        await subject.ask(request)
    if counts[0] >= counts[1]:
        raise Unproven("the chat template leaves out what a tool answered")
    return "reach the model"


async def tools_told(subject: Subject) -> str:
    """The chat template tells the model of the tools that it may call."""
    with_tools = await subject.model.tokens(_PLAIN.model_copy(update={"tools": PROMPTS.tools}))
    without = await subject.model.tokens(_PLAIN)
    if with_tools <= without:
        raise Unproven("the chat template does not tell of tools")
    return f"{with_tools - without:,} tokens for {len(PROMPTS.tools)}"


async def parallel(subject: Subject) -> str:
    """Several requests at once are answered."""
    many, began = min(_AT_ONCE, subject.needs.concurrency), time.monotonic()
    requests = (ModelRequest(messages=_asking(f"{one}. {_QUESTION}"), sampling=_chosen(32)) for one in range(many))
    await asyncio.gather(*map(subject.ask, requests))
    return f"{many} at once in {time.monotonic() - began:.1f} s"


async def seed(subject: Subject) -> str:
    """A sampled answer repeats with its seed."""
    request = _PLAIN.model_copy(update={"sampling": Sampling(tokens_max=32, temperature=1.0, seed=7)})
    if (await subject.ask(request)).text != (await subject.ask(request)).text:
        raise Unproven("the same seed gave two answers")
    return "the same seed, the same answer"


async def logprobs(subject: Subject) -> str:
    """Log probabilities come where they are asked for."""
    reply = await subject.ask(_PLAIN.model_copy(update={"logprobs": True}))
    if not reply.chances:
        raise Unproven("none came")
    return f"of {len(reply.chances)} tokens"


async def streaming(subject: Subject) -> str:
    """A streamed answer is the same as one that is not."""
    pieces: list[str] = []
    whole, streamed = await subject.ask(_PLAIN), await subject.ask(_PLAIN, on_text=pieces.append)
    if not whole.text == streamed.text == "".join(pieces):
        raise Unproven("a streamed answer is another than one that is not")
    return "the same answer as one that is not"


async def prefix_cache(subject: Subject) -> str:
    """What was sent before is not computed again."""
    request = ModelRequest(messages=_asking(_PASSAGE), sampling=_chosen(1))
    await subject.ask(request)
    tokens = (await subject.ask(request)).tokens
    if tokens.cached is None:
        raise Unproven("it does not say how many tokens were cached")
    if tokens.cached == 0:
        raise Unproven(f"none of {tokens.prompt} tokens was cached when they were sent again")
    return f"{tokens.cached} of {tokens.prompt} tokens when sent again"


async def too_long(subject: Subject) -> str:
    """A prompt beyond the context is refused as that, not cut."""
    words = "x " * (2 * subject.served.context_tokens)
    try:
        await subject.ask(ModelRequest(messages=_asking(words), sampling=_chosen(1)))
    except ModelError as error:
        if error.failure != "too_long":
            raise
        return "refused as that"
    raise Unproven("answered: it was cut without saying so")


async def adapters(subject: Subject) -> str:
    """The adapter that the settings name is loaded and answers."""
    listed, wanted = subject.served.adapters, subject.needs.adapter
    loaded = ", ".join(listed) or "none"
    if wanted is None:
        return loaded
    if wanted not in listed:
        raise Unproven(f"{wanted} (MEDAGENT_MODEL_ADAPTER) is not loaded; loaded: {loaded}")
    await subject.ask(_PLAIN.model_copy(update={"adapter": wanted}))
    return f"{wanted} answers; loaded: {loaded}"
