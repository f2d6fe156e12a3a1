# SPDX-License-Identifier: Apache-2.0
"""Freeze: everything of one run becomes one dossier, whose bytes never change again.

Times in it are recorded ones and ids are derived from content, so the same run gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Literal

from medagent.canonical import content_id, public_json
from medagent.chart import Chart
from medagent.evidence import Fact
from medagent.evidence_set import EvidenceSet
from medagent.records import (
    Counts,
    Dossier,
    Finding,
    Missing,
    Mode,
    OutcomeKind,
    Reason,
    Request,
    RuleResult,
    Skipped,
    Software,
    Verdict,
)
from medagent.store import RecordedOutcome, RecordedRecommendation
from medagent_tools.guidelines.engine import Screening
from medagent_tools.guidelines.pack import Pack
from medagent_workflows.gathering import Threshold
from medagent_workflows.presentation import Presentation

NOT_REVIEWED = "Not clinically reviewed: the guideline pack that ships with MedAgent has had no clinical review."


@dataclass(frozen=True, slots=True)
class Run:
    """What the nodes of the graph have made."""

    request: Request
    stage: Literal["demo", "shadow", "care"]
    time_zone: str
    created_at: datetime
    entry: Threshold
    chart: Chart | None
    screening: Screening | None
    evidence: EvidenceSet | None
    verdicts: tuple[Verdict, ...]
    presentation: Presentation
    pack: Pack


def dossier_of(run: Run) -> Dossier:
    """Everything of one run, frozen."""
    outcome, reason = outcome_of(run)
    screening = run.screening
    evidence = run.evidence
    return Dossier(
        id=content_id("dossier", run.request.id),
        request=run.request,
        outcome=outcome,
        reason=reason,
        banners=(NOT_REVIEWED, *run.entry.banners),
        mode=Mode(stage=run.stage, model=None, images=False),
        created_at=run.created_at,
        past=run.chart.past if run.chart is not None else False,
        patient_names=run.chart.patient_names if run.chart is not None else (),
        time_zone=run.time_zone,
        counts=_counts(screening.results if screening is not None else ()),
        results=screening.results if screening is not None else (),
        recommendations=run.presentation.recommendations,
        suppressed=run.presentation.suppressed,
        drafts=screening.drafts if screening is not None else (),
        findings=_findings(run.verdicts),
        evidence=tuple(evidence.items.values()) if evidence is not None else _patient_only(run),
        listings=dict(evidence.listings) if evidence is not None else {},
        missing=_missing(run),
        skipped=_skipped(run),
        rules=tuple(evidence.rules.values()) if evidence is not None else (),
        value_sets=tuple(evidence.value_sets.values()) if evidence is not None else (),
        gates=tuple(evidence.gates.values()) if evidence is not None else (),
        pack=run.pack.digest,
        software=Software(version=version("medagent")),
    )


def outcome_of(run: Run) -> tuple[OutcomeKind, Reason | None]:
    """How the run ended.

    Steps: (1) what ended it at once; (2) anything to show; (3) drafts of which none held; (4) options that are all
    withheld; (5) no rule in force; (6) "nothing due" only where every rule could be decided, in a chart of today.
    """
    # (1)
    if run.entry.reason is not None:
        return OutcomeKind.ABSTAINED, run.entry.reason
    # (2)
    if run.presentation.recommendations:
        return OutcomeKind.OFFERED, None
    # (3) An error of ours is not the patient's good health.
    if any(verdict.recommendation is None for verdict in run.verdicts):
        return OutcomeKind.ABSTAINED, Reason.FAILED_VERIFICATION
    # (4) Something is due and may not be put forward.
    if any(one.reason == "withheld" for one in run.presentation.suppressed):
        return OutcomeKind.ABSTAINED, Reason.WITHHELD
    # (5)
    results = run.screening.results if run.screening is not None else ()
    if all(result.reason == "edition" for result in results):
        return OutcomeKind.ABSTAINED, Reason.OUT_OF_SCOPE
    # (6)
    if run.entry.old or any(result.outcome == "unknown" for result in results):
        return OutcomeKind.ABSTAINED, Reason.MISSING_DATA
    return OutcomeKind.NOTHING_DUE, None


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


def _findings(verdicts: tuple[Verdict, ...]) -> tuple[Finding, ...]:
    return tuple(finding for verdict in verdicts for finding in verdict.findings)


def _patient_only(run: Run) -> tuple[Fact, ...]:
    return (run.chart.patient_fact(),) if run.chart is not None else ()


def _missing(run: Run) -> tuple[Missing, ...]:
    return run.screening.missing if run.screening is not None else ()


def _skipped(run: Run) -> tuple[Skipped, ...]:
    return run.chart.skipped if run.chart is not None else ()
