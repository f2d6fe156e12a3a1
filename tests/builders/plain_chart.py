# SPDX-License-Identifier: Apache-2.0
"""A chart as plain JSON, read a second time: times, codes and states, in the shortest way that is right.

For `builders.reevaluation`. Imports nothing of MedAgent and knows of FHIR R4 (https://hl7.org/fhir/R4/) only what it
says here; what it cannot judge it calls `Open` instead of guessing.
"""

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Json = dict[str, Any]


class Open(Exception):
    """This module cannot tell; says why."""


class Span(NamedTuple):
    """From the first instant that is meant, to just after the last."""

    start: datetime
    end: datetime


# Scalars.


def scalars(value: Any) -> Iterator[str | bool | int | Decimal]:
    """Every string, number and truth below a value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from scalars(item)
    elif value is not None:
        yield value


def at(resource: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer. Raises KeyError, IndexError or ValueError where nothing does."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        resource = resource[int(name)] if isinstance(resource, list) else resource[name]
    return resource


# Times.

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_PERIOD = re.compile(r"(\d+) (hour|day|week|month|year)s?")
_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
_EVER = datetime(1, 1, 2, tzinfo=UTC)


def span_of(text: Any, zone: ZoneInfo) -> Span | None:
    """What a date or an instant of FHIR may mean. None: it is none."""
    if not isinstance(text, str):
        return None
    date = _DATE.fullmatch(text)
    try:
        if date is None:
            moment = datetime.fromisoformat(text)
            start = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
            fraction = re.search(r"\.(\d+)", text)
            return Span(start, start + timedelta(seconds=10.0 ** -min(len(fraction[1]) if fraction else 0, 6)))
        year, month, day = int(date[1]), int(date[2] or 1), int(date[3] or 1)
        last = datetime(year, 12 if date[2] is None else month, 1, tzinfo=zone)
        last_day = day if date[3] else monthrange(last.year, last.month)[1]
        start = datetime(year, month, day, tzinfo=zone).astimezone(UTC)
        return Span(start, (last.replace(day=last_day) + timedelta(days=1)).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def back(moment: datetime, period: str) -> datetime:
    """The moment so long before."""
    parts = _PERIOD.fullmatch(period)
    if parts is None:
        raise Open(f"{period} is no duration")
    count, unit = int(parts[1]), parts[2]
    try:
        if unit in ("hour", "day", "week"):
            return moment - timedelta(**{f"{unit}s": count})
        months = moment.year * 12 + moment.month - 1 - count * (12 if unit == "year" else 1)
        year, month = divmod(months, 12)
        return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))
    except (ValueError, OverflowError):
        return _EVER


_TIMES = (
    "onsetDateTime", "onsetPeriod", "effectiveDateTime", "effectiveInstant", "effectivePeriod", "performedDateTime",
    "performedPeriod", "occurrenceDateTime", "whenHandedOver", "whenPrepared", "authoredOn", "started", "period",
    "created", "occurrencePeriod", "dateAsserted", "date",
)  # fmt: skip
_ENDS = ("abatementDateTime", "abatementPeriod", "effectivePeriod", "performedPeriod", "period", "occurrencePeriod")
_KNOWN = ("recordedDate", "issued", "authoredOn", "dateAsserted", "recorded", "date", "created")


def time_of(resource: Json, zone: ZoneInfo) -> Span | None:
    """The clinical time. Of a period it begins with the start; an open end may be any time after."""
    for name in _TIMES:
        if (value := resource.get(name)) is None:
            continue
        if not isinstance(value, dict):
            return span_of(value, zone)
        start, end = span_of(value.get("start"), zone), span_of(value.get("end"), zone)
        if start or end:
            return Span(start.start if start else _EVER, end.end if end else _FOREVER)
    return None


def begun(resource: Json, zone: ZoneInfo) -> Span | None:
    """When it began: of a period its start."""
    for name in _TIMES:
        value = resource.get(name)
        if value is not None:
            return span_of(value.get("start") if isinstance(value, dict) else value, zone)
    return None


def end_of(resource: Json, zone: ZoneInfo) -> Span | None:
    """When it ended, where that is said."""
    for name in _ENDS:
        value = resource.get(name)
        if value is not None:
            return span_of(value.get("end") if isinstance(value, dict) else value, zone)
    return None


def known_at(resource: Json, moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the source may have known of it at a moment: by the day it was recorded, else by its clinical time."""
    times = [span for name in _KNOWN if (span := span_of(resource.get(name), zone)) is not None]
    clinical = begun(resource, zone)
    first = min((span.start for span in times), default=None if clinical is None else clinical.start)
    return first is None or first <= moment


# Codes.

_SYSTEMS = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "RxNorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD-9-CM": "http://hl7.org/fhir/sid/icd-9-cm",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "CPT": "http://www.ama-assn.org/go/cpt",
    "HCPCS": "urn:oid:2.16.840.1.113883.6.285",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "ActCode": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
}
_OF_MIMIC = {
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10": _SYSTEMS["ICD-10-CM"],
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd9": _SYSTEMS["ICD-9-CM"],
}
_CONCEPTS = (
    "code", "medicationCodeableConcept", "vaccineCode", "procedureCode", "modality", "category", "type", "class",
)  # fmt: skip
_DENIED = re.compile(
    r"\b(no|denies|negative|not done|declined|refused|family|fh|rule out|ruled out|r/o|suspected|history of|h/o|"
    r"risk (of|for)|screening)\b"
)


def concept_of(resource: Json, statement: str, others: Mapping[str, Json]) -> tuple[set[tuple[str, str]], list[str]]:
    """Codes with their systems, and words, of what a statement is about. `others`: resources by `Type/id`."""
    part = at(resource, statement)
    concepts = [part.get(name) for name in _CONCEPTS if name in part and not (name == "category" and "code" in part)]
    if resource.get("resourceType") == "ImagingStudy":
        concepts += [one.get("modality") for one in resource.get("series", [])]
    if resource.get("resourceType") == "DiagnosticReport":
        concepts.append(part.get("conclusionCode"))
    if resource.get("resourceType") == "AllergyIntolerance":
        concepts.append([one.get("substance") for one in resource.get("reaction", [])])
    if "medicationReference" in part:
        concepts += [part["medicationReference"].get("display"), _drug(part["medicationReference"], resource, others)]
    codes = {
        (_OF_MIMIC.get(system, system), str(one["code"]))
        for one in _objects(concepts)
        if isinstance(system := one.get("system"), str) and "code" in one
    }
    words = scalars([concepts, part.get("description"), part.get("title")])
    return codes, [one.lower() for one in words if isinstance(one, str)]


def _drug(reference: Json, resource: Json, others: Mapping[str, Json]) -> Any:
    name = str(reference.get("reference", ""))
    if name.startswith("#"):
        return [one for one in resource.get("contained", []) if one.get("id") == name[1:]]
    return others.get(f"Medication/{re.split('[/:]', name)[-1]}", {})


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _objects(item)


def is_coded(codes: set[tuple[str, str]], value_set: Json) -> bool:
    """Whether one of the codes is of the set, or lies below one of it where codes are a hierarchy."""
    for name, wanted in value_set["codes"].items():
        system = _SYSTEMS.get(name, name)
        own = {code for of, code in codes if of == system}
        if own & set(wanted):
            return True
        bare = {code.replace(".", "").upper() for code in own} if name.startswith("ICD-") or "icd-" in system else set()
        if any(one.startswith(above.replace(".", "").upper()) for one in bare for above in wanted):
            return True
    return False


def is_named(words: list[str], value_set: Json) -> bool:
    """Whether the words name something of the set, and nothing beside it turns that round."""
    names = "|".join(re.escape(name.lower()) for name in value_set.get("names", ()))
    wrong = "|".join(re.escape(name.lower()) for name in value_set.get("not_names", ()))
    if not names or not any(re.search(rf"(?<![a-z])(?:{names})(?![a-z])", one) for one in words):
        return False
    if wrong and any(re.search(rf"(?<![a-z])(?:{wrong})(?![a-z])", one) for one in words):
        return False
    return value_set["kind"] in ("medication", "allergy", "observation") or not any(map(_DENIED.search, words))


# States.

_UNBELIEVED = {"refuted", "entered-in-error", "unconfirmed", "provisional", "differential"}
_FINAL = {"final", "amended", "corrected", "appended", "preliminary", "partial"}
_DONE = {
    "Observation": _FINAL, "DiagnosticReport": _FINAL, "Encounter": {"finished"}, "ImagingStudy": {"available"},
}  # fmt: skip
_ORDERED = {"draft", "active", "planned", "preparation", "in-progress", "on-hold", "registered", "arrived", "triaged"}


def code_of(concept: Any) -> str | None:
    """The first code of a CodeableConcept."""
    return next((one["code"] for one in _objects(concept) if "code" in one), None)


def is_void(resource: Json) -> bool:
    """Whether it says nothing about anybody."""
    said = {resource.get("status"), resource.get("docStatus"), code_of(resource.get("verificationStatus"))}
    return bool(said & {"entered-in-error", "cancelled", "revoked"})


def is_final(resource: Json) -> bool:
    """Whether a result is one already, and still is."""
    return resource.get("status") in _FINAL


def has_value(part: Json) -> bool:
    """Whether there is a result, and nothing that says why it is missing."""
    given = [value for name, value in part.items() if name.startswith("value")] + [part.get("conclusionCode")]
    return "dataAbsentReason" not in part and any(any(True for _ in scalars(one)) for one in given)


def is_active(resource: Json, moment: datetime, zone: ZoneInfo, value_set: Json) -> bool:
    """A condition, an allergy or a listed drug at a moment."""
    start, end = begun(resource, zone), end_of(resource, zone)
    if is_void(resource) or (start is not None and start.start > moment):
        return False
    if code_of(resource.get("verificationStatus")) in _UNBELIEVED or resource.get("doNotPerform") is True:
        return False
    if end is not None:
        return end.start > moment
    expires = value_set.get("expires_after")
    if expires and start is not None and start.end <= back(moment, expires):
        return False
    if resource["resourceType"] in ("Condition", "AllergyIntolerance"):
        said = code_of(resource.get("clinicalStatus"))
        unsaid = said is None and resource["resourceType"] == "AllergyIntolerance"
        return unsaid or said in ("active", "recurrence", "relapse")
    return resource.get("status") == "active" and resource.get("intent") not in ("proposal", "plan")


def in_state(resource: Json, statement: str, state: str, moment: datetime, zone: ZoneInfo, value_set: Json) -> bool:
    """Whether an entry has a state at a moment."""
    kind, status = resource["resourceType"], resource.get("status")
    if is_void(resource):
        return False
    unasked = resource.get("doNotPerform") is True
    match state:
        case "active":
            return kind in ("Condition", "AllergyIntolerance") and is_active(resource, moment, zone, value_set)
        case "recorded":
            return kind == "Condition" and code_of(resource.get("verificationStatus")) not in _UNBELIEVED
        case "listed":
            listing = kind in ("MedicationRequest", "MedicationStatement")
            return listing and is_active(resource, moment, zone, value_set)
        case "confirmed":
            given = kind in ("MedicationDispense", "MedicationAdministration") and status == "completed"
            time = time_of(resource, zone)
            recent = time is None or time.end > back(moment, "15 months")
            return recent and (given or (kind == "MedicationStatement" and status == "active"))
        case "done":
            return status in _DONE.get(kind, {"completed"}) and "dataAbsentReason" not in at(resource, statement)
        case "measured":
            return kind == "Observation" and status in _FINAL and has_value(at(resource, statement))
        case "ordered":
            return status in _ORDERED and not unasked
        case "declined":
            return status in ("not-done", "declined") or unasked
        case "ongoing":
            end = end_of(resource, zone)
            return status in _ORDERED if end is None else end.start > moment
    raise Open(f"no state {state} is known here")
