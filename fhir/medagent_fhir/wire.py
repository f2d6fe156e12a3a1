# SPDX-License-Identifier: Apache-2.0
"""FHIR R4 resources as they are decoded: only the elements that a fact is made of, with their JSON types.

These structs are the fast path (msgspec decodes JSON into them without a dictionary between). They check the types
of JSON and nothing else; what a text means (a date, a status) is judged where a fact is made of it. Names follow
https://hl7.org/fhir/R4/, in snake case; msgspec maps them to FHIR's camel case.
"""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, field


class Wire(Struct, rename="camel", kw_only=True, gc=False):
    """Base: unknown elements are passed over. `gc=False`: decoded JSON has no cycles to collect."""


class Repeated(Struct, rename="camel", kw_only=True, gc=False, frozen=True):
    """Base of what is hashable, so that equal ones are recognised: a chart repeats few concepts many times."""


class Code(Repeated, frozen=True):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Concept(Repeated, frozen=True):
    coding: tuple[Code, ...] = ()
    text: str | None = None


class Identifier(Wire):
    system: str | None = None
    value: str | None = None


class Reference(Wire):
    reference: str | None = None
    identifier: Identifier | None = None
    display: str | None = None


class Span(Wire):
    start: str | None = None
    end: str | None = None


class Amount(Wire):
    """Quantity. `value` is untyped on purpose: a typed Decimal would also take a text."""

    value: Any = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Range(Wire):
    low: Amount | None = None
    high: Amount | None = None


class Ratio(Wire):
    numerator: Amount | None = None
    denominator: Amount | None = None


class Samples(Wire):
    data: str | None = None


class Meta(Wire):
    version_id: str | None = None
    last_updated: str | None = None


class Head(Wire):
    """What the index needs of any resource."""

    resource_type: str
    id: str | None = None
    meta: Meta | None = None
    subject: Reference | UnsetType = UNSET
    patient: Reference | UnsetType = UNSET


class BareHead(Wire):
    """As much as can be said of a resource whose head is malformed."""

    resource_type: Any = None
    id: Any = None


class Request(Wire):
    method: str | None = None
    url: str | None = None


class Search(Wire):
    mode: str | None = None


class Entry(Wire):
    full_url: str | None = None
    resource: Raw = Raw()
    request: Request | None = None
    search: Search | None = None


class Link(Wire):
    relation: str | None = None
    url: str | None = None


class Bundle(Wire):
    type: str | None = None
    total: int | None = None
    link: tuple[Link, ...] = ()
    entry: tuple[Entry, ...] = ()


class Issue(Wire):
    severity: str | None = None


class Outcome(Wire):
    """An OperationOutcome among search results."""

    issue: tuple[Issue, ...] = ()


class LooseBundle(Wire):
    """A Bundle of which at least one entry is malformed: the others are read one by one."""

    type: str | None = None
    total: int | None = None
    link: tuple[Link, ...] = ()
    entry: tuple[Raw, ...] = ()


class Valued(Wire):
    """The choice of types under value[x], of an Observation and of its components."""

    code: Concept | None = None
    data_absent_reason: Concept | None = None
    value_quantity: Amount | None = None
    value_codeable_concept: Concept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None
    value_integer: int | None = None
    value_date_time: str | None = None
    value_period: Span | None = None
    value_range: Range | None = None
    value_ratio: Ratio | None = None
    value_time: str | None = None
    value_sampled_data: Samples | None = None


class Component(Valued):
    pass


class Observation(Valued):
    status: str | None = None
    category: tuple[Concept, ...] = ()
    effective_date_time: str | None = None
    effective_period: Span | None = None
    effective_instant: str | None = None
    issued: str | None = None
    component: tuple[Component, ...] = ()


class Condition(Wire):
    clinical_status: Concept | None = None
    verification_status: Concept | None = None
    category: tuple[Concept, ...] = ()
    code: Concept | None = None
    onset_date_time: str | None = None
    onset_period: Span | None = None
    abatement_date_time: str | None = None
    abatement_period: Span | None = None
    recorded_date: str | None = None


class AllergyIntolerance(Wire):
    clinical_status: Concept | None = None
    verification_status: Concept | None = None
    category: tuple[str, ...] = ()
    code: Concept | None = None
    reaction: tuple["Reaction", ...] = ()
    onset_date_time: str | None = None
    onset_period: Span | None = None
    recorded_date: str | None = None


class Reaction(Wire):
    substance: Concept | None = None


class Drug(Wire):
    """The medication[x] of the four medication resources."""

    medication_codeable_concept: Concept | None = None
    medication_reference: Reference | None = None
    status: str | None = None
    contained: tuple[Raw, ...] = ()


class MedicationRequest(Drug):
    intent: str | None = None
    do_not_perform: bool | None = None
    category: tuple[Concept, ...] = ()
    authored_on: str | None = None


class MedicationStatement(Drug):
    category: Concept | None = None
    effective_date_time: str | None = None
    effective_period: Span | None = None
    date_asserted: str | None = None


class MedicationAdministration(Drug):
    category: Concept | None = None
    effective_date_time: str | None = None
    effective_period: Span | None = None


class MedicationDispense(Drug):
    category: Concept | None = None
    when_prepared: str | None = None
    when_handed_over: str | None = None


class Ingredient(Wire):
    item_codeable_concept: Concept | None = None
    item_reference: Reference | None = None


class Medication(Wire):
    code: Concept | None = None
    ingredient: tuple[Ingredient, ...] = ()
    contained: tuple[Raw, ...] = ()


class Procedure(Wire):
    status: str | None = None
    category: Concept | None = None
    code: Concept | None = None
    performed_date_time: str | None = None
    performed_period: Span | None = None


class Immunization(Wire):
    status: str | None = None
    vaccine_code: Concept | None = None
    occurrence_date_time: str | None = None
    recorded: str | None = None


class Encounter(Wire):
    status: str | None = None
    class_: Code | None = field(default=None, name="class")
    type: tuple[Concept, ...] = ()
    period: Span | None = None


class Attachment(Wire):
    content_type: str | None = None
    data: str | None = None
    url: str | None = None
    title: str | None = None


class DiagnosticReport(Wire):
    status: str | None = None
    category: tuple[Concept, ...] = ()
    code: Concept | None = None
    effective_date_time: str | None = None
    effective_period: Span | None = None
    issued: str | None = None
    conclusion: str | None = None
    conclusion_code: tuple[Concept, ...] = ()
    presented_form: tuple[Attachment, ...] = ()


class DocumentContext(Wire):
    period: Span | None = None


class DocumentContent(Wire):
    attachment: Attachment | None = None


class DocumentReference(Wire):
    status: str | None = None
    doc_status: str | None = None
    type: Concept | None = None
    category: tuple[Concept, ...] = ()
    date: str | None = None
    content: tuple[DocumentContent, ...] = ()
    context: DocumentContext | None = None


class Series(Wire):
    modality: Code | None = None


class ImagingStudy(Wire):
    status: str | None = None
    modality: tuple[Code, ...] = ()
    procedure_code: tuple[Concept, ...] = ()
    started: str | None = None
    series: tuple[Series, ...] = ()
    description: str | None = None


class FamilyCondition(Wire):
    code: Concept | None = None


class FamilyMemberHistory(Wire):
    status: str | None = None
    date: str | None = None
    relationship: Concept | None = None
    condition: tuple[FamilyCondition, ...] = ()


class CarePlan(Wire):
    status: str | None = None
    intent: str | None = None
    category: tuple[Concept, ...] = ()
    title: str | None = None
    period: Span | None = None
    created: str | None = None


class ServiceRequest(Wire):
    status: str | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    category: tuple[Concept, ...] = ()
    code: Concept | None = None
    occurrence_date_time: str | None = None
    occurrence_period: Span | None = None
    authored_on: str | None = None


class Extension(Wire):
    url: str | None = None
    value_code: str | None = None


class Patient(Wire):
    active: bool | None = None
    gender: str | None = None
    birth_date: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    extension: tuple[Extension, ...] = ()
    link: tuple["PatientLink", ...] = ()


class PatientLink(Wire):
    type: str | None = None
    other: Reference | None = None


class Medicated(Wire):
    """A medication resource, as far as it points to its drug."""

    medication_reference: Reference | None = None


class Identified(Wire):
    """A resource that others may refer to by a business identifier."""

    identifier: tuple[Identifier, ...] = ()


class Binary(Wire):
    content_type: str | None = None
    data: str | None = None
    security_context: Reference | None = None
