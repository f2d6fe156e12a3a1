# SPDX-License-Identifier: Apache-2.0
"""All that was read for one run, as plain JSON: whose entries these are and what they are about.

For `builders.reevaluation`. Imports nothing of MedAgent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from builders.plain_chart import (
    Json,
    at,
    concept_of,
    has_value,
    is_coded,
    is_final,
    is_named,
    is_void,
    known_at,
    span_of,
    time_of,
)


class Unsupported(Exception):
    """The claim is not true of the bytes; says why."""


class Entry(NamedTuple):
    """One statement of one resource."""

    sha256: str
    pointer: str
    resource: Json

    @property
    def part(self) -> Json:
        """The statement itself: the resource, or a component of it."""
        part: Json = at(self.resource, self.pointer)
        return part


@dataclass(frozen=True)
class Basis:
    """All that was read for one run, as plain JSON."""

    patient: str
    names: frozenset[str]
    """By what the patient may be referred to."""
    as_of: datetime
    zone: ZoneInfo
    evidence: Mapping[str, Json]
    """By id."""
    resources: Mapping[str, Json]
    """By the SHA-256 of their bytes."""
    value_sets: Mapping[str, Json]
    rules: Mapping[str, Json]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Kept guideline texts by SHA-256. Without them a statement is `open`."""

    @cached_property
    def person(self) -> Json:
        """The Patient resource."""
        own = (one for one in self.resources.values() if one["resourceType"] == "Patient" and self.is_own(one))
        return next(own, {})

    def ages_at(self, moment: datetime) -> tuple[int, int]:
        """The least and the greatest age in whole years; of nobody's birth date, of an adult."""
        birth = span_of(self.person.get("birthDate"), self.zone)
        if birth is None:
            return 18, 130
        today = moment.astimezone(self.zone).date()
        days = [(birth.end - timedelta(seconds=1)).astimezone(self.zone), birth.start.astimezone(self.zone)]
        low, high = (today.year - day.year - ((today.month, today.day) < (day.month, day.day)) for day in days)
        return low, high

    @cached_property
    def others(self) -> Mapping[str, Json]:
        """Resources by `Type/id`."""
        return {f"{one['resourceType']}/{one.get('id')}": one for one in self.resources.values()}

    def entry(self, evidence_id: str) -> Entry:
        """The statement that a fact names, of this patient."""
        fact = self.evidence.get(evidence_id)
        if fact is None or fact["kind"] != "fact":
            raise Unsupported(f"{evidence_id} is no fact of this run")
        digest = fact["source"]["sha256"]
        if digest not in self.resources:
            raise Unsupported(f"the bytes of {evidence_id} are not there")
        entry = Entry(digest, fact["statement"], self.resources[digest])
        if not self.is_own(entry.resource):
            raise Unsupported(f"{evidence_id} is about somebody else")
        return entry

    def is_own(self, resource: Json) -> bool:
        """Whether a resource is about the patient."""
        if resource["resourceType"] == "Patient":
            return f"Patient/{resource.get('id')}" in self.names
        subject = resource.get("subject") or resource.get("patient") or {}
        if "reference" not in subject:
            return True  # by identifier, or of nobody: not for this script to resolve
        return str(subject["reference"]).partition("/_history/")[0] in self.names

    def entries(self, types: Sequence[str], value_set: Json) -> Iterator[Entry]:
        """Every entry of these types that is about a value set and was known at `as_of`."""
        for entry, codes, words in self._statements:
            if entry.resource["resourceType"] not in types:
                continue
            if is_coded(codes, value_set) or is_named(words, value_set):
                yield entry

    def like(self, entry: Entry, types: Sequence[str], value_set: Json) -> Iterator[Entry]:
        """Every other entry of these types that is about a value set, or carries a code of this entry."""
        codes, _ = concept_of(entry.resource, entry.pointer, self.others)
        about = {one[:2] for one in self.entries(types, value_set)}
        for other, others, _ in self._statements:
            is_like = other[:2] in about or bool(others & codes)
            if is_like and other.resource["resourceType"] in types and other[:2] != entry[:2]:
                yield other

    @cached_property
    def _statements(self) -> list[tuple[Entry, set[tuple[str, str]], list[str]]]:
        """What the patient's chart said at `as_of`, with its codes and words."""
        found = []
        for digest, resource in self.resources.items():
            if not self.is_own(resource) or is_void(resource) or not known_at(resource, self.as_of, self.zone):
                continue
            parts = [f"/component/{index}" for index in range(len(resource.get("component", [])))]
            for pointer in ("", *parts):
                found.append((Entry(digest, pointer, resource), *concept_of(resource, pointer, self.others)))
        return found

    def is_about(self, entry: Entry, value_set: Json) -> bool:
        """Whether an entry may be about a value set."""
        codes, words = concept_of(entry.resource, entry.pointer, self.others)
        return is_coded(codes, value_set) or is_named(words, value_set)

    def value_set(self, name: str) -> Json:
        """A set of the pack, or the single code that the name says."""
        if name in self.value_sets:
            return self.value_sets[name]
        kind, _, concept = name.partition(":")
        system, _, code = concept.rpartition("|")
        if not system:
            raise Unsupported(f"there is no value set {name}")
        return {"id": name, "kind": kind, "title": code, "codes": {system: [code]}}


def is_usable(entry: Entry, basis: Basis) -> bool:
    """Whether an observation is a result: final, with a value, dated, of the adult, and of before `as_of`."""
    time = time_of(entry.resource, basis.zone)
    if time is None or time.start > basis.as_of or is_of_childhood(entry, basis):
        return False
    return is_final(entry.resource) and has_value(entry.part)


def is_of_childhood(entry: Entry, basis: Basis) -> bool:
    """Whether something certainly ended before the patient's eighteenth birthday."""
    time, years = time_of(entry.resource, basis.zone), basis.ages_at
    return time is not None and years(time.end)[1] < 18
