# SPDX-License-Identifier: Apache-2.0
"""Step 6: a reading is answered anew, over the slices that it lists.

What absence, "the latest" and a trend rest on is that nothing was left out, so membership is recomputed in both
directions and the count of entries that the value set cannot tell with it.
"""

from collections.abc import Iterator

from medagent.evidence import VOID, Fact, Query, Reading, Status, listing_digest, reading_id
from medagent.intervals import Interval
from medagent.verifier.resources import status_of
from medagent.verifier.slices import Refused, Slices

UNTOLD = VOID | {Status.REFUTED}
"""Entries that no value set needs to tell: they could be no match."""
STEP = "6 reading"


class Readings:
    """The readings of a run, each answered anew once."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self._members: dict[str, tuple[Fact, ...] | Refused] = {}
        self._counted: dict[str, bool] = {}
        self._void: dict[str, bool] = {}

    def reading(self, evidence_id: str) -> Reading:
        """The reading with this id, after step 6."""
        reading = self._slices.item(evidence_id)
        if not isinstance(reading, Reading):
            raise Refused("1 citation", f"{evidence_id} is a {reading.kind}, not a reading")
        self.members(reading)
        return reading

    def answer(self, query: Query) -> Reading:
        """The reading that answers a query. Of several the one that was cut short: it tells what is not known."""
        answers = [reading for reading in self._slices.readings() if reading.query == query]
        if answers:
            return self.reading(min(answers, key=lambda reading: (reading.complete, reading.id)).id)
        what = f"{', '.join(query.resource_types)} in {query.value_set}"
        raise Refused("1 citation", f"the evidence holds no reading of {what}")

    def members(self, reading: Reading) -> tuple[Fact, ...]:
        """What belongs to a reading, as the verifier reads it, oldest first."""
        if reading.id not in self._members:
            try:
                self._members[reading.id] = self._answered_anew(reading)
            except Refused as refusal:
                self._members[reading.id] = refusal
        members = self._members[reading.id]
        if isinstance(members, Refused):
            raise members
        return members

    def _answered_anew(self, reading: Reading) -> tuple[Fact, ...]:
        listed = self._listed(reading)
        for problem in self._inconsistencies(reading, listed):
            raise Refused(STEP, f"{reading.id}: {problem}")
        members: list[Fact] = []
        uncovered = 0
        for digest in listed:
            found, covered = self._matching(reading.query, digest)
            members.extend(found)
            uncovered += not covered
        if sorted(fact.id for fact in members) != sorted(reading.members):
            raise Refused(STEP, f"{reading.id}: its members are not those that match")
        if uncovered != reading.uncovered:
            raise Refused(STEP, f"{reading.id}: {uncovered} entries are coded otherwise, not {reading.uncovered}")
        newest = self._newest(listed)
        if (newest and newest.latest) != (reading.newest and reading.newest.latest):
            raise Refused(STEP, f"{reading.id}: its newest entry is another one")
        if reading.id != reading_id(reading):
            raise Refused(STEP, f"{reading.id}: what it says was changed after it was made")
        return tuple(sorted(members, key=_oldest_first))

    def _listed(self, reading: Reading) -> tuple[str, ...]:
        listed = self._slices.evidence.listings.get(reading.listing)
        if listed is None or listing_digest(listed) != reading.listing:
            raise Refused("2 hash", f"{reading.id}: its listing is absent or altered")
        return listed

    def _inconsistencies(self, reading: Reading, listed: tuple[str, ...]) -> Iterator[str]:
        evidence = self._slices.evidence
        if reading.patient != evidence.patient:
            yield "it is about another patient"
        if reading.as_of != evidence.as_of:
            yield "it was made for another as_of"
        if reading.examined != len(listed) or len(set(listed)) != len(listed):
            yield f"it counts {reading.examined} and lists {len(set(listed))}"
        if reading.complete and (reading.uncovered or reading.incomplete_because):
            yield "it cannot be complete"
        if not reading.complete and not reading.incomplete_because:
            yield "it is incomplete for no reason"
        yield from self._misplaced(reading.query, listed)

    def _misplaced(self, query: Query, listed: tuple[str, ...]) -> Iterator[str]:
        """What is listed and should not be, and what the run holds and the listing lacks."""
        for digest in listed:
            if self._slices.kind(digest) not in query.resource_types:
                yield f"slice {digest[:12]} is of a type that was not asked for"
            elif not self._counts(digest):
                yield f"slice {digest[:12]} is another patient's, or was not known at as_of"
        for digest in self._slices.evidence.slices.keys() - set(listed):
            if self._slices.kind(digest) in query.resource_types and self._counts(digest):
                yield f"slice {digest[:12]} was left out"

    def _counts(self, digest: str) -> bool:
        """Whether a resource is this patient's, as far as it says, and was known at `as_of`."""
        counts = self._counted.get(digest)
        if counts is None:
            counts = self._counted[digest] = self._is_counted(digest)
        return counts

    def _is_counted(self, digest: str) -> bool:
        if self._slices.belongs(self._slices.resource(digest)) is False:
            return False
        return self._slices.is_visible(digest, "")

    def _matching(self, query: Query, digest: str) -> tuple[list[Fact], bool]:
        """The statements of a resource that match, and whether the value set can tell of any of them."""
        statements = self._slices.statements(digest)
        if query.value_set is None:
            return [self._slices.fact_in(digest, statement) for statement in statements], True
        value_set = self._slices.value_set(query.value_set)
        concepts = {statement: self._slices.concept(digest, statement) for statement in statements}
        found = [
            self._slices.fact_in(digest, statement)
            for statement, concept in concepts.items()
            if value_set.matches(concept.codings, concept.text)
        ]
        # A void entry could be no match, and a resource without a statement says nothing.
        told = [bool(found), *(value_set.covers(*concept) for concept in concepts.values())]
        if digest not in self._void:
            self._void[digest] = status_of(self._slices.resource(digest)) in UNTOLD
        void = self._void[digest]
        return found, void or not concepts or any(told)

    def _newest(self, listed: tuple[str, ...]) -> Interval | None:
        """The newest time among the entries: the clinical one, else when it was recorded. What is void or only
        planned is no entry."""
        facts = [
            self._slices.fact_in(digest, first) for digest in listed for first in self._slices.statements(digest)[:1]
        ]
        entries = [fact for fact in facts if fact.status not in VOID and fact.status is not Status.PLANNED]
        times = [time for fact in entries if (time := fact.time or fact.visible) is not None]
        return max(times, key=lambda time: (time.latest, time.earliest), default=None)


def _oldest_first(fact: Fact) -> tuple[bool, object, str]:
    return fact.time is None, fact.time and fact.time.earliest, fact.sort_name
