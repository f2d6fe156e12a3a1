# SPDX-License-Identifier: Apache-2.0
"""Which entries of plain JSON say the contrary of what is said to be there, and are not surely older.

For `builders.reevaluation`. Imports nothing of MedAgent.
"""

from builders.plain_chart import Json, Span, back, begun, code_of, end_of, in_state, span_of
from builders.plain_record import Basis, Entry

_DRUGS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
_TYPES = {
    "condition": ("Condition",),
    "observation": ("Observation",),
    "medication": _DRUGS,
    "allergy": ("AllergyIntolerance",),
    "procedure": ("Procedure", "DiagnosticReport", "ImagingStudy", "ServiceRequest", "CarePlan"),
    "immunization": ("Immunization",),
    "encounter": ("Encounter",),
    "finding": ("DiagnosticReport",),
}
_RECORDED = ("recordedDate", "issued", "authoredOn", "dateAsserted", "recorded", "date", "created")
_REFUSED = {"not-done", "declined", "not-taken"}
_ENDED = {"stopped", "on-hold", "completed", "inactive", "remission", "resolved", *_REFUSED}
_FINISHED = {
    "completed",
    "finished",
    "final",
    "amended",
    "corrected",
    "appended",
    "preliminary",
    "partial",
    "available",
}


def contraries(said: Json, basis: Basis) -> list[Entry]:
    """The newest entries of the same concept that say the contrary of a presence, and are not surely older."""
    own, value_set = basis.entry(said["fact"]), basis.value_set(said["value_set"])
    types = {*_TYPES[value_set["kind"]], own.resource["resourceType"]}
    like = basis.like(own, sorted(types), value_set)
    others = [one for one in like if not _is_older(one.resource, own.resource, basis)]
    found = [one for one in others if _says_otherwise(one, said["state"], value_set, basis)]
    return [one for one in found if not any(_is_older(one.resource, other.resource, basis) for other in found)]


def _says_otherwise(entry: Entry, state: str, value_set: Json, basis: Basis) -> bool:
    resource, moment = entry.resource, basis.as_of
    start, status = begun(resource, basis.zone), resource.get("status")
    if start is not None and start.start > moment:
        return False
    refused = status in _REFUSED or resource.get("doNotPerform") is True
    match state:
        case "active" | "listed" | "confirmed":
            given = resource["resourceType"] in _DRUGS[2:] and status == "completed"
            return not given and (refused or _is_over(resource, value_set, basis))
        case "ordered" | "ongoing":
            return refused or status in _FINISHED or _is_over(resource, value_set, basis)
        case "declined":
            return any(
                in_state(resource, entry.pointer, one, moment, basis.zone, value_set) for one in ("done", "ordered")
            )
        case "recorded":
            return code_of(resource.get("verificationStatus")) == "refuted"
    return refused


def _is_over(resource: Json, value_set: Json, basis: Basis) -> bool:
    """Whether it is surely over, or calls itself so."""
    certainty, start = code_of(resource.get("verificationStatus")), begun(resource, basis.zone)
    if certainty is not None and certainty not in ("confirmed", "presumed"):
        return certainty == "refuted"
    end = end_of(resource, basis.zone)
    if end is not None and end.start <= basis.as_of:
        return end.end <= basis.as_of
    expires = value_set.get("expires_after")
    if expires and start is not None and start.end <= back(basis.as_of, expires):
        return True
    return code_of(resource.get("clinicalStatus")) in _ENDED or resource.get("status") in _ENDED


def _is_older(other: Json, own: Json, basis: Basis) -> bool:
    """Whether it surely began, was recorded and ended no later, and began or was recorded earlier."""
    recorded = [_recorded(one, basis) for one in (other, own)]
    began = [begun(one, basis.zone) or known for one, known in zip((other, own), recorded, strict=True)]
    if began[0] is None or began[1] is None:
        return False
    known = [one or time for one, time in zip(recorded, began, strict=True)]
    pairs = [(began[0], began[1]), (known[0] or began[0], known[1] or began[1])]
    if any(one != two and one.end > two.start for one, two in pairs) or all(one == two for one, two in pairs):
        return False
    end, last = end_of(other, basis.zone), max((two for _, two in pairs), key=lambda two: two.end)
    return end is None or end.start > basis.as_of or end == last or end.end <= last.start


def _recorded(resource: Json, basis: Basis) -> Span | None:
    return next((span for name in _RECORDED if (span := span_of(resource.get(name), basis.zone)) is not None), None)
