# SPDX-License-Identifier: Apache-2.0
"""Whose a resource is: what was received, told apart by patient."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from medagent_fhir.clinical import READERS
from medagent_fhir.containers import Contents, Resource, Unread
from medagent_fhir.references import TARGETS, References
from medagent_fhir.sensitivity import Sensitivity

_NOWHERE = "the reference to its patient leads nowhere in this source"
_Known = dict[tuple[str, str], Resource | None]
"""Whom a reference means, by itself and the base of who refers: thousands of resources refer to a patient alike."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Resources by their patients."""

    patients: Mapping[str, list[Resource]]
    """The versions of each Patient, by `Patient/id`."""
    resources: Mapping[str, list[Resource]]
    """The resources of each patient that facts are taken from."""
    provided: frozenset[str]
    """The types that are present."""


def detach(contents: Contents) -> None:
    """Takes the bytes of what is read out of what it came in, which ends here: much holds claims and logs for the
    larger part, and evidence shares these bytes instead of copying them."""
    for resource in contents.resources:
        used = resource.type in READERS or resource.type in TARGETS
        resource.raw = bytes(resource.raw) if used else b""


def targets(resources: Iterable[Resource], sensitivity: Sensitivity) -> Iterator[Resource]:
    """What references may mean. What is withheld stands there without its bytes: it says nothing, and who refers to it
    is withheld with it. A Patient is withheld where its chart is asked for."""
    for resource in resources:
        if resource.type not in TARGETS:
            continue
        if resource.type != "Patient" and sensitivity.withholds(bytes(resource.raw), resource.type):
            yield msgspec.structs.replace(resource, raw=b"", _digest=None)
        else:
            yield resource


def told_apart(contents: Contents, references: References) -> Owned:
    """All patients and what is theirs; what belongs to nobody for certain is noted as unread."""
    patients: dict[str, list[Resource]] = defaultdict(list)
    owned: dict[str, list[Resource]] = defaultdict(list)
    known: _Known = {}
    for resource in contents.resources:
        if contents.deleted and resource.uri in contents.deleted:
            contents.unread.append(Unread(resource.where, "was deleted in its source", None))
        elif resource.type != "Patient" and resource.type not in READERS:
            continue
        elif resource.fault is not None:
            contents.unread.append(Unread(resource.where, resource.fault, resource.type))
        elif resource.type == "Patient":
            if resource.id is None:
                contents.unread.append(Unread(resource.where, "id: missing", None))
            else:
                patients[resource.uri].append(resource)
        elif resource.subject is None:
            contents.unread.append(Unread(resource.where, "names no patient", resource.type))
        else:
            owner = _owner(resource, references, known)
            if owner is not None:
                owned[owner.uri].append(resource)
            elif references.may_be_here(resource.subject, "Patient"):
                contents.unread.append(Unread(resource.where, _NOWHERE, resource.type))
    provided = frozenset(resource.type for resource in contents.resources)
    return Owned(dict(patients), dict(owned), provided)


def of_one_patient(
    contents: Contents, resource_type: str, references: References, merged: Collection[str]
) -> list[Resource]:
    """What a search of one type for one patient gave of theirs, whose Patient is the only one among the references. It
    should be all of it, so the rest is noted as unread. `merged`: `Patient/id` of records that were merged with it."""
    owned: list[Resource] = []
    known: _Known = {}
    for resource in contents.resources:
        if resource.type != resource_type:
            continue
        reason = resource.fault
        if reason is None and resource.subject is None:
            reason = "names no patient"
        elif reason is None:
            if _owner(resource, references, known) is not None:
                owned.append(resource)
                continue
            reason = "belongs to a record that was merged with this one" if _named(resource) in merged else _NOWHERE
        contents.unread.append(Unread(resource.where, reason or _NOWHERE, resource.type))
    return owned


def holds_strangers(contents: Contents, references: References, merged: Collection[str]) -> bool:
    """Whether something that came in answer to a search for one patient is certainly somebody else's."""
    known: _Known = {}
    return any(_is_strangers(one, references, merged, known) for one in contents.resources)


def _is_strangers(resource: Resource, references: References, merged: Collection[str], known: _Known) -> bool:
    if resource.type == "Patient":
        return references.find(resource.uri, "Patient", resource.full_url) is None and resource.uri not in merged
    if resource.subject is None or _owner(resource, references, known) is not None:
        return False
    name = _named(resource)
    return name is not None and name not in merged


def is_of_another(reference: str, references: References) -> bool:
    """Whether a reference certainly means another Patient than the one among the references."""
    return references.find(reference, "Patient", None) is None and _patient_named(reference) is not None


def _owner(resource: Resource, references: References, known: _Known) -> Resource | None:
    """The Patient that a resource's subject means."""
    asked = (resource.subject or "", (resource.full_url or "").rsplit("/", 2)[0])
    if asked not in known:
        known[asked] = references.find(asked[0], "Patient", resource.full_url)
    return known[asked]


def _named(resource: Resource) -> str | None:
    """The Patient whom a resource's subject names."""
    return _patient_named(resource.subject or "")


def _patient_named(reference: str) -> str | None:
    """`Patient/id`, as the last two parts of a reference. None: it names no Patient by an id."""
    plain = reference.split("/_history/", 1)[0]
    if plain.startswith(("identifier|", "#", "urn:")) or "?" in plain:
        return None
    name = "/".join(plain.rsplit("/", 2)[-2:])
    return name if name.startswith("Patient/") else None
