# SPDX-License-Identifier: Apache-2.0
"""Search as https://hl7.org/fhir/R4/search.html has it, for the parameters that a chart is read with.

What is not known here is refused with 400, as a strict server does: a client that relies on a parameter which the
server ignores gets other data than it thinks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from builders.hospital_outcomes import Refused
from builders.hospital_records import Records, Stored

Kind = Literal["token", "reference", "date", "string"]


class Parameter(NamedTuple):
    """A search parameter: how its values compare, and the elements that it looks at."""

    kind: Kind
    paths: tuple[str, ...]


def _token(*paths: str) -> Parameter:
    return Parameter("token", paths)


def _reference(*paths: str) -> Parameter:
    return Parameter("reference", paths)


def _date(*paths: str) -> Parameter:
    return Parameter("date", paths)


_SUBJECT = {"subject": _reference("subject"), "patient": _reference("subject")}
_PATIENT = {"patient": _reference("patient")}
_DRUG = {"code": _token("medicationCodeableConcept"), "medication": _reference("medicationReference")}

PARAMETERS: dict[str, dict[str, Parameter]] = {
    "Patient": {
        "identifier": _token("identifier"),
        "birthdate": _date("birthDate"),
        "gender": _token("gender"),
        "name": Parameter("string", ("name.family", "name.given", "name.text")),
        "family": Parameter("string", ("name.family",)),
        "general-practitioner": _reference("generalPractitioner"),
    },
    "Observation": _SUBJECT
    | {
        "category": _token("category"),
        "code": _token("code"),
        "status": _token("status"),
        "date": _date("effectiveDateTime", "effectivePeriod", "effectiveInstant"),
        "encounter": _reference("encounter"),
        "has-member": _reference("hasMember"),
        "combo-code": _token("code", "component.code"),
    },
    "Condition": _SUBJECT
    | {
        "category": _token("category"),
        "code": _token("code"),
        "clinical-status": _token("clinicalStatus"),
        "onset-date": _date("onsetDateTime", "onsetPeriod"),
        "recorded-date": _date("recordedDate"),
        "encounter": _reference("encounter"),
    },
    "AllergyIntolerance": _PATIENT | {"code": _token("code"), "clinical-status": _token("clinicalStatus")},
    "MedicationRequest": _SUBJECT
    | _DRUG
    | {"status": _token("status"), "intent": _token("intent"), "authoredon": _date("authoredOn")},
    "MedicationStatement": _SUBJECT | _DRUG | {"status": _token("status"), "effective": _date("effectiveDateTime")},
    "MedicationAdministration": _SUBJECT
    | _DRUG
    | {"status": _token("status"), "effective-time": _date("effectiveDateTime", "effectivePeriod")},
    "MedicationDispense": _SUBJECT | _DRUG | {"status": _token("status"), "whenhandedover": _date("whenHandedOver")},
    "Medication": {"code": _token("code")},
    "Procedure": _SUBJECT
    | {"code": _token("code"), "status": _token("status"), "date": _date("performedDateTime", "performedPeriod")},
    "Immunization": _PATIENT
    | {"vaccine-code": _token("vaccineCode"), "status": _token("status"), "date": _date("occurrenceDateTime")},
    "Encounter": _SUBJECT
    | {"status": _token("status"), "class": _token("class"), "type": _token("type"), "date": _date("period")},
    "DiagnosticReport": _SUBJECT
    | {
        "category": _token("category"),
        "code": _token("code"),
        "status": _token("status"),
        "date": _date("effectiveDateTime", "effectivePeriod"),
        "result": _reference("result"),
    },
    "DocumentReference": _SUBJECT
    | {
        "category": _token("category"),
        "type": _token("type"),
        "status": _token("status"),
        "date": _date("date"),
        "encounter": _reference("context.encounter"),
    },
    "ImagingStudy": _SUBJECT | {"status": _token("status"), "started": _date("started")},
    "FamilyMemberHistory": _PATIENT | {"status": _token("status"), "code": _token("condition.code")},
    "CarePlan": _SUBJECT | {"category": _token("category"), "status": _token("status"), "date": _date("period")},
    "CareTeam": _SUBJECT | {"status": _token("status")},
    "Goal": _SUBJECT | {"lifecycle-status": _token("lifecycleStatus"), "start-date": _date("startDate")},
    "ServiceRequest": _SUBJECT
    | {
        "category": _token("category"),
        "code": _token("code"),
        "status": _token("status"),
        "intent": _token("intent"),
        "authored": _date("authoredOn"),
    },
    "QuestionnaireResponse": _SUBJECT | {"status": _token("status"), "authored": _date("authored")},
    "Device": _PATIENT | {"type": _token("type"), "status": _token("status")},
    "RelatedPerson": _PATIENT,
    "Coverage": {"patient": _reference("beneficiary"), "beneficiary": _reference("beneficiary")},
    "Claim": _PATIENT,
    "ExplanationOfBenefit": _PATIENT,
    "Consent": _PATIENT,
    "Flag": _SUBJECT,
    "List": _SUBJECT,
    "Media": _SUBJECT,
    "Specimen": _SUBJECT,
    "Provenance": {"target": _reference("target")},
    "SupplyDelivery": _PATIENT,
    "Organization": {"identifier": _token("identifier")},
    "Practitioner": {"identifier": _token("identifier")},
    "Location": {"identifier": _token("identifier")},
}
"""By type. Types that are absent can be read but not searched for by more than `_id` and `_lastUpdated`."""

_CONTROLS = {"_count", "_format", "_include", "_revinclude", "_total", "_sort", "_summary"}


def matches(records: Records, type: str, parameters: Iterable[tuple[str, str]]) -> list[Stored]:
    """What meets all parameters, in the order of `_sort`, else as it was loaded. Raises Refused."""
    asked = [(name, value) for name, value in parameters if name not in _CONTROLS]
    tests = [_test(records, type, name, value) for name, value in asked]
    found = [one for one in records.of(type, _patient(type, asked)) if all(test(one) for test in tests)]
    for order in reversed([key for name, value in parameters if name == "_sort" for key in value.split(",")]):
        found.sort(key=_key(type, order.removeprefix("-")), reverse=order.startswith("-"))
    return found


def elements(body: Mapping[str, Any], path: str) -> Iterator[Any]:
    """Everything at a dotted path, through lists."""
    name, _, rest = path.partition(".")
    said = body.get(name)
    for one in said if isinstance(said, list) else [said]:
        if rest and isinstance(one, Mapping):
            yield from elements(one, rest)
        elif one is not None and not rest:
            yield one


def parameter(type: str, name: str) -> Parameter:
    """What a parameter looks at. Raises Refused for one that this server does not know."""
    if name not in PARAMETERS.get(type, {}):
        raise Refused(400, "not-supported", f"Unknown search parameter {name} for {type}")
    return PARAMETERS[type][name]


def references(stored: Stored, paths: Iterable[str]) -> Iterator[str]:
    """`Type/id` of what these elements refer to."""
    for path in paths:
        for one in elements(stored.body, path):
            if isinstance(one, Mapping) and isinstance(text := one.get("reference"), str):
                yield "/".join(text.split("/_history/")[0].split("/")[-2:])


def _patient(type: str, asked: Iterable[tuple[str, str]]) -> str | None:
    """The one patient that is asked about: the index holds theirs."""
    for name, value in asked:
        if name in ("patient", "subject") and name in PARAMETERS.get(type, {}) and "," not in value:
            kind, _, id = value.rpartition("/")
            if kind in ("", "Patient") or kind.endswith("/Patient"):
                return id
    return None


def _test(records: Records, type: str, name: str, value: str) -> Callable[[Stored], bool]:
    if name.startswith("_has:"):
        return _has(records, type, name, value)
    bare, _, modifier = name.partition(":")
    if bare == "_id" and not modifier:
        ids = set(value.split(","))
        return lambda one: one.id in ids
    if bare == "_lastUpdated" and not modifier:
        return lambda one: any(_date_fits(part, one.updated.isoformat()) for part in value.split(","))
    if bare in ("_security", "_tag") and modifier in ("", "not"):
        found = Parameter("token", (f"meta.{bare[1:]}",))
    else:
        found = parameter(type, bare)
    if modifier == "missing" and value in ("true", "false"):
        return lambda one: (not any(any(elements(one.body, path)) for path in found.paths)) == (value == "true")
    fits = _comparison(found.kind, modifier, name)
    wanted = value.split(",")

    def test(one: Stored) -> bool:
        said = [said for path in found.paths for said in elements(one.body, path)]
        return any(fits(part, each) for part in wanted for each in said) != (modifier == "not")

    return test


def _comparison(kind: Kind, modifier: str, name: str) -> Callable[[str, Any], bool]:
    if kind == "token" and modifier in ("", "not"):
        return _token_fits
    if kind == "date" and not modifier:
        return _date_fits
    if kind == "string" and not modifier:
        return lambda wanted, said: str(said).lower().startswith(wanted.lower())
    if kind == "reference" and (not modifier or modifier[0].isupper()):
        prefix = f"{modifier}/" if modifier else ""
        return lambda wanted, said: _reference_fits(prefix + wanted, said)
    raise Refused(400, "not-supported", f"Unknown modifier in {name}")


def _token_fits(wanted: str, said: Any) -> bool:
    system, bar, code = wanted.rpartition("|")
    if isinstance(said, Mapping) and "coding" in said:
        return any(_token_fits(wanted, coding) for coding in said["coding"])
    if not isinstance(said, Mapping):  # a code
        return str(said) == code
    right_code = not code or said.get("code", said.get("value")) == code
    return right_code and (not bar or said.get("system", "") == system)


def _reference_fits(wanted: str, said: Any) -> bool:
    text = said.get("reference", "") if isinstance(said, Mapping) else ""
    text = text.split("/_history/")[0]
    if "/" in wanted:
        return "/".join(text.split("/")[-2:]) == "/".join(wanted.split("/")[-2:])
    return str(text.rpartition("/")[2]) == wanted


def _has(records: Records, type: str, name: str, value: str) -> Callable[[Stored], bool]:
    """`_has:Observation:patient:code=…`: who is referred to by what meets the rest."""
    parts = name.split(":", 3)
    if len(parts) != 4:
        raise Refused(400, "invalid", f"{name}: write it like _has:Observation:patient:code")
    _, other, link, rest = parts
    paths = parameter(other, link).paths
    found = {target for one in matches(records, other, [(rest, value)]) for target in references(one, paths)}
    return lambda one: f"{type}/{one.id}" in found


def _key(type: str, order: str) -> Callable[[Stored], str]:
    if order == "_id":
        return lambda one: one.id
    if order == "_lastUpdated":
        return lambda one: one.updated.isoformat()
    paths = parameter(type, order).paths

    def key(one: Stored) -> str:
        said = next((said for path in paths for said in elements(one.body, path)), "")
        return str(said.get("start", "")) if isinstance(said, Mapping) else str(said)

    return key


def _date_fits(wanted: str, said: Any) -> bool:
    prefix = wanted[:2] if wanted[:2].isalpha() else "eq"
    low, high = _span(wanted.removeprefix(prefix))
    if isinstance(said, Mapping):
        begin = _span(said["start"])[0] if "start" in said else datetime.min.replace(tzinfo=UTC)
        end = _span(said["end"])[1] if "end" in said else datetime.max.replace(tzinfo=UTC)
    else:
        begin, end = _span(str(said))
    answers = {
        "eq": low <= begin and end <= high,
        "ne": not (low <= begin and end <= high),
        "gt": end > high,
        "lt": begin < low,
        "ge": end > low,
        "le": begin < high,
        "sa": begin >= high,
        "eb": end <= low,
    }
    if prefix not in answers:
        raise Refused(400, "invalid", f"Unknown prefix {prefix} of a date")
    return answers[prefix]


def _span(text: str) -> tuple[datetime, datetime]:
    """The first instant of a date or time, and the first one after it."""
    try:
        if len(text) == 4:
            return datetime(int(text), 1, 1, tzinfo=UTC), datetime(int(text) + 1, 1, 1, tzinfo=UTC)
        if len(text) == 7:
            low = datetime.fromisoformat(f"{text}-01").replace(tzinfo=UTC)
            return low, (low + timedelta(days=31)).replace(day=1)
        low = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, "invalid", "A date that is none") from error
    low = low if low.tzinfo is not None else low.replace(tzinfo=UTC)
    return low, low + (timedelta(days=1) if len(text) == 10 else timedelta(seconds=1))
