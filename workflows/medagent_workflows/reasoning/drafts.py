# SPDX-License-Identifier: Apache-2.0
"""Asking for the draft: bound to the schema, validated here whatever the server promised, repaired at most twice.

Where a site asks for several samples, each is asked for and repaired by itself, and what most of them say stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    notes: tuple[str, ...] = ()
    """What the model wrote for reviewers."""
    repairs: int = 0
    agreement: Agreement | None = None
    decisive: tuple[DecisiveToken, ...] = ()
    """Of several samples, of the first."""
    text: str = ""
    """The model's own words; of several samples, those of the first."""


@dataclass(slots=True)
class _Sample:
    """One draft with its repairs."""

    ended: ReasoningEnd = "drafted"
    detail: str = ""
    compiled: Compiled | None = None
    notes: tuple[str, ...] = ()
    repairs: int = 0
    decisive: tuple[DecisiveToken, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a draft is asked with."""

    asking: Asking
    served: Served
    conversation: Conversation
    specs: tuple[ToolSpec, ...]
    handles: Handles
    found: Mapping[str, AnyEvidence]
    context: ToolContext
    screening: Screening
    tokens_max: int

    async def draft(self, attempt: int, refused: tuple[str, ...] = (), before: str = "") -> Drafted:
        """One draft, or what several samples of it have in common.

        `refused`: what the verifier said of the one before, in whose words `before` stands.
        """
        count = self.asking.bounds.samples
        samples = [await self._sample(attempt, number, refused, before) for number in range(count)]
        first = samples[0]
        ended, detail, taken, agreement = first.ended, first.detail, first.compiled, None
        if len(samples) > 1:
            common = agreed([sample.compiled for sample in samples], needed=len(samples) // 2 + 1)
            agreement, taken = common.agreement, common.compiled
            usable = [sample for sample in samples if sample.compiled is not None]
            if taken is not None:
                ended, detail = "drafted", ""
            elif usable:
                ended, detail = "disagreed", f"{len(samples)} samples have nothing in common"
        return Drafted(
            ended=ended,
            detail=detail,
            drafts=() if taken is None else taken.drafts,
            considerations=None if taken is None else taken.considerations,
            evidence=() if taken is None else taken.evidence,
            invalid=() if taken is None else taken.invalid,
            notes=tuple(note for sample in samples for note in sample.notes),
            repairs=sum(sample.repairs for sample in samples),
            agreement=agreement,
            decisive=first.decisive,
            text=first.text,
        )

    async def _sample(self, attempt: int, number: int, refused: tuple[str, ...], before: str) -> _Sample:
        """One draft, told what was wrong with it at most twice.

        Steps: (1) ask; (2) a model that does not answer ends it; (3) the answer is JSON of the schema, and what it
        names exists; (4) else it is told what was wrong; (5) after the last repair, what can be taken is.
        """
        sample = _Sample()
        asked = [Message(role="user", text=PROMPTS.draft_request())]
        if refused:
            asked += _again(before, PROMPTS.repair_for(refused))
        for repair in range(REPAIRS_MAX + 1):
            # (1)
            purpose: Purpose = "draft" if repair == 0 else "repair"
            request = self._request(number, asked)
            answered = await self.asking.ask(f"draft/{attempt}/{number}/{repair}", purpose, request, self.served)
            reply = answered.reply
            # (2)
            if reply is None:
                assert answered.failure is not None
                if sample.compiled is None:
                    sample.ended, sample.detail = answered.failure, answered.message
                break
            sample.text = reply.text
            # (3)
            wrong = self._take(reply, sample)
            sample.repairs = repair
            if not wrong or repair == REPAIRS_MAX:
                break
            # (4)
            asked += _again(reply.text, PROMPTS.repair_for(wrong))
        # (5)
        return sample

    def _take(self, reply: ModelReply, sample: _Sample) -> tuple[str, ...]:
        """Takes what can be taken of an answer; what cannot, in words for the model. A repair that is worse than what
        it was to repair leaves that standing."""
        try:
            wire = WireDraft.model_validate(parse_strict(reply.text))
        except (InvalidOutput, ValidationError) as error:
            if sample.compiled is None:
                sample.ended, sample.detail = "invalid_output", "the model gave no draft of the schema"
            return (_in_words(error),)
        made = compiled(wire, self.handles, self.found, self.context, self.screening)
        sample.compiled = made
        sample.ended = "drafted" if wire.abstain is None and not made.is_empty else "abstained"
        sample.detail = wire.abstain or ("" if not made.is_empty else "nothing of the draft could be taken")
        sample.notes += (wire.notes,) if wire.notes.strip() else ()
        sample.decisive = tuple(
            DecisiveToken(pointer=pointer, logprob=logprob)
            for pointer, logprob in decisive_tokens(reply.text, reply.chances)
        )
        return made.problems_for_the_model

    def _request(self, number: int, asked: list[Message]) -> ModelRequest:
        """The tools stay in it, though none may be called now: the prompt's beginning is then the same as before."""
        bounds = self.asking.bounds
        rules = [rule.id for rule in self.context.pack.rules]
        proposable = [draft.rule for draft in self.screening.drafts]
        return ModelRequest(
            messages=self.conversation.with_last(*asked),
            tools=self.specs,
            tool_choice="none",
            answer_schema=narrowed(PROMPTS.draft_schema, self.handles, rules, proposable),
            sampling=Sampling(temperature=bounds.temperature, seed=bounds.seed + number, tokens_max=self.tokens_max),
            adapter=bounds.adapter,
            logprobs=True,
        )


def _again(text: str, words: str) -> list[Message]:
    return [Message(role="assistant", text=text), Message(role="user", text=words)]


def _in_words(error: InvalidOutput | ValidationError) -> str:
    """What is wrong, without what the model wrote."""
    return str(error) if isinstance(error, InvalidOutput) else "; ".join(problems(error))
