# SPDX-License-Identifier: Apache-2.0
"""The model's part of one run, step by step: it reasons with tools inside bounds, then drafts.

Each call of the model and of a tool is journaled before it is made, and its result before it is used. Walking the same
steps again therefore gives the same conversation without asking anybody: so a run is resumed, and so a node of the
graph that was cut off half-way goes on. Nothing here decides what is shown: the verifier does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from medagent.canonical import canonical_json
from medagent.evidence import ImageRef
from medagent.evidence_set import AnyEvidence
from medagent.model.exchange import Picture, Served, ToolRequest, ToolSpec
from medagent.records import CallOutcome, Reasoning, ReasoningEnd, Request
from medagent_tools.guidelines.engine import Screening
from medagent_tools.seam import ToolContext
from medagent_workflows.gathering import Threshold
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.acting import Acting
from medagent_workflows.reasoning.asking import Asking
from medagent_workflows.reasoning.bounds import Bounds
from medagent_workflows.reasoning.compiling import evidence_of
from medagent_workflows.reasoning.conversation import Conversation
from medagent_workflows.reasoning.drafts import DRAFT_PROMPT, Drafted, Drafting
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.opening import opened
from medagent_workflows.reasoning.overview import OVERVIEW_TYPES, Overview, overview
from medagent_workflows.reasoning.pictures import Pictures
from medagent_workflows.reasoning.recording import Opened, Used

Next = Literal["act", "draft", "end"]

_IMAGE_GUESS = (
    1_100  # tokens of one image until the server's own count is known: LLaVA takes 576, Gemma 256, Qwen ≈1,300
)
_INVALID_TURNS = 3  # a first try and two repairs of arguments
_SHARE_OF_DRAFT = 0.25  # of the seconds, kept for the draft: turns that take too long must not leave it without time


@dataclass(slots=True)
class Reasoner:
    """One run's conversation with a model. Made anew in each process; the journal makes it the same."""

    request: Request
    context: ToolContext
    screening: Screening
    entry: Threshold
    asking: Asking
    acting: Acting
    pictures: Pictures
    specs: tuple[ToolSpec, ...]
    """The permitted tools as the model is told of them; empty where the site serves a model without tools."""
    handles: Handles
    served: Served | None = None
    conversation: Conversation = field(default_factory=Conversation)
    ended: ReasoningEnd | None = None
    detail: str = ""
    left_out: tuple[str, ...] = ()
    free_text: list[str] = field(default_factory=list)
    found: dict[str, AnyEvidence] = field(default_factory=dict)
    """What the model was told of, by id, but for facts, which the chart gives by theirs."""
    drafted: list[Drafted] = field(default_factory=list)
    """One per attempt; the second was told what the verifier refused of the first."""
    _context: int = 0
    """Tokens of the conversation so far."""
    _asked: tuple[ToolRequest, ...] = ()
    """What the last turn asked for."""
    _invalid_turns: int = 0

    async def open(self) -> None:
        """Finds out who is asked, and tells what of the chart fits. Journaled as one step: a resumed run begins alike,
        whatever the server says meanwhile."""
        inputs = canonical_json(
            {
                "request": self.request.id,
                "adapter": self.asking.bounds.adapter,
                "pack": self.context.pack.digest,
                "prompts": [prompt.sha256 for prompt in PROMPTS.refs],
                "tools": [spec.name for spec in self.specs],
                "chart": sorted(self.screening.evidence.slices),
            }
        )
        await self.context.chart.provide(OVERVIEW_TYPES)
        # In a thread: all of the chart is looked through, and others wait for this event loop.
        view = await asyncio.to_thread(overview, self.context, self.screening, self.entry, self.acting.grant)
        self.found.update(view.evidence)
        entry = self.asking.journal.intend(self.request.id, "opening", inputs)
        if entry.result is not None:
            begun = Opened.model_validate_json(entry.result)
            self._go_on_as(begun, view)
        else:
            begun = await opened(
                view,
                self.request.question,
                model=self.asking.model,
                clock=self.asking.clock,
                bounds=self.asking.bounds,
                specs=self.specs,
                handles=self.handles,
            )
            self.asking.journal.conclude(self.request.id, "opening", canonical_json(begun))
        self.asking.spent.seconds += begun.seconds
        if begun.failure is not None:
            self._end(begun.failure, begun.message)
            return
        self.served, self.left_out, self._context = begun.served, begun.left_out, begun.tokens
        # The patient's part, then the question: one patient's requests share more than one question's.
        first_words = PROMPTS.question_for(begun.told.text, self.request.question)
        self.conversation = Conversation.begun(PROMPTS.system.text, first_words)
        if not self.specs:  # a model without tools cannot ask for images
            await self._show(await asyncio.to_thread(self.pictures.newest))

    async def turn(self, number: int) -> Next:
        """One turn: the model asks for tools, or has seen enough.

        Steps: (1) the bounds; (2) the model; (3) what it said outside of the slots is kept for reviewers; (4) tools
        that it asked for come next, else the draft.
        """
        if self.served is None and self.ended is None:
            await self.open()
        if self.served is None:
            return "end"
        # (1)
        if not self.specs or not self._may_go_on(number):
            return "draft"
        # (2)
        request = self.conversation.turn(self.specs, self.asking.bounds)
        answered = await self.asking.ask(f"model/{number}", "reason", request, self.served, kept=self._seconds_of_draft)
        self.asking.spent.steps += 1
        reply = answered.reply
        if reply is None and answered.failure == "deadline":
            return "draft"  # for which time was kept
        if reply is None:
            assert answered.failure is not None
            self._end(answered.failure, answered.message)
            return "end"
        if reply.tokens.prompt:  # else the server does not say, and the estimate stands
            self._context = reply.tokens.prompt + reply.tokens.completion
        # (3)
        if reply.text.strip():
            self.free_text.append(reply.text)
        # (4) A turn that was cut off may have lost half a request. Of those that are too many the model hears once.
        most = max(self.asking.bounds.tool_calls - self.asking.spent.tool_calls, 0) + 1
        self._asked = () if reply.finish == "length" else reply.tool_requests[:most]
        if not self._asked:
            return "draft"
        self.conversation.said(reply.text, self._asked)
        return "act"

    async def act(self, number: int) -> None:
        """The tools that the turn asked for, side by side."""
        requests = self._asked
        room = max(self._room() - self.asking.bounds.reply_tokens, len(requests))
        done = await self.acting.act(number, requests, room)
        for request, used in zip(requests, done, strict=True):
            if used.result is not None:
                self.found.update(evidence_of(used.result, self.context))
            self.conversation.told(request, used.told.text)
            self._context += used.told.tokens
        if any(used.outcome in ("invalid_arguments", "unknown_tool") for used in done):
            self._invalid_turns += 1
        await self._show([image for used in done for image in _pictured(used)])

    async def draft(self, attempt: int, refused: tuple[str, ...] = ()) -> None:
        """Asks for the draft, bound to the schema of propositions. `refused`: what the verifier said of the last."""
        assert self.served is not None
        drafting = Drafting(
            asking=self.asking,
            served=self.served,
            conversation=self.conversation,
            said=self._context,
            specs=self.specs,
            handles=self.handles,
            found=self._stateable,
            context=self.context,
            screening=self.screening,
        )
        drafted = await drafting.draft(attempt, refused, self.drafted[-1] if self.drafted else None)
        self.drafted.append(drafted)
        self.free_text += drafted.notes

    @property
    def _stateable(self) -> dict[str, AnyEvidence]:
        """What a draft may rest on: all that was told, and of the images those alone that the model was shown. Nobody
        reads an image from its line in a list."""
        shown = self.pictures.shown
        return {name: item for name, item in self.found.items() if not isinstance(item, ImageRef) or name in shown}

    @property
    def has_spoken(self) -> bool:
        """Whether the model answered anything at all."""
        return any(call.outcome is CallOutcome.ANSWERED for call in self.asking.calls.values())

    def record(self, shown: Drafted | None) -> Reasoning:
        """What the dossier keeps. `shown`: the draft of which something may be shown; None: none was written."""
        end = shown or Drafted(ended=self.ended or "unavailable", detail=self.detail)
        tokens = 0 if self.served is None else self.served.context_tokens
        return Reasoning(
            ended=end.ended,
            detail=end.detail,
            prompts=PROMPTS.refs,
            model_calls=tuple(self.asking.calls.values()),
            tool_calls=tuple(self.acting.calls.values()),
            limits=self.asking.spent.limits(self.asking.bounds, tokens),
            left_out=(*self.left_out, *self.pictures.left_out),
            proposed=tuple(draft.rule for draft in end.drafts),
            repairs=sum(one.repairs for one in self.drafted),
            free_text=tuple(self.free_text),
            invalid=tuple(dict.fromkeys(reason for one in self.drafted for reason in one.invalid)),
            agreement=end.agreement,
            decisive=end.decisive,
            images=self.pictures.shown,
        )

    def _go_on_as(self, begun: Opened, view: Overview) -> None:
        """With the names, the bounds and the model with which another process began. What it told is told again, since
        readings of a server's answers have other ids each time: these tell the pages that they came in."""
        again = self.handles.copy()
        is_same = view.told_again(begun.told.shown, again) == begun.told.text
        for evidence_id in again.known if is_same else begun.told.named:
            self.handles.name(evidence_id)
        bounds = Bounds.of_json(begun.bounds)
        self.asking.bounds = self.acting.bounds = self.pictures.bounds = bounds
        self.asking.is_confirmed = False

    def _may_go_on(self, number: int) -> bool:
        """Whether another turn with tools fits into every bound. The one that does not is recorded."""
        bounds, spent = self.asking.bounds, self.asking.spent
        turn = self._context + bounds.reply_tokens
        reached = {
            "steps": number >= bounds.steps,
            "tool_calls": spent.tool_calls >= bounds.tool_calls,
            "tokens": spent.tokens + 2 * turn + self._kept > bounds.tokens,
            "seconds": self.asking.seconds_left <= self._seconds_of_draft,
            "context": self._context + bounds.reply_tokens + self._kept > self._served_tokens,
        }
        for name in (name for name, is_reached in reached.items() if is_reached):
            spent.refuse(name)
        return not any(reached.values()) and self._invalid_turns < _INVALID_TURNS

    @property
    def _kept(self) -> int:
        """Tokens kept free for the draft."""
        return DRAFT_PROMPT + self.asking.bounds.draft_tokens

    @property
    def _seconds_of_draft(self) -> float:
        return self.asking.bounds.seconds * _SHARE_OF_DRAFT

    @property
    def _served_tokens(self) -> int:
        assert self.served is not None
        return self.served.context_tokens

    def _room(self) -> int:
        """Tokens that the conversation may still grow by, the draft kept free: in the context, and in the run."""
        in_run = self.asking.bounds.tokens - self.asking.spent.tokens
        return min(self._served_tokens, in_run) - self._context - self._kept

    async def _show(self, wanted: Sequence[ImageRef]) -> None:
        """Images beside their short names, as far as the bound allows."""
        shown: list[Picture] = []
        names: list[str] = []
        for image in {image.id: image for image in wanted}.values():
            self.found[image.id] = image
            name, picture = self.handles.name(image.id), await self._picture(image, len(shown))
            names.append(name if picture is not None else f"{name} (not shown)")
            shown += [] if picture is None else [picture]
        if names:
            self.conversation.shown(PROMPTS.images_for(names), shown)
            self._context += _IMAGE_GUESS * len(shown)

    async def _picture(self, image: ImageRef, beside: int) -> Picture | None:
        """Its pixels. None: they cannot be shown, or the context would not hold them beside others."""
        if self._room() < _IMAGE_GUESS * (beside + 1):
            self.asking.spent.refuse("context")
            return None
        return await asyncio.to_thread(self.pictures.show, image)  # it is decoded and scaled

    def _end(self, ended: ReasoningEnd, detail: str) -> None:
        self.ended, self.detail = ended, detail


def _pictured(used: Used) -> list[ImageRef]:
    """The images that a tool was asked to show."""
    if used.result is None:
        return []
    return [image for image in used.result.images if image.id in used.result.pictures]
