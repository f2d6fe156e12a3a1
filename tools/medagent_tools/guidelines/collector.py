# SPDX-License-Identifier: Apache-2.0
"""What one screening reads, remembered: each query once, and everything that must be kept to check it again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from medagent.chart import Chart
from medagent.errors import TimeError
from medagent.evidence import VOID, Calculation, Fact, Query, Reading, Role
from medagent.evidence_set import AnyEvidence, EvidenceSet
from medagent.intervals import (
    EARLIEST,
    RESOLUTION,
    Duration,
    Interval,
    age_at,
    before,
    instant,
    parse,
    span,
    subtract,
    within,
)
from medagent.kleene import Truth
from medagent.states import active_at
from medagent.value_sets import ValueSet
from medagent_tools.guidelines.pack import Pack

ADULT = 18  # whole years; what was measured earlier satisfies no criterion for adults (clinical: 2)


@dataclass(frozen=True, slots=True)
class Search:
    """A reading with the facts that it found. Void ones are counted in the reading and left out here."""

    reading: Reading
    facts: tuple[Fact, ...]
    value_set: ValueSet | None

    @property
    def complete(self) -> bool:
        """Whether absence can be concluded from it."""
        return self.reading.complete

    @property
    def named(self) -> str:
        """Id of the value set that was searched for."""
        assert self.value_set is not None  # only leaves that name a value set ask
        return self.value_set.id


class Collector:
    """One chart at one instant, as the leaves of criteria ask it."""

    def __init__(self, chart: Chart, pack: Pack, time_zone: str) -> None:
        self.patient = chart.patient_fact()
        self.as_of = chart.as_of
        self.past = chart.past
        self.zone = ZoneInfo(time_zone)
        self.pack = pack
        self._chart = chart
        self._now = instant(chart.as_of)
        self._searches: dict[Query, Search] = {}
        self._calculations: dict[str, Calculation] = {}
        self._limits: dict[str, Interval] = {}

    def search(self, resource_types: Iterable[str], value_set: str | None) -> Search:
        """All facts of these types in the value set. The same question is asked of the chart once."""
        query = Query(resource_types=tuple(resource_types), value_set=value_set)
        found = self._searches.get(query)
        if found is None:
            reading = self._chart.read(query, self.pack.value_sets)
            facts = tuple(self._chart.fact(member) for member in reading.members)
            found = Search(
                reading,
                tuple(fact for fact in facts if fact.status not in VOID),
                None if value_set is None else self.pack.value_sets[value_set],
            )
            self._searches[query] = found
        return found

    def keep(self, calculation: Calculation) -> Calculation:
        """Makes a calculation part of the evidence."""
        self._calculations[calculation.id] = calculation
        return calculation

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What was asked so far, in that order."""
        return tuple(search.reading for search in self._searches.values())

    @property
    def calculations(self) -> tuple[Calculation, ...]:
        """What was calculated so far, in that order."""
        return tuple(self._calculations.values())

    @cached_property
    def birth(self) -> Interval | None:
        """The birth date. None: none recorded, or not a date."""
        element = self.patient.element(Role.BIRTH_DATE)
        if element is None:
            return None
        try:
            return parse(str(element.value), self.zone)
        except TimeError:
            return None

    def certainly_in_childhood(self, time: Interval) -> bool:
        """Whether even the last instant that the time can mean lies before the eighteenth birthday."""
        return self.birth is not None and age_at(self.birth, time.latest - RESOLUTION, self.zone)[1] < ADULT

    def limit(self, period: str) -> Interval:
        """The instant that lies a period before `as_of`."""
        if period not in self._limits:
            self._limits[period] = instant(subtract(self.as_of, Duration.parse(period)))
        return self._limits[period]

    def is_within(self, time: Interval | None, period: str) -> Truth:
        """Whether a time lies in the period that ends with `as_of`, both ends included. Undated is unknown.

        An entry that was known at `as_of` had happened by then: a date of today is not open towards tonight.
        """
        if time is None:
            return Truth.UNKNOWN
        happened = self.until_now(time)
        return Truth.NOT_MET if happened is None else within(happened, span(self.limit(period), self._now))

    def until_now(self, time: Interval) -> Interval | None:
        """The part of a time that is not after `as_of`. None: all of it is, which can only be an error."""
        if time.latest <= self._now.latest:
            return time
        return Interval(time.text, time.earliest, self._now.latest) if time.earliest < self._now.latest else None

    def is_longer_ago(self, time: Interval | None, period: str) -> Truth:
        """Whether a time lies before the instant that lies a period before `as_of`. Undated is unknown."""
        return Truth.UNKNOWN if time is None else before(time, self.limit(period))

    def is_active(self, fact: Fact, value_set: ValueSet | None) -> Truth:
        """Whether the statement is active at `as_of`."""
        return active_at(fact, self.as_of, self.past, value_set)

    def evidence(self) -> EvidenceSet:
        """Everything that was asked: readings, their members, calculations, and the bytes that they came from."""
        items: dict[str, AnyEvidence] = {self.patient.id: self.patient}
        listings: dict[str, tuple[str, ...]] = {}
        hashes = {self.patient.source.sha256}
        for search in self._searches.values():
            reading = search.reading
            items[reading.id] = reading
            listings[reading.listing] = self._chart.listing(reading.listing)
            hashes.update(listings[reading.listing])
            for member in reading.members:
                fact = self._chart.fact(member)
                items[member] = fact
                hashes.add(fact.source.sha256)
        items.update(self._calculations)
        hashes.update(digest for used in tuple(hashes) for digest in self._chart.consulted(used))
        return EvidenceSet(
            patient=self._chart.patient,
            as_of=self.as_of,
            time_zone=self.zone.key,
            past=self.past,
            items=dict(sorted(items.items())),
            slices={digest: self._chart.slice_of(digest) for digest in sorted(hashes)},
            listings=dict(sorted(listings.items())),
            rules={rule.id: rule for rule in self.pack.rules},
            value_sets=self.pack.value_sets,
            gates=self.pack.gates,
            patient_names=self._chart.patient_names,
        )


def newest(facts: Iterable[Fact]) -> Fact | None:
    """The fact with the newest time: the latest end, then the latest start, then the name. Undated come last."""
    return max(facts, key=_age_order, default=None)


def oldest_first(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """In the order of `newest`, so that the place in a file never decides (clinical: 7)."""
    return tuple(sorted(facts, key=_age_order))


def _age_order(fact: Fact) -> tuple[bool, datetime, datetime, str]:
    if fact.time is None:
        return (False, EARLIEST, EARLIEST, fact.sort_name)
    return (True, fact.time.latest, fact.time.earliest, fact.sort_name)
