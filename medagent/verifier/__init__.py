# SPDX-License-Identifier: Apache-2.0
"""The verifier: what a draft says is shown only where it holds, and a `Recommendation` is made nowhere else.

It takes a draft and the evidence of one run, asks nobody, and shares no code with the side that drafted: it reads
the slices' FHIR JSON itself and evaluates the rules' criteria itself. Only types, units, intervals, formulas, value
sets and Kleene's connectives are common to both, and those are tested against published vectors.

Steps, numbered again at the code:

(0) Scope: the patient is alive at `as_of`, of age, and the record is kept; else nothing is recommended.
(1) Citation: every id that a proposition names leads to evidence of the right kind, and follows from what lies there.
(2) Hash: the SHA-256 of the stored slice, recomputed, is the one that its source names; so is a listing's digest.
(3) Element: each cited element is what stands at its JSON Pointer, at a place where such a part may stand, and the
    typed parts of the fact follow from the slice when it is read anew; a quote stands at its offsets.
(4) Patient: the resource is about the patient of the request, and is the one that its source names.
(5) Visible: it was known at `as_of`.
(6) Reading: its listing holds all and only what was to be examined, and its members are all and only what matches.
(7) Proposition: evaluated anew by its kind; criteria leaf by leaf from the rule's own words.
(8) Wording: every number and unit of a rendered sentence or warning comes from a slot, and it commands nothing.
(9) Edition: the rule is the run's, and its edition is in force on the day of `as_of`.
(10) Gate: all five checks are there and found anew, and the stance is what follows.

What a model drafts apart from any rule (`Verifier.consider`) goes through steps 0 to 8, each statement by itself; what
is asked of it beside stands in `medagent.verifier.considerations`.

What fails is dropped and its finding kept. A recommendation stands only if its proposal, all of its supports and at
least one proposition about the patient stand. Empty means no.
"""

from collections.abc import Sequence

from medagent.errors import MedAgentError
from medagent.evidence_set import EvidenceSet
from medagent.kleene import Truth, all_of
from medagent.propositions import (
    AnyLeafProposition,
    AnyProposition,
    Criterion,
    Hypothesis,
    ImageReading,
    Proposal,
    Statement,
    Summary,
)
from medagent.records import Claim, Considerations, Draft, Finding, Recommendation, Verdict
from medagent.rules import Rule
from medagent.verifier.citations import Citations
from medagent.verifier.considerations import Considering
from medagent.verifier.coverage import uncovered
from medagent.verifier.drafts import EDITION, GATE, WORDING, RuleChecks, age_of, check_finding
from medagent.verifier.notes import finding, noted
from medagent.verifier.readings import Readings
from medagent.verifier.recommendations import claim_of, excess_of_warnings, recommendation_of
from medagent.verifier.scope import STEP as SCOPE
from medagent.verifier.scope import check_scope
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP, Statements
from medagent.verifier.trees import Trees

__all__ = ["Verifier", "consider", "reverify", "verify"]

CITATION = "1 citation"


def verify(draft: Draft, evidence: EvidenceSet) -> Verdict:
    """What of a draft holds. For several drafts of one run, `Verifier` reads the evidence once."""
    return Verifier(evidence).verify(draft)


def consider(considerations: Considerations, evidence: EvidenceSet) -> Verdict:
    """What holds of what a model drafted on its own."""
    return Verifier(evidence).consider(considerations)


def reverify(recommendation: Recommendation, evidence: EvidenceSet) -> tuple[Finding, ...]:
    """Checks a stored recommendation again, from its propositions and the evidence stored with it. All findings have
    passed if it would be made again, claim by claim."""
    return Verifier(evidence).reverify(recommendation)


class Verifier:
    """Verifies the drafts of one run; each slice is hashed and read once, each reading answered once."""

    def __init__(self, evidence: EvidenceSet) -> None:
        self._evidence = evidence
        self._slices = Slices(evidence)
        self._readings = Readings(self._slices)
        self._statements = Statements(self._slices, self._readings)
        self._trees = Trees(self._slices, self._readings, self._statements)

    def verify(self, draft: Draft) -> Verdict:
        """What of a draft holds. It is taken as data: types and ids that objects carried along do not count."""
        draft = Draft.model_validate(draft.model_dump())
        return _Verification(draft, self._evidence, self._slices, self._statements, self._trees).verdict()

    def consider(self, considerations: Considerations) -> Verdict:
        """What holds of what a model drafted on its own, each statement by itself; what is left proposes nothing."""
        considerations = Considerations.model_validate(considerations.model_dump())
        return Considering(considerations, self._slices, self._readings, self._statements, self._trees).verdict()

    def reverify(self, recommendation: Recommendation) -> tuple[Finding, ...]:
        """Whether a stored recommendation would be made again."""
        if recommendation.author == "model":
            noted_again = self.consider(Considerations(propositions=_propositions(recommendation)))
            return self._compared(recommendation, noted_again, None)
        propositions = _propositions(recommendation)
        proposal = next((one for one in propositions if isinstance(one, Proposal)), None)
        rule = recommendation.rule
        if proposal is None or rule is None:
            named = None if rule is None else rule.id
            return (finding(CITATION, recommendation.id, named, "there is no proposal"),)
        draft = Draft(
            rule=rule.id,
            truth="unknown" if self._is_undecided(propositions, rule.id) else "met",
            proposal=proposal.id,
            propositions=propositions,
        )
        return self._compared(recommendation, self.verify(draft), draft.rule)

    def _compared(self, recommendation: Recommendation, verdict: Verdict, rule: str | None) -> tuple[Finding, ...]:
        again = verdict.recommendation
        # What was merged and how it is displayed is decided after verification.
        same = again is not None and _core(again) == _core(recommendation)
        detail = "" if same else "it would not be made again as it is"
        return (*verdict.findings, finding(STEP, recommendation.id, rule, detail))

    def _is_undecided(self, propositions: Sequence[AnyProposition], rule_id: str) -> bool:
        parts = [one for one in propositions if isinstance(one, Criterion) and one.part in ("population", "criteria")]
        rule = self._evidence.rules.get(rule_id)
        try:
            applies = Truth.UNKNOWN if rule is None else self._trees.truth(age_of(rule))
        except MedAgentError:
            applies = Truth.UNKNOWN
        return all_of([applies, *(part.truth for part in parts)]) is Truth.UNKNOWN


class _Verification:
    """One draft on its way to a verdict."""

    def __init__(
        self, draft: Draft, evidence: EvidenceSet, slices: Slices, statements: Statements, trees: Trees
    ) -> None:
        self._draft = draft
        self._evidence = evidence
        self._slices = slices
        self._statements = statements
        self._checks = RuleChecks(draft, slices, trees)
        self._citations = Citations(slices, self._checks.by_id)
        self._findings: list[Finding] = []
        self._claims: dict[str, Claim] = {}

    def verdict(self) -> Verdict:
        """The order: the patient, the rule, what the proposal rests on, the proposal, what supports a thought."""
        rule = self._rule() if self._is_in_scope() else None
        if rule is None:
            return Verdict(recommendation=None, findings=tuple(self._findings))
        proposal = self._proposal()
        for proposition in sorted(self._checks.by_id.values(), key=_rests_on_others):
            self._verify(proposition, rule, proposal)
        return Verdict(recommendation=self._recommendation(rule, proposal), findings=tuple(self._findings))

    def _is_in_scope(self) -> bool:
        # (0) The dead, children and records that are no longer kept get none, whatever holds.
        try:
            check_scope(self._slices)
        except MedAgentError as error:
            self._note(SCOPE, self._draft.proposal, error)
            return False
        return True

    def _rule(self) -> Rule | None:
        # (9) A retired edition says nothing, so nothing else needs to be looked at.
        try:
            rule = self._checks.rule()
        except MedAgentError as error:
            self._note(EDITION, self._draft.proposal, error)
            return None
        self._note(EDITION, self._draft.proposal)
        return rule

    def _proposal(self) -> Proposal | None:
        try:
            return self._checks.proposal()
        except MedAgentError as error:
            self._note(CITATION, self._draft.proposal, error)
            return None

    def _verify(self, proposition: AnyProposition, rule: Rule, proposal: Proposal | None) -> None:
        # (1) to (7), each raised by number where it fails; (10) for the proposal.
        step = GATE if isinstance(proposition, Proposal) else STEP
        try:
            self._check(proposition, rule, proposal)
            claim = claim_of(proposition, self._evidence, self._citations)
        except MedAgentError as error:
            self._note(step, proposition.id, error)
            return
        self._note(step, proposition.id)
        # Empty means no: what rests on nothing says nothing.
        if claim is None:
            self._note(CITATION, proposition.id, Refused(CITATION, "nothing can be cited for it"))
            return
        # (8) The sentence says no more than its slots.
        excess = uncovered(claim.text, proposition, self._evidence)
        self._note(WORDING, proposition.id, Refused(WORDING, f"the sentence holds {excess}") if excess else None)
        if not excess:
            self._claims[proposition.id] = claim

    def _check(self, proposition: AnyProposition, rule: Rule, proposal: Proposal | None) -> None:
        match proposition:
            case Criterion():
                self._checks.check_criterion(proposition, rule)
            case Summary():
                self._checks.check_summary(proposition, rule)
            case Proposal():
                self._checks.check_proposal(proposition, rule)
                self._standing(proposition.supports)
            case Hypothesis():
                self._checks.check_hypothesis(proposition)
                self._standing(proposition.supports)
            case Statement():
                self._statements.statement(proposition)
            case ImageReading():
                self._statements.image_reading(proposition)
                check_finding(proposition)
            case _:
                self._statements.check(proposition)
                self._checks.check_belongs(proposition, proposal)

    def _standing(self, supports: Sequence[str]) -> None:
        """What a proposition names as its support has passed itself."""
        for support in supports:
            if support not in self._claims:
                raise Refused(CITATION, f"its support {support} did not pass")

    def _recommendation(self, rule: Rule, proposal: Proposal | None) -> Recommendation | None:
        if proposal is None or proposal.id not in self._claims:
            return None
        claims = [self._claims[one] for one in self._checks.by_id if one in self._claims]
        # Empty means no: an option without anything said of the patient is no recommendation.
        if not any(isinstance(claim.proposition, AnyLeafProposition) for claim in claims):
            self._note(CITATION, proposal.id, Refused(CITATION, "nothing about the patient supports it"))
            return None
        criteria = [one for one in self._checks.by_id.values() if isinstance(one, Criterion)]
        # (8) Warnings are shown as well, and say no more than the leaves that they tell.
        if (excess := excess_of_warnings(proposal, criteria, self._evidence)) is not None:
            self._note(WORDING, proposal.id, Refused(WORDING, f"a warning holds {excess}"))
            return None
        return recommendation_of(rule, proposal, criteria, claims, self._evidence)

    def _note(self, step: str, proposition: str, error: MedAgentError | None = None) -> None:
        self._findings.append(noted(step, proposition, self._draft.rule, error))


def _rests_on_others(proposition: AnyProposition) -> int:
    return {"proposal": 1, "hypothesis": 2}.get(proposition.kind, 0)


def _propositions(recommendation: Recommendation) -> tuple[AnyProposition, ...]:
    return tuple(claim.proposition for claim in recommendation.claims)


def _core(recommendation: Recommendation) -> object:
    return recommendation.model_dump(
        include={"title", "author", "stance", "category", "urgency", "strength", "rule", "action", "claims", "warnings"}
    )
