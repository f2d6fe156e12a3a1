# SPDX-License-Identifier: Apache-2.0
"""Step 7 for what stands on other propositions, and steps 9 and 10: the rule, its parts, the gate, the stance."""

from collections.abc import Mapping, Sequence

from medagent.kleene import Truth, all_of, negate
from medagent.propositions import (
    AnyProposition,
    Branch,
    Criterion,
    GateCheck,
    Hypothesis,
    ImageReading,
    Leaf,
    Proposal,
    Summary,
    leaves,
)
from medagent.records import Draft
from medagent.rules import GATE_CHECKS, Age, Rule
from medagent.rules import Criterion as RuleCriterion
from medagent.stances import rule_outcome, stance_of
from medagent.verifier.model_words import unfit_finding, unfit_thought
from medagent.verifier.slices import Refused, Slices, in_force
from medagent.verifier.statements import STEP
from medagent.verifier.trees import Trees, undecided

EDITION = "9 edition"
WORDING = "8 wording"
GATE = "10 gate"


class RuleChecks:
    """Checks a draft against its rule."""

    def __init__(self, draft: Draft, slices: Slices, trees: Trees) -> None:
        self._draft = draft
        self._slices = slices
        self._trees = trees
        self.by_id: dict[str, AnyProposition] = {one.id: one for one in draft.propositions}

    def rule(self) -> Rule:
        """The rule of the draft, in force."""
        return rule_in_force(self._draft.rule, self._slices)

    def proposal(self) -> Proposal:
        """The draft's one proposal."""
        proposal = self.by_id.get(self._draft.proposal)
        others = [one for one in self.by_id.values() if isinstance(one, Proposal) and one is not proposal]
        if not isinstance(proposal, Proposal) or others:
            raise Refused("1 citation", f"{self._draft.proposal} is not the one proposal of the draft")
        return proposal

    def check_criterion(self, criterion: Criterion, rule: Rule) -> None:
        """A part of the rule, evaluated anew."""
        check_criterion(criterion, rule, self._trees)

    def check_summary(self, summary: Summary, rule: Rule) -> None:
        """The rule's own text."""
        if summary.rule != rule.id:
            raise Refused(EDITION, f"{summary.rule} is another rule than the draft's")

    def check_hypothesis(self, hypothesis: Hypothesis) -> None:
        """Only its support and its wording are checked."""
        check_hypothesis(hypothesis, self.by_id)

    def check_proposal(self, proposal: Proposal, rule: Rule) -> None:
        """The option: its supports are all parts of the rule, gate and stance are as they are found anew."""
        if (proposal.rule, proposal.action) != (rule.id, rule.action.id):
            raise Refused(EDITION, f"{proposal.action} is not the action of {rule.id}")
        criteria = [one for support in proposal.supports if isinstance(one := self.by_id.get(support), Criterion)]
        if len(criteria) != len(proposal.supports) or sorted(one.part for one in criteria) != sorted(parts_of(rule)):
            raise Refused("1 citation", f"the proposal does not rest on each part of {rule.id} once")
        truths = {criterion.part: criterion.truth for criterion in criteria}
        applies = self._trees.truth(age_of(rule))
        self._check_outcome(rule, criteria, applies)
        # (10) The gate is complete, each check found anew, and the stance follows from all of it.
        self._check_gate(proposal.gate, rule)
        population = all_of((applies, truths["population"]))
        against = truths.get("contraindications", Truth.NOT_MET)
        stance = stance_of(rule, population, truths["criteria"], against, proposal.gate)
        if proposal.stance != stance:
            raise Refused(GATE, f"the proposal is put as {proposal.stance} and amounts to {stance}")

    def check_belongs(self, proposition: AnyProposition, proposal: Proposal | None) -> None:
        """A proposition about the patient is one of those that the rule's parts, its age limits or the gate found: a
        true statement about something else would only distract, and no thought of a model's makes it belong."""
        found = {leaf_proposition.id for tree in self._all_trees(proposal) for leaf in leaves(tree)
                 for leaf_proposition in leaf.propositions}  # fmt: skip
        if proposition.id not in found and not self._is_of_age(proposition):
            raise Refused(STEP, f"the {proposition.kind} is none that the rule's parts found")

    def _all_trees(self, proposal: Proposal | None) -> list[Leaf | Branch]:
        trees = [one.tree for one in self.by_id.values() if isinstance(one, Criterion)]
        gate = () if proposal is None else proposal.gate
        return trees + [check.tree for check in gate if check.tree is not None]

    def _is_of_age(self, proposition: AnyProposition) -> bool:
        rule = self._slices.evidence.rules[self._draft.rule]
        expected = self._trees.expected(age_of(rule))
        named = getattr(proposition, "calculation", getattr(proposition, "of", None))
        if named not in expected.subjects:
            return False
        if proposition.kind != "threshold":
            return proposition.kind == "calculation"
        return expected.terms.has_bound(proposition.comparison, proposition.bound, proposition.unit)

    def _check_outcome(self, rule: Rule, criteria: Sequence[Criterion], applies: Truth) -> None:
        truths = {criterion.part: criterion.truth for criterion in criteria}
        already = truths.get("already", Truth.NOT_MET)
        outcome = rule_outcome(applies, truths["population"], truths["criteria"], already)
        if outcome != self._draft.truth:
            raise Refused(STEP, f"{rule.id} is {outcome}, not {self._draft.truth}")
        if outcome != "unknown":
            return
        # Unknown is shown only where one thing alone decides (clinical: 17).
        to_obtain = {
            key
            for criterion in criteria
            if criterion.part in ("population", "criteria")
            for key in undecided(criterion.tree, parts_of(rule)[criterion.part], self._slices.evidence.value_sets)
        }
        if applies is Truth.UNKNOWN:
            to_obtain.add(age_of(rule).kind)
        if len(to_obtain) != 1:
            raise Refused(STEP, f"{rule.id} is undecided for want of {len(to_obtain)} things")

    def _check_gate(self, checks: tuple[GateCheck, ...], rule: Rule) -> None:
        medication = rule.action.medication
        if rule.action.direction != "start" or medication is None:
            if checks:
                raise Refused(GATE, f"{rule.action.id} starts no medication and needs no gate")
            return
        gate = self._slices.evidence.gates.get(medication)
        if gate is None or gate.medication != medication:
            raise Refused(GATE, f"the run has no gate for {medication}")
        if sorted(check.check for check in checks) != sorted(GATE_CHECKS):
            raise Refused(GATE, "the gate has each of its five checks once")
        for check in checks:
            criterion = gate.refuse_if.get(check.check)
            if (criterion is None) != (check.tree is None):
                raise Refused(GATE, f"{check.check}: the gate asks otherwise")
            if criterion is not None and check.tree is not None:
                self._check_tree_of_gate(check, criterion)
            passed = Truth.MET if check.tree is None else negate(check.tree.truth)
            if check.truth is not passed:
                raise Refused(GATE, f"{check.check} is {passed}, not {check.truth}")

    def _check_tree_of_gate(self, check: GateCheck, criterion: RuleCriterion) -> None:
        assert check.tree is not None
        try:
            self._trees.check(check.tree, criterion)
        except Refused as refused:
            raise Refused(GATE, f"{check.check}: {refused.detail}") from refused


def rule_in_force(name: str, slices: Slices) -> Rule:
    """(9) The rule is one of the run's and its edition is in force on the day of `as_of`."""
    rule = slices.evidence.rules.get(name)
    if rule is None or rule.id != name:
        raise Refused(EDITION, f"rule {name} is not part of this run")
    edition = rule.guideline
    if not in_force(edition, slices):
        raise Refused(EDITION, f"{edition.id} {edition.edition} is not in force at as_of")
    return rule


def check_criterion(criterion: Criterion, rule: Rule, trees: Trees) -> None:
    """A part of a rule, evaluated anew."""
    asked = parts_of(rule).get(criterion.part)
    if criterion.rule != rule.id or asked is None:
        raise Refused("1 citation", f"{rule.id} has no {criterion.part}")
    trees.check(criterion.tree, asked)
    if criterion.truth is not criterion.tree.truth:
        raise Refused(STEP, f"{criterion.part} is {criterion.tree.truth}, not {criterion.truth}")


def check_hypothesis(hypothesis: Hypothesis, by_id: Mapping[str, AnyProposition]) -> None:
    """A thought names propositions of its draft that are no thoughts themselves, in words that may be shown."""
    for support in hypothesis.supports:
        named = by_id.get(support)
        if named is None or isinstance(named, Hypothesis | Proposal | Summary):
            raise Refused("1 citation", f"{support} supports nothing in this draft")
    if (why := unfit_thought(hypothesis.text)) is not None:
        raise Refused(WORDING, f"a thought may not be shown: {why}")


def check_finding(reading: ImageReading) -> None:
    """What a model sees in an image is said in words that may be shown."""
    if (why := unfit_finding(reading.finding)) is not None:
        raise Refused(WORDING, f"a reading of an image may not be shown: {why}")


def parts_of(rule: Rule) -> dict[str, RuleCriterion]:
    """The parts that a rule has."""
    parts = {
        "population": rule.population,
        "criteria": rule.criteria,
        "contraindications": rule.contraindications,
        "already": rule.already,
    }
    return {name: criterion for name, criterion in parts.items() if criterion is not None}


def age_of(rule: Rule) -> Age:
    """The rule's age limits as a criterion."""
    return Age(at_least=rule.age.at_least, below=rule.age.below, unit="a")
