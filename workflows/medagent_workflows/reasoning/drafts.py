# SPDX-License-Identifier: Apache-2.0
"""Asking for the draft: bound to the schema, validated here whatever the server promised, repaired at most twice.

Where a site asks for several samples, each is asked for and repaired by itself, and what most of them say stays.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from medagent.errors import InvalidOutput
from medagent.evidence_set import AnyEvidence
from medagent.model.exchange import Message, ModelReply, ModelRequest, Sampling, Served, ToolSpec
from medagent.model.validation import decisive_tokens, parse_strict, problems
from medagent.records import Agreement, Considerations, DecisiveToken, Draft, ReasoningEnd
from medagent_tools.guidelines.engine import Screening
from medagent_tools.seam import ToolContext
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.agreement import agreed
from medagent_workflows.reasoning.asking import Asking, Purpose
from medagent_workflows.reasoning.compiling import Compiled, compiled
from medagent_workflows.reasoning.conversation import Conversation
from medagent_workflows.reasoning.drafting import WireDraft, narrowed
from medagent_workflows.reasoning.handles import Handles

REPAIRS_MAX = 2
LEAST_DRAFT = 192  # tokens; in fewer no model gets to the end of a draft that says anything
DRAFT_PROMPT = 120  # tokens kept free for the request of a draft
_REPAIR_PROMPT = 400  # tokens kept free for the request of another draft, with what was wrong with the one before


@dataclass(frozen=True, slots=True)
class Drafted:
    """What came of asking for a draft."""

    ended: ReasoningEnd
    detail: str = ""
    drafts: tuple[Draft, ...] = ()
    """Rules that the model puts forward; each draft is the engine's of that rule."""
    considerations: Considerations | None = None
    evidence: tuple[AnyEvidence, ...] = ()
    """What the considerations rest on."""
    invalid: tuple[str, ...] = ()
    """What of it could not be taken, in our words."""
    places: Mapping[str, str] = field(default_factory=dict)
    """By proposition id: where it stands in `text`."""
    notes: tuple[str, ...] = ()
    """What the model wrote for reviewers."""
    repairs: int = 0
    agreement: Agreement | None = None
    decisive: tuple[DecisiveToken, ...] = ()
    """Of several samples, of the first."""
    text: str = ""
    """The model's own words; of several samples, those of the first."""
    tokens: int = 0
    """Of the last exchange, prompt and answer: a draft after it begins with as much."""


@dataclass(slots=True)
class _Sample:
    """One draft with its repairs. It holds the last that could be taken."""

    ended: ReasoningEnd
    detail: str = ""
    compiled: Compiled | None = None
    notes: tuple[str, ...] = ()
    repairs: int = 0
    decisive: tuple[DecisiveToken, ...] = ()
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a draft is asked with."""

    asking: Asking
    served: Served
    conversation: Conversation
    said: int
    """Tokens of the conversation."""
    specs: tuple[ToolSpec, ...]
    handles: Handles
    found: Mapping[str, AnyEvidence]
    context: ToolContext
    screening: Screening

    async def draft(self, attempt: int, refused: tuple[str, ...] = (), before: Drafted | None = None) -> Drafted:
        """One draft, or what several samples of it have in common.

        `refused`: what the verifier said of the one `before`. Where a bound leaves no room for another, there is none.
        """
        text, said = ("", self.said + DRAFT_PROMPT) if before is None else (before.text, before.tokens + _REPAIR_PROMPT)
        samples: list[_Sample] = []
        for number in range(self.asking.bounds.samples):
            tokens_max = self._tokens_max(said)
            if attempt == number == 0:
                tokens_max = tokens_max or LEAST_DRAFT  # whatever was used up, a first draft is always asked for
            if tokens_max:
                samples.append(await self._sample(attempt, number, _asked(refused, text), tokens_max))
        if not samples:
            return Drafted(ended="abstained", detail="no room was left for another draft")
        if self.asking.bounds.samples == 1:
            return _alone(samples[0])
        return _together(samples, self.asking.bounds.samples)

    async def _sample(self, attempt: int, number: int, asked: list[Message], tokens_max: int) -> _Sample:
        """One draft, told what was wrong with it at most twice.

        Steps: (1) ask; (2) a model that does not answer ends it; (3) the answer is JSON of the schema, and what it
        names exists; (4) else it is told what was wrong, if the bounds leave room for another answer; (5) after the
        last repair, what can be taken is.
        """
        sample = _Sample("invalid_output", "the model gave no draft of the schema")
        for repair in range(REPAIRS_MAX + 1):
            # (1)
            purpose: Purpose = "draft" if repair == 0 else "repair"
            request = self._request(number, asked, tokens_max)
            answered = await self.asking.ask(f"draft/{attempt}/{number}/{repair}", purpose, request, self.served)
            reply = answered.reply
            # (2)
            if reply is None:
                assert answered.failure is not None
                if sample.compiled is None:
                    sample.ended, sample.detail = answered.failure, answered.message
                break
            sample.repairs, sample.tokens = repair, reply.tokens.prompt + reply.tokens.completion
            # (3)
            wrong = self._take(reply, sample)
            if not wrong or repair == REPAIRS_MAX:
                break
            # (4)
            tokens_max = self._tokens_max(sample.tokens + _REPAIR_PROMPT)
            if not tokens_max:
                break
            asked = [*asked, *_again(reply.text, PROMPTS.repair_for(wrong))]
        # (5)
        return sample

    def _take(self, reply: ModelReply, sample: _Sample) -> tuple[str, ...]:
        """Takes what can be taken of an answer; what cannot, in words for the model. A repair that is worse than what
        it was to repair leaves that standing."""
        try:
            wire = WireDraft.model_validate(parse_strict(reply.text))
        except (InvalidOutput, ValidationError) as error:
            return (_in_words(error),)
        made = compiled(wire, self.handles, self.found, self.context, self.screening)
        sample.notes += (wire.notes,) if wire.notes.strip() else ()
        if made.invalid and made.is_empty and sample.compiled is not None and not sample.compiled.is_empty:
            return made.problems_for_the_model
        sample.compiled, sample.text = made, reply.text
        sample.ended, sample.detail = _end_of(wire, made)
        sample.decisive = tuple(
            DecisiveToken(pointer=pointer, logprob=logprob)
            for pointer, logprob in decisive_tokens(reply.text, reply.chances)
        )
        return made.problems_for_the_model

    def _tokens_max(self, prompt: int) -> int:
        """Tokens that the answer to a prompt of so many may have. 0: a bound leaves too few, which is recorded."""
        bounds, spent = self.asking.bounds, self.asking.spent
        left = {"context": self.served.context_tokens - prompt, "tokens": bounds.tokens - spent.tokens - prompt}
        for name in (name for name, tokens in left.items() if tokens < min(LEAST_DRAFT, bounds.draft_tokens)):
            spent.refuse(name)
            return 0
        return min(bounds.draft_tokens, *left.values())

    def _request(self, number: int, asked: list[Message], tokens_max: int) -> ModelRequest:
        """The tools stay in it, though none may be called now: the prompt's beginning is then the same as before."""
        bounds = self.asking.bounds
        rules = [rule.id for rule in self.context.pack.rules]
        proposable = [draft.rule for draft in self.screening.drafts]
        return ModelRequest(
            messages=self.conversation.with_last(*asked),
            tools=self.specs,
            tool_choice="none",
            answer_schema=narrowed(PROMPTS.draft_schema, self.handles, rules, proposable, shown=self.found),
            sampling=Sampling(temperature=bounds.temperature, seed=bounds.seed + number, tokens_max=tokens_max),
            adapter=bounds.adapter,
            logprobs=True,
        )


def _alone(sample: _Sample) -> Drafted:
    """What the only sample says."""
    taken = sample.compiled or Compiled()
    return Drafted(
        ended=sample.ended,
        detail=sample.detail,
        drafts=taken.drafts,
        considerations=taken.considerations,
        evidence=taken.evidence,
        invalid=taken.invalid,
        places=taken.places,
        notes=sample.notes,
        repairs=sample.repairs,
        decisive=sample.decisive,
        text=sample.text,
        tokens=sample.tokens,
    )


def _together(samples: Sequence[_Sample], wanted: int) -> Drafted:
    """What most of the samples say. One that was not asked for, or gave nothing, says nothing."""
    missing = [None] * (wanted - len(samples))
    common = agreed([*(sample.compiled for sample in samples), *missing], needed=wanted // 2 + 1)
    first = samples[0]
    ended, detail = first.ended, first.detail
    ends = Counter(sample.ended for sample in samples)
    if common.compiled is not None:
        ended, detail = "drafted", ""
    elif ends["abstained"] >= common.agreement.needed:
        ended, detail = next((one.ended, one.detail) for one in samples if one.ended == "abstained")
    elif any(sample.compiled is not None for sample in samples):
        ended, detail = "disagreed", f"too few of {wanted} samples say the same"
    return replace(
        _alone(first),
        ended=ended,
        detail=detail,
        drafts=() if common.compiled is None else common.compiled.drafts,
        considerations=None if common.compiled is None else common.compiled.considerations,
        evidence=() if common.compiled is None else common.compiled.evidence,
        invalid=() if common.compiled is None else common.compiled.invalid,
        notes=tuple(note for sample in samples for note in sample.notes),
        repairs=sum(sample.repairs for sample in samples),
        agreement=common.agreement,
    )


def _end_of(wire: WireDraft, made: Compiled) -> tuple[ReasoningEnd, str]:
    """How a draft ends that is of the schema, and why."""
    if wire.abstain is not None:
        return "abstained", wire.abstain
    if not made.is_empty:
        return "drafted", ""
    if made.invalid:
        return "invalid_output", "nothing of the draft could be taken"
    return "abstained", "the draft is empty"


def _asked(refused: tuple[str, ...], before: str) -> list[Message]:
    """The request, and what was refused of the draft before."""
    request = Message(role="user", text=PROMPTS.draft_request())
    return [request, *_again(before, PROMPTS.repair_for(refused))] if refused else [request]


def _again(text: str, words: str) -> list[Message]:
    return [Message(role="assistant", text=text), Message(role="user", text=words)]


def _in_words(error: InvalidOutput | ValidationError) -> str:
    """What is wrong, without what the model wrote."""
    return str(error) if isinstance(error, InvalidOutput) else "; ".join(problems(error))
