# SPDX-License-Identifier: Apache-2.0
"""FHIR read anew: the verifier's own reading of a resource's exact bytes.

It shares nothing with the side that read the chart. Where it says something else than a drafted fact does, the fact
is refused.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from medagent.canonical import parse_json
from medagent.errors import CanonicalError, TimeError
from medagent.evidence import Coding, Fact, ImageRef, SourceRef, Status, fact_id
from medagent.intervals import Interval, parse
from medagent.units import Quantity
from medagent.verifier.tables import BELIEVED, CLINICAL, SHAPES, STATUSES, VERIFICATION, Shape

Resource = Mapping[str, Any]
Medications = Mapping[str, Resource]
"""Medication resources by id: what a `medicationReference` leads to."""

MAX_MIXTURE = 8  # levels; a Medication that refers to itself must not hold up the verifier
_BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # a fact that is read anew was retrieved by nobody


MAX_EXPONENT = 308  # of a double: what lies beyond is no measurement, and a million characters when written out
_LONGEST_INDEX = 9  # digits; a longer one counts beyond what any list holds


class Concept(NamedTuple):
    """What a statement is about."""

    codings: tuple[Coding, ...]
    text: str | None


def resource_from(data: bytes) -> Resource | None:
    """The resource in these bytes; None where they are no JSON object with a resourceType."""
    try:
        resource = parse_json(data)
    except CanonicalError:
        return None
    return resource if isinstance(resource, dict) and isinstance(resource.get("resourceType"), str) else None


def at(resource: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer (RFC 6901); None where nothing does."""
    if pointer and not pointer.startswith("/"):
        return None
    value = resource
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and (index := _index(name)) is not None and index < len(value):
            value = value[index]
        else:
            return None
    return value


def _index(token: str) -> int | None:
    """A list index of a pointer; None where it is none."""
    if not (token.isascii() and token.isdecimal()) or len(token) > _LONGEST_INDEX:
        return None
    return int(token) if str(int(token)) == token else None


def is_measurable(number: Decimal) -> bool:
    """Whether a number is finite and not beyond what anybody measures."""
    return number.is_finite() and abs(number.adjusted()) <= MAX_EXPONENT


def statements_of(resource: Resource) -> tuple[str, ...]:
    """The pointers of a resource's statements: the resource itself, and the parts that are statements of their own."""
    shape = SHAPES[resource["resourceType"]]
    parts = (f"/{shape.statements}/{index}" for index in range(len(_list(resource.get(shape.statements)))))
    return (*(("",) if shape.whole else ()), *parts)


def concept_of(resource: Resource, statement: str, medications: Medications) -> Concept:
    """The codes and the text of a statement, from the places where its type keeps them."""
    kind = resource["resourceType"]
    shape = SHAPES[kind]
    concepts = [thing for path in shape.codes for thing in _along(at(resource, statement), path)]
    text = None
    if "medicationReference" in resource:
        text = _text(at(resource, "/medicationReference/display"))
        concepts += _drug(at(resource, "/medicationReference"), resource, medications, 0)
    if kind == "ImagingStudy" and not _list(resource.get("modality")):
        concepts += _series_modalities(resource)
    codings: list[Coding] = []
    for thing in concepts:
        if isinstance(thing, dict) and ("code" in thing or "system" in thing):  # a Coding, as Encounter.class is
            codings.append(_coding(thing))
        codings.extend(_codings(thing))
    contained = str(at(resource, "/medicationReference/reference")).startswith("#")
    if "medicationReference" not in resource or contained:
        text = text or next((said for thing in concepts if (said := _text(_object(thing).get("text")))), None)
    return Concept(tuple(codings), text or (_text(resource.get(shape.label)) if shape.label else None))


def read_anew(resource: Resource, statement: str, digest: str, zone: ZoneInfo, medications: Medications) -> Fact:
    """One statement as the verifier reads it. It cites nothing: `elements` is empty and the subject is not resolved."""
    kind = resource["resourceType"]
    shape = SHAPES[kind]
    part = _object(at(resource, statement))
    concept = concept_of(resource, statement, medications)
    time = _first_time(resource, shape.times, "start", zone)
    value, value_codings = _value(part, shape, zone)
    absent = part.get("dataAbsentReason")
    return Fact(
        id=fact_id(digest, statement),
        source=SourceRef(uri="", sha256=digest, container_sha256="", pointer="", retrieved_at=_NEVER),
        resource_type=kind,
        statement=statement,
        subject=None,
        codings=concept.codings,
        text=concept.text,
        value=value,
        value_codings=value_codings,
        absent_reason=_code(absent) or ("unknown" if absent else None),
        status=status_of(resource),
        time=time,
        end=_end(resource, shape, zone),
        visible=_visible(resource, shape, time, zone),
    )


def status_of(resource: Resource) -> Status:
    """The status over all types: what is said of the certainty first, then of the course."""
    kind = resource["resourceType"]
    if kind in ("Condition", "AllergyIntolerance"):
        certainty = _code(resource.get("verificationStatus"))
        if certainty is not None and certainty not in BELIEVED:
            return VERIFICATION.get(certainty, Status.UNKNOWN)
        return CLINICAL.get(_code(resource.get("clinicalStatus")) or "", Status.UNKNOWN)
    code = resource.get("status")
    if "entered-in-error" in (code, resource.get("docStatus")):
        return Status.ENTERED_IN_ERROR
    status = STATUSES.get(kind, {}).get(code if isinstance(code, str) else "", Status.UNKNOWN)
    if resource.get("doNotPerform") is True and status is not Status.CANCELLED:
        return Status.NOT_DONE
    if kind in ("MedicationRequest", "ServiceRequest") and resource.get("intent") in ("proposal", "plan"):
        return Status.PLANNED if status is Status.ACTIVE else status
    return status


def time_from(text: Any, zone: ZoneInfo) -> Interval | None:
    """A time of the chart; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return parse(text, zone)
    except TimeError:
        return None


def birth_sex(patient: Resource) -> str | None:
    """The birth sex of US Core, which is an extension."""
    codes = (
        extension.get("valueCode")
        for extension in _list(patient.get("extension"))
        if isinstance(extension, dict) and extension.get("url") == _BIRTH_SEX
    )
    return next((code for code in codes if isinstance(code, str)), None)


def holds_image(study: Resource, image: ImageRef) -> bool:
    """Whether an ImagingStudy names study, series and instance of an image."""
    own = {"system": "urn:dicom:uid", "value": f"urn:oid:{image.study}"}
    identifiers = [_object(one) for one in _list(study.get("identifier"))]
    series = [one for one in _list(study.get("series")) if _object(one).get("uid") == image.series]
    instances = [_object(one).get("uid") for part in series for one in _list(part.get("instance"))]
    return any(one.items() >= own.items() for one in identifiers) and image.instance in instances


def _value(
    part: Resource, shape: Shape, zone: ZoneInfo
) -> tuple[Quantity | Interval | bool | str | None, tuple[Coding, ...]]:
    coded = [coding for path in shape.values for item in _list(part.get(path)) for coding in _codings(item)]
    if shape.values:
        return _text(part.get("conclusion")), tuple(coded)
    if isinstance(concept := part.get("valueCodeableConcept"), dict):
        text = concept.get("text")
        return (text if isinstance(text, str) and text else None), tuple(_codings(concept))
    if isinstance(quantity := part.get("valueQuantity"), dict):
        return _quantity(quantity), ()
    if isinstance(number := part.get("valueInteger"), int):
        return Quantity(Decimal(number)), ()
    if isinstance(time := part.get("valueDateTime"), str):
        return time_from(time, zone), ()
    if isinstance(period := part.get("valuePeriod"), dict):
        start, end = time_from(period.get("start"), zone), time_from(period.get("end"), zone)
        return (Interval.from_period(start, end) if start or end else None), ()
    if (said := _uncomparable(part)) is not None:
        return said, ()
    plain = next((part[name] for name in ("valueString", "valueBoolean", "valueTime") if name in part), None)
    return (plain if isinstance(plain, bool | str) else None), ()


def _uncomparable(part: Resource) -> str | None:
    """What is shown and never compared, as a text: a range, a titre, a curve."""
    if isinstance(values := part.get("valueRange"), dict):
        return "–".join(_written(values.get(end)) or "?" for end in ("low", "high"))
    if isinstance(ratio := part.get("valueRatio"), dict):
        return ":".join(_written(ratio.get(end)) or "?" for end in ("numerator", "denominator"))
    return "sampled data" if "valueSampledData" in part else None


def _written(amount: Any) -> str:
    """Number and unit as they stand."""
    quantity = _quantity(_object(amount))
    digits = "" if quantity.value is None else str(quantity.value)
    return " ".join(piece for piece in (digits, quantity.unit or "") if piece)


def _quantity(quantity: Resource) -> Quantity:
    number = quantity.get("value")
    exact = Decimal(number) if isinstance(number, int | Decimal) and not isinstance(number, bool) else None
    texts = {name: quantity.get(name) for name in ("comparator", "unit", "system", "code")}
    return Quantity(
        value=exact if exact is not None and is_measurable(exact) else None,
        **{name: text if isinstance(text, str) else None for name, text in texts.items()},
    )


def _end(resource: Resource, shape: Shape, zone: ZoneInfo) -> Interval | None:
    return _first_time(resource, shape.ends, "end", zone)


def _visible(resource: Resource, shape: Shape, time: Interval | None, zone: ZoneInfo) -> Interval | None:
    if resource["resourceType"] == "Patient":
        return None  # whom it is about was known all along, whenever a server last stored it
    recorded = _first_time(resource, shape.recorded, "start", zone)
    return recorded or time or time_from(at(resource, "/meta/lastUpdated"), zone)


def _first_time(resource: Resource, paths: tuple[str, ...], side: str, zone: ZoneInfo) -> Interval | None:
    """The first time that is present at these paths; of a Period that side."""
    for path in paths:
        value = at(resource, f"/{path}")
        text = value.get(side) if isinstance(value, dict) else value
        if isinstance(text, str):
            return time_from(text, zone)
    return None


def _drug(reference: Any, resource: Resource, medications: Medications, depth: int) -> list[Any]:
    """The concepts of the Medication that is meant, and of what it is mixed of."""
    medication = _referenced(reference, resource, medications)
    if medication is None or depth > MAX_MIXTURE:
        return []
    concepts = [medication.get("code")]
    home = resource if str(_object(reference).get("reference")).startswith("#") else medication
    for ingredient in _list(medication.get("ingredient")):
        concepts.append(_object(ingredient).get("itemCodeableConcept"))
        if "itemReference" in _object(ingredient):
            concepts += _drug(ingredient["itemReference"], home, medications, depth + 1)
    return concepts


def _referenced(reference: Any, resource: Resource, medications: Medications) -> Resource | None:
    name = _object(reference).get("reference")
    if not isinstance(name, str):
        return None
    if name.startswith("#"):
        contained = (item for item in _list(resource.get("contained")) if isinstance(item, dict))
        return next((item for item in contained if item.get("id") == name[1:]), None)
    parts = name.removeprefix("urn:uuid:").partition("/_history/")[0].split("/")
    return medications.get(parts[-1])


def _series_modalities(study: Resource) -> list[Any]:
    """Each modality of the series once; the first that names it."""
    found: dict[Any, Any] = {}
    for series in _list(study.get("series")):
        if isinstance(modality := _object(series).get("modality"), dict):
            found.setdefault(str(modality.get("code")), modality)
    return list(found.values())


def _along(value: Any, path: str) -> Iterator[Any]:
    head, _, rest = path.partition("/")
    values = _list(value) if head == "*" else [item for name, item in _object(value).items() if name == head]
    for item in values:
        if rest:
            yield from _along(item, rest)
        else:
            yield item


def _codings(concept: Any) -> list[Coding]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return [_coding(coding) for coding in _list(codings) if isinstance(coding, dict)]


def _coding(coding: Resource) -> Coding:
    system, code, display = (coding.get(name) for name in ("system", "code", "display"))
    return Coding(
        system if isinstance(system, str) else None,
        code if isinstance(code, str) else None,
        display if isinstance(display, str) else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _code(concept: Any) -> str | None:
    return next((coding.code for coding in _codings(concept) if coding.code), None)


def _object(value: Any) -> Resource:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
