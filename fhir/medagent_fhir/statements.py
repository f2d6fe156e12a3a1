# SPDX-License-Identifier: Apache-2.0
"""How a fact is made of decoded elements: the tools that the readers of all resource types share.

`Source` knows one resource (its bytes' hash, its place, the site's zone); `Parts` collects what one statement
says together with the JSON Pointers under which it says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec

from medagent.errors import ChartError, TimeError
from medagent.evidence import Coding, Element, Fact, Role, SourceRef, Status, fact_id
from medagent.intervals import Interval, parse
from medagent.units import Quantity
from medagent_fhir.complaints import complaint, malformed
from medagent_fhir.containers import Resource, Slice, Unread
from medagent_fhir.references import References
from medagent_fhir.wire import Amount, Code, Concept, Span

Wired = TypeVar("Wired", bound=msgspec.Struct)

_LARGEST_EXPONENT = 308  # of a double: what lies beyond is read as infinite by most JSON readers


class ElementError(ChartError):
    """An element does not say what FHIR lets it say, so its resource is not used."""

    def __init__(self, element: str, reason: str) -> None:
        super().__init__(f"{element}: {reason}")


class Withheld(ElementError):
    """A resource says what another says that is not shown here by the site's policy."""


_Told = tuple[tuple[Coding, ...], tuple[Element, ...]]


_Key = TypeVar("_Key")
_Made = TypeVar("_Made")
_REMEMBERED = 4096


class _Recent(dict[_Key, _Made]):
    """What was made lately. What repeats in a chart repeats within its neighbourhood (the times of one visit) or
    everywhere (its concepts); remembering all of it would take as much memory as the chart."""

    def __setitem__(self, key: _Key, made: _Made) -> None:
        if len(self) >= _REMEMBERED:
            self.clear()
        super().__setitem__(key, made)


@dataclass(slots=True)
class Shared:
    """What the resources of one chart have in common. Times, concepts and statuses repeat: each is made once."""

    zone: ZoneInfo
    references: References
    unread: list[Unread]
    times: dict[str, Interval] = field(default_factory=_Recent)
    moments: dict[tuple[str, str, str], tuple[Interval, Element]] = field(default_factory=_Recent)
    """Times with the elements that state them, by role, element and text."""
    concepts: dict[tuple[str, Concept], _Told] = field(default_factory=_Recent)
    elements: dict[tuple[str, str, str], Element] = field(default_factory=_Recent)
    codings: dict[tuple[Concept, ...], tuple[Coding, ...]] = field(default_factory=_Recent)
    consulted: dict[str, dict[str, Slice]] = field(default_factory=dict)
    """Other resources that the codes of a resource stand in, by its hash and theirs."""

    def told(self, concept: Concept, pointer: str) -> _Told:
        """The codes of a concept, and its codes and text as elements."""
        key = (pointer, concept)
        known = self.concepts.get(key)
        if known is None:
            elements = [
                Element(Role.CODE, f"{pointer}/coding/{place}/code", code.code)
                for place, code in enumerate(concept.coding)
                if code.code
            ]
            if concept.text:
                elements.append(Element(Role.TEXT, f"{pointer}/text", concept.text))
            codings = tuple(Coding(code.system, code.code, code.display) for code in concept.coding)
            known = self.concepts[key] = codings, tuple(elements)
        return known

    def element(self, role: str, pointer: str, value: str) -> Element:
        """An element that many resources have."""
        key = (role, pointer, value)
        known = self.elements.get(key)
        if known is None:
            known = self.elements[key] = Element(role, pointer, value)
        return known


class Source(msgspec.Struct, gc=False):
    """One resource on its way to facts."""

    resource: Resource
    subject: str | None
    shared: "Shared"
    _ref: SourceRef | None = None

    def ref(self) -> SourceRef:
        """Where it stands; one object for all of its facts."""
        if self._ref is None:
            self._ref = source_ref(self.resource)
        return self._ref

    @property
    def references(self) -> References:
        """What references of this source mean."""
        return self.shared.references

    def remark(self, reason: str) -> None:
        """Notes what cannot be told of this resource, so that readings over its type are incomplete."""
        self.shared.unread.append(Unread(self.resource.where, reason, self.resource.type))

    def codings(self, concepts: tuple[Concept, ...] | Concept | None) -> tuple[Coding, ...]:
        """The codes of one or more concepts, without pointers."""
        if not concepts:
            return ()
        if isinstance(concepts, Concept):
            concepts = (concepts,)
        known = self.shared.codings.get(concepts)
        if known is None:
            known = self.shared.codings[concepts] = tuple(
                Coding(code.system, code.code, code.display) for concept in concepts for code in concept.coding
            )
        return known

    def decode(self, decoder: "msgspec.json.Decoder[Wired]") -> Wired:
        """The resource's elements. Raises ElementError where one is of the wrong JSON type."""
        return decode(decoder, self.resource.raw)

    def time(self, text: str | None, element: str) -> Interval | None:
        """A FHIR date, dateTime or instant. Raises ElementError for anything else."""
        return None if text is None else self._read_time(text, element)

    def moment(self, text: str, element: str, role: Role) -> tuple[Interval, Element]:
        """A time, and the element of the resource that states it."""
        key = (role, element, text)
        known = self.shared.moments.get(key)
        if known is None:
            time = self._read_time(text, element)
            known = self.shared.moments[key] = time, Element(role, f"/{element}", text)
        return known

    def _read_time(self, text: str, element: str) -> Interval:
        known = self.shared.times.get(text)
        if known is None:
            try:
                known = self.shared.times[text] = parse(text, self.shared.zone)
            except TimeError as error:
                raise ElementError(element.replace("/", "."), "not a FHIR date, dateTime or instant") from error
        return known


def decode(decoder: "msgspec.json.Decoder[Wired]", data: Slice) -> Wired:
    """Decodes, and says which element is at fault where that fails."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        element, _, reason = complaint(error).rpartition(": ")
        raise ElementError(element or "resource", reason) from error
    except ArithmeticError as error:
        raise ElementError("resource", "holds a number beyond any range") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ElementError("resource", malformed(error)) from error


class Parts(msgspec.Struct, gc=False):
    """What one statement says, and where."""

    source: Source
    codings: tuple[Coding, ...] = ()
    elements: list[Element] = msgspec.field(default_factory=list)
    categories: tuple[Coding, ...] = ()
    text: str | None = None
    value: Quantity | Interval | bool | str | None = None
    value_codings: tuple[Coding, ...] = ()
    absent_reason: str | None = None
    status: Status = Status.UNKNOWN
    time: Interval | None = None
    end: Interval | None = None
    recorded: Interval | None = None
    visible: Interval | None = None
    statement: str = ""

    def concept(self, concept: Concept | None, pointer: str) -> None:
        """Adds the codes and the text of what the statement is about."""
        if concept is None:
            return
        codings, elements = self.source.shared.told(concept, pointer)
        self.codings = self.codings + codings if self.codings else codings
        if concept.text and self.text is not None:
            elements = tuple(element for element in elements if element.role is not Role.TEXT)
        self.text = self.text or concept.text
        self.elements += elements

    def code(self, code: Code, pointer: str) -> None:
        """Adds one code."""
        self.codings += (Coding(code.system, code.code, code.display),)
        if code.code:
            self.elements.append(self.source.shared.element(Role.CODE, f"{pointer}/code", code.code))

    def label(self, text: str | None, pointer: str) -> None:
        """Adds a text, where there is none yet."""
        if text and self.text is None:
            self.text = text
            self.elements.append(Element(Role.TEXT, pointer, text))

    def cite(self, role: Role, pointer: str, value: str | bool | Decimal | None) -> None:
        """Adds an element, where it has a value."""
        if value is not None and value != "":
            self.elements.append(Element(role, pointer, value))

    def coded(self, concept: Concept | None, pointer: str, role: Role) -> str | None:
        """A status that is a CodeableConcept: its first code."""
        if concept is None:
            return None
        for number, code in enumerate(concept.coding):
            if code.code:
                place = f"{pointer}/coding/{number}/code"
                self.elements.append(self.source.shared.element(role, place, code.code))
                return code.code
        return None

    def take_status(self, code: str | None, meanings: Mapping[str, Status], element: str = "status") -> None:
        """Normalises a status code; one that its type does not have is unknown, and said to be."""
        if code is None:
            self.source.remark(f"{element}: missing; read as unknown")
            return
        self.elements.append(self.source.shared.element(Role.STATUS, f"/{element}", code))
        status = meanings.get(code)
        if status is None:
            self.source.remark(f"{element}: not a code of this resource type; read as unknown")
            return
        self.status = status

    def at(self, text: str | None, element: str) -> None:
        """Takes the clinical time, unless one is known already."""
        if text is None or self.time is not None:
            return
        self.time, cited = self.source.moment(text, element, Role.TIME)
        self.elements.append(cited)

    def during(self, period: Span | None, element: str) -> None:
        """Takes clinical time and end from a period."""
        if period is None:
            return
        self.at(period.start, f"{element}/start")
        self.until(period.end, f"{element}/end")

    def until(self, text: str | None, element: str) -> None:
        """Takes the end."""
        if text is None or self.end is not None:
            return
        self.end, cited = self.source.moment(text, element, Role.END)
        self.elements.append(cited)

    def known_since(self, text: str | None, element: str) -> None:
        """Takes the time at which the source recorded it."""
        if text is None or self.recorded is not None:
            return
        self.recorded, cited = self.source.moment(text, element, Role.RECORDED)
        self.elements.append(cited)

    def stated(self, statement: str = "") -> "Parts":
        """All is said. Visible is the first of: recorded, clinical time, lastUpdated."""
        self.statement = statement
        self.visible = self.recorded or self.time
        updated = self.source.resource.last_updated
        if self.visible is None and updated:
            self.visible = self.source.time(updated, "meta.lastUpdated")
        return self

    def fact(self) -> Fact:
        """The fact of what was stated."""
        source = self.source
        made = _bare(Fact, _FACT_FIELDS)
        said = made.__dict__
        said["kind"] = "fact"
        said["id"] = fact_id(source.resource.sha256, self.statement)
        said["source"] = source.ref()
        said["resource_type"] = source.resource.type
        said["statement"] = self.statement
        said["subject"] = source.subject
        said["codings"] = self.codings
        said["text"] = self.text
        said["categories"] = self.categories
        said["value"] = self.value
        said["value_codings"] = self.value_codings
        said["absent_reason"] = self.absent_reason
        said["status"] = self.status
        said["time"] = self.time
        said["end"] = self.end
        said["visible"] = self.visible
        said["elements"] = tuple(self.elements)
        return made


_FACT_FIELDS = set(Fact.model_fields)
_REF_FIELDS = set(SourceRef.model_fields)


_set = object.__setattr__
_Model = TypeVar("_Model", Fact, SourceRef)


def _bare(model: type[_Model], names: set[str]) -> _Model:
    """A frozen model without its fields and without validation: what fills it was type-checked when it was decoded.

    The caller MUST set every field in its `__dict__`, one by one and always in the same order: then all instances
    share one table of names. Readings name tens of thousands of facts; this takes a quarter of the time of validation,
    and half the memory that a dictionary of its own would take.
    """
    made = model.__new__(model)
    _set(made, "__pydantic_fields_set__", names)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


def source_ref(resource: Resource) -> SourceRef:
    """Where a resource stands."""
    made = _bare(SourceRef, _REF_FIELDS)
    said = made.__dict__
    said["uri"] = resource.uri
    said["version"] = resource.version
    said["sha256"] = resource.sha256
    said["container_sha256"] = resource.container.sha256
    said["pointer"] = resource.pointer
    said["retrieved_at"] = resource.container.retrieved_at
    return made


def number(value: object, element: str) -> Decimal | None:
    """A JSON number as an exact decimal. Raises ElementError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ElementError(element, "not a JSON number")
    exact = Decimal(value)
    if abs(exact.adjusted()) > _LARGEST_EXPONENT:
        raise ElementError(element, "a number beyond the range of a measurement")
    return exact


def quantity(amount: Amount, element: str) -> Quantity:
    """A quantity as it stands in the source."""
    return Quantity(
        number(amount.value, f"{element}.value"), amount.comparator, amount.unit, amount.system, amount.code
    )
