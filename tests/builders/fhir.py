# SPDX-License-Identifier: Apache-2.0
"""Small FHIR R4 resources as dictionaries, for tests that build a chart instead of copying one.

Every builder has defaults that make a valid resource, takes any further element by its FHIR name, and gives an id that
is derived from the content where none is named, so that equal resources are equal and different ones never collide.

    bundle(patient(), observation("4548-4", "6.5", "%", at="2024-03-01"), condition("44054006"))
"""

import asyncio
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from medagent.canonical import public_json
from medagent.chart import AsOf
from medagent.evidence import Fact, Query
from medagent_fhir.chart import SnapshotChart
from medagent_fhir.files import FileChartSource

Json = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
CVX = "http://hl7.org/fhir/sid/cvx"
UCUM = "http://unitsofmeasure.org"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"

SUBJECT = "patient-1"
"""The id of the patient whom everything is about unless a test says otherwise."""

READ_AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When every file is read."""


class _Clock:
    def now(self) -> datetime:
        return READ_AT


_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_BASE = "https://hospital.example/fhir"


def concept(
    code: str | None = None, system: str | None = None, text: str | None = None, display: str | None = None
) -> Json:
    """A CodeableConcept of one code, of a text, or of both."""
    coding = _without_none({"system": system, "code": code, "display": display})
    return _without_none({"coding": [coding] if coding else None, "text": text})


def quantity(value: str | int | Decimal, unit: str | None, comparator: str | None = None) -> Json:
    """A Quantity in UCUM; the digits of the value are kept. `unit` None: a bare number."""
    amount = {"value": Decimal(value), "comparator": comparator, "unit": unit}
    return _without_none(amount | ({"system": UCUM, "code": unit} if unit else {}))


def patient(
    id: str = SUBJECT,
    *,
    birth_date: str | None = "1960-05-01",
    gender: str | None = "female",
    birth_sex: str | None = None,
    deceased: bool | str | None = None,
    active: bool | None = True,
    **elements: Any,
) -> Json:
    """`deceased`: a truth, or the time of death."""
    extension = [{"url": BIRTH_SEX, "valueCode": birth_sex}] if birth_sex else None
    died = "deceasedBoolean" if isinstance(deceased, bool) else "deceasedDateTime"
    body = {"extension": extension, "active": active, "gender": gender, "birthDate": birth_date, died: deceased}
    return _resource("Patient", body | {"id": id}, elements)


def value(said: object, unit: str | None = None, comparator: str | None = None) -> Json:
    """A value[x]: with a unit or as a number a quantity, a dictionary a coded value, else a truth or a text."""
    if said is None:
        return {}
    if isinstance(said, dict):
        return {"valueCodeableConcept": said}
    if isinstance(said, bool):
        return {"valueBoolean": said}
    if unit is not None or isinstance(said, int | Decimal):
        return {"valueQuantity": quantity(said, unit, comparator)}  # type: ignore[arg-type]  # a text of digits
    return {"valueString": said}


def component(code: str, said: object = None, unit: str | None = None, *, system: str = LOINC, **elements: Any) -> Json:
    """A component of an observation."""
    return {"code": concept(code, system), **value(said, unit), **elements}


def observation(
    code: str,
    said: object = None,
    unit: str | None = None,
    *,
    at: str | None = "2024-03-01",
    system: str = LOINC,
    comparator: str | None = None,
    status: str = "final",
    components: Sequence[Json] = (),
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: effectiveDateTime. See `value` for what `said` may be."""
    body = {
        "status": status,
        "code": concept(code, system),
        "subject": reference(patient),
        "effectiveDateTime": at,
        "component": list(components) or None,
        **value(said, unit, comparator),
    }
    return _resource("Observation", body, elements)


def condition(
    code: str | None,
    *,
    system: str | None = SNOMED,
    text: str | None = None,
    onset: str | None = "2020-01-15",
    clinical: str | None = "active",
    verification: str | None = "confirmed",
    abatement: str | None = None,
    recorded: str | None = None,
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """A condition or, by its status, one that is over, refuted or entered in error."""
    body = {
        "clinicalStatus": _status("condition-clinical", clinical),
        "verificationStatus": _status("condition-ver-status", verification),
        "code": concept(code, system if code else None, text),
        "subject": reference(patient),
        "onsetDateTime": onset,
        "abatementDateTime": abatement,
        "recordedDate": recorded,
    }
    return _resource("Condition", body, elements)


def allergy(
    code: str | None,
    *,
    system: str | None = SNOMED,
    text: str | None = None,
    clinical: str | None = "active",
    verification: str | None = "confirmed",
    recorded: str | None = "2015-06-01",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """An allergy or intolerance; also "no known allergy", by its code."""
    body = {
        "clinicalStatus": _status("allergyintolerance-clinical", clinical),
        "verificationStatus": _status("allergyintolerance-verification", verification),
        "code": concept(code, system if code else None, text),
        "patient": reference(patient),
        "recordedDate": recorded,
    }
    return _resource("AllergyIntolerance", body, elements)


def medication(code: str, *, system: str = RXNORM, id: str | None = None, **elements: Any) -> Json:
    """A Medication that others refer to."""
    return _resource("Medication", {"id": id, "code": concept(code, system)}, elements)


def medication_request(
    code: str | None,
    *,
    system: str = RXNORM,
    at: str | None = "2023-11-01",
    status: str = "active",
    intent: str = "order",
    means: Json | None = None,
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`means`: a medicationReference instead of a code."""
    body = {"status": status, "intent": intent, "subject": reference(patient), "authoredOn": at}
    return _resource("MedicationRequest", body | _drug(code, system, means), elements)


def medication_statement(
    code: str | None,
    *,
    system: str = RXNORM,
    at: str | None = "2023-11-01",
    status: str = "active",
    means: Json | None = None,
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: effectiveDateTime."""
    body = {"status": status, "subject": reference(patient), "effectiveDateTime": at}
    return _resource("MedicationStatement", body | _drug(code, system, means), elements)


def medication_administration(
    code: str | None,
    *,
    system: str = RXNORM,
    at: str = "2023-11-01",
    status: str = "completed",
    means: Json | None = None,
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: effectiveDateTime."""
    body = {"status": status, "subject": reference(patient), "effectiveDateTime": at}
    return _resource("MedicationAdministration", body | _drug(code, system, means), elements)


def medication_dispense(
    code: str | None,
    *,
    system: str = RXNORM,
    at: str | None = "2023-11-01",
    status: str = "completed",
    means: Json | None = None,
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: whenHandedOver."""
    body = {"status": status, "subject": reference(patient), "whenHandedOver": at}
    return _resource("MedicationDispense", body | _drug(code, system, means), elements)


def procedure(
    code: str,
    *,
    system: str = SNOMED,
    at: str | None = "2022-05-05",
    status: str = "completed",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: performedDateTime."""
    body = {"status": status, "code": concept(code, system), "subject": reference(patient), "performedDateTime": at}
    return _resource("Procedure", body, elements)


def immunization(
    code: str, *, at: str = "2023-10-01", status: str = "completed", patient: str = SUBJECT, **elements: Any
) -> Json:
    """By CVX code; `at`: occurrenceDateTime."""
    body = {
        "status": status,
        "vaccineCode": concept(code, CVX),
        "patient": reference(patient),
        "occurrenceDateTime": at,
    }
    return _resource("Immunization", body, elements)


def encounter(
    code: str = "AMB",
    *,
    start: str | None = "2024-03-01T09:00:00Z",
    end: str | None = "2024-03-01T09:20:00Z",
    status: str = "finished",
    types: Sequence[Json] = (),
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`code`: the class, such as AMB, EMER, IMP."""
    body = {
        "status": status,
        "class": {"system": ACT_CODE, "code": code},
        "type": list(types) or None,
        "subject": reference(patient),
        "period": _without_none({"start": start, "end": end}) or None,
    }
    return _resource("Encounter", body, elements)


def diagnostic_report(
    code: str,
    *,
    system: str = LOINC,
    at: str | None = "2024-02-01",
    status: str = "final",
    conclusions: Sequence[Json] = (),
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`conclusions`: coded ones (conclusionCode)."""
    body = {
        "status": status,
        "code": concept(code, system),
        "subject": reference(patient),
        "effectiveDateTime": at,
        "conclusionCode": list(conclusions) or None,
    }
    return _resource("DiagnosticReport", body, elements)


def document_reference(
    attachment: Json,
    *,
    code: str = "11506-3",
    at: str | None = "2024-03-01T09:20:00Z",
    status: str = "current",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`attachment`: with `data` in base64, or the `url` of a Binary."""
    body = {
        "status": status,
        "type": concept(code, LOINC),
        "subject": reference(patient),
        "date": at,
        "content": [{"attachment": attachment}],
    }
    return _resource("DocumentReference", body, elements)


def binary(data: str, *, content_type: str = "text/plain", **elements: Any) -> Json:
    """`data`: base64."""
    return _resource("Binary", {"contentType": content_type, "data": data}, elements)


def imaging_study(
    modality: str = "CT",
    *,
    procedure: Json | None = None,
    at: str = "2024-02-01T10:00:00Z",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: started."""
    body = {
        "status": "available",
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality}],
        "subject": reference(patient),
        "started": at,
        "procedureCode": [procedure] if procedure else None,
    }
    return _resource("ImagingStudy", body, elements)


def family_history(
    *codes: str, relative: str = "MTH", at: str = "2019-01-01", patient: str = SUBJECT, **elements: Any
) -> Json:
    """Conditions of one relative, by SNOMED code."""
    body = {
        "status": "completed",
        "patient": reference(patient),
        "date": at,
        "relationship": concept(relative, f"{_TERMINOLOGY}/v3-RoleCode"),
        "condition": [{"code": concept(code, SNOMED)} for code in codes] or None,
    }
    return _resource("FamilyMemberHistory", body, elements)


def care_plan(
    code: str,
    *,
    start: str = "2023-01-01",
    end: str | None = None,
    status: str = "active",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`code`: its category, in SNOMED."""
    body = {
        "status": status,
        "intent": "plan",
        "category": [concept(code, SNOMED)],
        "subject": reference(patient),
        "period": _without_none({"start": start, "end": end}),
    }
    return _resource("CarePlan", body, elements)


def service_request(
    code: str,
    *,
    system: str = LOINC,
    at: str | None = "2024-03-01",
    status: str = "active",
    intent: str = "order",
    patient: str = SUBJECT,
    **elements: Any,
) -> Json:
    """`at`: authoredOn."""
    body = {
        "status": status,
        "intent": intent,
        "code": concept(code, system),
        "subject": reference(patient),
        "authoredOn": at,
    }
    return _resource("ServiceRequest", body, elements)


def reference(patient: str) -> Json:
    """A relative reference to a patient by id; what holds a slash or a colon stands as it is."""
    return {"reference": patient if "/" in patient or ":" in patient else f"Patient/{patient}"}


def bundle(*resources: Json, type: str = "collection", **elements: Any) -> Json:
    """A Bundle whose entries have the addresses that relative references expect."""
    entries: list[Json] = []
    for resource in resources:
        address = f"{resource['resourceType']}/{resource['id']}" if "id" in resource else None
        entry = {"fullUrl": f"{_BASE}/{address}" if address else None, "resource": resource}
        if type in ("transaction", "batch"):
            entry["request"] = {"method": "PUT", "url": address}
        if type == "searchset":
            entry["search"] = {"mode": "match"}
        entries.append(_without_none(entry))
    return {"resourceType": "Bundle", "type": type, "entry": entries, **elements}


def to_json(resource: Json) -> bytes:
    """The bytes of a resource, decimals with their digits."""
    return public_json(resource)


def to_ndjson(*resources: Json) -> bytes:
    """One line per resource."""
    return b"".join(to_json(resource) + b"\n" for resource in resources)


def write_bundle(path: Path, *resources: Json, **elements: Any) -> Path:
    """A file with a Bundle of these resources; gzipped where its name says so."""
    return write(path, to_json(bundle(*resources, **elements)))


def write_ndjson(folder: Path, *resources: Json, ending: str = ".ndjson") -> Path:
    """A folder as a bulk export makes it: one file per type. `ending`: for instance `.ndjson.gz`."""
    by_type: dict[str, list[Json]] = {}
    for resource in resources:
        by_type.setdefault(resource["resourceType"], []).append(resource)
    for name, group in by_type.items():
        write(folder / f"{name}.000{ending}", to_ndjson(*group))
    return folder


def write(path: Path, data: bytes) -> Path:
    """A file of these bytes; gzipped where its name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
    return path


def source(path: Path, *, zone: str = "UTC", partial: bool = False, bytes_max: int = 100_000_000) -> FileChartSource:
    """The charts in a file or folder."""
    return FileChartSource(path, zone=ZoneInfo(zone), clock=_Clock(), partial=partial, bytes_max=bytes_max)


def read_chart(path: Path, patient: str | None = None, as_of: AsOf = "latest", **options: Any) -> SnapshotChart:
    """One chart of a file or folder. `options`: see `source`."""
    return asyncio.run(source(path, **options).chart(patient, as_of))


def chart(folder: Path, *resources: Json, as_of: AsOf = "latest", **elements: Any) -> SnapshotChart:
    """The chart of a Bundle of these resources, about the default patient unless they bring their own."""
    if not any(resource["resourceType"] == "Patient" for resource in resources):
        resources = (patient(), *resources)
    return read_chart(write_bundle(folder / "chart.json", *resources, **elements), as_of=as_of)


def facts(chart: SnapshotChart, *resource_types: str) -> list[Fact]:
    """All facts of these types, oldest first."""
    return [chart.fact(member) for member in chart.read(Query(resource_types=resource_types), {}).members]


def _resource(kind: str, body: Json, elements: Json) -> Json:
    resource = {"resourceType": kind, **_without_none(body | elements)}
    if "id" not in resource:
        resource["id"] = f"{kind.lower()}-{sha256(public_json(resource)).hexdigest()[:16]}"
    return resource


def _drug(code: str | None, system: str, means: Json | None) -> Json:
    return {"medicationReference": means} if means is not None else {"medicationCodeableConcept": concept(code, system)}


def _status(system: str, code: str | None) -> Json | None:
    return concept(code, f"{_TERMINOLOGY}/{system}") if code else None


def _without_none(body: Json) -> Json:
    return {name: said for name, said in body.items() if said is not None}
