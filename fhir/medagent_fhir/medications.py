# SPDX-License-Identifier: Apache-2.0
"""The four medication resources, and what drug they mean.

The drug stands in the resource, in a contained or in another Medication, which may be a mixture of others
(https://hl7.org/fhir/R4/medication.html). The codes of all that is in it belong to the fact; only what stands in the
resource itself can be cited from it.
"""

from decimal import Decimal

import msgspec

from medagent.evidence import VOID, Coding, Element, Role, Status
from medagent_fhir.containers import Resource
from medagent_fhir.statements import ElementError, Parts, Source, Withheld, decode
from medagent_fhir.statuses import STATUSES
from medagent_fhir.wire import (
    Drug,
    Identified,
    Medication,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Reference,
)

_request = msgspec.json.Decoder(MedicationRequest, float_hook=Decimal)
_statement = msgspec.json.Decoder(MedicationStatement, float_hook=Decimal)
_administration = msgspec.json.Decoder(MedicationAdministration, float_hook=Decimal)
_dispense = msgspec.json.Decoder(MedicationDispense, float_hook=Decimal)
_medication = msgspec.json.Decoder(Medication, float_hook=Decimal)


class _ContainedHead(Identified):
    id: str | None = None


_contained_head = msgspec.json.Decoder(_ContainedHead)

PROPOSALS = frozenset({"proposal", "plan"})
"""Intents of what nobody has ordered yet."""


def request_facts(source: Source) -> list[Parts]:
    """MedicationRequest. A proposal or plan is planned, "do not perform" is not done."""
    wire = source.decode(_request)
    parts = _drug(source, wire)
    parts.categories = source.codings(wire.category)
    parts.at(wire.authored_on, "authoredOn")
    parts.known_since(wire.authored_on, "authoredOn")
    if parts.status is Status.ACTIVE and wire.intent in PROPOSALS:
        parts.status = Status.PLANNED
    if wire.do_not_perform and parts.status not in VOID:
        parts.status = Status.NOT_DONE
    return [parts.stated()]


def statement_facts(source: Source) -> list[Parts]:
    """MedicationStatement: when it was taken, else when that was said."""
    wire = source.decode(_statement)
    parts = _drug(source, wire)
    parts.categories = source.codings(wire.category)
    parts.at(wire.effective_date_time, "effectiveDateTime")
    parts.during(wire.effective_period, "effectivePeriod")
    parts.known_since(wire.date_asserted, "dateAsserted")
    parts.at(wire.date_asserted, "dateAsserted")
    return [parts.stated()]


def administration_facts(source: Source) -> list[Parts]:
    """MedicationAdministration."""
    wire = source.decode(_administration)
    parts = _drug(source, wire)
    parts.categories = source.codings(wire.category)
    parts.at(wire.effective_date_time, "effectiveDateTime")
    parts.during(wire.effective_period, "effectivePeriod")
    return [parts.stated()]


def dispense_facts(source: Source) -> list[Parts]:
    """MedicationDispense: when it was handed over, else prepared."""
    wire = source.decode(_dispense)
    parts = _drug(source, wire)
    parts.categories = source.codings(wire.category)
    parts.at(wire.when_handed_over, "whenHandedOver")
    parts.at(wire.when_prepared, "whenPrepared")
    return [parts.stated()]


def _drug(source: Source, wire: Drug) -> Parts:
    parts = Parts(source)
    parts.take_status(wire.status, STATUSES[source.resource.type])
    parts.concept(wire.medication_codeable_concept, "/medicationCodeableConcept")
    reference = wire.medication_reference
    if reference is None:
        return parts
    if wire.medication_codeable_concept is not None:
        raise ElementError("medication[x]", "more than one value")
    parts.label(reference.display, "/medicationReference/display")
    if reference.reference and reference.reference.startswith("#"):
        _take_contained(parts, wire, reference.reference[1:])
    else:
        walk = _Walk(source)
        parts.codings += tuple(walk.codings(reference, source.resource))
        if reference.reference:  # the drug's codes stand elsewhere; this is what the resource says of it
            parts.elements.append(Element(Role.CODE, "/medicationReference/reference", reference.reference))
    return parts


def _take_contained(parts: Parts, wire: Drug, local_id: str) -> None:
    for place, raw in enumerate(wire.contained):
        if decode(_contained_head, raw).id != local_id:
            continue
        medication = decode(_medication, raw)
        parts.concept(medication.code, f"/contained/{place}/code")
        walk = _Walk(parts.source)
        for position, ingredient in enumerate(medication.ingredient):
            pointer = f"/contained/{place}/ingredient/{position}/itemCodeableConcept"
            parts.concept(ingredient.item_codeable_concept, pointer)
            if ingredient.item_reference is not None:
                found = walk.codings(ingredient.item_reference, parts.source.resource, wire.contained)
                parts.codings += tuple(found)
        return
    parts.source.remark("medicationReference: no contained resource has this id")


class _Walk:
    """Follows a Medication to its ingredients; each is visited once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._open: list[str] = []

    def codings(self, reference: Reference, origin: Resource, contained: tuple[msgspec.Raw, ...] = ()) -> list[Coding]:
        """The codes of the Medication that is meant, and of all that is in it."""
        name = _name_of(reference)
        if name is None:
            return []
        if name in self._open:
            self._source.remark("medicationReference: Medication resources refer to each other in a cycle")
            return []
        self._open.append(name)
        try:
            return self._follow(name, origin, contained, bool(reference.display))
        finally:
            self._open.pop()

    def _follow(
        self, name: str, origin: Resource, contained: tuple[msgspec.Raw, ...], reference_has_text: bool
    ) -> list[Coding]:
        target: msgspec.Raw | bytes | None
        if name.startswith("#"):
            target = next((raw for raw in contained if decode(_contained_head, raw).id == name[1:]), None)
        else:
            found = self._source.references.find(name, "Medication", origin.full_url)
            if found is not None and found.raw == b"":
                raise Withheld("medicationReference", "what it means is not shown here")
            target, origin = (found.raw, found) if found else (None, origin)
            if found is not None:
                consulted = self._source.shared.consulted.setdefault(self._source.resource.sha256, {})
                consulted[found.sha256] = found.raw
        if target is None:
            if len(self._open) > 1 or not reference_has_text:
                self._source.remark("medicationReference: not in this source")
            return []
        medication = decode(_medication, target)
        inner = contained if name.startswith("#") else medication.contained
        codings = list(self._source.codings(medication.code))
        for ingredient in medication.ingredient:
            codings += self._source.codings(ingredient.item_codeable_concept)
            if ingredient.item_reference is not None:
                codings += self.codings(ingredient.item_reference, origin, inner)
        return codings


def _name_of(reference: Reference) -> str | None:
    if reference.reference:
        return reference.reference
    if reference.identifier and reference.identifier.value:
        return f"identifier|{reference.identifier.system or ''}|{reference.identifier.value}"
    return None
