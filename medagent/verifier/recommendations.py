# SPDX-License-Identifier: Apache-2.0
"""The one place where a `Recommendation` is made, out of what has passed."""

from collections.abc import Sequence

from medagent.canonical import content_id
from medagent.evidence_set import EvidenceSet
from medagent.kleene import Truth
from medagent.propositions import AnyLeafProposition, AnyProposition, Criterion, GateCheck, Proposal, leaves
from medagent.records import Claim, Recommendation, RuleRef
from medagent.rules import Rule
from medagent.sentences import Author, forbidden_wording, sentence, warning_of_gate, warning_of_part, withheld_because
from medagent.verifier.citations import Citations
from medagent.verifier.coverage import uncovered

_STANDINGS = {"summary": "summary", "hypothesis": "consider", "image_reading": "model_reading"}
_BY_STANDING = ("verified", "summary", "consider", "model_reading")
NOTED = "For review: noted by the model"
_ORDER = ("proposal", "summary", "criterion")


def claim_of(
    proposition: AnyProposition, evidence: EvidenceSet, citations: Citations, author: Author = "engine"
) -> Claim | None:
    """A checked proposition as a claim. None: nothing can be cited for it, so it says nothing."""
    cited = citations.of(proposition)
    if not cited:
        return None
    return Claim.model_validate(
        {
            "id": content_id("claim", {"proposition": proposition.id, "citations": cited}),
            "kind": proposition.kind,
            "standing": _STANDINGS.get(proposition.kind, "verified"),
            "text": sentence(proposition, evidence, author),
            "proposition": proposition,
            "citations": cited,
        }
    )


def recommendation_of(
    rule: Rule,
    proposal: Proposal,
    criteria: Sequence[Criterion],
    claims: Sequence[Claim],
    evidence: EvidenceSet,
) -> Recommendation:
    """What may be shown of a rule. Order of claims: proposal, summary, criteria, what is said of the patient."""
    ordered = sorted(claims, key=lambda claim: _ORDER.index(claim.kind) if claim.kind in _ORDER else len(_ORDER))
    reference = RuleRef(
        id=rule.id,
        guideline=rule.guideline.id,
        title=rule.guideline.title,
        publisher=rule.guideline.publisher,
        edition=rule.guideline.edition,
        source=rule.url,
        section=rule.section,
    )
    fields = {
        "title": f"Undecided: {rule.title}" if proposal.stance == "obtain" else rule.title,
        "stance": proposal.stance,
        "category": rule.category,
        "urgency": rule.urgency,
        "strength": rule.strength,
        "rule": reference,
        "action": proposal.action,
        "warnings": _warnings(proposal, criteria, evidence),
        "claims": tuple(ordered),
    }
    return Recommendation.model_validate({"id": content_id("recommendation", fields), **fields})


def noted_by_model(claims: Sequence[Claim]) -> Recommendation:
    """What may be shown of what a model considered. Order of claims: what was checked, then its thoughts, then what it
    sees in images. It proposes nothing, so it has neither a rule nor a grade nor an action."""
    ordered = sorted(claims, key=lambda claim: _BY_STANDING.index(claim.standing))
    fields = {
        "title": NOTED,
        "author": "model",
        "stance": "noted",
        "category": "noted",
        "urgency": "info",
        "strength": None,
        "rule": None,
        "action": "none",
        "claims": tuple(ordered),
    }
    return Recommendation.model_validate({"id": content_id("recommendation", fields), **fields})


def excess_of_warnings(proposal: Proposal, criteria: Sequence[Criterion], evidence: EvidenceSet) -> str | None:
    """What of the warnings no leaf accounts for, or no warning may say. None: nothing. What they rest on is cited by
    the proposal, to which the leaves of the gate and of all parts belong."""
    told: list[GateCheck | Criterion] = [*proposal.gate, *criteria]
    for what in told:
        for proposition in _deciding(what):
            if (excess := uncovered(sentence(proposition, evidence), proposition, evidence)) is not None:
                return excess
    words = (forbidden_wording(warning) for warning in _warnings(proposal, criteria, evidence))
    return next((f"the word {word!r}" for word in words if word is not None), None)


def _warnings(proposal: Proposal, criteria: Sequence[Criterion], evidence: EvidenceSet) -> tuple[str, ...]:
    """What the gate and the rule could not decide, and why an option is withheld."""
    warnings = [
        withheld_because(check, _entries(check, evidence)) for check in proposal.gate if check.truth is Truth.NOT_MET
    ]
    for criterion in criteria:
        if criterion.part == "contraindications" and criterion.truth is Truth.MET:
            warnings.append(withheld_because(criterion, _entries(criterion, evidence)))
        if criterion.part in ("contraindications", "already") and criterion.truth is Truth.UNKNOWN:
            warnings.append(warning_of_part(criterion, evidence))
    warnings += [warning_of_gate(check, evidence) for check in proposal.gate if check.truth is Truth.UNKNOWN]
    return tuple(dict.fromkeys(warnings))


def _entries(what: GateCheck | Criterion, evidence: EvidenceSet) -> list[str]:
    """The entries that make it true, in words."""
    return [sentence(proposition, evidence) for proposition in _deciding(what)]


def _deciding(what: GateCheck | Criterion) -> list[AnyLeafProposition]:
    if what.tree is None:
        return []
    met = (leaf for leaf in leaves(what.tree) if leaf.truth is Truth.MET)
    return [proposition for leaf in met for proposition in leaf.propositions]
