# SPDX-License-Identifier: Apache-2.0
"""Leaves over what is recorded: conditions, things done, drugs, allergies, imaging conclusions."""

from collections.abc import Mapping

from medagent.evidence import Fact, Status
from medagent.kleene import Truth, all_of, any_of
from medagent.propositions import Absence, AnyLeafProposition, Leaf, Presence, State
from medagent.rules import HasAllergy, HasCondition, ImagingFinding, Medication, Recorded
from medagent_tools.guidelines.collector import Collector, Search, newest
from medagent_tools.guidelines.leaves import (
    absent,
    conclude,
    doubt,
    longer_ago,
    none_found,
    unknown,
    within,
)  # fmt: skip

CONFIRMED_WITHIN = "15 months"  # clinical: 8
MEDICATION_TYPES = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")

_RESULTS = frozenset({"Observation", "DiagnosticReport"})  # a preliminary one has been done all the same


def condition(node: HasCondition, chart: Collector) -> Leaf:
    """A condition, active at `as_of` or recorded at any time, perhaps for so long at least.

    Where it is there but not for long enough, nothing is absent: its presence and its onset are what decides.
    """
    search = chart.search(("Condition",), node.in_)
    state: State = "active" if node.state == "active" else "recorded"
    states = {fact.id: _condition_state(fact, node, chart, search) for fact in search.facts}
    period = node.for_at_least
    truths = {
        fact.id: states[fact.id]
        if period is None
        else all_of((states[fact.id], chart.is_longer_ago(fact.time, period)))
        for fact in search.facts
    }
    if (fact := _newest_with(search, truths, Truth.MET)) is not None:
        found: list[AnyLeafProposition] = [Presence(fact=fact.id, value_set=node.in_, state=state)]
        if period is not None:
            found.append(longer_ago(fact, search, period))
        return conclude(Truth.MET, (search,), found)
    if (fact := _newest_with(search, truths, Truth.UNKNOWN)) is not None:
        why, says = doubt(fact, search, states[fact.id])
        return unknown(why, (search,), says)
    # There, perhaps, but not for long enough: then nothing is absent, and the onset is what decides.
    for state_truth in (Truth.MET, Truth.UNKNOWN):
        if (fact := _newest_with(search, states, state_truth)) is not None:
            assert period is not None  # without a period its own truth would decide
            recent = [within(fact, search, period)] if chart.is_within(fact.time, period) is Truth.MET else []
            there = [Presence(fact=fact.id, value_set=node.in_, state=state)] if state_truth is Truth.MET else []
            return none_found(node.if_none, search, [*there, *recent])
    return none_found(node.if_none, search, [absent(search, state)])


def _condition_state(fact: Fact, node: HasCondition, chart: Collector, search: Search) -> Truth:
    return chart.is_active(fact, search.value_set) if node.state == "active" else recorded_state(fact)


def recorded_state(fact: Fact) -> Truth:
    """Whether a condition was recorded at any time, in any clinical state."""
    if fact.status is Status.UNCONFIRMED:
        return Truth.UNKNOWN
    return Truth.of(fact.status is not Status.REFUTED)


def recorded(node: Recorded, chart: Collector) -> Leaf:
    """Something measured, done, ordered, declined or going on within a period."""
    search = chart.search(node.of, node.in_)
    states = {fact.id: _performed_state(fact, node, chart, search) for fact in search.facts}
    measured = node.state == "done" and set(node.of) == {"Observation"}
    nothing = absent(search, "measured" if measured else node.state, node.within)
    return _in_period(states, node, search, chart, nothing, node.state)


def _performed_state(fact: Fact, node: Recorded, chart: Collector, search: Search) -> Truth:
    match node.state:
        case "done":
            return Truth.of(is_done(fact, chart))
        case "ordered":
            return Truth.of(fact.status in (Status.PLANNED, Status.ACTIVE))
        case "declined":
            return Truth.of(fact.status is Status.NOT_DONE)
        case "ongoing":
            return chart.is_active(fact, search.value_set)


def is_done(fact: Fact, chart: Collector) -> bool:
    """Whether something was performed or resulted. A panel whose values stand in components counts; a
    measurement of childhood does not (clinical: 2)."""
    if fact.resource_type not in _RESULTS:
        return fact.status is Status.DONE
    if fact.status not in (Status.DONE, Status.PRELIMINARY) or fact.absent_reason is not None:
        return False
    return fact.time is None or not chart.certainly_in_childhood(fact.time)


def imaging_finding(node: ImagingFinding, chart: Collector) -> Leaf:
    """A coded conclusion of an imaging report within a period."""
    search = chart.search(("DiagnosticReport",), None)
    value_set = chart.pack.value_sets[node.in_]
    concluded = Search(
        search.reading, tuple(fact for fact in search.facts if value_set.matches(fact.value_codings)), value_set
    )
    states = {fact.id: Truth.of(is_done(fact, chart)) for fact in concluded.facts}
    return _in_period(states, node, concluded, chart, absent(concluded, "done", node.within), "done")


def _in_period(
    states: Mapping[str, Truth],
    node: Recorded | ImagingFinding,
    search: Search,
    chart: Collector,
    nothing: Absence,
    state: State,
) -> Leaf:
    """The newest entry in this state within the period; else its absence, with the newest older one."""
    truths = {fact.id: all_of((states[fact.id], chart.is_within(fact.time, node.within))) for fact in search.facts}
    if (fact := _newest_with(search, truths, Truth.MET)) is not None:
        presence = Presence(fact=fact.id, value_set=node.in_, state=state)
        return conclude(Truth.MET, (search,), (presence, within(fact, search, node.within)))
    if (fact := _newest_with(search, truths, Truth.UNKNOWN)) is not None:
        why, says = doubt(fact, search, states[fact.id])
        return unknown(why, (search,), says)
    older = newest(
        fact
        for fact in search.facts
        if states[fact.id] is Truth.MET and chart.is_longer_ago(fact.time, node.within) is Truth.MET
    )
    found: list[AnyLeafProposition] = [nothing]
    if older is not None:
        found.append(longer_ago(older, search, node.within))
    return none_found(node.if_none, search, found)


def medication(node: Medication, chart: Collector) -> Leaf:
    """A drug: confirmed (dispensed, administered or stated within 15 months) or only listed (clinical: 8)."""
    search = chart.search(MEDICATION_TYPES, node.in_)
    confirmed = {fact.id: is_confirmed(fact, chart) for fact in search.facts}
    listed = {fact.id: is_listed(fact, chart, search) for fact in search.facts}
    if (fact := _newest_with(search, confirmed, Truth.MET)) is not None:
        return conclude(Truth.MET, (search,), [Presence(fact=fact.id, value_set=node.in_, state="confirmed")])
    if (fact := _newest_with(search, listed, Truth.MET)) is not None:
        presence = Presence(fact=fact.id, value_set=node.in_, state="listed")
        if node.use == "exposure":
            return conclude(Truth.MET, (search,), [presence])
        return unknown("listed_only", (search,), [presence])
    either = {fact.id: any_of((confirmed[fact.id], listed[fact.id])) for fact in search.facts}
    if (fact := _newest_with(search, either, Truth.UNKNOWN)) is not None:
        why, says = doubt(fact, search, listed[fact.id])
        return unknown(why, (search,), says)
    return none_found(node.if_none, search, [absent(search, "listed")])


def is_confirmed(fact: Fact, chart: Collector) -> Truth:
    """Whether a drug was dispensed, administered or stated as taken within 15 months (clinical: 8)."""
    given = fact.resource_type in ("MedicationDispense", "MedicationAdministration")
    stated_so = fact.resource_type == "MedicationStatement"
    if (given and fact.status is Status.DONE) or (stated_so and fact.status is Status.ACTIVE):
        return chart.is_within(fact.time, CONFIRMED_WITHIN)
    return Truth.NOT_MET


def is_listed(fact: Fact, chart: Collector, search: Search) -> Truth:
    """Whether a drug stands on a list that is active at `as_of`."""
    if fact.resource_type not in ("MedicationRequest", "MedicationStatement"):
        return Truth.NOT_MET
    return chart.is_active(fact, search.value_set)


def allergy(node: HasAllergy, chart: Collector) -> Leaf:
    """An allergy to a substance. An allergy list without any entry is unknown, not "no allergies" (clinical: 12)."""
    search = chart.search(("AllergyIntolerance",), node.in_)
    truths = {fact.id: allergy_state(fact, chart, search) for fact in search.facts}
    if (fact := _newest_with(search, truths, Truth.MET)) is not None:
        return conclude(Truth.MET, (search,), [Presence(fact=fact.id, value_set=node.in_, state="active")])
    if (fact := _newest_with(search, truths, Truth.UNKNOWN)) is not None:
        why, says = doubt(fact, search, Truth.UNKNOWN)
        return unknown(why, (search,), says)
    every = chart.search(("AllergyIntolerance",), None)
    if not (search.complete and every.complete):
        return unknown("incomplete", (search, every))
    if any(fact.status is not Status.REFUTED for fact in every.facts):
        return conclude(Truth.NOT_MET, (search, every), [absent(search, "active")])
    return unknown("missing", (search, every), [absent(search, "active")])


def allergy_state(fact: Fact, chart: Collector, search: Search) -> Truth:
    """An entry of unknown status and without an end counts, because the harm would be real."""
    truth = chart.is_active(fact, search.value_set)
    if truth is Truth.UNKNOWN and fact.status is Status.UNKNOWN and fact.end is None:
        return Truth.MET
    return truth


def _newest_with(search: Search, truths: Mapping[str, Truth], truth: Truth) -> Fact | None:
    """The newest fact that has this truth; truths are by fact id."""
    return newest(fact for fact in search.facts if truths[fact.id] is truth)
