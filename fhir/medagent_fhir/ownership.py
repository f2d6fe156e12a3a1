# SPDX-License-Identifier: Apache-2.0
"""Whose a resource is: what was received, told apart by patient."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from medagent_fhir.clinical import READERS
from medagent_fhir.containers import Contents, Resource, Unread
from medagent_fhir.references import TARGETS, References
from medagent_fhir.sensitivity import Sensitivity


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


def told_apart(contents: Contents, references: References, sensitivity: Sensitivity) -> Owned:
    """Adds the targets to the references first; what belongs to nobody for certain is noted as unread."""
    references.add(
        resource
        for resource in contents.resources
        if resource.type in TARGETS
        # A Patient is withheld where its chart is asked for.
        and (resource.type == "Patient" or not sensitivity.withholds(bytes(resource.raw), resource.type))
    )
    patients: dict[str, list[Resource]] = defaultdict(list)
    owned: dict[str, list[Resource]] = defaultdict(list)
    owners: dict[tuple[str, str], str | None] = {}
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
            base = (resource.full_url or "").rsplit("/", 2)[0]
            asked = (resource.subject, base)
            if asked not in owners:
                found = references.find(resource.subject, "Patient", resource.full_url)
                owners[asked] = found.uri if found else None
            owner = owners[asked]
            if owner is not None:
                owned[owner].append(resource)
            elif references.may_be_here(resource.subject, "Patient"):
                reason = "the reference to its patient leads nowhere in this source"
                contents.unread.append(Unread(resource.where, reason, resource.type))
    provided = frozenset(resource.type for resource in contents.resources)
    return Owned(dict(patients), dict(owned), provided)
