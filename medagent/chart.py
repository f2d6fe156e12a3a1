# SPDX-License-Identifier: Apache-2.0
"""The chart seam: one patient's record at one instant, searched like a server.

A `ChartSource` does the I/O (asynchronously) and hands out a `Chart`: a snapshot that answers synchronously, so
that screening and verification are pure functions of what was read.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from medagent.evidence import Fact, Query, Reading, SourceRef
from medagent.intervals import Interval
from medagent.records import Skipped
from medagent.value_sets import ValueSet

AsOf = datetime | Literal["latest"]


class AttachedText(Protocol):
    """A text that a document or report carries, and where its base64 stands."""

    @property
    def source(self) -> SourceRef:
        """The resource that holds it: the document itself, or a Binary."""
        ...

    @property
    def pointer(self) -> str:
        """JSON Pointer of the base64 in that resource."""
        ...

    @property
    def text(self) -> str:
        """The text, decoded."""
        ...


class Chart(Protocol):
    """A snapshot of one patient's record, holding only what was visible at `as_of`."""

    @property
    def patient(self) -> str:
        """`Patient/id`."""
        ...

    @property
    def patient_names(self) -> tuple[str, ...]:
        """Absolute names (fullUrl) under which the source presents this Patient, sorted. References by an absolute URL
        or a `urn:` MUST be resolved through them, since an id alone may be another server's."""
        ...

    @property
    def as_of(self) -> datetime:
        """The instant (UTC) whose knowledge it holds."""
        ...

    @property
    def past(self) -> bool:
        """Whether the source holds entries later than `as_of`, which stay hidden."""
        ...

    @property
    def newest(self) -> Interval | None:
        """The newest clinical time among the visible entries; None: no dated entry."""
        ...

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What of the source could not be used, and why. Resource types and ids, no contents."""
        ...

    def patient_fact(self) -> Fact:
        """The Patient resource. MUST carry elements birth_date, gender, birth_sex, deceased, active where present."""
        ...

    async def provide(self, resource_types: Collection[str]) -> None:
        """Reads what of these types the source has not given yet. MUST leave the readings that were given as they were,
        and MUST read no type again; a type that could not be read makes its readings incomplete. Raises no error but
        AuditError. Of files everything is there already."""
        ...

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        """Answer a query. MUST examine every visible resource of the types, of this patient only; MUST list as members
        the facts that match (all of them, void ones too), oldest first; MUST say when it is not complete: a partial
        source, skipped resources of these types, entries that the value set cannot tell (`ValueSet.covers`), a type
        that the source was not asked for (`provide`) or that was not granted.
        The same query MUST give the same reading."""
        ...

    def fact(self, evidence_id: str) -> Fact:
        """A fact of this chart by id. Raises ChartError for an id it never gave out."""
        ...

    def texts(self, evidence_id: str) -> Sequence[AttachedText]:
        """The texts that a DocumentReference or DiagnosticReport carries; empty where it carries none that can be read.
        `slice_of` MUST give the bytes that hold them, too."""
        ...

    def slice_of(self, sha256: str) -> bytes:
        """The exact bytes of a resource that a reading or fact of this chart names."""
        ...

    def consulted(self, sha256: str) -> tuple[str, ...]:
        """Hashes of the resources that the codes of this one stand in (a Medication behind its reference), sorted.
        `slice_of` MUST give their bytes, too."""
        ...

    def listing(self, digest: str) -> tuple[str, ...]:
        """The sorted hashes behind `Reading.listing`."""
        ...


class ChartSource(Protocol):
    """Where charts come from."""

    async def chart(self, patient: str | None, as_of: AsOf) -> Chart:
        """Read one patient's chart. `patient` None: the only patient of the source. MUST raise ChartError, before
        anything is recorded, where the patient is absent or ambiguous, or the chart lies wholly after `as_of`."""
        ...
