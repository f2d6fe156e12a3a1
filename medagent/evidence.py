# SPDX-License-Identifier: Apache-2.0
"""Evidence: everything that a proposition may rest on, each piece tied to the bytes that it came from.

Hashes are of what was received, never of a re-serialisation. A `Fact` is one clinical statement of one resource;
a `Reading` is one query and what it examined, which is what absence and "the latest" rest on.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from medagent.canonical import content_id
from medagent.intervals import Interval
from medagent.units import Quantity


class Record(BaseModel):
    """Base of the frozen types. Inputs of ours forbid unknown fields, and an error never quotes them: they may be
    a patient's."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)


class Coding(NamedTuple):
    """One code of a CodeableConcept, as it stands in the resource."""

    system: str | None
    code: str | None
    display: str | None = None


class Element(NamedTuple):
    """One JSON scalar of a resource that a claim may cite."""

    role: str
    """What it says of the fact: one of `Role`."""
    pointer: str
    """JSON Pointer (RFC 6901) in the resource."""
    value: str | bool | Decimal | int
    """What stands there, decimals exact."""


class Role(StrEnum):
    """The parts of a statement. A fact has at most one element per role, but any number of codes."""

    CODE = "code"
    TEXT = "text"
    VALUE = "value"
    UNIT = "unit"
    COMPARATOR = "comparator"
    TIME = "time"
    END = "end"
    RECORDED = "recorded"
    STATUS = "status"
    VERIFICATION = "verification"
    BIRTH_DATE = "birth_date"
    GENDER = "gender"
    BIRTH_SEX = "birth_sex"
    DECEASED = "deceased"
    ACTIVE = "active"


class Status(StrEnum):
    """The status of a statement as it was exported, over all resource types."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DONE = "done"
    PRELIMINARY = "preliminary"
    PLANNED = "planned"
    NOT_DONE = "not_done"
    CANCELLED = "cancelled"
    REFUTED = "refuted"
    UNCONFIRMED = "unconfirmed"
    ENTERED_IN_ERROR = "entered_in_error"
    UNKNOWN = "unknown"


VOID = frozenset({Status.ENTERED_IN_ERROR, Status.CANCELLED})
"""Statements that say nothing about the patient. They are kept and counted, never used."""


class SourceRef(Record):
    """Where a piece of evidence stands, exactly."""

    uri: str
    """`Type/id`, or the fullUrl where the resource has no id."""
    version: str | None = None
    """meta.versionId, where the source gives one."""
    sha256: str
    """Of the resource's exact bytes."""
    container_sha256: str
    """Of what the resource came in: the file, the HTTP body after content decoding, or the NDJSON line."""
    pointer: str
    """JSON Pointer of the resource in its container; empty where the container is the resource."""
    retrieved_at: datetime
    """When we read it, by our clock, UTC."""


class Fact(Record):
    """One clinical statement of one resource."""

    kind: Literal["fact"] = "fact"
    id: str
    source: SourceRef
    resource_type: str
    statement: str = ""
    """JSON Pointer of the statement in the resource: empty, or `/component/0`."""
    subject: str | None
    """`Patient/id` as resolved. None: the resource names no patient."""
    codings: tuple[Coding, ...] = ()
    text: str | None = None
    categories: tuple[Coding, ...] = ()
    value: Quantity | Interval | bool | str | None = None
    """A quantity, a date, a truth, a text; a coded value stands in `value_codings`."""
    value_codings: tuple[Coding, ...] = ()
    absent_reason: str | None = None
    """dataAbsentReason: the value is missing and the source says why."""
    status: Status = Status.UNKNOWN
    time: Interval | None = None
    """Clinical time: effective, onset, performed, occurrence, authored. None: undated."""
    end: Interval | None = None
    """Abatement or end of period. None: none stated."""
    visible: Interval | None = None
    """When the source first knew it: the first of recorded, issued, authored, clinical time, lastUpdated.
    None: undated; such a fact is used and marked."""
    elements: tuple[Element, ...] = ()

    @property
    def sort_name(self) -> str:
        """Puts facts of equal time in order: by name before bytes, since a server keeps the one and rewrites the other,
        and never by the place in a file."""
        return f"{self.source.uri} {self.statement} {self.id}"

    def element(self, role: str) -> Element | None:
        """The first element with this role."""
        return next((element for element in self.elements if element.role == role), None)


def fact_id(resource_sha256: str, statement: str) -> str:
    """The id of a fact: derived from the resource's bytes and the statement's place in them."""
    return f"fact-{resource_sha256[:26]}{statement.replace('/', '.')}"


class Query(Record):
    """What was looked for. All resources of these types, narrowed to a value set where one is named."""

    resource_types: tuple[str, ...]
    value_set: str | None = None


class Reading(Record):
    """One query, answered: what absence, "the latest" and a trend rest on."""

    kind: Literal["reading"] = "reading"
    id: str
    patient: str
    as_of: datetime
    query: Query
    examined: int
    """How many resources of these types were visible at `as_of` and looked at."""
    listing: str
    """SHA-256 over their hashes, sorted, one per line: key of `EvidenceSet.listings`."""
    pages: tuple[str, ...]
    """SHA-256 of every file, page or line they came in; at most a handful, the rest is under `listing`."""
    members: tuple[str, ...]
    """Ids of the facts that match, oldest first, undated last."""
    uncovered: int = 0
    """Resources that carry no code of a system that the value set speaks, so that they could be a match."""
    newest: Interval | None = None
    """The newest clinical time among all that was examined."""
    complete: bool
    incomplete_because: tuple[str, ...] = ()
    """Why absence cannot be concluded: partial source, skipped resources, uncovered codes, no access."""


def reading_id(reading: Mapping[str, Any] | Reading) -> str:
    """The id of a reading, or of one with these fields: derived from all that it says, its members by their hash."""
    said = {name: getattr(reading, name) for name in _SAID} if isinstance(reading, Reading) else dict(reading)
    return content_id("reading", said | {"members": sha256("\n".join(said["members"]).encode()).hexdigest()})


_SAID = tuple(name for name in Reading.model_fields if name not in ("kind", "id"))


def listing_digest(hashes: tuple[str, ...]) -> str:
    """The key under which the hashes of examined resources are kept; sorted, so that file order never counts."""
    return sha256("\n".join(sorted(hashes)).encode()).hexdigest()


class Region(Record):
    """A rectangle in pixels of one frame."""

    left: int
    top: int
    width: int
    height: int


class ImageRef(Record):
    """One frame of one image, or a region of it."""

    kind: Literal["image"] = "image"
    id: str
    source: SourceRef
    study: str
    series: str
    instance: str
    frame: int = 1
    rows: int
    columns: int
    region: Region | None = None


class Passage(Record):
    """A stretch of a guideline's kept text."""

    kind: Literal["passage"] = "passage"
    id: str
    guideline: str
    edition: str
    section: str
    sha256: str
    """Of the kept UTF-8 text."""
    start: int
    end: int
    """Offsets in characters of the kept text."""


class Calculation(Record):
    """A formula applied to evidence."""

    kind: Literal["calculation"] = "calculation"
    id: str
    formula: str
    """Id in `medagent.formulas.FORMULAS`, or `age` (whole years at `as_of` or at the specimen)."""
    edition: str
    inputs: Mapping[str, str]
    """Evidence id by the formula's input name."""
    at: Interval | None = None
    """The clinical time of the result: that of the specimen."""
    result: Decimal
    """The least value, where the inputs are intervals."""
    result_high: Decimal
    """The greatest; equal to `result` where the inputs are exact."""
    unit: str


def calculation_id(
    formula: str, edition: str, inputs: Mapping[str, str], at: Interval | None, low: Decimal, high: Decimal
) -> str:
    """The id of a calculation: derived from all that it says."""
    content = {"formula": formula, "edition": edition, "inputs": inputs, "at": at, "low": low, "high": high}
    return content_id("calculation", content)


Evidence = Annotated[Fact | Reading | ImageRef | Passage | Calculation, Field(discriminator="kind")]
