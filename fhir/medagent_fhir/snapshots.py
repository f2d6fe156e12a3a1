# SPDX-License-Identifier: Apache-2.0
"""What was known of a patient at an instant, out of all that a source holds of them.

A source is read in two steps: `Record.of` decodes each resource once and remembers little of it, and `Record.at` tells
what of it was known at an instant.
"""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from medagent.errors import ChartError
from medagent.evidence import VOID, Coding, Fact, Role, Status
from medagent.intervals import RESOLUTION, Interval
from medagent.records import Skipped
from medagent_fhir.clinical import READERS
from medagent_fhir.containers import Container, Resource, Slice, Unread
from medagent_fhir.patients import patient_fact
from medagent_fhir.references import References
from medagent_fhir.sensitivity import Sensitivity, withheld
from medagent_fhir.statements import ElementError, Parts, Shared, Source, Withheld

_KEPT = 5_000  # resources whose statements are not decoded again for their facts: 7 MB, all of an ordinary chart
_ID_LENGTH = 64  # of any id in FHIR; a longer one is none, and not worth counting
_ENDED = (Status.DONE, Status.INACTIVE)
_UNTOLD = VOID | {Status.REFUTED}

Statements = tuple[tuple[tuple[Coding, ...], str | None, bool], ...]
"""What a resource's statements are about: codes and text of each, and whether no value set needs to tell it (what is
void or refuted could be no match)."""


def statements(stated: Iterable[Parts]) -> Statements:
    """What of a resource an index keeps."""
    return tuple((parts.codings, parts.text, parts.status in _UNTOLD) for parts in stated)


class Examined(msgspec.Struct, frozen=True, gc=False):
    """The visible resources of one type. Of each only what its statements are about is kept: its facts, which take
    several times the memory of its bytes, are made when a reading names them."""

    by_statements: Mapping[Statements, Sequence[Resource]]
    newest: Interval | None
    """Of the times of its clinical entries (see `entry_time`)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of a record was known at an instant."""

    examined: Mapping[str, Examined]
    """By type, none without a reader, none invisible."""
    facts_of: Callable[[Resource], tuple[Fact, ...]]
    """The facts of one of them, in the order of its statements."""
    consulted: Mapping[str, Mapping[str, Slice]]
    """Medications that the codes of a resource stand in, by its hash and theirs."""
    hidden: int
    """Resources that were not known yet."""
    dated: int
    """Visible resources with a clinical time."""
    past: bool
    """Whether entries are later than the instant."""


class _Read(msgspec.Struct, gc=False):
    """One resource of the patient that could be read, before `as_of` decides what of it is seen."""

    resource: Resource
    statements: Statements
    visible: Interval | None = None
    entered: Interval | None = None
    """Its time as a clinical entry."""
    ended: Interval | None = None
    """When it came to its end, as a discharge does; an end that was only planned says nothing."""


@dataclass(slots=True)
class Record:
    """What a source holds of one patient: everything, or some resource types."""

    patient: str
    """`Patient/id`."""
    zone: ZoneInfo
    references: References
    unread: list[Unread]
    consulted: Mapping[str, Mapping[str, Slice]]
    withheld: dict[str, int] = field(default_factory=dict)
    """How many resources of a type the site's policy does not show."""
    _read: list[_Read] = field(default_factory=list)
    _stated: dict[str, list[Parts]] = field(default_factory=dict)
    """What the first of the resources state, by hash."""

    @property
    def hidden(self) -> tuple[Skipped, ...]:
        """What the site's policy does not show, by type and number alone (clinical: 19)."""
        return tuple(Skipped(where=name, reason=withheld(count)) for name, count in sorted(self.withheld.items()))

    @classmethod
    def of(
        cls,
        patient: str,
        resources: Iterable[Resource],
        *,
        zone: ZoneInfo,
        references: References,
        sensitivity: Sensitivity,
    ) -> "Record":
        """Decodes the resources of one patient."""
        shared = Shared(zone, references, [])
        record = cls(patient, zone, references, shared.unread, shared.consulted)
        seen: set[str] = set()
        known: dict[Statements, Statements] = {}
        for resource in resources:
            if resource.sha256 in seen:  # the same bytes twice are one resource
                continue
            seen.add(resource.sha256)
            source = Source(resource, patient, shared)
            try:
                if sensitivity.withholds(bytes(resource.raw), resource.type):
                    raise Withheld(resource.type, "is not shown here")
                stated = READERS[resource.type](source)
            except Withheld:
                record.withheld[resource.type] = record.withheld.get(resource.type, 0) + 1
                continue
            except ElementError as error:
                source.remark(str(error))
                continue
            record._read.append(_read_of(resource, stated, known))
            if len(record._stated) < _KEPT:
                record._stated[resource.sha256] = stated
        return record

    @property
    def containers(self) -> Iterator[Container]:
        """What its resources came in."""
        return (read.resource.container for read in self._read)

    def newest(self) -> Interval | None:
        """The newest clinical entry, or what was recorded of it since."""
        entries = (read for read in self._read if read.entered is not None)
        return newest_of(time for read in entries for time in (read.entered, read.visible, read.ended))

    def at(self, as_of: datetime) -> Snapshot:
        """What was known then."""
        visible: dict[str, list[_Read]] = defaultdict(list)
        hidden = dated = 0
        past = False
        for read in _current(self._read, as_of, self.unread):
            if after(read.visible, as_of):
                hidden += 1
                past = past or read.entered is not None
                continue
            dated += read.entered is not None
            past = past or after(read.entered, as_of) or after(read.ended, as_of)
            visible[read.resource.type].append(read)
        examined = {name: _examined(group) for name, group in visible.items()}
        return Snapshot(examined, self._facts_at(as_of), self.consulted, hidden, dated, past)

    def _facts_at(self, as_of: datetime) -> Callable[[Resource], tuple[Fact, ...]]:
        """Makes the facts of a resource as they stood at an instant. Remarks were made when it was read."""
        shared = Shared(self.zone, self.references, [])
        key, kept = self.patient, self._stated  # not the record itself, which ends with the snapshot

        def facts_of(resource: Resource) -> tuple[Fact, ...]:
            stated = kept.pop(resource.sha256, None)
            if stated is None:
                stated = READERS[resource.type](Source(resource, key, shared))
            shared.unread.clear()
            shared.consulted.clear()
            return tuple(without_later_end(parts.fact(), as_of) for parts in stated)

        return facts_of


def patient_of(
    versions: list[Resource], *, zone: ZoneInfo, references: References, sensitivity: Sensitivity
) -> tuple[Fact, Slice]:
    """The fact of a Patient, and its bytes. Raises ChartError where it cannot be used."""
    key = versions[0].uri
    if any(sensitivity.withholds(bytes(version.raw), "Patient") for version in versions):
        raise ChartError(f"{key}: is not shown here by the site's policy")
    newest = _newest_version(versions)
    if newest is None:
        raise ChartError(f"{key}: stands in the source twice, differently, and neither says which is newer")
    try:
        return patient_fact(Source(newest, key, Shared(zone, references, []))), newest.raw
    except ElementError as error:
        raise ChartError(f"{newest.where}: {error}") from error


def latest(newest: Iterable[Interval | None], now: datetime) -> datetime:
    """The instant of the newest of what is known; now, where nothing has a date."""
    found = newest_of(newest)
    return found.latest - RESOLUTION if found is not None else now


def check_dated(name: str, snapshots: Sequence[Snapshot]) -> None:
    """Raises ChartError where nothing of a chart was known yet. `name`: of its source."""
    if any(one.hidden for one in snapshots) and not any(one.dated for one in snapshots):
        raise ChartError(
            f"{name}: every dated entry of this chart lies after as_of; "
            "try --as-of latest, which takes the newest entry"
        )


@contextmanager
def collector_paused() -> Iterator[None]:
    """Reading a chart makes hundreds of thousands of objects and no cycles: looking for some doubles its time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def entry_time(said: Parts) -> Interval | None:
    """When a clinical entry was made: its clinical time, else when it was recorded. What is void or only planned is no
    entry: a visit next month is not the newest thing that is known."""
    if said.status in VOID or said.status is Status.PLANNED:
        return None
    return said.time or said.visible


def newest_of(times: Iterable[Interval | None]) -> Interval | None:
    """The one with the latest end."""
    return max(
        (time for time in times if time is not None), key=lambda time: (time.latest, time.earliest), default=None
    )


def _read_of(resource: Resource, stated: Sequence[Parts], known: dict[Statements, Statements]) -> _Read:
    said = statements(stated)
    said = known.setdefault(said, said)
    if not stated:
        return _Read(resource, said)
    first = stated[0]  # the statements of one resource share its times
    return _Read(resource, said, first.visible, entry_time(first), first.end if first.status in _ENDED else None)


def _examined(group: Sequence[_Read]) -> Examined:
    by_statements: dict[Statements, list[Resource]] = defaultdict(list)
    for read in group:
        by_statements[read.statements].append(read.resource)
    return Examined(by_statements, newest_of(read.entered for read in group))


def _version_order(resource: Resource) -> tuple[str, int] | None:
    """lastUpdated, then versionId. None: it does not say which version it is."""
    said = resource.version or ""
    number = int(said) if said.isdecimal() and len(said) <= _ID_LENGTH else 0
    return (resource.last_updated or "", number) if resource.last_updated or number else None


def _newest_version(versions: list[Resource]) -> Resource | None:
    if len({version.full_url for version in versions if version.full_url}) > 1:
        return None  # the same id at two addresses: two patients, perhaps
    distinct = list({bytes(version.raw): version for version in versions}.values())
    if len(distinct) == 1:
        return distinct[0]
    ordered = [(order, version) for version in distinct if (order := _version_order(version)) is not None]
    if len(ordered) < len(distinct):
        return None
    ordered.sort(key=lambda pair: pair[0])
    return None if ordered[-1][0] == ordered[-2][0] else ordered[-1][1]


def _current(resources: Iterable[_Read], as_of: datetime, unread: list[Unread]) -> Iterator[_Read]:
    """One version of each resource: the newest that was there at `as_of`. Versions that cannot be put in order are all
    kept, so that they contradict each other openly."""
    alone: dict[tuple[str, str], _Read] = {}
    several: dict[tuple[str, str], list[_Read]] = {}
    for read in resources:
        if read.resource.id is None:
            yield read
            continue
        key = (read.resource.type, read.resource.id)
        if key in several:
            several[key].append(read)
        elif key in alone:
            several[key] = [alone.pop(key), read]
        else:
            alone[key] = read
    yield from alone.values()
    text = as_of.isoformat()
    for versions in several.values():
        orders = [_version_order(version.resource) for version in versions]
        if None in orders or len(set(orders)) < len(orders):
            reason = "stands in the source more than once, differently; all are used"
            unread.append(Unread(versions[0].resource.where, reason, versions[0].resource.type))
            yield from versions
            continue
        ranked = sorted(versions, key=lambda read: _version_order(read.resource) or ("", 0))
        then = [read for read in ranked if (read.resource.last_updated or "") <= text]
        yield then[-1] if then else ranked[0]


def after(time: Interval | None, as_of: datetime) -> bool:
    """Whether a time lies certainly after an instant."""
    return time is not None and time.earliest > as_of


def without_later_end(fact: Fact, as_of: datetime) -> Fact:
    """An end, or a death, that lies certainly after `as_of` was not known then (clinical: 3)."""
    if not after(fact.end, as_of):
        return fact
    later = {Role.END, Role.DECEASED}
    elements = tuple(element for element in fact.elements if element.role not in later)
    return fact.model_copy(update={"end": None, "elements": elements})
