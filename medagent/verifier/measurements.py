# SPDX-License-Identifier: Apache-2.0
"""Leaves over measured values, evaluated anew: the latest value, a trend, a formula over the latest value.

All usable values at the latest time count, each is tested, and all must agree (clinical: 7).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from medagent.evidence import Calculation, Fact, Query, Reading
from medagent.formulas import FORMULAS
from medagent.intervals import Duration, Interval, before, instant, subtract
from medagent.kleene import Truth
from medagent.rules import Calculated, Latest, Trend
from medagent.sentences.parts import implausible
from medagent.units import Quantity, WhyUnknown, amount
from medagent.value_sets import ValueSet
from medagent.verifier.calculations import apply_formula, compare_all
from medagent.verifier.expected import Expected, Key, Terms, only_named
from medagent.verifier.findings import (
    by_time,
    longer_ago,
    meets,
    newest_values,
    recently,
)
from medagent.verifier.readings import Readings
from medagent.verifier.slices import Slices, is_usable


@dataclass(frozen=True, slots=True)
class _Values:
    """The usable values of one analyte, oldest first."""

    reading: Reading
    value_set: ValueSet
    all: tuple[Fact, ...]

    def expected(self, truth: Truth, facts: Sequence[Fact], terms: Terms, *reasons: str) -> Expected:
        """A leaf that these values decide; each of them must be stated where it is a plain yes or no."""
        stated = frozenset({_stated(fact) for fact in facts}) if truth is Truth.NOT_MET else frozenset()
        found = Expected(
            frozenset({truth}),
            (self.reading,),
            frozenset(fact.id for fact in facts),
            (stated,),
            frozenset(reasons) if reasons else None,
            terms,
        )
        return self.unless_cut_short(found)

    def unless_cut_short(self, expected: Expected) -> Expected:
        """A "no" of a reading that was cut short is unknown."""
        if self.reading.complete or expected.truth is not Truth.NOT_MET:
            return expected
        return replace(
            expected,
            truths=frozenset({Truth.UNKNOWN}),
            needed=(frozenset(),),
            reasons=frozenset({"incomplete"}),
        )

    def none(self, if_none: str, terms: Terms, within: str | None = None) -> Expected:
        """Nothing usable was found, or too little."""
        if not self.reading.complete:
            return self.expected(Truth.UNKNOWN, self.all, terms, "missing", "incomplete")
        absence: frozenset[Key] = frozenset({("absence", self.reading.id, "measured", within)})
        needed = frozenset() if self.all else absence
        return replace(self.expected(Truth(if_none), self.all, terms, "missing"), needed=(needed, absence))


def latest(criterion: Latest, slices: Slices, readings: Readings) -> Expected:
    """The latest value, or the one before it, compared with bounds, a value set or a period."""
    values = _values(criterion.in_, slices, readings)
    unit = criterion.unit or values.value_set.unit
    periods = only_named(criterion.max_age, criterion.value_within)
    terms = Terms(only_named(criterion.in_, criterion.value_in), criterion.bounds, unit, periods)
    group = newest_values(values.all)
    if criterion.which == "previous":
        group = newest_values([fact for fact in values.all if fact not in group])
    if not group:
        return values.none(criterion.if_none, terms)
    if (doubtful := _doubtful(group, criterion.max_age, values, terms, slices)) is not None:
        return doubtful
    truths = [_test(fact, criterion, unit, values.value_set, slices) for fact in group]
    return _agreed(truths, group, values, terms, lambda fact: _latest_keys(fact, criterion))


def trend(criterion: Trend, slices: Slices, readings: Readings) -> Expected:
    """First against last usable value of the window; needs every value, so a complete reading."""
    values = _values(criterion.in_, slices, readings)
    change = criterion.direction, criterion.least_change
    terms = Terms(frozenset({criterion.in_}), (), criterion.unit, frozenset({criterion.window}), change)
    inside, straddling = in_window(values.all, criterion.window, slices)
    if straddling:
        return values.expected(Truth.UNKNOWN, straddling, terms, "partial_date")
    if len(inside) < criterion.least_values:
        return replace(values, all=inside).none(criterion.if_none, terms, criterion.window)
    ends = _first_and_last(inside)
    if any(implausible(fact, values.value_set) for fact in ends):
        return values.expected(Truth.UNKNOWN, ends, terms, "questionable")
    if not values.reading.complete:
        return values.expected(Truth.UNKNOWN, ends, terms, "incomplete", "unit", "contradictory")
    changed = change_over(inside, criterion.unit, values.value_set)
    if changed is None:
        return values.expected(Truth.UNKNOWN, ends, terms, "unit", "contradictory")
    risen = changed if criterion.direction == "rising" else -changed
    if risen < criterion.least_change:
        found = values.expected(Truth.NOT_MET, ends, terms)
        return replace(found, needed=(frozenset({_stated(inside[0])}), frozenset({_stated(inside[-1])})))
    needed: frozenset[Key] = frozenset({("trend", *(fact.id for fact in inside))})
    return replace(values.expected(Truth.MET, inside, terms), needed=(needed,))


def calculated(criterion: Calculated, slices: Slices, readings: Readings) -> Expected:
    """A formula over the latest values, compared on the result as it is reported; perhaps over a period."""
    ((name, value_set),) = criterion.inputs.items()
    formula = FORMULAS[criterion.formula]
    values = _values(value_set, slices, readings)
    unit = criterion.unit or formula.unit
    periods = only_named(criterion.max_age, criterion.persists)
    terms = Terms(frozenset({value_set}), criterion.bounds, unit, periods)
    group = newest_values(values.all)
    if not group:
        return values.none(criterion.if_none, terms)
    if (doubtful := _doubtful(group, criterion.max_age, values, terms, slices)) is not None:
        return replace(doubtful, beside=_beside(criterion, group, slices, readings))

    def test(fact: Fact) -> Truth:
        span = apply_formula(slices, formula, {name: fact})
        return Truth.UNKNOWN if span is None else compare_all(span, criterion.bounds, unit)

    calculations = _calculations(criterion.formula, name, slices)
    keys = _CalculationKeys(calculations, criterion)
    truths = [test(fact) for fact in group]
    found = _agreed(truths, group, values, terms, keys.met, keys.stated)
    if criterion.persists is not None and set(truths) == {Truth.MET}:
        found = _persisting(criterion.persists, group, values, terms, test, keys)
    named = frozenset(calculations[fact] for fact in found.subjects if fact in calculations)
    beside = _beside(criterion, [fact for fact in values.all if fact.id in found.subjects], slices, readings)
    return replace(found, subjects=found.subjects | named, beside=beside)


def _beside(
    criterion: Calculated, used: Sequence[Fact], slices: Slices, readings: Readings
) -> tuple[str, frozenset[str]]:
    """The results of others at the times of those that were used: shown, and nothing rests on them."""
    name = criterion.shown_beside
    query = Query(resource_types=("Observation",), value_set=name)
    if name is None or not any(reading.query == query for reading in slices.readings()):
        return "", frozenset()
    others = _values(name, slices, readings).all
    return name, frozenset(other.id for other in others if any(_same_time(other, fact) for fact in used))


def in_window(facts: Sequence[Fact], window: str, slices: Slices) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """The values that lie in the window before `as_of`, oldest first, and those of which that is open."""
    places = [(fact, recently(fact.time, slices.evidence.as_of, window)) for fact in facts]
    inside = [fact for fact, place in places if place is Truth.MET]
    inside.sort(key=lambda fact: (fact.time and fact.time.earliest, fact.time and fact.time.latest, fact.sort_name))
    return tuple(inside), tuple(fact for fact, place in places if place is Truth.UNKNOWN)


def change_over(facts: Sequence[Fact], unit: str, value_set: ValueSet) -> Decimal | None:
    """Last less first value, in the unit; None where either is not one exact value."""
    first, last = facts[0], facts[-1]
    ends: list[Decimal] = []
    for end in (first, last):
        amounts = {_exact(fact, unit, value_set) for fact in facts if _same_time(fact, end)}
        exact = amounts.pop() if len(amounts) == 1 else None
        if exact is None:
            return None
        ends.append(exact)
    return ends[1] - ends[0]


def _first_and_last(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The first and the last value, each with what was measured at its time."""
    return tuple(fact for fact in facts if _same_time(fact, facts[0]) or _same_time(fact, facts[-1]))


def _same_time(one: Fact, other: Fact) -> bool:
    assert one.time is not None
    assert other.time is not None
    return Truth.MET not in (before(one.time, other.time), before(other.time, one.time))


def _exact(fact: Fact, unit: str, value_set: ValueSet) -> Decimal | None:
    if not isinstance(fact.value, Quantity):
        return None
    possible = amount(fact.value, unit, value_set.analyte)
    return None if isinstance(possible, WhyUnknown) or possible.low != possible.high else possible.low


def _values(name: str, slices: Slices, readings: Readings) -> _Values:
    reading = readings.answer(Query(resource_types=("Observation",), value_set=name))
    facts = sorted((fact for fact in readings.members(reading) if is_usable(fact, slices)), key=by_time)
    return _Values(reading, slices.value_set(name), tuple(facts))


def _doubtful(group: Sequence[Fact], max_age: str, values: _Values, terms: Terms, slices: Slices) -> Expected | None:
    """Too old, of an open date, or implausible: unknown, whatever it says."""
    old = longer_ago(max(group, key=by_time).time, slices.evidence.as_of, max_age)
    if old is not Truth.NOT_MET:
        return values.expected(Truth.UNKNOWN, group, terms, "stale" if old is Truth.MET else "partial_date")
    if any(implausible(fact, values.value_set) for fact in group):
        return values.expected(Truth.UNKNOWN, group, terms, "questionable")
    return None


def _test(fact: Fact, criterion: Latest, unit: str | None, value_set: ValueSet, slices: Slices) -> Truth:
    if criterion.value_in is not None:
        wanted = slices.value_set(criterion.value_in)
        if wanted.matches(fact.value_codings):
            return Truth.MET
        return Truth.NOT_MET if wanted.covers(fact.value_codings) else Truth.UNKNOWN
    if criterion.value_within is not None:
        if not isinstance(fact.value, Interval):
            return Truth.UNKNOWN
        inside = recently(fact.value, slices.evidence.as_of, criterion.value_within)
        later = longer_ago(fact.value, slices.evidence.as_of, criterion.value_within) is not Truth.MET
        return Truth.UNKNOWN if inside is Truth.NOT_MET and later else inside  # a date in the future is an error
    return meets(fact, criterion.bounds, unit, value_set.analyte)


def _stated(fact: Fact) -> Key:
    return "value", fact.id, "value"


def _latest_keys(fact: Fact, criterion: Latest) -> frozenset[Key]:
    if criterion.value_in is not None:
        return frozenset({_stated(fact)})
    if criterion.value_within is not None:
        return frozenset({("timing", fact.id, "value", "within")})
    return frozenset({("threshold", fact.id, *bound) for bound in criterion.bounds})


def _agreed(
    truths: Sequence[Truth],
    group: Sequence[Fact],
    values: _Values,
    terms: Terms,
    keys: Callable[[Fact], frozenset[Key]],
    stated: Callable[[Fact], frozenset[Key]] | None = None,
) -> Expected:
    """All values at the latest time must agree."""
    if Truth.UNKNOWN in truths:
        return values.expected(
            Truth.UNKNOWN, group, terms, "unit", "missing", "partial_date", "questionable", "formula"
        )
    if len(set(truths)) > 1:
        return values.expected(Truth.UNKNOWN, group, terms, "contradictory")
    found = values.expected(truths[0], group, terms)
    if truths[0] is Truth.MET:
        return replace(found, needed=(frozenset().union(*map(keys, group)),))
    if found.truth is Truth.NOT_MET and stated is not None:
        return replace(found, needed=(frozenset().union(*map(stated, group)),))
    if found.truth is Truth.NOT_MET and terms.periods and any(isinstance(fact.value, Interval) for fact in group):
        timed = frozenset({("timing", fact.id, "value", "longer_ago_than") for fact in group})
        return replace(found, needed=(timed, *found.needed))
    return found


@dataclass(frozen=True, slots=True)
class _CalculationKeys:
    """What the calculation over a fact is known by, and what must be said of it."""

    calculations: Mapping[str, str]
    criterion: Calculated

    def stated(self, fact: Fact) -> frozenset[Key]:
        return frozenset({("calculation", self.calculations.get(fact.id))})

    def met(self, fact: Fact) -> frozenset[Key]:
        one = self.calculations.get(fact.id)
        return self.stated(fact) | {("threshold", one, *bound) for bound in self.criterion.bounds}


def _calculations(formula: str, name: str, slices: Slices) -> dict[str, str]:
    """Ids of the calculations of a formula by the fact that each of them took; checked where they are named."""
    items = slices.evidence.items.values()
    made = (item for item in items if isinstance(item, Calculation) and item.formula == formula)
    return {item.inputs[name]: item.id for item in made if name in item.inputs}


def _persisting(
    persists: str,
    group: Sequence[Fact],
    values: _Values,
    terms: Terms,
    test: Callable[[Fact], Truth],
    keys: _CalculationKeys,
) -> Expected:
    """Met now: was it met long enough before, and ever since?"""
    newest = max(group, key=by_time)
    assert newest.time is not None
    limit = instant(subtract(newest.time.earliest, Duration.parse(persists)))
    long_ago = [fact for fact in values.all if fact.time is not None and before(fact.time, limit) is Truth.MET]
    if not long_ago:
        return values.expected(Truth.UNKNOWN, group, terms, "missing")
    start = max(long_ago, key=by_time)
    since = [fact for fact in values.all if _not_before(fact, start)]
    truths = {fact.id: test(fact) for fact in since}
    if Truth.NOT_MET in truths.values():
        failing = [fact for fact in since if truths[fact.id] is Truth.NOT_MET]
        found = values.expected(Truth.NOT_MET, since, terms)
        if found.truth is Truth.UNKNOWN:
            return found
        return replace(found, needed=tuple(keys.stated(fact) for fact in failing))
    if Truth.UNKNOWN in truths.values() or any(implausible(fact, values.value_set) for fact in since):
        return values.expected(Truth.UNKNOWN, since, terms)
    needed = frozenset().union(*(keys.met(fact) for fact in (start, *group)))
    return replace(values.expected(Truth.MET, since, terms), needed=(needed,))


def _not_before(fact: Fact, start: Fact) -> bool:
    assert fact.time is not None
    assert start.time is not None
    return before(fact.time, start.time) is not Truth.MET
