# SPDX-License-Identifier: Apache-2.0
"""Charts from files: a Bundle, one resource, NDJSON, or a folder of any of them (also compressed with gzip).

The source is read once and told apart by patient; a chart takes only what its patient's resources say.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from medagent.chart import AsOf
from medagent.clock import Clock
from medagent.errors import ChartError
from medagent_fhir.chart import Completeness, SnapshotChart, skips
from medagent_fhir.containers import ANY_TYPE, Contents
from medagent_fhir.documents import Attachments
from medagent_fhir.folders import read_source
from medagent_fhir.ownership import Owned, detach, targets, told_apart
from medagent_fhir.references import References
from medagent_fhir.sensitivity import Sensitivity, withheld
from medagent_fhir.snapshots import (
    Record,
    after,
    check_dated,
    collector_paused,
    latest,
    patient_of,
    without_later_end,
)

_MOST_NAMED = 5  # ids in a message about an ambiguous source


@dataclass(frozen=True, slots=True)
class _Index:
    """A source, told apart by patient."""

    contents: Contents
    references: References
    owned: Owned


class FileChartSource:
    """Charts out of one file or folder."""

    def __init__(
        self,
        path: Path,
        *,
        zone: ZoneInfo,
        clock: Clock,
        partial: bool = False,
        bytes_max: int,
        sensitivity: Sensitivity | None = None,
    ) -> None:
        """`partial`: the files are declared not to hold everything. `bytes_max`: of all files together, decompressed;
        reading peaks at two and a half times that, and at four where resources are as short as can be. `sensitivity`:
        what is withheld; None: the default."""
        self._path = path
        self._zone = zone
        self._clock = clock
        self._partial = partial
        self._bytes_max = bytes_max
        self._sensitivity = sensitivity or Sensitivity.default()
        self._loaded: _Index | None = None
        self._last: SnapshotChart | None = None

    def patients(self) -> tuple[str, ...]:
        """`Patient/id` of every patient of the source, sorted."""
        return tuple(sorted(self._index().owned.patients))

    async def chart(self, patient: str | None, as_of: AsOf) -> SnapshotChart:
        """Reads one patient's chart. None: the only patient there is."""
        return await asyncio.to_thread(self._chart, patient, as_of)

    def _chart(self, patient: str | None, as_of: AsOf) -> SnapshotChart:
        """Steps: (1) which patient; (2) all facts of all their resources; (3) the instant; (4) what was known then."""
        if isinstance(as_of, datetime) and as_of.tzinfo is None:
            raise ChartError("as_of: names no instant; give it with an offset")
        with collector_paused():
            self._last = self._chart_of(patient, as_of)
            return self._last

    def _chart_of(self, patient: str | None, as_of: AsOf) -> SnapshotChart:
        index = self._index()
        # (1) Which patient.
        key = self._chosen(index, patient)
        # A run asks for its patient and instant first, and then for the chart; nothing of a snapshot changes between.
        if self._last is not None and (self._last.patient, self._last.as_of) == (key, as_of):
            return self._last
        # (2) Everything of theirs.
        versions = index.owned.patients[key]
        fact, data = patient_of(versions, zone=self._zone, references=index.references, sensitivity=self._sensitivity)
        record = Record.of(
            key,
            index.owned.resources.get(key, ()),
            zone=self._zone,
            references=index.references,
            sensitivity=self._sensitivity,
        )
        # (3) Which instant.
        newest = (record.newest(), fact.end)
        instant = latest(newest, index.contents.retrieved_at) if as_of == "latest" else as_of.astimezone(UTC)
        # (4) What was known then.
        snapshot = record.at(instant)
        check_dated(self._path.name, [snapshot])
        return SnapshotChart(
            without_later_end(fact, instant),
            data,
            instant,
            [snapshot],
            self._completeness(index, record),
            (*record.hidden, *skips((*index.contents.unread, *record.unread))),
            after(fact.end, instant) or snapshot.past,
            tuple(sorted({version.full_url for version in versions if version.full_url})),
            Attachments(index.references, key),
        )

    def _index(self) -> _Index:
        if self._loaded is None:
            contents = read_source(self._path, self._bytes_max, self._clock.now())
            detach(contents)
            references = References()
            references.add(targets(contents.resources, self._sensitivity))
            self._loaded = _Index(contents, references, told_apart(contents, references))
        return self._loaded

    def _chosen(self, index: _Index, patient: str | None) -> str:
        name, patients = self._path.name, index.owned.patients
        if not patients:
            raise ChartError(f"{name}: holds no Patient resource")
        if patient is None:
            if len(patients) == 1:
                return next(iter(patients))
            known = sorted(patients)
            some = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
            raise ChartError(f"{name}: holds {len(known)} patients; choose one with --patient: {some}")
        wanted = patient.split("/_history/", 1)[0].rsplit("/", 1)[-1].removeprefix("urn:uuid:")
        if f"Patient/{wanted}" not in patients:
            raise ChartError(f"{name}: holds no patient with the id given as --patient; it holds {len(patients)}")
        return f"Patient/{wanted}"

    def _completeness(self, index: _Index, record: Record) -> Completeness:
        everywhere = ["the source was declared partial"] if self._partial else []
        everywhere += sorted({fault for page in index.contents.pages for fault in page.faults()})
        counts: dict[str, int] = defaultdict(int)
        for unread in (*index.contents.unread, *record.unread):
            if unread.type is not None:
                counts[unread.type] += 1
        if counts[ANY_TYPE]:
            everywhere.append(f"{counts[ANY_TYPE]} parts of the source could not be read")
        by_type = {name: (f"{name}: {count} skipped or not fully read",) for name, count in counts.items()}
        for name, count in record.withheld.items():
            by_type[name] = (*by_type.get(name, ()), f"{name}: {withheld(count)}")
        whole = any(place.whole_record for place in record.containers) or any(
            version.container.whole_record for version in index.owned.patients[record.patient]
        )
        return Completeness(tuple(everywhere), by_type, None if whole else index.owned.provided)
