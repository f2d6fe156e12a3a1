# SPDX-License-Identifier: Apache-2.0
"""Leaves over measured values: the latest one, the one before, and a trend.

A value is usable if it is final or preliminary, has a value, is dated, not after `as_of`, and was not certainly
measured in childhood.
All usable values at the latest time count together, so that the place in a file never decides (clinical: 7).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from medagent.evidence import Fact, Status
from medagent.intervals import Interval, before
from medagent.kleene import Truth, all_of
from medagent.propositions import AnyLeafProposition, Leaf, Threshold, Timing, Trend
from medagent.rules import Latest
from medagent.rules import Trend as TrendCriterion
from medagent.units import Amount, Quantity, amount, compare
from medagent.value_sets import ValueSet
from medagent_tools.guidelines.collector import Collector, Search, oldest_first
from medagent_tools.guidelines.leaves import (
    Why,
    absent,
    all_stated,
    conclude,
    longer_ago,
    none_found,
    stated,
    unknown,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latests:
    """The usable values at the latest time: `newest`, and all that were not certainly measured before it."""

    newest: Fact
    facts: tuple[Fact, ...]

    @property
    def time(self) -> Interval:
        """Of the newest."""
        return _time(self.newest)


def usable_values(search: Search, chart: Collector) -> tuple[Fact, ...]:
    """The usable values of a search, oldest first."""
    return oldest_first(fact for fact in search.facts if _is_usable(fact, chart))


def latest_values(values: Sequence[Fact], times_before: int = 0) -> Latests | None:
    """The values at the latest time, or at the time before it; `values` as `usable_values` orders them."""
    rest = tuple(values)
    while rest:
        newest = rest[-1]
        group = tuple(fact for fact in rest if before(_time(fact), _time(newest)) is not Truth.MET)
        if times_before == 0:
            return Latests(newest, group)
        rest = tuple(fact for fact in rest if fact not in group)
        times_before -= 1
    return None


def latest(node: Latest, chart: Collector) -> Leaf:
    """The latest value, compared.

    Steps: (1) nothing usable; (2) too old, or of a date that leaves this open; (3) implausible; (4) each of the values
    at that time is tested: all must agree.
    """
    search = chart.search(("Observation",), node.in_)
    values = usable_values(search, chart)
    found = latest_values(values, times_before=0 if node.which == "latest" else 1)
    # (1) One value alone has none before it, but then nothing is absent: it is what decides.
    if found is None:
        return none_found(
            node.if_none, search, all_stated(values, node.in_) if values else [absent(search, "measured")]
        )
    # (2) and (3)
    if (refused := too_old(found, node.max_age, search, chart) or implausible(found.facts, search)) is not None:
        return refused
    # (4)
    if node.value_in is not None:
        return _coded(found, node.in_, chart.pack.value_sets[node.value_in], search)
    if node.value_within is not None:
        return _dated(found, node.value_within, search, chart)
    return _bounded(found, node, search)


def too_old(found: Latests, max_age: str, search: Search, chart: Collector) -> Leaf | None:
    """The leaf of a value that is stale, or whose date leaves it open. None: recent enough."""
    says = all_stated(found.facts, search.named)
    match chart.is_longer_ago(found.time, max_age):
        case Truth.MET:
            return unknown("stale", (search,), (*says, longer_ago(found.newest, search, max_age)))
        case Truth.UNKNOWN:
            return unknown("partial_date", (search,), says)
        case Truth.NOT_MET:
            return None


def implausible(facts: Sequence[Fact], search: Search) -> Leaf | None:
    """The leaf of values of which one is questionable. None: all are plausible, or cannot be compared."""
    if any(is_questionable(fact, search.value_set) for fact in facts):
        return unknown("questionable", (search,), all_stated(facts, search.named))
    return None


def agreed(truths: Iterable[Truth]) -> tuple[Truth, Why | None]:
    """What several values at one time amount to: all met, none met, or unknown."""
    distinct = set(truths)
    if Truth.UNKNOWN in distinct:
        return Truth.UNKNOWN, "unit"
    return (distinct.pop(), None) if len(distinct) == 1 else (Truth.UNKNOWN, "contradictory")


def _bounded(found: Latests, node: Latest, search: Search) -> Leaf:
    value_set = search.value_set
    assert value_set is not None
    unit = node.unit or value_set.unit
    assert unit is not None  # the pack's checks refuse a bound without a unit

    def test(fact: Fact) -> Truth:
        if not isinstance(fact.value, Quantity):
            return Truth.UNKNOWN
        quantity = fact.value
        return all_of(compare(quantity, sign, bound, unit, value_set.analyte) for sign, bound in node.bounds)

    def thresholds(fact: Fact) -> tuple[Threshold, ...]:
        return tuple(
            Threshold(of=fact.id, value_set=node.in_, comparison=sign, bound=bound, unit=unit)
            for sign, bound in node.bounds
        )

    truth, why = agreed(test(fact) for fact in found.facts)
    return _result(truth, why, found, search, thresholds)


def _coded(found: Latests, in_: str, wanted: ValueSet, search: Search) -> Leaf:
    """A code of a system that the wanted set does not speak could mean the same, so it is unknown."""
    if not all(wanted.matches(fact.value_codings) or wanted.covers(fact.value_codings) for fact in found.facts):
        return unknown("missing", (search,), all_stated(found.facts, in_))
    truth, why = agreed(Truth.of(wanted.matches(fact.value_codings)) for fact in found.facts)
    return _result(truth, why, found, search, lambda fact: stated(fact, in_))


def _dated(found: Latests, period: str, search: Search, chart: Collector) -> Leaf:
    """A value that is a date, such as the date of quitting. One that lies after `as_of` is an error."""
    says = all_stated(found.facts, search.named)
    truths: list[Truth] = []
    for fact in found.facts:
        if not isinstance(fact.value, Interval):
            return unknown("missing", (search,), says)
        truth = chart.is_within(fact.value, period)
        if truth is Truth.NOT_MET and chart.is_longer_ago(fact.value, period) is not Truth.MET:
            return unknown("questionable", (search,), says)
        truths.append(truth)
    if Truth.UNKNOWN in truths:
        return unknown("partial_date", (search,), says)

    def timing(fact: Fact, relation: Truth) -> tuple[Timing, ...]:
        return (
            Timing(
                fact=fact.id,
                element="value",
                value_set=search.named,
                relation="within" if relation is Truth.MET else "longer_ago_than",
                period=period,
            ),
        )

    truth, why = agreed(truths)
    if why is not None:
        return unknown(why, (search,), says)
    return conclude(truth, (search,), (one for fact in found.facts for one in timing(fact, truth)))


def _result(
    truth: Truth,
    why: Why | None,
    found: Latests,
    search: Search,
    when_met: Callable[[Fact], Sequence[AnyLeafProposition]],
) -> Leaf:
    if truth is Truth.MET:
        return conclude(truth, (search,), (one for fact in found.facts for one in when_met(fact)))
    return conclude(truth, (search,), all_stated(found.facts, search.named), why)


def trend(node: TrendCriterion, chart: Collector) -> Leaf:
    """First against last usable value of a window.

    A trend needs every value, so a reading that was cut short leaves it unknown even where it would be met.
    Steps: (1) values of which it is open whether they lie in the window; (2) too few; (3) implausible; (4) first and
    last are compared, each together with what was measured at its time.
    """
    search = chart.search(("Observation",), node.in_)
    places = [(fact, chart.is_within(fact.time, node.window)) for fact in usable_values(search, chart)]
    inside = tuple(sorted((fact for fact, place in places if place is Truth.MET), key=_from_start))
    # (1)
    straddling = [fact for fact, place in places if place is Truth.UNKNOWN]
    if straddling:
        return unknown("partial_date", (search,), all_stated(straddling, node.in_))
    # (2)
    if len(inside) < node.least_values:
        few = all_stated(inside, node.in_) if inside else [absent(search, "measured", node.window)]
        return none_found(node.if_none, search, few)
    # (3)
    last = latest_values(oldest_first(inside))
    assert last is not None
    first = Latests(inside[0], tuple(f for f in inside if before(_time(inside[0]), _time(f)) is not Truth.MET))
    if (refused := implausible((*first.facts, *last.facts), search)) is not None:
        return refused
    # (4)
    says = all_stated((first.newest, last.newest), node.in_)
    ends = [_one_value(end.facts, node.unit, search.value_set) for end in (first, last)]
    if "unit" in ends or "contradictory" in ends:
        why: Why = "unit" if "unit" in ends else "contradictory"
        return unknown(why, (search,), all_stated((*first.facts, *last.facts), node.in_))
    if not search.complete:
        return unknown("incomplete", (search,), says)
    start, end = (value for value in ends if isinstance(value, Decimal))
    change = end - start if node.direction == "rising" else start - end
    if change < node.least_change:
        return conclude(Truth.NOT_MET, (search,), says)
    return conclude(Truth.MET, (search,), [_trend_proposition(node, inside, search)])


def _trend_proposition(node: TrendCriterion, inside: Sequence[Fact], search: Search) -> Trend:
    return Trend(
        facts=tuple(fact.id for fact in inside),
        reading=search.reading.id,
        value_set=node.in_,
        direction=node.direction,
        least_change=node.least_change,
        unit=node.unit,
        window=node.window,
    )


def _one_value(facts: Iterable[Fact], unit: str, value_set: ValueSet | None) -> Decimal | Why:
    """The one value that all of these have in the unit, or why there is none."""
    values: set[Decimal] = set()
    for fact in facts:
        if not isinstance(fact.value, Quantity):
            return "unit"
        possible = amount(fact.value, unit, value_set.analyte if value_set else None)
        if not isinstance(possible, Amount) or possible.low != possible.high:
            return "unit"
        values.add(possible.low)
    return values.pop() if len(values) == 1 else "contradictory"


def _is_usable(fact: Fact, chart: Collector) -> bool:
    return (
        fact.status in (Status.DONE, Status.PRELIMINARY)
        and fact.absent_reason is None
        and (fact.value is not None or bool(fact.value_codings))
        and fact.time is not None
        and chart.until_now(fact.time) is not None
        and not chart.certainly_in_childhood(fact.time)
    )


def is_questionable(fact: Fact, value_set: ValueSet | None) -> bool:
    """Certainly outside of the limits; what cannot be compared is not called implausible."""
    if value_set is None or value_set.plausible is None or not isinstance(fact.value, Quantity):
        return False
    limits, analyte = value_set.plausible, value_set.analyte
    too_low = compare(fact.value, "<", limits.low, limits.unit, analyte)
    too_high = compare(fact.value, ">", limits.high, limits.unit, analyte)
    return Truth.MET in (too_low, too_high)


def _from_start(fact: Fact) -> tuple[object, object, str]:
    time = _time(fact)
    return (time.earliest, time.latest, fact.sort_name)


def _time(fact: Fact) -> Interval:
    assert fact.time is not None  # usable values are dated
    return fact.time
