# SPDX-License-Identifier: Apache-2.0
"""Step 7 for propositions that stand alone: each is evaluated anew by its kind."""

from decimal import Decimal

from medagent.canonical import sha256_hex
from medagent.evidence import VOID, Calculation, Fact, ImageRef, Passage, Reading, Region, Role
from medagent.intervals import Interval, before
from medagent.kleene import Truth, all_of
from medagent.propositions import (
    Absence,
    AnyLeafProposition,
    Calculated,
    ImageReading,
    Presence,
    Statement,
    Threshold,
    Timing,
    Trend,
    Value,
)
from medagent.rules import Rule
from medagent.units import Quantity, compare
from medagent.verifier.calculations import Span, checked, compare_span
from medagent.verifier.comparisons import same_digits
from medagent.verifier.findings import belongs_to, in_state, longer_ago, recently
from medagent.verifier.measurements import change_over, in_window
from medagent.verifier.readings import Readings
from medagent.verifier.resources import holds_image, is_measurable, time_from
from medagent.verifier.slices import Refused, Slices, in_force, is_usable

STEP = "7 proposition"


class Statements:
    """Checks propositions one by one. A check returns quietly or raises Refused."""

    def __init__(self, slices: Slices, readings: Readings) -> None:
        self._slices = slices
        self._readings = readings
        self._as_of = slices.evidence.as_of

    def check(self, proposition: AnyLeafProposition) -> None:
        """Whether a proposition about the patient is true."""
        if any(isinstance(slot, Decimal) and not is_measurable(slot) for slot in vars(proposition).values()):
            raise Refused(STEP, "a number lies beyond what anybody measures")
        match proposition:
            case Value():
                self._value(proposition)
            case Threshold():
                self._threshold(proposition)
            case Trend():
                self._trend(proposition)
            case Presence():
                self._presence(proposition)
            case Absence():
                self._absence(proposition)
            case Timing():
                self._timing(proposition)
            case Calculated():
                self._calculated(proposition)

    def statement(self, proposition: Statement) -> None:
        """The publisher's words stand at the offsets of a text that was kept of an edition in force."""
        passage = self._slices.item(proposition.passage)
        if not isinstance(passage, Passage):
            raise Refused("1 citation", f"{proposition.passage} is a {passage.kind}, not a passage")
        text = self._slices.evidence.texts.get(passage.sha256)
        if text is None or sha256_hex(text.encode()) != passage.sha256:
            raise Refused("2 hash", f"{passage.id}: the kept text is absent or altered")
        if not any(_is_kept(passage, text, rule, self._slices) for rule in self._slices.evidence.rules.values()):
            raise Refused("9 edition", f"{passage.id}: no edition in force kept this text, or has this section")
        if not 0 <= passage.start < passage.end <= len(text):
            raise Refused("3 element", f"{passage.id}: its offsets lie outside of the text")
        if not proposition.quote.strip() or proposition.quote not in text[passage.start : passage.end]:
            raise Refused("3 element", f"{passage.id}: the quote does not stand there")

    def image_reading(self, proposition: ImageReading) -> None:
        """Image and region exist, in a study of the patient; what the model saw is not checked and is marked as its
        own. How many frames an image has only the image says."""
        image = self._slices.item(proposition.image)
        if not isinstance(image, ImageRef):
            raise Refused("1 citation", f"{proposition.image} is a {image.kind}, not an image")
        self._image(image)
        if image.frame < 1 or image.rows < 1 or image.columns < 1:
            raise Refused(STEP, f"{image.id} has no such frame")
        for region in (image.region, proposition.region):
            if region is not None and not _lies_in(region, image):
                raise Refused(STEP, f"{image.id}: the region lies outside of the image")

    def _image(self, image: ImageRef) -> None:
        digest = image.source.sha256
        study = self._slices.resource(digest)
        if study["resourceType"] != "ImagingStudy" or not holds_image(study, image):
            raise Refused("3 element", f"{image.id}: its source names no such image")
        if self._slices.belongs(study) is not True:
            raise Refused("4 patient", f"{image.id} is not of the patient of the request")
        if not self._slices.is_visible(digest, ""):
            raise Refused("5 visible", f"{image.id} was not known at as_of")

    def _value(self, proposition: Value) -> None:
        fact = self._of_patient(proposition) if proposition.of is None else None
        fact = fact or self._matching(proposition.fact, proposition.of)
        if fact.resource_type == "Observation" and proposition.element == Role.VALUE:
            self._with_value(fact)
        element = fact.element(proposition.element)
        if element is None:
            raise Refused("3 element", f"{fact.id} has no {proposition.element}")
        stated = element.value
        if isinstance(stated, int) and not isinstance(stated, bool):
            stated = Decimal(stated)
        same = same_digits(stated, proposition.value) if isinstance(stated, Decimal) else stated == proposition.value
        if type(stated) is not type(proposition.value) or not same:
            raise Refused(STEP, f"{fact.id}: another {proposition.element} stands there")
        # What comes after `as_of` was not known then (clinical: 3).
        if proposition.element in _TIMED and self._is_later(stated):
            raise Refused("5 visible", f"{fact.id}: its {proposition.element} lies after as_of")
        unit = fact.element(Role.UNIT) if proposition.element == Role.VALUE else None
        if proposition.unit != (None if unit is None else unit.value):
            raise Refused(STEP, f"{fact.id}: another unit stands there")

    def _of_patient(self, proposition: Value) -> Fact:
        """The Patient fact: of it only what is recorded of sex and birth is said."""
        fact = self._slices.fact(proposition.fact)
        if fact.resource_type != "Patient" or proposition.element not in _PERSONAL:
            raise Refused(STEP, f"{fact.id}: a value names what it is of")
        return fact

    def _is_later(self, stated: object) -> bool:
        time = time_from(stated, self._slices.evidence.zone)
        return time is None or time.earliest > self._as_of

    def _with_value(self, fact: Fact) -> None:
        """A value that may be shown: usable, and cited with its unit and its comparator."""
        if not is_usable(fact, self._slices):
            raise Refused(STEP, f"{fact.id} is no usable value")
        cited = fact.element(Role.VALUE)
        quantity = fact.value if isinstance(fact.value, Quantity) else None
        needed = {
            Role.VALUE: True,
            Role.UNIT: quantity is not None and bool(quantity.unit or quantity.code),
            Role.COMPARATOR: quantity is not None and bool(quantity.comparator),
        }
        for role, is_there in needed.items():
            if is_there and fact.element(role) is None:
                raise Refused("3 element", f"{fact.id} cites no {role}")
        if quantity is not None and cited is not None and not same_digits(cited.value, quantity.value):
            raise Refused("3 element", f"{fact.id} cites another number than its value")

    def _threshold(self, proposition: Threshold) -> None:
        item = self._slices.item(proposition.of)
        comparison, bound, unit = proposition.comparison, proposition.bound, proposition.unit
        if isinstance(item, Calculation):
            calculation = checked(self._slices, item.id)
            span = Span(calculation.result, calculation.result_high, calculation.unit)
            truth = compare_span(span, comparison, bound, unit)
        else:
            fact = self._matching(proposition.of, proposition.value_set)
            self._with_value(fact)
            if proposition.value_set is None or not isinstance(fact.value, Quantity):
                raise Refused(STEP, f"{fact.id} is no value that can be compared")
            analyte = self._slices.value_set(proposition.value_set).analyte
            truth = compare(fact.value, comparison, bound, unit, analyte)
        if truth is not Truth.MET:
            raise Refused(STEP, f"{proposition.of} {comparison} {bound} {unit} is {truth}")

    def _trend(self, proposition: Trend) -> None:
        reading = self._reading(proposition.reading, proposition.value_set)
        value_set = self._slices.value_set(proposition.value_set)
        facts = [fact for fact in self._readings.members(reading) if is_usable(fact, self._slices)]
        inside, straddling = in_window(facts, proposition.window, self._slices)
        if not reading.complete or straddling:
            raise Refused(STEP, f"{reading.id}: a trend needs every value of its window")
        if tuple(fact.id for fact in inside) != proposition.facts:
            raise Refused(STEP, f"{reading.id}: the values of the window are others, or in another order")
        for fact in proposition.facts:
            self._with_value(self._slices.fact(fact))
        change = change_over(inside, proposition.unit, value_set)
        risen = None if change is None else change if proposition.direction == "rising" else -change
        if risen is None or risen < proposition.least_change or proposition.least_change <= 0:
            raise Refused(STEP, f"{reading.id}: not {proposition.direction} by {proposition.least_change}")

    def _presence(self, proposition: Presence) -> None:
        fact = self._matching(proposition.fact, proposition.value_set)
        value_set = self._slices.value_set(proposition.value_set)
        if not any(fact.element(role) for role in (Role.CODE, Role.TEXT, Role.STATUS)):
            raise Refused("3 element", f"{fact.id} cites neither what it is of nor its status")
        truth = in_state(fact, proposition.state, self._slices, value_set)
        if truth is not Truth.MET:
            raise Refused(STEP, f"{fact.id} is {proposition.state}: {truth}")

    def _absence(self, proposition: Absence) -> None:
        reading = self._reading(proposition.reading, proposition.value_set)
        # An incomplete reading is unknown, never absence (clinical: 5).
        if not reading.complete:
            raise Refused(STEP, f"{reading.id} is incomplete, so nothing is absent from it")
        value_set = self._slices.value_set(proposition.value_set)
        for fact in self._readings.members(reading):
            if not belongs_to(fact, value_set):
                continue
            truth = in_state(fact, proposition.state, self._slices, value_set)
            if proposition.within is not None:
                truth = all_of((truth, recently(fact.time, self._as_of, proposition.within)))
            grown_up = proposition.state != "done" or fact.time is None or not self._slices.in_childhood(fact.time)
            if truth is not Truth.NOT_MET and grown_up:
                raise Refused(STEP, f"{reading.id} holds what is said to be absent: {truth}")

    def _timing(self, proposition: Timing) -> None:
        fact = self._matching(proposition.fact, proposition.value_set)
        if fact.element(proposition.element) is None:
            raise Refused("3 element", f"{fact.id} cites no {proposition.element}")
        lasted = fact.time if proposition.event is None else _extent(fact)
        time = lasted if proposition.element == "time" else fact.value
        if not isinstance(time, Interval):
            raise Refused(STEP, f"{fact.id} states no {proposition.element} that is a time")
        truth = self._related(time, proposition)
        if truth is not Truth.MET:
            raise Refused(STEP, f"{fact.id} {proposition.relation} {proposition.period or proposition.event}: {truth}")

    def _related(self, time: Interval, proposition: Timing) -> Truth:
        match proposition.relation, proposition.period, proposition.event:
            case "within", str() as period, None:
                return recently(time, self._as_of, period)
            case "longer_ago_than", str() as period, None:
                return longer_ago(time, self._as_of, period)
            case "before" | "after" as relation, None, str() as event:
                other = _extent(self._matching(event, None))
                if other is None:
                    return Truth.UNKNOWN
                return before(time, other) if relation == "before" else before(other, time)
        raise Refused(STEP, "a timing names a period, or another event, as its relation asks")

    def _calculated(self, proposition: Calculated) -> None:
        calculation = checked(self._slices, proposition.calculation)
        said = proposition.formula, proposition.result, proposition.unit
        same = same_digits(proposition.result, calculation.result)
        if not same or said != (calculation.formula, calculation.result, calculation.unit):
            raise Refused(STEP, f"{calculation.id} gives another result")

    def _matching(self, evidence_id: str, value_set: str | None) -> Fact:
        """The fact, after steps 1 to 5, if it is about what the proposition says it is about. Void entries say
        nothing, and the Patient resource is no clinical statement."""
        fact = self._slices.fact(evidence_id)
        if fact.status in VOID or fact.resource_type == "Patient":
            raise Refused(STEP, f"{evidence_id} is void, or no clinical statement")
        if value_set is not None and not belongs_to(fact, self._slices.value_set(value_set)):
            raise Refused(STEP, f"{evidence_id} is not in {value_set}")
        return fact

    def _reading(self, evidence_id: str, value_set: str) -> Reading:
        reading = self._readings.reading(evidence_id)
        if reading.query.value_set not in (None, value_set):
            raise Refused(STEP, f"{evidence_id} looked for something else than {value_set}")
        return reading


_TIMED = (Role.TIME, Role.END, Role.RECORDED)
_PERSONAL = (Role.GENDER, Role.BIRTH_SEX, Role.BIRTH_DATE)


def _extent(fact: Fact) -> Interval | None:
    """From its beginning to its end, if it has one: what is measured during a visit comes neither before nor after."""
    if fact.time is None or fact.end is None:
        return fact.time
    return Interval(fact.time.text, fact.time.earliest, max(fact.time.latest, fact.end.latest))


def _is_kept(passage: Passage, text: str, rule: Rule, slices: Slices) -> bool:
    """Whether a rule's edition is the passage's, is in force, kept this very text, and has this section."""
    edition = rule.guideline
    own = (edition.id, edition.edition) == (passage.guideline, passage.edition) and passage.sha256 in edition.texts
    return own and in_force(edition, slices) and (passage.section == rule.section or passage.section in text)


def _lies_in(region: Region, image: ImageRef) -> bool:
    right, bottom = region.left + region.width, region.top + region.height
    inside = region.left >= 0 and region.top >= 0 and right <= image.columns and bottom <= image.rows
    return inside and region.width > 0 and region.height > 0
