# SPDX-License-Identifier: Apache-2.0
"""The slices of an evidence set, hashed and read anew, each of them once.

Everything that the verifier concludes comes from here: a `Fact` of the evidence is only a claim about a slice until
it has been compared with what the verifier reads in the same bytes.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from medagent.canonical import sha256_hex
from medagent.errors import MedAgentError, RuleError
from medagent.evidence import Fact, Reading, Role, Status, fact_id
from medagent.evidence_set import EvidenceSet
from medagent.intervals import RESOLUTION, Interval, age_at, before, instant
from medagent.kleene import Truth
from medagent.rules import Guideline
from medagent.units import Quantity
from medagent.value_sets import ValueSet, value_set_named
from medagent.verifier.comparisons import differing, equal, names
from medagent.verifier.places import may_stand
from medagent.verifier.resources import (
    Concept,
    Resource,
    at,
    birth_sex,
    concept_of,
    read_anew,
    resource_from,
    statements_of,
    time_from,
)
from medagent.verifier.subjects import Subjects
from medagent.verifier.tables import SHAPES

ADULT = 18  # years (clinical: 2)
MEASURED = frozenset({Status.DONE, Status.PRELIMINARY})
_KNOWN = frozenset({*SHAPES, "Medication"})
_KEPT = 500  # parsed resources; a parse takes eight times the memory of its bytes, and a chart may have 20,000


class Refused(MedAgentError):
    """Something does not hold. `step` is the number and name of the verifier's step, the text says why."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(detail)
        self.step = step
        self.detail = detail


class Slices:
    """An evidence set and what its slices say when the verifier reads them."""

    def __init__(self, evidence: EvidenceSet) -> None:
        self.evidence = evidence
        self._resources: dict[str, Resource] = {}
        self._kinds: dict[str, str] = {}
        self._statements: dict[str, tuple[str, ...]] = {}
        self._concepts: dict[tuple[str, str], Concept] = {}
        self._distinct: dict[Concept, Concept] = {}
        self._facts: dict[tuple[str, str], Fact] = {}
        self._checked_facts: dict[str, Refused | None] = {}

    def resource(self, digest: str) -> Resource:
        """The resource of a slice whose bytes have this hash."""
        if (resource := self._resources.get(digest)) is not None:
            return resource
        data = self.evidence.slices.get(digest)
        # (2) The hash is recomputed over the stored bytes; nothing that anybody said of them counts.
        intact = data is not None and sha256_hex(data) == digest
        resource = resource_from(data) if data is not None and intact else None
        if resource is None or resource["resourceType"] not in _KNOWN:
            raise Refused("2 hash", f"slice {digest[:12]} is absent, altered or no resource that can be read")
        if len(self._resources) >= _KEPT:
            del self._resources[next(iter(self._resources))]
        self._resources[digest] = resource
        return resource

    def kind(self, digest: str) -> str:
        """The type of a slice."""
        kind = self._kinds.get(digest)
        if kind is None:
            kind = self._kinds[digest] = str(self.resource(digest)["resourceType"])
        return kind

    def concept(self, digest: str, statement: str) -> Concept:
        """What a statement is about."""
        key = digest, statement
        if key not in self._concepts:
            concept = concept_of(self.resource(digest), statement, self._medications)
            self._concepts[key] = self._distinct.setdefault(concept, concept)  # a chart repeats few concepts often
        return self._concepts[key]

    def fact_in(self, digest: str, statement: str) -> Fact:
        """A statement of a slice as the verifier reads it. An end after `as_of` was not known then (clinical: 3)."""
        key = digest, statement
        if key not in self._facts:
            resource = self.resource(digest)
            fact = read_anew(resource, statement, digest, self.evidence.zone, self._medications)
            if fact.end is not None and fact.end.earliest > self.evidence.as_of:
                fact = fact.model_copy(update={"end": None})
            self._facts[key] = fact
        return self._facts[key]

    def statements(self, digest: str) -> tuple[str, ...]:
        """The statements of a slice."""
        if digest not in self._statements:
            self._statements[digest] = statements_of(self.resource(digest))
        return self._statements[digest]

    def item(self, evidence_id: str) -> Any:
        """(1) What an id leads to."""
        item = self.evidence.items.get(evidence_id)
        if item is None or item.id != evidence_id:
            raise Refused("1 citation", f"{evidence_id} is no evidence of this run")
        return item

    def value_set(self, name: str) -> ValueSet:
        """A value set of the run, or that of a single code."""
        try:
            value_set = value_set_named(self.evidence.value_sets, name)
        except RuleError as error:
            raise Refused("1 citation", f"value set {name} is not part of this run") from error
        if value_set.id != name:
            raise Refused("1 citation", f"value set {name} goes by another name")
        return value_set

    def fact(self, evidence_id: str) -> Fact:
        """The drafted fact with this id, after steps 1 to 5."""
        if evidence_id not in self._checked_facts:
            try:
                self._check(evidence_id)
                self._checked_facts[evidence_id] = None
            except Refused as refusal:
                self._checked_facts[evidence_id] = refusal
        if (refused := self._checked_facts[evidence_id]) is not None:
            raise refused
        fact = self.item(evidence_id)
        assert isinstance(fact, Fact)
        return fact

    def belongs(self, resource: Resource) -> bool | None:
        """Whether a resource is about the patient of the run. None: it names nobody."""
        return self._subjects.belongs(resource)

    @property
    def patient(self) -> Fact:
        """The Patient fact of the run, after steps 1 to 5."""
        if self._patient_item is None:
            raise Refused("1 citation", "the evidence holds no Patient resource")
        return self.fact(self._patient_item.id)

    def patient_element(self, role: Role) -> str | None:
        """A text of the Patient resource as the verifier reads it."""
        resource = self.resource(self.patient.source.sha256)
        value = birth_sex(resource) if role is Role.BIRTH_SEX else resource.get(_PATIENT_FIELDS[role])
        return value if isinstance(value, str) else None

    @cached_property
    def birth(self) -> Interval | None:
        """The birth date, as precisely as it is known."""
        return time_from(self.patient_element(Role.BIRTH_DATE), self.evidence.zone)

    def in_childhood(self, time: Interval) -> bool:
        """Whether something was certainly measured before the patient came of age (clinical: 2)."""
        return self.birth is not None and age_at(self.birth, time.latest - RESOLUTION, self.evidence.zone)[1] < ADULT

    def _check(self, evidence_id: str) -> None:
        # (1) The id leads to a fact, and says where it stands: another statement cannot lie under it.
        fact = self.item(evidence_id)
        if not isinstance(fact, Fact):
            raise Refused("1 citation", f"{evidence_id} is a {fact.kind}, not a fact")
        if fact.id != fact_id(fact.source.sha256, fact.statement):
            raise Refused("1 citation", f"{evidence_id} is not the id of the statement that lies under it")
        # (2) The stored bytes have the hash that the source names.
        resource = self.resource(fact.source.sha256)
        # (3) Each part is what stands there, at a place where such a part may stand.
        for problem in self._differences(fact, resource):
            raise Refused("3 element", f"{fact.resource_type} {evidence_id}: {problem}")
        # (4) It is about the patient of the run, and its source names this very resource.
        if self.belongs(resource) is not True or fact.subject not in (None, self.evidence.patient):
            raise Refused("4 patient", f"{fact.resource_type} {evidence_id} is not about the patient of the request")
        if not names(fact.source.uri, resource):
            raise Refused("4 patient", f"{fact.resource_type} {evidence_id} stands in another resource than it names")
        # (5) It was known at `as_of`.
        if not self.is_visible(fact.source.sha256, fact.statement):
            raise Refused("5 visible", f"{fact.resource_type} {evidence_id} was not known at as_of")

    def is_visible(self, digest: str, statement: str) -> bool:
        """Whether a statement was not certainly unknown at `as_of`."""
        visible = self.fact_in(digest, statement).visible
        return visible is None or before(instant(self.evidence.as_of), visible) is not Truth.MET

    def _differences(self, fact: Fact, resource: Resource) -> Iterator[str]:
        if fact.resource_type != resource["resourceType"] or fact.statement not in self.statements(fact.source.sha256):
            yield "the slice holds no such statement"
            return
        for element in fact.elements:
            if not may_stand(fact.resource_type, fact.statement, element.role, element.pointer):
                yield f"{element.role} may not stand at {element.pointer[:80]}"
            elif not equal(at(resource, element.pointer), element):
                yield f"{element.role} is not what stands at {element.pointer}"
            elif element.role == Role.BIRTH_SEX and element.value != birth_sex(resource):
                yield f"{element.pointer} is another extension"
        own = self.fact_in(fact.source.sha256, fact.statement)
        yield from (f"{name} reads otherwise" for name in differing(fact, own))

    @cached_property
    def _subjects(self) -> Subjects:
        source = None if self._patient_item is None else self._patient_item.source
        return Subjects(self.evidence.patient, self.evidence.patient_names, self._patient_resource, source)

    @cached_property
    def _patient_item(self) -> Fact | None:
        facts = (item for item in self.evidence.items.values() if isinstance(item, Fact))
        return next((fact for fact in facts if self._is_patient_fact(fact)), None)

    def _is_patient_fact(self, fact: Fact) -> bool:
        if fact.resource_type != "Patient":
            return False
        return self.evidence.patient in (fact.subject, fact.source.uri)

    @cached_property
    def _patient_resource(self) -> Resource | None:
        return None if self._patient_item is None else self.resource(self._patient_item.source.sha256)

    @cached_property
    def _medications(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        for digest, data in self.evidence.slices.items():
            if b'"Medication"' not in data:
                continue
            resource = self.resource(digest)
            if resource["resourceType"] == "Medication" and isinstance(resource.get("id"), str):
                found[resource["id"]] = resource
        return found

    def readings(self) -> Iterator[Reading]:
        """All readings of the run."""
        return (item for item in self.evidence.items.values() if isinstance(item, Reading))


_PATIENT_FIELDS = {Role.BIRTH_DATE: "birthDate", Role.GENDER: "gender"}


def has_value(fact: Fact) -> bool:
    """Whether there is a value and nothing that says why it is missing."""
    if fact.absent_reason is not None:
        return False
    quantity = fact.value
    if isinstance(quantity, Quantity):
        return quantity.value is not None
    return quantity is not None or bool(fact.value_codings)


def is_usable(fact: Fact, slices: Slices) -> bool:
    """Whether a value may decide something: final or preliminary, dated, neither from childhood (clinical: 2) nor of a
    time that had not come."""
    if fact.status not in MEASURED or not has_value(fact) or fact.time is None:
        return False
    return fact.time.earliest <= slices.evidence.as_of and not slices.in_childhood(fact.time)


def in_force(edition: Guideline, slices: Slices) -> bool:
    """Whether an edition is in force on the day of `as_of`."""
    today = slices.evidence.as_of.astimezone(slices.evidence.zone).date()
    return edition.in_force_from <= today and (edition.retired_on is None or today < edition.retired_on)
