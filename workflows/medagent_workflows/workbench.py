# SPDX-License-Identifier: Apache-2.0
"""What one run works on in one process, and how each thing on it is made.

All of it follows from the request, the source and the journal. So a process that goes on where another one died makes
it again: `remake` makes what the steps that are done had made, in their order, and nothing twice.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from medagent.chart import Chart, ChartSource
from medagent.clock import Clock
from medagent.errors import ChartError
from medagent.evidence_set import AnyEvidence, EvidenceSet
from medagent.records import Considerations, Dossier, Finding, Reason, Reasoning, Recommendation, Request, Verdict
from medagent.store import Store
from medagent.verifier import Verifier
from medagent_tools.guidelines.engine import Screening, screen
from medagent_tools.guidelines.pack import Pack
from medagent_workflows.evidence import gathered
from medagent_workflows.gathering import Threshold, threshold
from medagent_workflows.presentation import Presentation, present
from medagent_workflows.reasoning.acting import Refused
from medagent_workflows.reasoning.drafts import Drafted
from medagent_workflows.reasoning.reasoner import Reasoner
from medagent_workflows.reasoning.refusals import told_refusals
from medagent_workflows.reasoning.services import Models, reasoner_of

_REPAIRABLE = ("1 citation", "3 element", "6 reading", "7 proposition", "8 wording", "9 edition")
"""Steps of the verifier at which a model may have erred and may do better; a patient out of scope stays so."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One draft of the model, and what the verifier made of it."""

    drafted: Drafted
    considered: Verdict | None
    """None: it drafted nothing of its own."""

    @property
    def recommendation(self) -> Recommendation | None:
        """What of it may be shown."""
        return None if self.considered is None else self.considered.recommendation

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What of it does not hold."""
        findings = () if self.considered is None else self.considered.findings
        return tuple(finding for finding in findings if not finding.passed)

    @property
    def may_be_repaired(self) -> bool:
        """Whether something did not hold that the model can put right."""
        return any(finding.check in _REPAIRABLE for finding in self.refusals)

    @property
    def worth(self) -> int:
        """How many claims stand."""
        return 0 if self.recommendation is None else len(self.recommendation.claims)


@dataclass(slots=True)
class Workbench:
    """The services of one run, and what its steps have made so far."""

    request: Request
    source: ChartSource
    pack: Pack
    store: Store
    clock: Clock
    stage: Literal["demo", "shadow", "care"]
    time_zone: str
    models: Models | None = None
    """None: no model is configured."""
    on_refusal: Refused | None = None
    """Puts on record what a tool was refused for want of a scope. None: the source asks for none."""
    chart: Chart | None = None
    """Set by an entrance that has read it to find out whom the request is about; else it is read."""
    entry: Threshold | None = None
    screening: Screening | None = None
    reasoner: Reasoner | None = None
    evidence: EvidenceSet | None = None
    """What the dossier rests on: what the engine's drafts do, and the model's, also those that were refused."""
    verdicts: tuple[Verdict, ...] | None = None
    """Of the engine's drafts, in their order."""
    judged: list[Judged] = field(default_factory=list)
    """The model's drafts, one per attempt."""
    presentation: Presentation | None = None
    dossier: Dossier | None = None
    stored: bytes = b""

    async def gather(self) -> Threshold:
        """Reads the chart, and checks what ends a run at once (clinical: 1 to 4)."""
        if self.entry is None:
            try:
                self.chart = self.chart or await self.source.chart(self.request.patient, self.request.as_of)
            except ChartError:
                self.entry = Threshold(reason=Reason.UNAVAILABLE, banners=("The chart could not be read.",))
            else:
                self.entry = threshold(self.chart, self.time_zone)
        return self.entry

    def screen(self) -> Screening:
        """The guideline engine over the chart."""
        assert self.chart is not None
        if self.screening is None:
            self.screening = screen(self.chart, self.pack, time_zone=self.time_zone)
            self.evidence = gathered(self.chart, self.pack, self.screening, self.time_zone)
        return self.screening

    def converse(self) -> Reasoner:
        """The conversation with the model, before its first turn."""
        assert self.models is not None
        assert self.chart is not None
        assert self.entry is not None
        if self.reasoner is None:
            self.reasoner = reasoner_of(
                self.models,
                request=self.request,
                chart=self.chart,
                pack=self.pack,
                screening=self.screen(),
                entry=self.entry,
                clock=self.clock,
                time_zone=self.time_zone,
                refused=self.on_refusal,
            )
        return self.reasoner

    def verify(self) -> None:
        """Verifies the engine's drafts, for which no model is needed."""
        assert self.evidence is not None
        if self.verdicts is None:
            verifier = Verifier(self.evidence)
            self.verdicts = tuple(verifier.verify(draft) for draft in self.screen().drafts)

    def judge(self) -> None:
        """Verifies the engine's drafts, and the model's newest one."""
        self.verify()
        reasoner = self.reasoner
        if reasoner is not None and len(self.judged) < len(reasoner.drafted):
            self.judged.append(self._judged(reasoner.drafted[-1]))

    def _judged(self, drafted: Drafted) -> Judged:
        assert self.chart is not None
        if drafted.considerations is None:
            return Judged(drafted, None)
        further = (*self._further, *drafted.evidence)
        self.evidence = gathered(self.chart, self.pack, self.screen(), self.time_zone, further)
        return Judged(drafted, Verifier(self.evidence).consider(drafted.considerations))

    @property
    def _further(self) -> Iterator[AnyEvidence]:
        """What the model's drafts rest on so far."""
        return (item for one in self.judged for item in one.drafted.evidence)

    @property
    def best(self) -> Judged | None:
        """The model's draft of which most stands; the first of equals. None: there is none."""
        return max(self.judged, key=lambda one: one.worth, default=None)

    @property
    def considerations(self) -> tuple[Considerations, ...]:
        """All that the model drafted on its own."""
        return tuple(one.drafted.considerations for one in self.judged if one.drafted.considerations is not None)

    @property
    def reasoning(self) -> Reasoning | None:
        """The model's part. None: none was to take part."""
        if self.reasoner is None:
            return None
        return self.reasoner.record(None if self.best is None else self.best.drafted)

    def present(self) -> Presentation:
        """Merges, suppresses, ranks and limits (clinical: 15 to 18)."""
        assert self.verdicts is not None
        assert self.entry is not None
        if self.presentation is None:
            screening = self.screen()
            pairs = zip(screening.drafts, self.verdicts, strict=True)
            self.presentation = present(
                self.kept,
                screening.results,
                self.pack,
                old=self.entry.old,
                dropped=[draft.rule for draft, verdict in pairs if verdict.recommendation is None],
            )
        return self.presentation

    @property
    def kept(self) -> tuple[Recommendation, ...]:
        """What the verifier let stand: the engine's, then the model's."""
        engine = (verdict.recommendation for verdict in self.verdicts or ())
        model = None if self.best is None else self.best.recommendation
        return tuple(one for one in (*engine, model) if one is not None)

    async def remake(self, *, turns: int = 0, attempts: int = 0, last_act: bool = False, upto: "Step") -> None:
        """Makes what the steps before `upto` had made, where this process has not made it.

        Steps: (1) chart and screening; (2) the conversation, turn by turn and draft by draft, out of the journal; (3)
        verdicts; (4) presentation.
        """
        # (1)
        entry = await self.gather()
        if entry.reason is not None or upto == "gather":
            return
        self.screen()
        # (2)
        if upto != "screen" and self.models is not None and self.reasoner is None:
            reasoner = self.converse()
            for turn in range(turns):
                step = await reasoner.turn(turn)
                if step == "act" and (turn < turns - 1 or last_act):
                    await reasoner.act(turn)
            for attempt in range(attempts):
                await reasoner.draft(attempt, self.refused)
                if attempt < attempts - 1 or upto in ("draft", "present", "freeze"):
                    await asyncio.to_thread(self.judge)
        # (3)
        if upto in ("present", "freeze"):
            await asyncio.to_thread(self.judge)
        # (4)
        if upto == "freeze":
            self.present()

    @property
    def refused(self) -> tuple[str, ...]:
        """What the verifier refused of the model's last draft, as the model is told it."""
        if not self.judged or self.reasoner is None:
            return ()
        last = self.judged[-1]
        return told_refusals(last.refusals, last.drafted.places, self.reasoner.handles)


Step = Literal["gather", "screen", "reason", "act", "draft", "verify", "present", "freeze"]
