# SPDX-License-Identifier: Apache-2.0
"""Charts from a FHIR R4 server: the Patient, then the types of a plan side by side, then what is asked for on demand.

Facts, snapshots and readings are those of charts from files; what differs is where the bytes come from and what is
known to be missing.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from medagent.chart import AsOf
from medagent.clock import Clock
from medagent.errors import ChartError
from medagent.evidence import Fact, Query
from medagent.records import Skipped
from medagent_fhir.chart import Completeness, SnapshotChart, skips
from medagent_fhir.client import FhirClient
from medagent_fhir.clinical import READERS
from medagent_fhir.containers import Slice
from medagent_fhir.documents import Attachments
from medagent_fhir.retrieval import Fetched, Retrieval
from medagent_fhir.searches import Budget
from medagent_fhir.sensitivity import Sensitivity, withheld
from medagent_fhir.snapshots import (
    Record,
    Snapshot,
    after,
    check_dated,
    collector_paused,
    latest,
    patient_of,
    without_later_end,
)

PAGE = 200  # entries: some 300 KB, a few milliseconds of the event loop
ATTACHED_BYTES = 20_000_000  # as much as one search of a chart's notes reads
SECONDS = 120.0  # of what is read on demand at a time: somebody waits for the run meanwhile
_WITH_TEXTS = ("DocumentReference", "DiagnosticReport")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class ServerChartSource:
    """Charts out of one server."""

    def __init__(
        self,
        client: FhirClient,
        *,
        zone: ZoneInfo,
        clock: Clock,
        plan: Collection[str],
        sensitivity: Sensitivity,
        bytes_max: int,
        attached_max: int = ATTACHED_BYTES,
        count: int = PAGE,
        seconds: float = SECONDS,
    ) -> None:
        """`client`: open, and of one run: it is bound to the first patient whose chart is asked for. `plan`: the types
        that are read before a chart is handed out. `bytes_max`: of all bodies of a chart together.
        `attached_max`: bytes of its attachments. `count`: entries per page that are wished for. `seconds`: of what a
        chart reads on demand at a time."""
        self._client = client
        self._zone = zone
        self._clock = clock
        self._plan = tuple(name for name in dict.fromkeys(plan) if name in READERS)
        self._sensitivity = sensitivity
        self._bytes_max = bytes_max
        self._attached_max = attached_max
        self._count = count
        self._seconds = seconds

    async def chart(self, patient: str | None, as_of: AsOf) -> "ServerChart":
        """Reads one patient's chart. None: the patient of the launch. `latest`: the newest entry of the types of the
        plan.

        Steps: (1) which patient; (2) the Patient and the plan; (3) the instant; (4) what was known then.
        """
        if isinstance(as_of, datetime) and as_of.tzinfo is None:
            raise ChartError("as_of: names no instant; give it with an offset")
        # (1)
        id = self._chosen(patient)
        self._client.bound_to(f"Patient/{id}")
        # (2)
        retrieval = Retrieval(
            self._client,
            id,
            sensitivity=self._sensitivity,
            budget=Budget(self._bytes_max),
            attached_max=self._attached_max,
            count=self._count,
        )
        person = await retrieval.read_patient()
        fact, data = patient_of(
            [person], zone=self._zone, references=retrieval.references, sensitivity=self._sensitivity
        )
        records = _Records(retrieval, self._zone, self._sensitivity, self._seconds)
        taken = await records.fetched(self._plan)
        # (3)
        newest = (fact.end, *(one.record.newest() for one in taken.values()))
        instant = latest(newest, self._clock.now()) if as_of == "latest" else as_of.astimezone(UTC)
        # (4)
        snapshots = await asyncio.to_thread(_snapshots_of, taken.values(), instant)
        check_dated("FHIR server", snapshots)
        past = after(fact.end, instant) or any(one.past for one in snapshots)
        return ServerChart(without_later_end(fact, instant), data, instant, taken, snapshots, past, records)

    def _chosen(self, patient: str | None) -> str:
        if patient is None:
            if self._client.patient is None:
                raise ChartError("FHIR server: holds many patients; choose one with --patient")
            patient = self._client.patient
        name = patient.split("/_history/", 1)[0].removeprefix(f"{self._client.base}/")
        id = name.removeprefix("urn:uuid:").removeprefix("Patient/")
        if not _ID.fullmatch(id):
            raise ChartError("FHIR server: --patient names no patient of it; give the id of a Patient")
        return id


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is known of one type."""

    record: Record
    fetched: Fetched

    def reasons(self, name: str) -> tuple[str, ...]:
        """Why absence cannot be concluded for it."""
        unread = (*self.fetched.unread, *self.record.unread)
        count = sum(one.type is not None for one in unread)
        hidden = sum(self.record.withheld.values())
        return (
            *self.fetched.reasons,
            *((f"{name}: {count} skipped or not fully read",) if count else ()),
            *((f"{name}: {withheld(hidden)}",) if hidden else ()),
        )


@dataclass(frozen=True, slots=True)
class _Records:
    """Fetches types and decodes them."""

    retrieval: Retrieval
    zone: ZoneInfo
    sensitivity: Sensitivity
    seconds: float
    """Of what is read on demand at a time."""

    async def fetched(self, types: Sequence[str]) -> dict[str, _Taken]:
        """By type."""
        return await asyncio.to_thread(self._decoded, await self.retrieval.types(types))

    def _decoded(self, fetched: Mapping[str, Fetched]) -> dict[str, _Taken]:
        references = self.retrieval.references
        with collector_paused():
            return {
                name: _Taken(
                    Record.of(
                        self.retrieval.key,
                        one.resources,
                        zone=self.zone,
                        references=references,
                        sensitivity=self.sensitivity,
                    ),
                    one,
                )
                for name, one in fetched.items()
            }


def _snapshots_of(taken: Iterable[_Taken], as_of: datetime) -> list[Snapshot]:
    """What of each type was known at an instant."""
    with collector_paused():
        return [one.record.at(as_of) for one in taken]


class ServerChart(SnapshotChart):
    """A snapshot that grows by whole types: a type that it has never changes. `newest` and `past` are of the plan."""

    def __init__(
        self,
        patient_fact: Fact,
        patient_data: Slice,
        as_of: datetime,
        taken: Mapping[str, _Taken],
        snapshots: Collection[Snapshot],
        past: bool,
        records: _Records,
    ) -> None:
        """`snapshots`: of what was taken."""
        self._records = records
        self._retrieval = records.retrieval
        self._providing = asyncio.Lock()
        self._wants_attachments = False
        self._reasons: dict[str, tuple[str, ...]] = {name: (f"{name}: was not asked for",) for name in READERS}
        self._known: set[str] = set()
        super().__init__(
            patient_fact,
            patient_data,
            as_of,
            snapshots,
            self._completeness_with(taken),
            self._skipped_of(taken),
            past,
            self._retrieval.references.names_of(self._retrieval.patient),
            Attachments(self._retrieval.references, patient_fact.source.uri),
        )

    async def provide(self, resource_types: Collection[str]) -> None:
        """Asks the server for what of these types was not read yet. `Binary`: the texts behind the documents that were
        read, newest first; from then on also behind those that are read later."""
        async with self._providing:
            with FhirClient.within(self._records.seconds):
                await self._provide(resource_types)

    async def _provide(self, resource_types: Collection[str]) -> None:
        missing = [name for name in READERS if name in resource_types and name not in self._known]
        if missing:
            taken = await self._records.fetched(missing)
            snapshots = await asyncio.to_thread(_snapshots_of, taken.values(), self.as_of)
            self._grow(missing, snapshots, self._completeness_with(taken), self._skipped_of(taken))
        self._wants_attachments = self._wants_attachments or "Binary" in resource_types
        if self._wants_attachments:
            await self._retrieval.attachments(self._documents())
            self._grow((), (), self._completeness, self._skipped_of({}))

    def _documents(self) -> Iterator[tuple[str, str, bytes]]:
        """What may carry attachments, the newest first and the undated last."""
        members = self.read(Query(resource_types=_WITH_TEXTS), {}).members
        facts = [self.fact(member) for member in members]
        dated = [fact for fact in facts if fact.time is not None]
        for fact in (*reversed(dated), *(fact for fact in facts if fact.time is None)):
            yield fact.source.uri, fact.resource_type, self.slice_of(fact.source.sha256)

    def _completeness_with(self, taken: Mapping[str, _Taken]) -> Completeness:
        self._known |= taken.keys()
        self._reasons |= {name: one.reasons(name) for name, one in taken.items()}
        return Completeness(by_type=dict(self._reasons))

    def _skipped_of(self, taken: Mapping[str, _Taken]) -> tuple[Skipped, ...]:
        """Whole types first: what was not granted or refused weighs more than one entry."""
        types = (
            Skipped(where=name, reason=reason.removeprefix(f"{name}: "))
            for name, one in taken.items()
            for reason in one.fetched.reasons
        )
        hidden = (one for each in taken.values() for one in each.record.hidden)
        unread = (one for each in taken.values() for one in (*each.fetched.unread, *each.record.unread))
        return (*types, *hidden, *skips(unread), *self._retrieval.skipped)
