# SPDX-License-Identifier: Apache-2.0
"""Newer entries that say the contrary of a presence (clinical: 7, 8, 18).

A chart holds a problem as "active" in 2015 and as "resolved" in 2025, an old order beside the newer one that was
stopped. A rule looks at all of them; a model picks one, and that one must not stand as if the others were not there.
An entry whose state the sentence of a presence can say (done, declined, ordered) is told beside it; one that is over
has no such sentence, and what it overtakes is not stated at all.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from medagent.evidence import VOID, Fact, Status, fact_id
from medagent.intervals import LATEST, Interval, before, instant
from medagent.kleene import Truth
from medagent.propositions import Presence, State
from medagent.states import active_at
from medagent.value_sets import ValueSet
from medagent.verifier.findings import in_state
from medagent.verifier.needs import Need, told
from medagent.verifier.readings import Readings
from medagent.verifier.searches import types_beside
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP
from medagent.verifier.tables import SHAPES

_SAYABLE: tuple[State, ...] = ("done", "declined", "ordered")
"""The states of what overtakes others that a sentence can say."""
_REACHED: tuple[State, ...] = ("done", "ordered")
"""What was declined is not."""
_NOT_OVER = frozenset({Status.PLANNED, Status.DONE, Status.PRELIMINARY})
"""What was given and what is only planned does not end what is listed."""


class Contraries:
    """The newer entries that say the contrary of an entry."""

    def __init__(self, slices: Slices, readings: Readings) -> None:
        self._slices = slices
        self._readings = readings
        self._now = instant(slices.evidence.as_of)

    def needs(self, presence: Presence) -> Iterator[Need]:
        """What must be told beside a presence. Raises Refused where nothing could say it.

        Steps: (1) entries of the same concept, by the value set or by the very code; (2) those that certainly say the
        contrary and are not certainly older; (3) what is over cannot be told; (4) of all others the newest are.
        """
        drafted, value_set = self._slices.fact(presence.fact), self._slices.value_set(presence.value_set)
        fact = self._slices.fact_in(drafted.source.sha256, drafted.statement)
        # (1), (2)
        contraries = [
            other
            for other in self._same_concept(fact, value_set)
            if self._is_contrary(other, presence.state, value_set) and not self._is_older(other, fact)
        ]
        # (3)
        for other in contraries:
            if not any(in_state(other, state, self._slices, value_set) is Truth.MET for state in _SAYABLE):
                raise Refused(STEP, f"{fact.id} is not {presence.state} by {other.id}, which is as new or newer")
        # (4)
        for other in self._newest(contraries):
            yield told(other.id, f"{other.id} is as new or newer and says otherwise")

    def _same_concept(self, fact: Fact, value_set: ValueSet) -> Iterator[Fact]:
        """What the reading of the set holds, and whatever it looked at that carries the same code."""
        types = types_beside(value_set, fact.resource_type)
        fitting = [one for one in self._slices.readings() if one.query.value_set == value_set.id]
        names = sorted(one.id for one in fitting if set(types) <= set(one.query.resource_types))
        if not names:
            raise Refused("1 citation", f"the evidence holds no reading of {value_set.id} in {', '.join(types)}")
        reading = self._readings.reading(names[0])
        members = {one.id for one in self._readings.members(reading)}
        codes = {(coding.system, coding.code) for coding in fact.codings if coding.code}
        for digest in self._slices.evidence.listings[reading.listing]:
            for statement in self._slices.statements(digest):
                name = fact_id(digest, statement)
                codings = self._slices.concept(digest, statement).codings
                if name != fact.id and (name in members or any(coding[:2] in codes for coding in codings)):
                    yield self._slices.fact_in(digest, statement)

    def _is_contrary(self, other: Fact, state: State, value_set: ValueSet) -> bool:
        """Whether an entry certainly says the contrary of a state, as it was exported: what is over now may have been
        over at a moment in the past, so it counts there as well. What is void or only planned ends nothing."""
        if other.status in VOID or (other.time is not None and before(self._now, other.time) is Truth.MET):
            return False
        if state == "declined":
            return any(in_state(other, one, self._slices, value_set) is Truth.MET for one in _REACHED)
        is_over = active_at(other, self._slices.evidence.as_of, past=False, value_set=value_set) is Truth.NOT_MET
        match state:
            case "active" | "listed" | "confirmed":
                return is_over and other.status not in _NOT_OVER
            case "ordered" | "ongoing":
                return is_over and other.status is not Status.PLANNED
            case "recorded":
                return other.status is Status.REFUTED
            case _:
                return other.status is Status.NOT_DONE

    def _is_older(self, other: Fact, fact: Fact) -> bool:
        """Whether an entry is certainly older: neither its clinical time, nor when it was recorded, nor its end lies
        later, and one of the first two lies earlier. An end on the day of the other's beginning is none after it."""
        clinical, recorded = (self._clinical(other), self._clinical(fact)), (other.visible, fact.visible)
        if not _no_later(*clinical) or not _no_later(*recorded):
            return False
        if Truth.MET not in (_earlier(*clinical), _earlier(*recorded)):
            return False
        return other.end is None or _no_later(other.end, max(filter(None, (fact.time, fact.visible)), key=_latest))

    def _clinical(self, fact: Fact) -> Interval | None:
        """The clinical time, else when the source says that it was recorded: when a server last touched it says
        nothing of its age."""
        if fact.time is not None:
            return fact.time
        resource = self._slices.resource(fact.source.sha256)
        return fact.visible if any(name in resource for name in SHAPES[fact.resource_type].recorded) else None

    def _newest(self, contraries: Sequence[Fact]) -> list[Fact]:
        if not contraries:
            return []
        newest = max(contraries, key=lambda one: (_latest(self._clinical(one)), one.id))
        return [one for one in contraries if one is newest or not self._is_older(one, newest)]


def _earlier(one: Interval | None, other: Interval | None) -> Truth:
    return Truth.UNKNOWN if one is None or other is None else before(one, other)


def _no_later(one: Interval | None, other: Interval | None) -> bool:
    """Whether a time is certainly no later than another, or the very same."""
    if one is None or other is None:
        return False
    same = (one.earliest, one.latest) == (other.earliest, other.latest)
    return same or before(one, other) is Truth.MET


def _latest(time: Interval | None) -> datetime:
    return LATEST if time is None else time.latest
