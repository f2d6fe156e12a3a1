# SPDX-License-Identifier: Apache-2.0
"""What a model was told of a small chart, and drafts as a model would write them, in a few words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from builders.chart import ZONE, open_chart
from builders.fhir import Json
from builders.screening import pack_of, rule_of
from medagent.evidence import Calculation, ImageRef, Passage, Query, Reading, SourceRef
from medagent.evidence_set import AnyEvidence
from medagent.propositions import AnyProposition
from medagent.rules import Rule
from medagent_tools.guidelines.engine import Screening, screen
from medagent_tools.seam import ToolContext
from medagent_workflows.reasoning.compiling import Compiled, compiled
from medagent_workflows.reasoning.drafting import WireDraft
from medagent_workflows.reasoning.handles import Handles

IMAGE = ImageRef(
    id="image-a",
    source=SourceRef(
        uri="ImagingStudy/a", sha256="0" * 64, container_sha256="0" * 64, pointer="",
        retrieved_at=datetime(2026, 1, 1, tzinfo=UTC),
    ),
    study="1", series="1", instance="1", rows=500, columns=800,
)  # fmt: skip
"""Half a megapixel that nobody has."""


@dataclass(slots=True)
class Situation:
    """A chart, what the engine found in it, and the names that a model was given."""

    context: ToolContext
    screening: Screening
    handles: Handles = field(default_factory=Handles)
    found: dict[str, AnyEvidence] = field(default_factory=dict)

    def reading(self, value_set: str | None, *types: str) -> str:
        """The name of the reading of a value set, of observations unless it is said otherwise."""
        query = Query(resource_types=types or ("Observation",), value_set=value_set)
        return self.tell(self.context.chart.read(query, self.context.pack.value_sets))

    def fact(self, value_set: str | None, *types: str, place: int = -1) -> str:
        """The name of a fact of such a reading, the newest unless it is said otherwise."""
        reading = self.found[self.handles.evidence(self.reading(value_set, *types)) or ""]
        assert isinstance(reading, Reading)
        return self.handles.name(reading.members[place])

    def patient(self) -> str:
        """The name of the Patient."""
        return self.handles.name(self.context.chart.patient_fact().id)

    def calculation(self, formula: str) -> str:
        """The name of a calculation that the engine made."""
        items = self.screening.evidence.items.values()
        return self.tell(next(one for one in items if isinstance(one, Calculation) and one.formula == formula))

    def tell(self, item: Reading | Calculation | Passage | ImageRef) -> str:
        """The name of a piece of evidence that a tool gave out."""
        self.found[item.id] = item
        return self.handles.name(item.id)

    def draft(self, *propositions: Json, abstain: str | None = None) -> Compiled:
        """What a draft with these propositions amounts to."""
        wire = WireDraft.model_validate(drafted(*propositions, abstain=abstain))
        return compiled(wire, self.handles, self.found, self.context, self.screening)

    def only(self, proposition: Json) -> AnyProposition:
        """What one proposition becomes."""
        made = self.draft(proposition)
        assert made.invalid == ()
        assert made.considerations is not None
        (one,) = made.considerations.propositions
        return one

    def refused(self, *propositions: Json) -> str:
        """Why the last of these becomes none."""
        made = self.draft(*propositions)
        assert made.invalid
        return made.invalid[-1]


def situation(*resources: Json, rules: tuple[Rule, ...] = (), about: Json | None = None, **options: Any) -> Situation:
    """A chart of these resources, screened."""
    chart = open_chart(resources, about=about, **options)
    pack = pack_of(*(rules or (rule_of(),)))
    return Situation(ToolContext(chart, pack, ZONE.key), screen(chart, pack, time_zone=ZONE.key))


def drafted(*propositions: Json, abstain: str | None = None, notes: str = "") -> Json:
    """A draft as a model writes it."""
    return {"abstain": abstain, "propositions": list(propositions), "notes": notes}


def value(fact: str, value: Decimal | str | bool | int, unit: str | None = None) -> Json:
    """A fact's value."""
    return {"kind": "value", "fact": fact, "value": value, "unit": unit}


def threshold(of: str, comparison: str, bound: Decimal | int, unit: str) -> Json:
    """A value against a bound."""
    return {"kind": "threshold", "of": of, "comparison": comparison, "bound": bound, "unit": unit}


def trend(reading: str, direction: str, least_change: Decimal | int, unit: str, window: str) -> Json:
    """A course."""
    return {
        "kind": "trend", "reading": reading, "direction": direction, "least_change": least_change, "unit": unit,
        "window": window,
    }  # fmt: skip


def presence(fact: str, state: str) -> Json:
    """A fact's state."""
    return {"kind": "presence", "fact": fact, "state": state}


def absence(reading: str, state: str, within: str | None = None) -> Json:
    """Nothing in a reading."""
    return {"kind": "absence", "reading": reading, "state": state, "within": within}


def timing(fact: str, relation: str, period: str | None = None, event: str | None = None) -> Json:
    """When something was."""
    return {
        "kind": "timing", "fact": fact, "element": "time", "relation": relation, "period": period, "event": event,
    }  # fmt: skip


def criterion(rule: str, part: str, truth: str) -> Json:
    """A part of a rule."""
    return {"kind": "criterion", "rule": rule, "part": part, "truth": truth}


def hypothesis(text: str, *supports: int) -> Json:
    """A thought."""
    return {"kind": "hypothesis", "text": text, "supports": list(supports)}


def image_reading(image: str, finding: str, region: Mapping[str, int] | None = None) -> Json:
    """What is seen in an image."""
    return {
        "kind": "image_reading", "image": image, "region": region, "finding": finding, "confidence": "low",
    }  # fmt: skip
