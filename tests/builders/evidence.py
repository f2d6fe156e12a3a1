# SPDX-License-Identifier: Apache-2.0
"""Evidence with real slices out of small FHIR resources, for tests of the verifier.

The facts are made here by plain means, knowing only the few elements that the tests use: neither the chart of
`medagent_fhir` nor the verifier's own reader helps, so that a test compares three independent readings.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from builders.fhir import BIRTH_SEX, SUBJECT, Json, to_json
from medagent.canonical import sha256_hex
from medagent.evidence import (
    Calculation,
    Coding,
    Element,
    Fact,
    ImageRef,
    Passage,
    Query,
    Reading,
    SourceRef,
    Status,
    calculation_id,
    fact_id,
    listing_digest,
    reading_id,
)
from medagent.evidence_set import AnyEvidence, EvidenceSet
from medagent.intervals import Interval, age_at, parse
from medagent.rules import Gate, Rule
from medagent.units import Quantity
from medagent.value_sets import ValueSet, value_set_named

AS_OF = datetime(2024, 6, 30, 23, 59, 59, tzinfo=UTC)
PATIENT = f"Patient/{SUBJECT}"
ZONE = ZoneInfo("UTC")

_CODE = {"Immunization": "vaccineCode", "MedicationRequest": "medicationCodeableConcept",
         "MedicationDispense": "medicationCodeableConcept",
         "MedicationStatement": "medicationCodeableConcept"}  # fmt: skip
_TIMES = ("effectiveDateTime", "onsetDateTime", "authoredOn", "whenHandedOver", "performedDateTime")
_RECORDED = ("recordedDate", "issued", "authoredOn")
_STATUSES = {
    "final": Status.DONE, "completed": Status.DONE, "active": Status.ACTIVE, "resolved": Status.INACTIVE,
    "inactive": Status.INACTIVE, "stopped": Status.INACTIVE, "not-taken": Status.NOT_DONE, "refuted": Status.REFUTED,
    "declined": Status.NOT_DONE,
    "entered-in-error": Status.ENTERED_IN_ERROR, "preliminary": Status.PRELIMINARY,
    "unconfirmed": Status.UNCONFIRMED, "not-done": Status.NOT_DONE,
}  # fmt: skip


class ChartBuilder:
    """One patient's resources, the readings that a test asks for and the calculations that it makes."""

    def __init__(self, *resources: Json, value_sets: Sequence[ValueSet] = (), as_of: datetime = AS_OF) -> None:
        self.as_of = as_of
        self._value_sets = {one.id: one for one in value_sets}
        self._slices = {sha256_hex(to_json(resource)): resource for resource in resources}
        self._items: dict[str, AnyEvidence] = {}
        self._listings: dict[str, tuple[str, ...]] = {}
        self._texts: dict[str, str] = {}
        self.facts: dict[str, Fact] = {}
        for digest, resource in self._slices.items():
            for fact in _facts_of(resource, digest):
                self.facts[fact.id] = fact
        self.patient = next(fact for fact in self.facts.values() if fact.resource_type == "Patient")
        self._items[self.patient.id] = self.patient

    def of(self, resource: Json, statement: str = "") -> Fact:
        """The fact of a resource that was given."""
        return self.facts[fact_id(sha256_hex(to_json(resource)), statement)]

    def reading(self, types: Sequence[str], value_set: str | None = None, incomplete: str | None = None) -> Reading:
        """The answer to a query; its members become evidence."""
        examined = sorted(digest for digest, resource in self._slices.items() if resource["resourceType"] in types)
        facts = [fact for fact in self.facts.values() if fact.source.sha256 in examined]
        wanted = None if value_set is None else value_set_named(self._value_sets, value_set)
        members = [fact for fact in facts if wanted is None or wanted.matches(fact.codings, fact.text)]
        members.sort(key=lambda fact: (fact.time is None, fact.time and fact.time.earliest, fact.id))
        uncovered = 0 if wanted is None else sum(not _is_covered(digest, facts, wanted) for digest in examined)
        because = tuple(reason for reason in (incomplete, "other codes" if uncovered else None) if reason)
        valid = [fact for fact in facts if fact.status not in (Status.ENTERED_IN_ERROR, Status.PLANNED)]
        times = [time for fact in valid if (time := fact.time or fact.visible) is not None]
        self._listings[listing_digest(tuple(examined))] = tuple(examined)
        fields: dict[str, Any] = {
            "patient": PATIENT,
            "as_of": self.as_of,
            "query": Query(resource_types=tuple(types), value_set=value_set),
            "examined": len(examined),
            "listing": listing_digest(tuple(examined)),
            "pages": (),
            "members": tuple(fact.id for fact in members),
            "uncovered": uncovered,
            "newest": max(times, key=lambda time: (time.latest, time.earliest), default=None),
            "complete": not because,
            "incomplete_because": because,
        }
        reading = Reading(id=reading_id(fields), **fields)
        self._items |= {reading.id: reading, **{fact.id: fact for fact in members}}
        return reading

    def age(self) -> Calculation:
        """Whole years at `as_of`."""
        birth = self.patient.element("birth_date")
        assert birth is not None
        low, high = age_at(parse(str(birth.value), ZONE), self.as_of, ZONE)
        return self._keep("age", "whole years", {"birth_date": self.patient.id}, (low, high), "a", None)

    def egfr(self, creatinine: Fact, result: int) -> Calculation:
        """CKD-EPI 2021 with a result that the test has from elsewhere."""
        inputs = {"creatinine": creatinine.id, "age": self.patient.id, "sex": self.patient.id}
        unit = "mL/min/{1.73_m2}"
        return self._keep("ckd-epi-2021", "2021", inputs, (result, result), unit, creatinine.time)

    def passage(self, text: str, start: int, end: int) -> Passage:
        """A stretch of a kept text of the test guideline."""
        digest = sha256_hex(text.encode())
        self._texts[digest] = text
        passage = Passage(
            id="passage-1",
            guideline="test",
            edition="2024",
            section="1",
            sha256=digest,
            start=start,
            end=end,
        )
        self._items[passage.id] = passage
        return passage

    def image(self, study: Json) -> ImageRef:
        """One frame of 512 by 512 pixels, the first image of a study that was given."""
        series = study["series"][0]
        image = ImageRef(
            id="image-1",
            source=_source(f"ImagingStudy/{study['id']}", sha256_hex(to_json(study))),
            study=study["identifier"][0]["value"].removeprefix("urn:oid:"),
            series=series["uid"],
            instance=series["instance"][0]["uid"],
            rows=512,
            columns=512,
        )
        self._items[image.id] = image
        return image

    def evidence(self, rule: Rule, gates: Mapping[str, Gate] | None = None) -> EvidenceSet:
        """Everything, for a run of one rule."""
        return EvidenceSet(
            patient=PATIENT,
            as_of=self.as_of,
            time_zone="UTC",
            past=False,
            items=dict(self._items),
            slices={digest: to_json(resource) for digest, resource in self._slices.items()},
            listings=dict(self._listings),
            rules={rule.id: rule},
            value_sets=self._value_sets,
            gates=dict(gates or {}),
            texts=dict(self._texts),
        )

    def _keep(
        self, formula: str, edition: str, inputs: dict[str, str], ends: tuple[int, int], unit: str, at: Interval | None
    ) -> Calculation:
        low, high = map(Decimal, ends)
        name = calculation_id(formula, edition, inputs, at, low, high)
        calculation = Calculation(
            id=name, formula=formula, edition=edition, inputs=inputs, at=at, result=low, result_high=high, unit=unit
        )
        self._items[calculation.id] = calculation
        return calculation


def _facts_of(resource: Json, digest: str) -> list[Fact]:
    kind = resource["resourceType"]
    if kind == "Patient":
        return [_patient(resource, digest)]
    if kind == "ImagingStudy":  # only its images are cited
        return []
    code = _CODE.get(kind, "code")
    parts = [(resource, "")]
    parts += [(part, f"/component/{index}") for index, part in enumerate(resource.get("component", []))]
    return [_fact(resource, part, statement, code, digest) for part, statement in parts]


def _patient(resource: Json, digest: str) -> Fact:
    roles = {"birthDate": "birth_date", "gender": "gender", "active": "active"}
    elements = [Element(role, f"/{name}", resource[name]) for name, role in roles.items() if name in resource]
    for index, extension in enumerate(resource.get("extension", [])):
        if extension["url"] == BIRTH_SEX:
            elements.append(Element("birth_sex", f"/extension/{index}/valueCode", extension["valueCode"]))
    return Fact(
        id=fact_id(digest, ""), source=_source(PATIENT, digest), resource_type="Patient", subject=PATIENT,
        status=Status.ACTIVE, elements=tuple(elements),
    )  # fmt: skip


def _fact(resource: Json, part: Json, statement: str, code: str, digest: str) -> Fact:
    concept = part.get(code, {})
    time_name = next((name for name in _TIMES if name in resource), None)
    time = None if time_name is None else parse(resource[time_name], ZONE)
    recorded = next((parse(resource[name], ZONE) for name in _RECORDED if name in resource), None)
    status, certain = _stated(resource)
    value, value_codings, elements = _value(part, statement)
    elements += [Element("code", f"{statement}/{code}/coding/{index}/code", coding["code"])
                 for index, coding in enumerate(concept.get("coding", []))]  # fmt: skip
    if "text" in concept:
        elements.append(Element("text", f"{statement}/{code}/text", concept["text"]))
    if time_name is not None:
        elements.append(Element("time", f"/{time_name}", resource[time_name]))
    if "status" in resource:
        elements.append(Element("status", "/status", resource["status"]))
    if "clinicalStatus" in resource:
        elements.append(Element("status", "/clinicalStatus/coding/0/code", status))
        elements.append(Element("verification", "/verificationStatus/coding/0/code", certain))
    meaning = _STATUSES[certain if certain in ("unconfirmed", "refuted", "entered-in-error") else status]
    if resource["resourceType"] == "MedicationRequest" and status == "completed":
        meaning = Status.INACTIVE
    if resource.get("intent") == "plan":
        meaning = Status.PLANNED
    end = resource.get("abatementDateTime")
    return Fact(
        id=fact_id(digest, statement),
        source=_source(f"{resource['resourceType']}/{resource['id']}", digest),
        resource_type=resource["resourceType"],
        statement=statement,
        subject=PATIENT,
        codings=_codings(concept),
        text=concept.get("text"),
        value=value,
        value_codings=value_codings,
        status=meaning,
        time=time,
        end=None if end is None else parse(end, ZONE),
        visible=recorded or time,
        elements=tuple(elements),
    )


def _stated(resource: Json) -> tuple[str, str]:
    if "clinicalStatus" not in resource:
        return resource["status"], "confirmed"
    clinical, verification = resource["clinicalStatus"], resource["verificationStatus"]
    return clinical["coding"][0]["code"], verification["coding"][0]["code"]


def _value(part: Json, statement: str) -> tuple[Any, tuple[Coding, ...], list[Element]]:
    if "valueQuantity" in part:
        said = part["valueQuantity"]
        quantity = Quantity(**{name: said.get(name) for name in ("value", "comparator", "unit", "system", "code")})
        names = [name for name in ("value", "unit", "comparator") if name in said]
        return quantity, (), [Element(name, f"{statement}/valueQuantity/{name}", said[name]) for name in names]
    if "valueCodeableConcept" in part:
        codings = _codings(part["valueCodeableConcept"])
        pointer = f"{statement}/valueCodeableConcept/coding/0/code"
        return None, codings, [Element("value", pointer, codings[0].code or "")]
    if "valueDateTime" in part:
        text = part["valueDateTime"]
        return parse(text, ZONE), (), [Element("value", f"{statement}/valueDateTime", text)]
    return None, (), []


def _codings(concept: Json) -> tuple[Coding, ...]:
    return tuple(Coding(one.get("system"), one.get("code"), one.get("display")) for one in concept.get("coding", []))


def _source(uri: str, digest: str) -> SourceRef:
    return SourceRef(uri=uri, sha256=digest, container_sha256=digest, pointer="", retrieved_at=AS_OF)


def _is_covered(digest: str, facts: Sequence[Fact], wanted: ValueSet) -> bool:
    return any(wanted.covers(fact.codings, fact.text) for fact in facts if fact.source.sha256 == digest)
