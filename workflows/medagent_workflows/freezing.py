# SPDX-License-Identifier: Apache-2.0
"""Freeze: everything of one run becomes one dossier, whose bytes never change again.

Times in it are recorded ones and ids are derived from content, so the same run gives the same bytes.
"""

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version

from medagent.canonical import content_id, public_json
from medagent.evidence import Fact
from medagent.records import (
    Counts,
    Dossier,
    Finding,
    Mode,
    ModelRef,
    OutcomeKind,
    Reason,
    RuleResult,
    Software,
)
from medagent.store import RecordedOutcome, RecordedRecommendation
from medagent_workflows.workbench import Workbench

NOT_REVIEWED = "Not clinically reviewed: the guideline pack that ships with MedAgent has had no clinical review."


def dossier_of(bench: Workbench, frozen_at: datetime) -> Dossier:
    """Everything of one run, frozen."""
    outcome, reason = outcome_of(bench)
    entry, screening, evidence, presentation = bench.entry, bench.screening, bench.evidence, bench.presentation
    assert entry is not None
    return Dossier(
        id=content_id("dossier", bench.request.id),
        request=bench.request,
        outcome=outcome,
        reason=reason,
        banners=(NOT_REVIEWED, *entry.banners),
        mode=_mode(bench),
        created_at=frozen_at,
        past=bench.chart.past if bench.chart is not None else False,
        patient_names=bench.chart.patient_names if bench.chart is not None else (),
        time_zone=bench.time_zone,
        counts=_counts(screening.results if screening is not None else ()),
        results=screening.results if screening is not None else (),
        recommendations=presentation.recommendations if presentation is not None else (),
        suppressed=presentation.suppressed if presentation is not None else (),
        drafts=screening.drafts if screening is not None else (),
        considerations=bench.considerations,
        reasoning=bench.reasoning,
        findings=_findings(bench),
        evidence=tuple(evidence.items.values()) if evidence is not None else _patient_only(bench),
        listings=dict(evidence.listings) if evidence is not None else {},
        missing=screening.missing if screening is not None else (),
        skipped=bench.chart.skipped if bench.chart is not None else (),
        rules=tuple(evidence.rules.values()) if evidence is not None else (),
        value_sets=tuple(evidence.value_sets.values()) if evidence is not None else (),
        gates=tuple(evidence.gates.values()) if evidence is not None else (),
        pack=bench.pack.digest,
        software=Software(version=version("medagent")),
    )


def outcome_of(bench: Workbench) -> tuple[OutcomeKind, Reason | None]:
    """How the run ended.

    Steps: (1) what ended it at once; (2) what a rule puts forward; (3) the model's notes: they are offered, and the
    reason says why no rule puts anything forward; (4) neither.
    """
    # (1)
    assert bench.entry is not None
    if bench.entry.reason is not None:
        return OutcomeKind.ABSTAINED, bench.entry.reason
    # (2)
    assert bench.presentation is not None
    shown = bench.presentation.recommendations
    if any(one.author == "engine" for one in shown):
        return OutcomeKind.OFFERED, None
    reason = _nothing_put_forward(bench)
    # (3)
    if shown:
        return OutcomeKind.OFFERED, reason
    # (4)
    return (OutcomeKind.NOTHING_DUE if reason is None else OutcomeKind.ABSTAINED), reason


def _nothing_put_forward(bench: Workbench) -> Reason | None:
    """Why no rule puts anything forward. None: nothing is due.

    Steps: (1) drafts of which none held; (2) options that are all withheld; (3) no rule in force; (4) a model that was
    to be heard and was not; (5) "nothing due" only where every rule could be decided, in a chart of today.
    """
    assert bench.entry is not None
    assert bench.presentation is not None
    assert bench.screening is not None
    # (1) An error of ours is not the patient's good health.
    if any(verdict.recommendation is None for verdict in bench.verdicts or ()):
        return Reason.FAILED_VERIFICATION
    # (2) Something is due and may not be put forward.
    if any(one.reason == "withheld" for one in bench.presentation.suppressed):
        return Reason.WITHHELD
    # (3)
    results = bench.screening.results
    if all(result.reason == "edition" for result in results):
        return Reason.OUT_OF_SCOPE
    # (4) What the site asked for did not happen: that is no all-clear.
    if (unheard := _unheard(bench)) is not None:
        return unheard
    # (5)
    if bench.entry.old or any(result.outcome == "unknown" for result in results):
        return Reason.MISSING_DATA
    return None


_UNHEARD: Mapping[str, Reason] = {
    "unavailable": Reason.UNAVAILABLE,
    "refused": Reason.UNAVAILABLE,
    "too_long": Reason.UNAVAILABLE,
    "deadline": Reason.DEADLINE,
    "invalid_output": Reason.FAILED_VERIFICATION,
    "disagreed": Reason.MISSING_DATA,
}


def _unheard(bench: Workbench) -> Reason | None:
    """Why nothing of the model can be shown, where it was to take part. None: it had nothing to add, or is none."""
    if bench.reasoning is None:
        return None
    if bench.best is not None and bench.best.drafted.considerations is not None:
        return Reason.FAILED_VERIFICATION if bench.best.recommendation is None else None
    if bench.reasoning.ended == "abstained" and bench.reasoning.detail == "missing_evidence":
        return Reason.MISSING_DATA
    return _UNHEARD.get(bench.reasoning.ended)


def _mode(bench: Workbench) -> Mode:
    """A model stands in it where it said something, whatever became of that."""
    reasoner = bench.reasoner
    if reasoner is None or not reasoner.has_spoken:
        return Mode(stage=bench.stage)
    assert reasoner.served is not None
    model = ModelRef(
        name=reasoner.served.name, revision=reasoner.served.revision, adapter=reasoner.asking.bounds.adapter
    )
    return Mode(stage=bench.stage, model=model, images=bool(reasoner.pictures.shown))


def recorded(dossier: Dossier, slices: Mapping[str, bytes]) -> RecordedOutcome:
    """The dossier as the store takes it: its bytes, the resources that it rests on, and what is searched for."""
    return RecordedOutcome(
        tenant=dossier.request.tenant,
        request_id=dossier.request.id,
        dossier_id=dossier.id,
        outcome=dossier.outcome.value,
        reason=dossier.reason.value if dossier.reason is not None else None,
        as_of=dossier.request.as_of,
        canonical=public_json(dossier.model_dump(mode="python", by_alias=True)),
        recommendations=tuple(
            RecordedRecommendation(
                id=one.id,
                rule=one.rule.id if one.rule is not None else None,
                guideline=one.rule.guideline if one.rule is not None else None,
                edition=one.rule.edition if one.rule is not None else None,
                urgency=one.urgency,
            )
            for one in dossier.recommendations
        ),
        evidence=slices,
        actor=dossier.request.actor,
        patient=dossier.request.patient,
    )


def _counts(results: tuple[RuleResult, ...]) -> Counts:
    outcomes = [result.outcome for result in results]
    return Counts(
        met=outcomes.count("met"),
        not_met=outcomes.count("not_met"),
        unknown=outcomes.count("unknown"),
        not_applicable=outcomes.count("not_applicable"),
    )


def _findings(bench: Workbench) -> tuple[Finding, ...]:
    """Of the engine's drafts, then of each of the model's."""
    considered = (one.considered for one in bench.judged if one.considered is not None)
    return tuple(finding for verdict in (*(bench.verdicts or ()), *considered) for finding in verdict.findings)


def _patient_only(bench: Workbench) -> tuple[Fact, ...]:
    return (bench.chart.patient_fact(),) if bench.chart is not None else ()
