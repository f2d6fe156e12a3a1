# SPDX-License-Identifier: Apache-2.0
"""A model's draft made into propositions, with the evidence that the verifier needs to judge them.

A proposal is never the model's: it names a rule, and the guideline engine's draft of that rule stands for it, with its
gate and its criteria. Everything else that the model says goes into one `Considerations`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from medagent.evidence_set import AnyEvidence
from medagent.propositions import AnyProposition, Hypothesis, Proposal, Summary
from medagent.records import Considerations, Draft
from medagent_tools.guidelines.engine import Screening
from medagent_tools.seam import ToolContext, ToolResult
from medagent_workflows.reasoning.drafting import WireDraft, WireHypothesis, WireProposal
from medagent_workflows.reasoning.filling import Filler
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.naming import Unusable


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a model's draft amounts to. Never shown: the verifier takes it from here."""

    drafts: tuple[Draft, ...] = ()
    """The engine's, of the rules that the model puts forward."""
    considerations: Considerations | None = None
    """None: it says nothing of its own."""
    evidence: tuple[AnyEvidence, ...] = ()
    """What the considerations rest on."""
    invalid: tuple[str, ...] = ()
    """Which propositions could not be taken, and why; without anything that the model wrote."""
    places: Mapping[str, str] = field(default_factory=dict)
    """By proposition id: where it stands in the draft, as the model may be told of it."""

    @property
    def problems_for_the_model(self) -> tuple[str, ...]:
        """The same, for a model that may try again."""
        return self.invalid

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing for the verifier."""
        return not self.drafts and self.considerations is None


def evidence_of(result: ToolResult, context: ToolContext) -> dict[str, AnyEvidence]:
    """What a tool's lines may name, by id, but for facts, which the chart gives by theirs. Readings are read again, so
    that the chart of a process that resumes knows them and their members, too."""
    readings = [context.chart.read(query, context.pack.value_sets) for query in result.queries]
    items: list[AnyEvidence] = [*readings, *result.calculations, *result.passages, *result.images]
    return {item.id: item for item in items}


def compiled(
    wire: WireDraft,
    handles: Handles,
    found: Mapping[str, AnyEvidence],
    context: ToolContext,
    screening: Screening,
) -> Compiled:
    """The draft, compiled. `found`: the `evidence_of` all that the model was told.

    Steps: (1) a model that abstains says nothing; (2) what rests on evidence is filled in from it; (3) a proposal
    becomes the engine's draft; (4) thoughts come last, for they rest on the others by number.
    """
    # (1)
    if wire.abstain is not None:
        return Compiled()
    filler = Filler(handles, found, context)
    engine = {draft.rule: draft for draft in screening.drafts}
    drafts: dict[str, Draft] = {}
    stated: dict[int, AnyProposition] = {}
    refused: dict[int, str] = {}
    numbered = tuple(enumerate(wire.propositions, start=1))
    for number, said in numbered:
        try:
            match said:
                case WireHypothesis():
                    continue
                # (3)
                case WireProposal():
                    drafts[said.rule] = _proposed(filler.rule(said.rule).id, engine)
                # (2)
                case _:
                    stated[number] = filler.fill(said)
        except Unusable as error:
            refused[number] = f"{_place(number, said.kind)}: {error}"
    # (4)
    thoughts: dict[int, AnyProposition] = {}
    for number, said in numbered:
        if isinstance(said, WireHypothesis):
            try:
                thoughts[number] = _thought(said, stated)
            except Unusable as error:
                refused[number] = f"{_place(number, said.kind)}: {error}"
    propositions = tuple({one.id: one for one in (*stated.values(), *thoughts.values())}.values())
    return Compiled(
        drafts=tuple(drafts.values()),
        considerations=Considerations(propositions=propositions) if propositions else None,
        evidence=tuple(filler.evidence.values()),
        invalid=tuple(refused[number] for number in sorted(refused)),
        places={one.id: _place(number, one.kind) for number, one in (*stated.items(), *thoughts.items())},
    )


def _place(number: int, kind: str) -> str:
    return f"proposition {number}, {kind}"


def _proposed(rule: str, engine: Mapping[str, Draft]) -> Draft:
    draft = engine.get(rule)
    if draft is None:
        raise Unusable(f"the guideline engine puts nothing forward for {rule}, so it cannot be proposed")
    return draft


def _thought(said: WireHypothesis, stated: Mapping[int, AnyProposition]) -> Hypothesis:
    supports: dict[str, None] = {}
    for number in said.supports:
        support = stated.get(number)
        if support is None or isinstance(support, Summary | Proposal):
            raise Unusable(f"proposition {number} supports nothing: name statements of this list that can be checked")
        supports[support.id] = None
    try:
        return Hypothesis(text=said.text, supports=tuple(supports))
    except ValidationError as error:
        raise Unusable("a thought carries no numbers of its own: name the statements that hold them") from error
