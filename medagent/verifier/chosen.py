# SPDX-License-Identifier: Apache-2.0
"""What is asked of a statement that nobody but a model chose, beyond that it is true.

A rule names its value sets, its windows and what speaks against it. A model picks, and a true statement can be picked
to mislead: the value before the last one, one of two that contradict each other, an entry that a newer one overtook,
the absence of what was looked for in the wrong place. So each kind has its conditions, here or in `contraries` and
`absences`, and some statements stand only beside others.
"""

from collections.abc import Iterator

from medagent.evidence import Calculation, Fact, Query, Role
from medagent.formulas import FORMULAS
from medagent.intervals import before
from medagent.kleene import Truth
from medagent.propositions import (
    Absence,
    AnyProposition,
    Calculated,
    Presence,
    Threshold,
    Timing,
    Trend,
    Value,
)
from medagent.sentences import LONGEST_CHART_TEXT
from medagent.sentences.parts import implausible
from medagent.value_sets import ValueSet
from medagent.verifier.absences import Absences
from medagent.verifier.chosen_sets import ChosenSets
from medagent.verifier.contraries import Contraries
from medagent.verifier.findings import belongs_to, in_state, newest_values, recently
from medagent.verifier.needs import Need, told
from medagent.verifier.persons import GESTATION
from medagent.verifier.readings import Readings
from medagent.verifier.searches import pregnancy_sets
from medagent.verifier.slices import Refused, Slices, is_usable
from medagent.verifier.statements import STEP

_DATES = (Role.TIME, Role.END)
_RESULTS = ("Observation", "DiagnosticReport")


class Chosen:
    """The conditions, by kind. A check returns what the statement needs beside it, or raises Refused."""

    def __init__(self, slices: Slices, readings: Readings) -> None:
        self._slices = slices
        self._readings = readings
        self._evidence = slices.evidence
        self._pregnancy = pregnancy_sets(self._evidence)
        self._sets = ChosenSets(slices)
        self._absences = Absences(slices, readings, self._sets)
        self._contraries = Contraries(slices, readings)

    def needs(self, proposition: AnyProposition) -> tuple[Need, ...]:
        """What must stand beside a true statement about the patient."""
        match proposition:
            case Value(of=None):
                return ()
            case Value(element=Role.VALUE, of=str() as name):
                return tuple(self._result(self._slices.fact(proposition.fact), name))
            case Value():
                return self._date(proposition)
            case Threshold():
                return self._threshold(proposition)
            case Calculated():
                return tuple(self._inputs(proposition.calculation))
            case Trend():
                return self._trend(proposition)
            case Presence():
                return self._presence(proposition)
            case Absence():
                self._absences.check(proposition)
            case Timing():
                return self._timing(proposition)
        return ()

    def _date(self, proposition: Value) -> tuple[Need, ...]:
        """A status as it was exported, or a code, says little by itself; a date is told of what is told."""
        if proposition.element not in _DATES:
            raise Refused(STEP, f"{proposition.fact}: its {proposition.element} is stated as a presence or not at all")
        self._sets.named(proposition.of or "", self._slices.fact(proposition.fact))
        return (_time_of(proposition.fact),)

    def _threshold(self, proposition: Threshold) -> tuple[Need, ...]:
        if isinstance(self._slices.item(proposition.of), Calculation):
            if proposition.value_set is not None:
                raise Refused(STEP, f"{proposition.of} is a calculation, and of no value set")
            return tuple(self._inputs(proposition.of))
        return tuple(self._result(self._slices.fact(proposition.of), proposition.value_set or ""))

    def _result(self, fact: Fact, name: str) -> Iterator[Need]:
        """A result: usable, plausible, short enough to be shown whole, neither contradicted nor overtaken unsaid."""
        value_set = self._sets.named(name, fact)
        if fact.resource_type not in _RESULTS or not is_usable(fact, self._slices):
            raise Refused(STEP, f"{fact.id} is no usable result")
        if isinstance(fact.value, str) and not fact.value_codings and len(fact.value) > LONGEST_CHART_TEXT:
            raise Refused(STEP, f"{fact.id} holds a text that would be cut")
        self._plausible(fact, value_set)
        self._recent_if_pregnancy(fact)
        yield from self._beside(fact, value_set)

    def _plausible(self, fact: Fact, value_set: ValueSet) -> None:
        """Under every set that the value belongs to: the widest limits are not the model's to pick."""
        if any(implausible(fact, one) for one in (value_set, *self._sets.of(fact, "observation"))):
            raise Refused(STEP, f"{fact.id} is questionable: outside of what is plausible")

    def _beside(self, fact: Fact, value_set: ValueSet) -> Iterator[Need]:
        """What was measured at the same time with another result, and the newest result (clinical: 7, 18)."""
        results = self._results(fact.resource_type, value_set)
        if fact.id not in {one.id for one in results}:
            raise Refused(STEP, f"{fact.id} is not in the reading of {value_set.id}")
        for other in results:
            if _same_time(fact, other) and _result_of(fact) != _result_of(other):
                yield Need(frozenset({("value", other.id)}), f"{other.id} of the same time says otherwise")
        newest = {one.id for one in newest_values(results)}
        if fact.id not in newest:
            yield Need(frozenset(("value", one) for one in newest), "a newer result is left unsaid")

    def _results(self, resource_type: str, value_set: ValueSet) -> list[Fact]:
        """The usable results of the reading of this set; of reports, those among all of them that conclude on it."""
        name = value_set.id if resource_type == "Observation" else None
        reading = self._readings.answer(Query(resource_types=(resource_type,), value_set=name))
        members = self._readings.members(reading)
        return [fact for fact in members if is_usable(fact, self._slices) and belongs_to(fact, value_set)]

    def _inputs(self, calculation_id: str) -> Iterator[Need]:
        """A calculation is as new, as plausible and as little contradicted as what went into it."""
        calculation = self._slices.item(calculation_id)
        formula = FORMULAS.get(calculation.formula)
        analytes = {needed.name: needed.analyte for needed in formula.inputs} if formula is not None else {}
        for name, evidence_id in calculation.inputs.items():
            fact = self._slices.fact(evidence_id)
            if fact.resource_type != "Observation":
                continue
            sets = [one for one in self._sets.of(fact, "observation") if one.analyte == analytes.get(name)]
            for value_set in sets:
                self._plausible(fact, value_set)
            # Sets of one analyte hold the same results under other names; one reading of them tells what is newer.
            read = [one for one in sets if self._is_read(one)]
            if not read:
                raise Refused("1 citation", f"the evidence holds no reading of {name}")
            for value_set in read:
                yield from self._beside(fact, value_set)

    def _is_read(self, value_set: ValueSet) -> bool:
        query = Query(resource_types=("Observation",), value_set=value_set.id)
        return any(reading.query == query for reading in self._slices.readings())

    def _trend(self, proposition: Trend) -> tuple[Need, ...]:
        reading = self._slices.item(proposition.reading)
        facts = [self._slices.fact(one) for one in proposition.facts]
        value_set = self._sets.named(proposition.value_set, *facts)
        if reading.query != Query(resource_types=("Observation",), value_set=proposition.value_set):
            raise Refused(STEP, f"{reading.id} is not the reading of {proposition.value_set}")
        for fact in facts:
            self._plausible(fact, value_set)
        return ()

    def _presence(self, proposition: Presence) -> tuple[Need, ...]:
        """The state holds under every set that the entry belongs to, as an acute condition expires under the strictest;
        and nothing newer says the contrary."""
        fact = self._slices.fact(proposition.fact)
        value_set = self._sets.named(proposition.value_set, fact)
        for one in self._sets.of(fact, value_set.kind):
            if in_state(fact, proposition.state, self._slices, one) is not Truth.MET:
                raise Refused(STEP, f"{fact.id} is not {proposition.state} as an entry of {one.id}")
        self._grown_up(fact)
        self._recent_if_pregnancy(fact)
        return tuple(self._contraries.needs(proposition))

    def _timing(self, proposition: Timing) -> tuple[Need, ...]:
        """A time says when, not that it was: what it is the time of is told beside it."""
        fact = self._slices.fact(proposition.fact)
        self._grown_up(fact)
        if proposition.value_set is not None:
            self._sets.named(proposition.value_set, fact)
        if proposition.element == "value":
            return tuple(self._result(fact, proposition.value_set or ""))
        events = (proposition.fact, *(() if proposition.event is None else (proposition.event,)))
        return tuple(_time_of(event) for event in events)

    def _grown_up(self, fact: Fact) -> None:
        """What was measured in childhood says nothing of the adult (clinical: 2)."""
        if fact.resource_type in _RESULTS and fact.time is not None and self._slices.in_childhood(fact.time):
            raise Refused(STEP, f"{fact.id} was measured in childhood")

    def _recent_if_pregnancy(self, fact: Fact) -> None:
        """A pregnancy is stated from evidence of the last 42 weeks (clinical: 9)."""
        sets = (self._evidence.value_sets.get(name) for name in self._pregnancy)
        if not any(one is not None and one.matches(fact.codings, fact.text) for one in sets):
            return
        if recently(fact.time, self._evidence.as_of, GESTATION) is not Truth.MET:
            raise Refused(STEP, f"{fact.id} is too old to tell of a pregnancy")


def _time_of(fact: str) -> Need:
    return told(fact, f"it is not told what {fact} is")


def _same_time(one: Fact, other: Fact) -> bool:
    if one.id == other.id or one.time is None or other.time is None:
        return False
    return Truth.MET not in (before(one.time, other.time), before(other.time, one.time))


def _result_of(fact: Fact) -> object:
    return fact.value, tuple((coding.system, coding.code) for coding in fact.value_codings)
