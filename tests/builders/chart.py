# SPDX-License-Identifier: Apache-2.0
"""Charts in a few words: an entry names a value set, becomes an R4 resource, and is read by the real reader of files.

`entry("observation", "hba1c", value_sets, value="7.9", unit="%", time="2025-12-01")` takes the first code of `hba1c`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from builders import fhir
from builders.fhir import Json
from medagent.canonical import public_json
from medagent.intervals import end_of_day
from medagent.value_sets import NAMED_KINDS, SYSTEMS, ValueSet
from medagent_fhir.chart import SnapshotChart
from medagent_fhir.files import FileChartSource

ZONE = ZoneInfo("UTC")
AS_OF = date(2026, 1, 15)

_BYTES_MAX = 64_000_000
_READ_AT = datetime(2026, 2, 1, tzinfo=UTC)


class _StandingClock:
    def now(self) -> datetime:
        return _READ_AT


def patient(birth_date: str | None = "1960-05-05", gender: str | None = "male", **elements: Any) -> Json:
    """A man of 65 at `AS_OF`, unless it is said otherwise."""
    return fhir.patient(birth_date=birth_date, gender=gender, **elements)


def entry(kind: str, value_set: str, value_sets: Mapping[str, ValueSet], **fields: Any) -> Json:
    """A resource about a value set: its first code, or `code: "LOINC 4548-4"`, or a `text` alone.

    Fields that the kind does not know are refused, so that no table says a thing that nothing reads.
    """
    shape = _KINDS[kind]
    about = _concept(value_sets[value_set], fields.pop("code", None), fields.pop("text", None))
    conclusion = fields.pop("conclusion", None) if kind == "diagnostic_report" else None
    value = _value(fields, value_sets) if kind == "observation" else {}
    unknown = fields.keys() - shape.fields.keys()
    if unknown:
        raise ValueError(f"{kind} {value_set}: no such field: {', '.join(sorted(unknown))}")
    said = shape.defaults | {shape.fields[name]: as_fhir(value) for name, value in fields.items()}
    made = shape.build(**said) | value
    if conclusion is not None:
        made["conclusionCode"] = [_concept(value_sets[conclusion])]
    _put(made, shape.about, about)
    del made["id"]
    return made | {"id": f"e-{sha256(public_json(made)).hexdigest()[:16]}"}


def open_chart(
    resources: Iterable[Json],
    *,
    about: Json | None = None,
    as_of: date | datetime = AS_OF,
    partial: bool = False,
    lines: bool = False,
    zone: ZoneInfo = ZONE,
) -> SnapshotChart:
    """A chart of these resources at the end of that day, or at that instant. `lines`: from NDJSON, where each line is
    a container of its own, instead of one Bundle."""
    instant = as_of if isinstance(as_of, datetime) else end_of_day(as_of, zone)
    with TemporaryDirectory() as folder:
        entries = (about or patient(), *resources)
        file = Path(folder) / ("chart.ndjson" if lines else "chart.json")
        fhir.write(file, fhir.to_ndjson(*entries) if lines else fhir.to_json(fhir.bundle(*entries)))
        source = FileChartSource(file, zone=zone, clock=_StandingClock(), partial=partial, bytes_max=_BYTES_MAX)
        return asyncio.run(source.chart(None, instant))


def _concept(value_set: ValueSet, code: str | None = None, text: str | None = None) -> Json:
    """Drugs and substances also go by name, as they do in charts: a code alone could be anything."""
    name = value_set.names[0] if value_set.names and value_set.kind in NAMED_KINDS else None
    if code is not None:
        system, _, value = code.rpartition(" ")
        return fhir.concept(value, SYSTEMS.get(system, system), text)
    if text is not None:
        return fhir.concept(text=text)
    for system, codes in value_set.codes.items():
        if codes:
            return fhir.concept(codes[0], SYSTEMS.get(system, system), name)
    return fhir.concept(text=value_set.names[0])


def _value(fields: Json, value_sets: Mapping[str, ValueSet]) -> Json:
    """`value` with `unit` and `comparator`; `answer`: a value set, whose first code is the value; `value_code`: such as
    `SNOMED 123`; `value_date`: a day; `text_value`: words."""
    value, unit, comparator = (fields.pop(name, None) for name in ("value", "unit", "comparator"))
    answer, code, day = (fields.pop(name, None) for name in ("answer", "value_code", "value_date"))
    text = fields.pop("text_value", None)
    if text is not None:
        return {"valueString": text}
    if answer is not None:
        return {"valueCodeableConcept": _concept(value_sets[answer])}
    if code is not None:
        system, _, name = str(code).rpartition(" ")
        return {"valueCodeableConcept": fhir.concept(name, SYSTEMS.get(system, system))}
    if day is not None:
        return {"valueDateTime": as_fhir(day)}
    return fhir.value(None if value is None else Decimal(str(value)), unit or None, comparator)


def as_fhir(value: Any) -> Any:
    """As FHIR writes it; YAML makes dates of dates, and numbers of whole years."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return str(value) if isinstance(value, date | int) and not isinstance(value, bool) else value


def _put(made: Json, element: str, about: Json) -> None:
    if element == "class" and about.get("coding", [{}])[0].get("system") != fhir.ACT_CODE:
        made["type"] = [about]
    elif element == "class":
        made["class"] = about["coding"][0]
    else:
        made[element] = [about] if element in ("category", "procedureCode") else about


class _Shape(NamedTuple):
    build: Callable[..., Json]
    about: str
    """The element that says what the resource is about."""
    fields: Mapping[str, str]
    """The builder's argument by the field's name."""
    defaults: Json


_DATED = {"status": "status", "time": "at"}
_LISTED = {"onset": "onset", "clinical_status": "clinical", "verification_status": "verification"}
_DRUG, _ANY = "medicationCodeableConcept", {"code": "x"}

_KINDS: Mapping[str, _Shape] = {
    "condition": _Shape(
        fhir.condition,
        "code",
        _LISTED | {"abatement": "abatement", "recorded": "recorded"},
        _ANY | {"onset": None},
    ),
    "allergy": _Shape(
        fhir.allergy,
        "code",
        {"clinical_status": "clinical", "verification_status": "verification", "onset": "onsetDateTime",
         "recorded": "recorded"},
        _ANY,
    ),
    "observation": _Shape(
        fhir.observation,
        "code",
        _DATED | {"issued": "issued", "absent_reason": "dataAbsentReason", "components": "components"},
        _ANY | {"at": None},
    ),
    "medication_request": _Shape(
        fhir.medication_request,
        _DRUG,
        {"status": "status", "authored": "at", "intent": "intent"},
        _ANY | {"at": None},
    ),
    "medication_statement": _Shape(fhir.medication_statement, _DRUG, _DATED, _ANY | {"at": None}),
    "medication_dispense": _Shape(fhir.medication_dispense, _DRUG, _DATED, _ANY | {"at": None}),
    "medication_administration": _Shape(fhir.medication_administration, _DRUG, _DATED, _ANY | {"at": None}),
    "procedure": _Shape(fhir.procedure, "code", _DATED, _ANY | {"at": None}),
    "immunization": _Shape(fhir.immunization, "vaccineCode", _DATED, _ANY | {"at": None}),
    "service_request": _Shape(
        fhir.service_request,
        "code",
        {"status": "status", "authored": "at", "time": "at", "intent": "intent"},
        _ANY | {"at": None},
    ),
    "diagnostic_report": _Shape(fhir.diagnostic_report, "code", _DATED, _ANY | {"at": None}),
    "imaging_study": _Shape(fhir.imaging_study, "procedureCode", _DATED, {}),
    "encounter": _Shape(
        fhir.encounter,
        "class",
        {"status": "status", "start": "start", "end": "end"},
        {"start": None, "end": None},
    ),
    "care_plan": _Shape(
        fhir.care_plan, "category", {"status": "status", "start": "start", "end": "end"}, _ANY
    ),
}  # fmt: skip
KINDS = frozenset(_KINDS)
"""What a case table can speak of."""
