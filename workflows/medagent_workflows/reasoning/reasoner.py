# SPDX-License-Identifier: Apache-2.0
"""The model's part of one run, step by step: it reasons with tools inside bounds, then drafts.

Each call of the model and of a tool is journaled before it is made, and its result before it is used. Walking the same
steps again therefore gives the same conversation without asking anybody: so a run is resumed, and so a node of the
graph that was cut off half-way goes on. Nothing here decides what is shown: the verifier does.
"""

from dataclasses import dataclass, field
from typing import Literal

from medagent.canonical import canonical_json
from medagent.errors import ModelError
from medagent.evidence import ImageRef
from medagent.evidence_set import AnyEvidence
from medagent.model.exchange import ModelRequest, Picture, Sampling, Served, ToolRequest, ToolSpec
from medagent.records import CallOutcome, Reasoning, ReasoningEnd, Request
from medagent_tools.guidelines.engine import Screening
from medagent_tools.seam import ToolContext
from medagent_workflows.gathering import Threshold
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.acting import Acting
from medagent_workflows.reasoning.asking import Asking
from medagent_workflows.reasoning.compiling import evidence_of
from medagent_workflows.reasoning.conversation import Conversation
from medagent_workflows.reasoning.drafts import Drafted, Drafting
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.overview import Overview, overview
from medagent_workflows.reasoning.pictures import Pictures
from medagent_workflows.reasoning.recording import Opened, Told, Used

Next = Literal["act", "draft", "end"]

_LEAST_OVERVIEW = 100  # tokens; with less, nothing of a chart can be told
_DRAFT_PROMPT = 400  # tokens kept free for the request of the draft and of a repair
_IMAGE_GUESS = (
    1_100  # tokens of one image until the server's own count is known: LLaVA takes 576, Gemma 256, Qwen ≈1,300
)
_INVALID_TURNS = 3  # a first try and two repairs of arguments


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
                "model": self.asking.bounds.adapter,
                "pack": self.context.pack.digest,
                "prompts": [prompt.sha256 for prompt in PROMPTS.refs],
                "tools": [spec.name for spec in self.specs],
                "chart": sorted(self.screening.evidence.slices),
            }
        )
        view = overview(self.context, self.screening, self.entry)
        self.found.update(view.evidence)
        entry = self.asking.journal.intend(self.request.id, "opening", inputs)
        if entry.result is not None:
            opened = Opened.model_validate_json(entry.result)
            for evidence_id in opened.told.named:
                self.handles.name(evidence_id)
        else:
            try:
                opened = await self._opening(view)
            except ModelError as error:
                self._end(error.failure, str(error))
                return
            self.asking.journal.conclude(self.request.id, "opening", canonical_json(opened))
        self.served, self.left_out, self._context = opened.served, opened.left_out, opened.tokens
        self.conversation = Conversation.begun(PROMPTS.system.text, self._first_words(opened.told))
        if not self.specs:  # a model without tools cannot ask for images
            self._show([image for image, _ in self.pictures.newest()])

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
        request = self._ask_for(self.specs, self.asking.bounds.reply_tokens)
        answered = await self.asking.ask(f"model/{number}", "reason", request, self.served)
        self.asking.spent.steps += 1
        reply = answered.reply
        if reply is None:
            assert answered.failure is not None
            self._end(answered.failure, answered.message)
            return "end"
        self._context = reply.tokens.prompt + reply.tokens.completion
        # (3)
        if reply.text.strip():
            self.free_text.append(reply.text)
        # (4) A turn that was cut off may have lost half a request.
        self._asked = () if reply.finish == "length" else reply.tool_requests
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
        self._show([image for used in done for image in _pictured(used)])

    async def draft(self, attempt: int, refused: tuple[str, ...] = ()) -> None:
        """Asks for the draft, bound to the schema of propositions. `refused`: what the verifier said of the last."""
        assert self.served is not None
        drafting = Drafting(
            asking=self.asking,
            served=self.served,
            conversation=self.conversation,
            specs=self.specs,
            handles=self.handles,
            found=self.found,
            context=self.context,
            screening=self.screening,
            tokens_max=min(self.asking.bounds.draft_tokens, max(self._room() + self.asking.bounds.draft_tokens, 64)),
        )
        drafted = await drafting.draft(attempt, refused, self.drafted[-1].text if self.drafted else "")
        self.drafted.append(drafted)
        self.free_text += drafted.notes
        self.ended, self.detail = drafted.ended, drafted.detail

    @property
    def last(self) -> Drafted | None:
        """The newest draft. None: there is none."""
        return self.drafted[-1] if self.drafted else None

    @property
    def has_spoken(self) -> bool:
        """Whether the model answered anything at all."""
        return any(call.outcome is CallOutcome.ANSWERED for call in self.asking.calls.values())

    def record(self) -> Reasoning:
        """What the dossier keeps."""
        last = self.last
        tokens = 0 if self.served is None else self.served.context_tokens
        return Reasoning(
            ended=self.ended or "abstained",
            detail=self.detail,
            prompts=PROMPTS.refs,
            model_calls=tuple(self.asking.calls.values()),
            tool_calls=tuple(self.acting.calls.values()),
            limits=self.asking.spent.limits(self.asking.bounds, tokens),
            left_out=self.left_out,
            repairs=sum(one.repairs for one in self.drafted),
            free_text=tuple(self.free_text),
            invalid=() if last is None else last.invalid,
            agreement=None if last is None else last.agreement,
            decisive=() if last is None else last.decisive,
            images=self.pictures.shown,
        )

    async def _opening(self, view: Overview) -> Opened:
        """Fits the overview between what never changes and what is kept free for the draft."""
        model, bounds = self.asking.model, self.asking.bounds
        served = await model.served()
        bare = Conversation.begun(PROMPTS.system.text, self._first_words(Told(text="", tokens=0)))
        request = self._request(bare, self.specs, bounds.reply_tokens)
        base = await model.tokens(request)
        free = served.context_tokens - base - bounds.reply_tokens - _DRAFT_PROMPT - min(bounds.draft_tokens, base)
        if free < _LEAST_OVERVIEW:
            raise ModelError("too_long", f"a context of {served.context_tokens} tokens holds no overview of a chart")
        text = await view.told(self.handles, model.text_tokens, min(bounds.overview_tokens, free))
        named = self.handles.known
        told = Told(text=text.text, tokens=text.tokens, shown=text.shown, total=text.total, named=named)
        return Opened(served=served, told=told, left_out=text.left_out, tokens=base + text.tokens)

    def _first_words(self, told: Told) -> str:
        """The patient's part, then the question: one patient's charts share more than one question's."""
        return PROMPTS.question_for(told.text, self.request.question)

    def _may_go_on(self, number: int) -> bool:
        """Whether another turn with tools fits into every bound. The one that does not is recorded."""
        bounds, spent = self.asking.bounds, self.asking.spent
        turn = self._context + bounds.reply_tokens
        reached = {
            "steps": number >= bounds.steps,
            "tool_calls": spent.tool_calls >= bounds.tool_calls,
            "tokens": spent.tokens + 2 * turn + bounds.draft_tokens > bounds.tokens,
            "seconds": self.asking.seconds_left <= 0,
            "context": self._room() < bounds.reply_tokens,
        }
        for name in (name for name, is_reached in reached.items() if is_reached):
            spent.refuse(name)
        return not any(reached.values()) and self._invalid_turns < _INVALID_TURNS

    def _room(self) -> int:
        """Tokens that the conversation may still grow by, the draft kept free."""
        assert self.served is not None
        return self.served.context_tokens - self._context - _DRAFT_PROMPT - self.asking.bounds.draft_tokens

    def _ask_for(self, specs: tuple[ToolSpec, ...], tokens_max: int) -> ModelRequest:
        return self._request(self.conversation, specs, tokens_max)

    def _request(self, conversation: Conversation, specs: tuple[ToolSpec, ...], tokens_max: int) -> ModelRequest:
        bounds = self.asking.bounds
        return ModelRequest(
            messages=tuple(conversation.messages),
            tools=specs,
            tool_choice="auto" if specs else "none",
            sampling=Sampling(temperature=bounds.temperature, seed=bounds.seed, tokens_max=tokens_max),
            adapter=bounds.adapter,
        )

    def _show(self, wanted: list[ImageRef]) -> None:
        """Images beside their short names, as far as the bound allows."""
        shown: list[Picture] = []
        names: list[str] = []
        for image in {image.id: image for image in wanted}.values():
            self.found[image.id] = image
            name, picture = self.handles.name(image.id), self.pictures.show(image)
            names.append(name if picture is not None else f"{name} (not shown)")
            shown += [] if picture is None else [picture]
        if names:
            self.conversation.shown(PROMPTS.images_for(names), shown)
            self._context += _IMAGE_GUESS * len(shown)

    def _end(self, ended: ReasoningEnd, detail: str) -> None:
        self.ended, self.detail = ended, detail


def _pictured(used: Used) -> list[ImageRef]:
    """The images that a tool was asked to show."""
    if used.result is None:
        return []
    return [image for image in used.result.images if image.id in used.result.pictures]
