# SPDX-License-Identifier: Apache-2.0
"""What is asked of an absence that a model chose to state, beyond that the reading holds nothing of the kind."""

from medagent.evidence import Query, Reading
from medagent.intervals import Duration
from medagent.kleene import Truth
from medagent.propositions import Absence
from medagent.value_sets import ValueSet, is_single_code
from medagent.verifier.chosen_sets import ChosenSets
from medagent.verifier.findings import in_state
from medagent.verifier.readings import UNTOLD, Readings
from medagent.verifier.searches import STATES_OF, pregnancy_sets, types_to_search
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP


class Absences:
    """The conditions of an absence."""

    def __init__(self, slices: Slices, readings: Readings, sets: ChosenSets) -> None:
        self._slices = slices
        self._readings = readings
        self._sets = sets
        self._evidence = slices.evidence
        self._pregnancy = pregnancy_sets(self._evidence)

    def check(self, proposition: Absence) -> None:
        """Absence of what goes by many codes, looked for wherever it may stand, in a state that it can have.

        Steps: (1) of a value set of the pack, for one code says nothing of the thing; (2) never of pregnancy
        (clinical: 9); (3) in a reading of that set over all types in which it may stand; (4) in a state of its kind,
        where a drug is absent that is neither listed nor confirmed (clinical: 8); (5) of an allergy only beside
        recorded allergies (clinical: 12); (6) within a period that is one, even where nothing is there to be timed.
        """
        name, reading = proposition.value_set, self._slices.item(proposition.reading)
        # (1)
        if is_single_code(name):
            raise Refused(STEP, f"{name} is one code, and others may say the same")
        value_set = self._sets.named(name)
        # (2)
        if name in self._pregnancy:
            raise Refused(STEP, f"{name}: pregnancy is never concluded from absence")
        # (3)
        needed = types_to_search(value_set, proposition.state, self._evidence)
        if reading.query.value_set != name or not needed <= set(reading.query.resource_types):
            raise Refused(STEP, f"{reading.id} does not look for {name} in {', '.join(sorted(needed))}")
        # (4)
        if proposition.state not in STATES_OF[value_set.kind]:
            raise Refused(STEP, f"{value_set.kind} has no state {proposition.state} that can be absent")
        if value_set.kind == "medication":
            self._not_confirmed(reading, value_set)
        # (5)
        if value_set.kind == "allergy":
            self._allergies_are_recorded()
        # (6)
        if proposition.within is not None:
            Duration.parse(proposition.within)

    def _not_confirmed(self, reading: Reading, value_set: ValueSet) -> None:
        for fact in self._readings.members(reading):
            if in_state(fact, "confirmed", self._slices, value_set) is not Truth.NOT_MET:
                raise Refused(STEP, f"{reading.id} holds what was dispensed, administered or stated as taken")

    def _allergies_are_recorded(self) -> None:
        every = self._readings.answer(Query(resource_types=("AllergyIntolerance",)))
        if all(fact.status in UNTOLD for fact in self._readings.members(every)):
            raise Refused(STEP, "no allergy is recorded, and none denied")
