# SPDX-License-Identifier: Apache-2.0
"""One patient's record at one instant, in memory: what `medagent.chart.Chart` asks for."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, compress

from medagent.errors import ChartError, RuleError
from medagent.evidence import Fact, Query, Reading, listing_digest, reading_id
from medagent.intervals import Interval
from medagent.records import Skipped
from medagent.value_sets import ValueSet, value_set_named
from medagent_fhir.clinical import READERS
from medagent_fhir.containers import Resource, Slice, Unread
from medagent_fhir.documents import AttachedText, Attachments
from medagent_fhir.snapshots import Examined, Snapshot, Statements, collector_paused, newest_of

_MOST_PAGES = 8


@dataclass(frozen=True, slots=True)
class Completeness:
    """What keeps readings from being complete."""

    everywhere: tuple[str, ...] = ()
    """Reasons that hold for every resource type."""
    by_type: Mapping[str, tuple[str, ...]] | None = None
    provided: frozenset[str] | None = None
    """The types that the source gave at all. None: it gave whole records, so a type without entry is empty."""

    def reasons(self, resource_type: str) -> tuple[str, ...]:
        """Why absence cannot be concluded for a type. Empty: it can."""
        if resource_type not in READERS:
            return (*self.everywhere, f"{resource_type}: not read from charts")
        found = [*self.everywhere, *(self.by_type or {}).get(resource_type, ())]
        if self.provided is not None and resource_type not in self.provided:
            found.append(f"{resource_type}: not provided")
        return tuple(found)


def skips(unread: Iterable[Unread]) -> tuple[Skipped, ...]:
    """What a record tells of what could not be used; each once."""
    return tuple(dict.fromkeys(Skipped(where=one.where, reason=one.reason) for one in unread))


class SnapshotChart:
    """A snapshot of what a source gave. Everything of it is visible at `as_of`; nothing of it changes afterwards."""

    def __init__(
        self,
        patient_fact: Fact,
        patient_data: Slice,
        as_of: datetime,
        snapshots: Iterable[Snapshot],
        completeness: Completeness,
        skipped: Iterable[Skipped],
        past: bool,
        patient_names: tuple[str, ...],
        attachments: Attachments,
    ) -> None:
        """`snapshots`: of what is seen at `as_of`, each of resource types of its own."""
        self._attachments = attachments
        self._patient_fact = patient_fact
        self._as_of = as_of
        self._resources: dict[str, Examined] = {}
        self._completeness = completeness
        self._skipped = tuple(skipped)
        self._past = past
        self._patient_names = patient_names
        self._facts_of: dict[str, Callable[[Resource], tuple[Fact, ...]]] = {}
        self._slices: dict[str, Slice] = {patient_fact.source.sha256: patient_data}
        self._consulted: dict[str, tuple[str, ...]] = {}
        self._facts = {patient_fact.id: patient_fact}
        self._by_resource: dict[str, tuple[Fact, ...]] = {}
        self._examined: dict[tuple[str, ...], _Listed] = {}
        self._listings: dict[str, tuple[str, ...]] = {}
        self._readings: dict[Query, tuple[ValueSet | None, Reading]] = {}
        for snapshot in snapshots:
            self._take(snapshot)
        self._newest = _newest(self._resources.values())
        self._was_read = False

    def _grow(
        self,
        types: Collection[str],
        snapshots: Iterable[Snapshot],
        completeness: Completeness,
        skipped: Iterable[Skipped],
    ) -> None:
        """Shows types that were not there. Readings that were given stay as they are, and so does what they name; who
        asks again sees more. Once something was read, `newest` and `past` stay, too: conclusions rest on them."""
        past = self._past
        for snapshot in snapshots:
            self._take(snapshot)
            past = past or snapshot.past
        if not self._was_read:
            self._newest, self._past = _newest(self._resources.values()), past
        self._completeness = completeness
        self._skipped = tuple(dict.fromkeys((*self._skipped, *skipped)))
        self._examined = {names: one for names, one in self._examined.items() if not set(names) & set(types)}
        self._readings = {
            query: one for query, one in self._readings.items() if not set(query.resource_types) & set(types)
        }

    def _take(self, snapshot: Snapshot) -> None:
        """Shows what a snapshot holds."""
        for name, examined in snapshot.examined.items():
            self._resources[name] = examined
            self._facts_of[name] = snapshot.facts_of
            for resource in chain.from_iterable(examined.by_statements.values()):
                self._slices[resource.sha256] = resource.raw
                consulted = snapshot.consulted.get(resource.sha256)
                if consulted is not None:
                    self._slices |= consulted
                    self._consulted[resource.sha256] = tuple(sorted(consulted))

    @property
    def patient(self) -> str:
        """`Patient/id`."""
        return self._patient_fact.source.uri

    @property
    def patient_names(self) -> tuple[str, ...]:
        """Absolute names (fullUrl) of the Patient in its source, sorted."""
        return self._patient_names

    @property
    def as_of(self) -> datetime:
        """The instant (UTC) whose knowledge it holds."""
        return self._as_of

    @property
    def past(self) -> bool:
        """Whether the source holds entries later than `as_of`, which stay hidden."""
        return self._past

    @property
    def newest(self) -> Interval | None:
        """The newest clinical time among the visible entries; None: no dated entry."""
        return self._newest

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What of the source could not be used, and why."""
        return self._skipped

    def patient_fact(self) -> Fact:
        """The Patient resource."""
        return self._patient_fact

    def fact(self, evidence_id: str) -> Fact:
        """A fact of this chart by id."""
        try:
            return self._facts[evidence_id]
        except KeyError:
            raise ChartError(f"{evidence_id}: no fact of this chart") from None

    def slice_of(self, sha256: str) -> bytes:
        """The exact bytes of a resource."""
        try:
            return bytes(self._slices[sha256])
        except KeyError:
            raise ChartError(f"{sha256}: no resource of this chart has this hash") from None

    def consulted(self, sha256: str) -> tuple[str, ...]:
        """Hashes of the Medications that the codes of a resource were taken from, which have slices here, too."""
        return self._consulted.get(sha256, ())

    def listing(self, digest: str) -> tuple[str, ...]:
        """The sorted hashes behind `Reading.listing`."""
        try:
            return self._listings[digest]
        except KeyError:
            raise ChartError(f"{digest}: no reading of this chart has this listing") from None

    def texts(self, evidence_id: str) -> tuple[AttachedText, ...]:
        """The texts that a DocumentReference or DiagnosticReport carries. Whatever holds them can be sliced after."""
        source = self.fact(evidence_id).source
        found = self._attachments.texts(source, self.slice_of(source.sha256))
        for text, data in found:
            self._slices[text.source.sha256] = data
        return tuple(text for text, _ in found)

    async def provide(self, resource_types: Collection[str]) -> None:
        """Everything that the files hold is there."""

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        """Answers a query; the same query gives the same reading."""
        self._was_read = True
        value_set = None
        if query.value_set is not None:
            try:
                value_set = value_set_named(value_sets, query.value_set)
            except RuleError as error:
                raise ChartError(str(error)) from error
        known = self._readings.get(query)
        if known is not None and known[0] is value_set:
            return known[1]
        reading = self._answer(query, value_set)
        self._readings[query] = value_set, reading
        return reading

    def _answer(self, query: Query, value_set: ValueSet | None) -> Reading:
        """Steps: (1) examine all of the types; (2) keep what matches; (3) count what the value set cannot tell;
        (4) say what else keeps absence from being concluded."""
        types = tuple(dict.fromkeys(query.resource_types))
        # (1) Every visible resource of the types.
        listed = self._list(types)
        # (2) Members, and (3) what is uncovered.
        with collector_paused():
            members, uncovered = self._members(types, value_set)
        # (4) Completeness.
        because = dict.fromkeys(reason for name in types for reason in self._completeness.reasons(name))
        if uncovered:
            because[f"{uncovered} of {listed.count} entries carry no code that {query.value_set} can tell"] = None
        ids = tuple(fact.id for fact in members)
        fields = {
            "patient": self.patient,
            "as_of": self._as_of,
            "query": query,
            "examined": listed.count,
            "listing": listed.digest,
            "pages": listed.pages,
            "members": ids,
            "uncovered": uncovered,
            "newest": listed.newest,
            "complete": not because,
            "incomplete_because": tuple(because),
        }
        return Reading.model_validate({"id": reading_id(fields), **fields})

    def _list(self, types: tuple[str, ...]) -> "_Listed":
        """What a reading of these types examines; many readings examine the same."""
        listed = self._examined.get(types)
        if listed is None:
            examined = [self._resources[name] for name in types if name in self._resources]
            resources = [one for group in examined for one in chain.from_iterable(group.by_statements.values())]
            hashes = tuple(sorted({resource.sha256 for resource in resources}))
            listed = _Listed(len(resources), listing_digest(hashes), _pages(resources), _newest(examined))
            self._examined[types] = listed
            self._listings[listed.digest] = hashes
        return listed

    def _members(self, types: tuple[str, ...], value_set: ValueSet | None) -> tuple[list[Fact], int]:
        """The facts that match, oldest first, and how many resources the value set cannot tell. A chart repeats few
        concepts many times, so the value set is asked once for each."""
        members: list[Fact] = []
        uncovered = 0
        for name in types:
            if name not in self._resources:
                continue
            for said, resources in self._resources[name].by_statements.items():
                matches = [value_set is None or value_set.matches(codings, text) for codings, text, _ in said]
                if value_set is not None and _cannot_tell(value_set, said, matches):
                    uncovered += len(resources)
                if any(matches):
                    members += (fact for one in resources for fact in compress(self._made(one, len(said)), matches))
        members.sort(key=_by_time)
        return members, uncovered

    def _made(self, resource: Resource, count: int) -> Sequence[Fact]:
        """The facts of a resource, made when first needed and kept: they are few of those that a chart holds."""
        known = self._by_resource.get(resource.sha256)
        if known is None:
            known = self._by_resource[resource.sha256] = self._facts_of[resource.type](resource)
            assert len(known) == count
            self._facts.update((fact.id, fact) for fact in known)
        return known


@dataclass(frozen=True, slots=True)
class _Listed:
    """What readings over the same types have in common."""

    count: int
    digest: str
    pages: tuple[str, ...]
    newest: Interval | None


def _cannot_tell(value_set: ValueSet, said: Statements, matches: Sequence[bool]) -> bool:
    """Whether none of a resource's statements that say something carries a code that the value set speaks."""
    told = [
        matched or value_set.covers(codings, text)
        for (codings, text, untold), matched in zip(said, matches, strict=True)
        if not untold
    ]
    return bool(told) and not any(told)


def _newest(groups: Iterable[Examined]) -> Interval | None:
    return newest_of(group.newest for group in groups)


def _by_time(fact: Fact) -> tuple[bool, datetime | None, datetime | None, str]:
    if fact.time is None:
        return True, None, None, fact.sort_name
    return False, fact.time.earliest, fact.time.latest, fact.sort_name


def _pages(resources: Iterable[Resource]) -> tuple[str, ...]:
    pages = tuple(sorted({resource.container.sha256 for resource in resources}))
    return pages if len(pages) <= _MOST_PAGES else (listing_digest(pages),)
