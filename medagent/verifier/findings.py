# SPDX-License-Identifier: Apache-2.0
"""What is asked of facts when a criterion is evaluated anew: is it usable, does it match, in which state is it.

What more than one kind of leaf needs. Each answer is a truth, never a guess.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from medagent.evidence import VOID, Fact, Status
from medagent.intervals import RESOLUTION, Duration, Interval, before, instant, subtract, within
from medagent.kleene import Truth, all_of
from medagent.propositions import State
from medagent.rules import Comparison
from medagent.states import active_at
from medagent.units import Quantity, compare
from medagent.value_sets import ValueSet
from medagent.verifier.slices import MEASURED, Slices, is_usable

CONFIRMED_WITHIN = "15 months"  # clinical: 8
_GIVEN = ("MedicationDispense", "MedicationAdministration")
_PERFORMED = (
    "Observation",
    "Procedure",
    "Immunization",
    "DiagnosticReport",
    "ImagingStudy",
    "Encounter",
    "CarePlan",
    "ServiceRequest",
)
_STATED = ("MedicationRequest", "MedicationStatement")
_TYPES_WITH: Mapping[State, tuple[str, ...]] = {
    "active": ("Condition", "AllergyIntolerance"),
    "recorded": ("Condition",),
    "listed": _STATED,
    "confirmed": (*_GIVEN, "MedicationStatement"),
    "done": _PERFORMED,
    "ordered": _PERFORMED,
    "declined": _PERFORMED,
    "ongoing": _PERFORMED,
    "measured": ("Observation",),
}


def ago(as_of: datetime, period: str) -> datetime:
    """The moment that long before `as_of`."""
    return subtract(as_of, Duration.parse(period))


def recently(time: Interval | None, as_of: datetime, period: str) -> Truth:
    """Whether something happened within the period before `as_of`; undated is unknown. It was known at `as_of`, so of a
    date that reaches beyond only the part until then is meant."""
    if time is None:
        return Truth.UNKNOWN
    end = as_of + RESOLUTION
    if time.earliest >= end:
        return Truth.NOT_MET
    return within(Interval(time.text, time.earliest, min(time.latest, end)), Interval("", ago(as_of, period), end))


def longer_ago(time: Interval | None, as_of: datetime, period: str) -> Truth:
    """Whether something happened longer ago than the period; undated is unknown."""
    return Truth.UNKNOWN if time is None else before(time, instant(ago(as_of, period)))


def newest_values(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """All values at the latest time: none of them is certainly earlier (clinical: 7)."""
    if not facts:
        return ()
    newest = max(facts, key=by_time)
    return tuple(fact for fact in facts if _before(fact, newest) is not Truth.MET)


def by_time(fact: Fact) -> tuple[datetime, datetime, str]:
    """Order of dated facts."""
    assert fact.time is not None
    return fact.time.latest, fact.time.earliest, fact.sort_name


def meets(fact: Fact, bounds: Iterable[tuple[Comparison, Decimal]], unit: str | None, analyte: str | None) -> Truth:
    """Whether a value meets every bound."""
    if not isinstance(fact.value, Quantity) or unit is None:
        return Truth.UNKNOWN
    value = fact.value
    return all_of(compare(value, comparison, bound, unit, analyte) for comparison, bound in bounds)


def belongs_to(fact: Fact, value_set: ValueSet) -> bool:
    """Whether a statement is about the value set: by its codes, or a report by its coded conclusion."""
    if value_set.matches(fact.codings, fact.text):
        return True
    return fact.resource_type == "DiagnosticReport" and value_set.matches(fact.value_codings)


def in_state(fact: Fact, state: State, slices: Slices, value_set: ValueSet) -> Truth:
    """Whether a fact has the state at `as_of`. Void statements have none, nor do those of a type that knows no such
    state: an active condition is not an order."""
    if fact.status in VOID or fact.resource_type not in _TYPES_WITH[state]:
        return Truth.NOT_MET
    evidence = slices.evidence
    active = active_at(fact, evidence.as_of, evidence.past, value_set)
    match state:
        case "active" if fact.resource_type == "AllergyIntolerance" and fact.status is Status.UNKNOWN:
            return Truth.MET if fact.end is None else active  # for harm, an allergy of no stated status counts
        case "active" | "ongoing":
            return active
        case "recorded":
            return _recorded(fact)
        case "listed":
            return active if fact.resource_type in _STATED else Truth.NOT_MET
        case "confirmed":
            given = fact.resource_type in _GIVEN and fact.status is Status.DONE
            stated = fact.resource_type == "MedicationStatement" and fact.status is Status.ACTIVE
            recent = recently(fact.time, evidence.as_of, CONFIRMED_WITHIN)
            return recent if given or stated else Truth.NOT_MET
        case "done":
            return Truth.of(_done(fact))
        case "measured":
            return Truth.of(is_usable(fact, slices))
        case "ordered":
            return Truth.of(fact.status in (Status.PLANNED, Status.ACTIVE))
        case "declined":
            return Truth.of(fact.status is Status.NOT_DONE)


def _recorded(fact: Fact) -> Truth:
    if fact.status is Status.UNCONFIRMED:
        return Truth.UNKNOWN
    return Truth.of(fact.status is not Status.REFUTED)


def _done(fact: Fact) -> bool:
    if fact.resource_type == "Observation":
        return fact.status in MEASURED and fact.absent_reason is None
    if fact.resource_type == "DiagnosticReport":
        return fact.status in MEASURED
    return fact.status is Status.DONE


def _before(one: Fact, other: Fact) -> Truth:
    assert one.time is not None
    assert other.time is not None
    return before(one.time, other.time)
