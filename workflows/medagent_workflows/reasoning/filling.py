# SPDX-License-Identifier: Apache-2.0
"""One proposition of a model's draft, filled in from its evidence.

What the model claims (a value, a bound, a result, a truth) stays as it claims it: the verifier judges. What follows
from the evidence is not asked of it: which value set a fact belongs to, which values lie in a window, on what a
rule's criterion rests.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

from medagent.evidence import Calculation, Fact, ImageRef, Passage, Query, Reading, Region, Role
from medagent.evidence_set import AnyEvidence
from medagent.intervals import Interval
from medagent.kleene import Truth
from medagent.propositions import (
    Absence,
    AnyProposition,
    Calculated,
    Criterion,
    ImageReading,
    Presence,
    Statement,
    Summary,
    Threshold,
    Timing,
    Trend,
    Value,
)
from medagent.rules import Rule
from medagent.value_sets import ValueSet, value_set_named
from medagent.verifier.searches import types_beside
from medagent_tools.guidelines.collector import Collector, Search
from medagent_tools.guidelines.criteria import evaluate
from medagent_tools.guidelines.leaves_values import usable_values
from medagent_tools.seam import ToolContext
from medagent_workflows.reasoning.drafting import (
    THOUSANDTHS,
    WireAbsence,
    WireCalculation,
    WireCriterion,
    WireImageReading,
    WirePresence,
    WireRegion,
    WireStatement,
    WireSummary,
    WireThreshold,
    WireTiming,
    WireTrend,
    WireValue,
)
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.naming import Unusable, value_set_of

Fillable = (
    WireValue | WireThreshold | WireTrend | WirePresence | WireAbsence | WireTiming | WireCalculation | WireCriterion
    | WireStatement | WireSummary | WireImageReading
)  # fmt: skip
"""What rests on evidence and rules alone; a proposal is the engine's, a thought rests on other propositions."""

_Kind = TypeVar("_Kind", Fact, Reading, Calculation, Passage, ImageRef)

_HANDLE = re.compile(r"[a-z][0-9]{1,5}")
_PERSONAL = (Role.GENDER, Role.BIRTH_SEX, Role.BIRTH_DATE)


class Filler:
    """Fills the propositions of one draft, and gathers what they rest on."""

    def __init__(self, handles: Handles, found: Mapping[str, AnyEvidence], context: ToolContext) -> None:
        """`found`: evidence that the model was told of, by id, and images that it was shown; facts may be left to the
        chart."""
        self._handles = handles
        self._found = found
        self._context = context
        self._chart, self._pack = context.chart, context.pack
        self._rules = {rule.id: rule for rule in context.pack.rules}
        self.evidence: dict[str, AnyEvidence] = {}

    def fill(self, said: Fillable) -> AnyProposition:
        """The proposition. Raises Unusable where the evidence gives none."""
        match said:
            case WireValue():
                return self._value(said)
            case WireThreshold():
                return self._threshold(said)
            case WireTrend():
                return self._trend(said)
            case WirePresence():
                return self._presence(said)
            case WireAbsence():
                reading, value_set = self._of_one_concept(said.reading)
                return Absence(reading=reading.id, value_set=value_set.id, state=said.state, within=said.within)
            case WireTiming():
                return self._timing(said)
            case WireCalculation():
                made = self._calculation(said.calculation)
                return Calculated(calculation=made.id, formula=made.formula, result=said.result, unit=made.unit)
            case WireCriterion():
                return self._criterion(said)
            case WireStatement():
                passage = self._keep(self._named(said.passage, Passage))
                return Statement(passage=passage.id, quote=said.quote)
            case WireSummary():
                return Summary(rule=self.rule(said.rule).id)
            case WireImageReading():
                return self._image_reading(said)

    def rule(self, rule_id: str) -> Rule:
        """A rule of the pack."""
        rule = self._rules.get(rule_id)
        if rule is None:
            raise Unusable("there is no such rule: name one by the id with which it was listed")
        return rule

    def _value(self, said: WireValue) -> Value:
        fact = self._stated(said.fact)
        if fact.resource_type == "Patient":
            same = (role for role in _PERSONAL if (element := fact.element(role)) and element.value == said.value)
            return Value(fact=fact.id, element=next(same, Role.GENDER), value=said.value, unit=said.unit)
        if fact.element(Role.VALUE) is None:
            raise Unusable(f"{said.fact} has no value: state its presence or its timing")
        of = self._measured(fact, said.fact)
        return Value(fact=fact.id, of=of.id, value=_as_recorded(said.value, fact), unit=said.unit)

    def _threshold(self, said: WireThreshold) -> Threshold:
        evidence = self._id(said.of)
        if isinstance(self._found.get(evidence), Calculation):
            of, value_set = self._calculation(said.of).id, None
        else:
            fact = self._stated(said.of)
            of, value_set = fact.id, self._measured(fact, said.of).id
        return Threshold(of=of, value_set=value_set, comparison=said.comparison, bound=said.bound, unit=said.unit)

    def _trend(self, said: WireTrend) -> Trend:
        """Over all usable values of the window, oldest first: none may be left out."""
        reading, value_set = self._of_one_concept(said.reading)
        collector = Collector(self._chart, self._pack, self._context.time_zone)
        members = tuple(self._chart.fact(member) for member in reading.members)
        values = usable_values(Search(reading, members, value_set), collector)
        inside = [fact for fact in values if collector.is_within(fact.time, said.window) is Truth.MET]
        if len(inside) < 2:  # of one value nothing has changed
            raise Unusable(f"{said.reading} holds fewer than two usable values within {said.window}: no trend")
        return Trend(
            facts=tuple(fact.id for fact in sorted(inside, key=_from_start)),
            reading=reading.id,
            value_set=value_set.id,
            direction=said.direction,
            least_change=said.least_change,
            unit=said.unit,
            window=said.window,
        )

    def _presence(self, said: WirePresence) -> Presence:
        """With the reading of what it is of: newer entries among them may say the contrary."""
        fact = self._stated(said.fact)
        value_set = self._set_of(fact, said.fact)
        query = Query(resource_types=types_beside(value_set, fact.resource_type), value_set=value_set.id)
        self._keep_reading(self._chart.read(query, self._pack.value_sets))
        return Presence(fact=fact.id, value_set=value_set.id, state=said.state)

    def _timing(self, said: WireTiming) -> Timing:
        fact = self._stated(said.fact)
        event = None if said.event is None else self._stated(said.event).id
        return Timing(
            fact=fact.id,
            element=said.element,
            value_set=self._set_of(fact, said.fact).id,
            relation=said.relation,
            period=said.period,
            event=event,
        )

    def _criterion(self, said: WireCriterion) -> Criterion:
        """The truth is the model's claim, the tree what the engine finds."""
        rule = self.rule(said.rule)
        asked = getattr(rule, said.part)
        if asked is None:
            raise Unusable(f"{rule.id} has no {said.part}")
        collector = Collector(self._chart, self._pack, self._context.time_zone)
        tree = evaluate(asked, collector)
        self.evidence.update(collector.evidence().items)
        return Criterion(rule=rule.id, part=said.part, truth=Truth(said.truth), tree=tree)

    def _image_reading(self, said: WireImageReading) -> ImageReading:
        evidence = self._id(said.image)
        if evidence.startswith("image-") and evidence not in self._found:
            raise Unusable(f"{said.image} was not shown to you: nothing can be read in it")
        image = self._keep(self._named(said.image, ImageRef))
        region = None if said.region is None else _in_pixels(said.region, image)
        return ImageReading(image=image.id, region=region, finding=said.finding, confidence=said.confidence)

    def _id(self, handle: str) -> str:
        evidence = self._handles.evidence(handle)
        if evidence is None:
            # Anything else that a model writes here may be a patient's, and is not repeated.
            called = handle if _HANDLE.fullmatch(handle) else "a name"
            raise Unusable(f"{called} was not given out: use the names in brackets, such as f1")
        return evidence

    def _named(self, handle: str, kind: type[_Kind]) -> _Kind:
        item = self._found.get(self._id(handle))
        if not isinstance(item, kind):
            raise Unusable(f"{handle} is no {kind.__name__.removesuffix('Ref').lower()}")
        return item

    def _stated(self, handle: str) -> Fact:
        evidence = self._id(handle)
        if not evidence.startswith("fact-"):
            raise Unusable(f"{handle} is no fact")
        return self._keep(self._chart.fact(evidence))

    def _calculation(self, handle: str) -> Calculation:
        """With what it was made of; and the readings of that, in which nothing newer may be left unsaid."""
        made = self._keep(self._named(handle, Calculation))
        for evidence in made.inputs.values():
            fact = self._keep(self._chart.fact(evidence))
            if fact.resource_type == "Observation":
                self._measured(fact, handle)
        return made

    def _of_one_concept(self, handle: str) -> tuple[Reading, ValueSet]:
        reading = self._named(handle, Reading)
        if reading.query.value_set is None:
            raise Unusable(f"{handle} looked at all of its kind: name a reading of one concept")
        self._keep_reading(reading)
        return reading, value_set_named(self._pack.value_sets, reading.query.value_set)

    def _set_of(self, fact: Fact, handle: str) -> ValueSet:
        try:
            return value_set_of(fact, self._context)
        except Unusable as error:
            raise Unusable(f"{handle} {error}") from error

    def _measured(self, fact: Fact, handle: str) -> ValueSet:
        """What was measured, with the reading of it: all its values, newer ones and contradicting ones among them."""
        value_set = self._set_of(fact, handle)
        if fact.resource_type == "Observation":
            query = Query(resource_types=("Observation",), value_set=value_set.id)
            self._keep_reading(self._chart.read(query, self._pack.value_sets))
        return value_set

    def _keep_reading(self, reading: Reading) -> None:
        self._keep(reading)
        for member in reading.members:
            self._keep(self._chart.fact(member))

    def _keep(self, item: _Kind) -> _Kind:
        self.evidence[item.id] = item
        return item


def _as_recorded(value: Decimal | bool | str, fact: Fact) -> Decimal | bool | str:
    """The claimed value in the record's own spelling, where it is the same: `8.1` for a recorded `8.10`, the words of
    a code for the code. What differs stays as it is claimed."""
    element = fact.element(Role.VALUE)
    assert element is not None  # asked before
    recorded = element.value
    if isinstance(recorded, int) and not isinstance(recorded, bool):
        recorded = Decimal(recorded)
    if isinstance(value, Decimal) and isinstance(recorded, Decimal):
        return recorded if recorded == value else value
    if isinstance(value, str) and isinstance(recorded, str) and fact.value_codings:
        words = {said for coding in fact.value_codings for said in (coding.display, coding.code)}
        words.add(fact.value if isinstance(fact.value, str) else None)
        return recorded if _plain(value) in {_plain(said) for said in words if said} else value
    return value


def _plain(words: str) -> str:
    return " ".join(words.split()).casefold()


def _in_pixels(region: WireRegion, image: ImageRef) -> Region:
    left, top = region.left * image.columns // THOUSANDTHS, region.top * image.rows // THOUSANDTHS
    right = (region.left + region.width) * image.columns // THOUSANDTHS
    bottom = (region.top + region.height) * image.rows // THOUSANDTHS
    return Region(left=left, top=top, width=right - left, height=bottom - top)


def _from_start(fact: Fact) -> tuple[object, object, str]:
    assert isinstance(fact.time, Interval)  # usable values are dated
    return (fact.time.earliest, fact.time.latest, fact.id)
