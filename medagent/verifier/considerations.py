# SPDX-License-Identifier: Apache-2.0
"""What a model drafts on its own: each statement stands or falls alone, and nothing is proposed.

Steps, beside those of `medagent.verifier`, whose numbers they keep: (a) slots that name something hold a name; (b) each
statement is checked by its kind, and by what is asked of one that a model chose (`medagent.verifier.chosen`); (c) what
stands only beside others falls with them, until nothing more falls; (d) summaries and thoughts, over what is left;
(e) a card only if a checked statement about the patient is left. Empty means no.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from medagent.errors import MedAgentError
from medagent.kleene import Truth
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
from medagent.records import Claim, Considerations, Finding, Recommendation, Verdict
from medagent.rules import Rule
from medagent.verifier.chosen import Chosen
from medagent.verifier.citations import Citations
from medagent.verifier.coverage import uncovered
from medagent.verifier.drafts import (
    WORDING,
    age_of,
    check_criterion,
    check_finding,
    check_hypothesis,
    parts_of,
    rule_in_force,
)
from medagent.verifier.needs import Need, tells
from medagent.verifier.notes import noted
from medagent.verifier.readings import Readings
from medagent.verifier.recommendations import claim_of, noted_by_model
from medagent.verifier.scope import STEP as SCOPE
from medagent.verifier.scope import check_scope
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP, Statements
from medagent.verifier.trees import Trees

CITATION = "1 citation"
_LATER = (Summary, Hypothesis)
"""What rests on other statements, in the order in which it is looked at."""

_SENTENCE_BEFORE = re.compile(r"[.!?][)\]\"'”’]?\s+\Z")
_SENTENCE_AFTER = re.compile(r"\A.{0,2}[.!?][)\]\"'”’]?\s", re.DOTALL)
"""Of the last two signs of a quote and what follows."""

_NAME = re.compile(r"[!-~]{1,400}")
_SAID = frozenset({"value", "quote", "text", "finding", "period", "window", "within"})
"""Slots that name nothing. What they hold is compared, parsed or judged as wording."""
_LETS_THROUGH = {
    "population": Truth.MET,
    "criteria": Truth.MET,
    "contraindications": Truth.NOT_MET,
    "already": Truth.NOT_MET,
}
"""What each part of a rule is where the rule is put forward. A part that is otherwise changes what the others mean."""


class Considering:
    """What a model drafted, on its way to a verdict."""

    def __init__(
        self,
        considerations: Considerations,
        slices: Slices,
        readings: Readings,
        statements: Statements,
        trees: Trees,
    ) -> None:
        self._slices = slices
        self._statements = statements
        self._trees = trees
        self._chosen = Chosen(slices, readings)
        self._by_id: dict[str, AnyProposition] = {one.id: one for one in considerations.propositions}
        self._standing: dict[str, AnyProposition] = {}
        self._citations = Citations(slices, self._standing)
        self._claims: dict[str, Claim] = {}
        self._needs: dict[str, tuple[Need, ...]] = {}
        self._findings: list[Finding] = []

    def verdict(self) -> Verdict:
        """The order: the patient, what stands alone, what stands beside others, what rests on others."""
        if not self._is_in_scope():
            return Verdict(recommendation=None, findings=tuple(self._findings))
        # (a), (b)
        for one in self._by_id.values():
            if not isinstance(one, _LATER):
                self._consider(one)
        # (c)
        self._settle()
        # (d)
        for kind in _LATER:
            for one in self._by_id.values():
                if isinstance(one, kind):
                    self._consider(one)
        self._findings += [noted(step, one, None) for one in self._claims for step in (STEP, WORDING)]
        # (e)
        return Verdict(recommendation=self._recommendation(), findings=tuple(self._findings))

    def _is_in_scope(self) -> bool:
        # (0) The dead, children and records that are no longer kept get none, whatever holds.
        try:
            check_scope(self._slices)
        except MedAgentError as error:
            self._findings.append(noted(SCOPE, next(iter(self._by_id)), None, error))
            return False
        return True

    def _consider(self, proposition: AnyProposition) -> None:
        try:
            needs = self._needed(proposition)
            claim = self._claim(proposition)
        except MedAgentError as error:
            self._drop(proposition.id, error)
            return
        self._standing[proposition.id] = proposition
        self._needs[proposition.id] = needs
        self._claims[proposition.id] = claim

    def _claim(self, proposition: AnyProposition) -> Claim:
        evidence = self._slices.evidence
        claim = claim_of(proposition, evidence, self._citations, author="model")
        if claim is None:
            raise Refused(CITATION, "nothing can be cited for it")
        # (8) The sentence says no more than its slots.
        if (excess := uncovered(claim.text, proposition, evidence)) is not None:
            raise Refused(WORDING, f"the sentence holds {excess}")
        return claim

    def _drop(self, proposition: str, error: MedAgentError) -> None:
        self._standing.pop(proposition, None)
        self._claims.pop(proposition, None)
        self._findings.append(noted(STEP, proposition, None, error))

    def _needed(self, proposition: AnyProposition) -> tuple[Need, ...]:
        """What must stand beside it, once it has been found true."""
        # (a)
        _check_names(proposition)
        # (b)
        match proposition:
            case Proposal():
                raise Refused(CITATION, "an option rests on a rule, and comes as a draft of that rule")
            case Criterion():
                return self._criterion(proposition)
            case Summary():
                self._summary(proposition)
            case Hypothesis():
                self._hypothesis(proposition)
            case Statement():
                self._statements.statement(proposition)
                self._whole(proposition)
            case ImageReading():
                self._statements.image_reading(proposition)
                check_finding(proposition)
            case _:
                self._statements.check(proposition)
                return self._chosen.needs(proposition)
        return ()

    def _whole(self, statement: Statement) -> None:
        """A quote is of whole sentences: what stands before its first word may turn it round ("Do not …")."""
        passage = self._slices.item(statement.passage)
        words = self._slices.evidence.texts[passage.sha256][passage.start : passage.end]
        quoted = statement.quote.strip()
        places = (found.start() for found in re.finditer(re.escape(quoted), words))
        if not any(_is_whole(words[:place], quoted, words[place + len(quoted) :]) for place in places):
            raise Refused(STEP, f"the quote of {passage.id} begins or ends within a sentence")

    def _rule(self, name: str) -> Rule:
        """(9) A rule in force, for a patient whom its age limits do not exclude."""
        rule = rule_in_force(name, self._slices)
        if self._trees.truth(age_of(rule)) is Truth.NOT_MET:
            raise Refused(STEP, f"{rule.id} is for patients of another age")
        return rule

    def _criterion(self, criterion: Criterion) -> tuple[Need, ...]:
        """A part of a rule, beside those other parts that keep it from being put forward, or may: that it would apply
        misleads where it does not concern the patient."""
        rule = self._rule(criterion.rule)
        check_criterion(criterion, rule, self._trees)
        return tuple(
            Need(frozenset({("part", rule.id, name)}), f"what speaks against {rule.id} is left unsaid: {name}")
            for name, part in parts_of(rule).items()
            if name != criterion.part and self._trees.truth(part) is not _LETS_THROUGH[name]
        )

    def _summary(self, summary: Summary) -> None:
        """Of a rule that is not known to be about others, beside a criterion of it: for itself it would say nothing
        about the patient."""
        rule = self._rule(summary.rule)
        if any(self._trees.truth(part) is Truth.NOT_MET for part in (rule.population, rule.criteria)):
            raise Refused(STEP, f"{rule.id} does not apply to this patient")
        if not any(isinstance(one, Criterion) and one.rule == rule.id for one in self._standing.values()):
            raise Refused(CITATION, f"no criterion of {rule.id} stands beside its summary")

    def _hypothesis(self, hypothesis: Hypothesis) -> None:
        check_hypothesis(hypothesis, self._by_id)
        for support in hypothesis.supports:
            if support not in self._claims:
                raise Refused(CITATION, f"its support {support} did not pass")
        if not any(self._claims[support].standing == "verified" for support in hypothesis.supports):
            raise Refused(CITATION, "it rests on nothing that was checked")

    def _settle(self) -> None:
        """What needs another beside it falls with it; each fall may bring down more."""
        while fallen := dict(self._unmet()):
            for name, need in fallen.items():
                self._drop(name, Refused(STEP, f"it would stand alone: {need.because}"))

    def _unmet(self) -> Iterator[tuple[str, Need]]:
        told = frozenset(token for one in self._standing.values() for token in tells(one, self._slices))
        for name in self._claims:
            yield from ((name, need) for need in self._needs[name] if not need.any_of & told)

    def _recommendation(self) -> Recommendation | None:
        # Empty means no: thoughts alone, or what guidelines say, are nothing about the patient.
        if not any(isinstance(one, AnyLeafProposition) for one in self._standing.values()):
            error = Refused(CITATION, "no checked statement about the patient is left")
            self._findings.append(noted(CITATION, next(iter(self._by_id)), None, error))
            return None
        return noted_by_model([self._claims[one] for one in self._by_id if one in self._claims])


def _is_whole(before: str, quoted: str, after: str) -> bool:
    """Whether a sentence begins and one ends where a quote does. A point within a number ends none."""
    is_begun = not before.strip() or _SENTENCE_BEFORE.search(before) is not None
    return is_begun and (not after.strip() or _SENTENCE_AFTER.search(quoted[-2:] + after) is not None)


def _check_names(proposition: AnyProposition) -> None:
    """What a slot names goes into findings, which are shown: no sentence passes for a name."""
    for name in _named(proposition):
        if _NAME.fullmatch(name) is None:
            raise Refused(CITATION, "a slot that names something holds something else")


def _named(proposition: AnyProposition) -> Iterator[str]:
    for slot in type(proposition).model_fields:
        value: Any = getattr(proposition, slot)
        if slot not in _SAID:
            yield from _texts(value)


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()
