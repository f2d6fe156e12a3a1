# SPDX-License-Identifier: Apache-2.0
"""What the simulated hospital knows: resources by type and id with every version, as the bytes that were loaded."""

import gzip
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from medagent.canonical import parse_json, public_json
from medagent.clock import instant_text

Loadable = Mapping[str, Any] | bytes | Path
"""A resource, or a Bundle of them, or a file or folder of either (JSON or NDJSON, also gzipped)."""

PATIENT_ELEMENTS = ("subject", "patient", "beneficiary", "individual", "for")
"""Elements that say whose a resource is, in the types that belong to a patient."""

_OPENED_AT = datetime(2026, 1, 4, 12, tzinfo=UTC)  # the first load is a second later, each further one another second
_LINES = (".ndjson", ".jsonl")
_LINK = re.compile(rb'"(urn:(?:uuid|oid):[^"]+)"')


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one resource."""

    type: str
    id: str
    version: str
    updated: datetime
    raw: bytes
    """As it was loaded, byte by byte, except that `urn:uuid:` references of a Bundle are resolved as a server does."""
    body: Mapping[str, Any]
    patients: frozenset[str]
    """Ids of the patients in whose compartment it is. Empty: nobody's, such as a Medication."""

    @property
    def name(self) -> str:
        """`Type/id`."""
        return f"{self.type}/{self.id}"

    @property
    def etag(self) -> str:
        """Its version as HTTP has it."""
        return f'W/"{self.version}"'


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    full_url: str | None = msgspec.field(default=None, name="fullUrl")


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


class _Head(msgspec.Struct):
    type: str = msgspec.field(name="resourceType")
    id: str | None = None


class Records:
    """All resources. Later loads make new versions of what is there."""

    def __init__(self, *, stamps: bool = False) -> None:
        self._stamps = stamps
        self._versions: dict[tuple[str, str], list[Stored]] = {}
        self._gone: set[tuple[str, str]] = set()
        self._by_patient: dict[tuple[str, str], dict[str, Stored]] = defaultdict(dict)
        self._by_type: dict[str, dict[str, Stored]] = defaultdict(dict)
        self._loads = 0

    @property
    def types(self) -> list[str]:
        """Those of which there is or was anything."""
        return sorted(self._by_type)

    def load(self, *sources: Loadable) -> None:
        """Takes resources in. Who has one already gets a new version of it."""
        self._loads += 1
        at = _OPENED_AT + timedelta(seconds=self._loads)
        for source in sources:
            for data in _documents(source):
                for raw in _resources(data):
                    self._keep(raw, at)

    def remove(self, name: str) -> None:
        """Deletes `Type/id`: it answers 410 from now on."""
        type, id = name.split("/")
        stored = self._versions[type, id][-1]
        self._gone.add((type, id))
        del self._by_type[type][id]
        for patient in stored.patients:
            del self._by_patient[type, patient][id]

    def gone(self, type: str, id: str) -> bool:
        """Whether it was deleted."""
        return (type, id) in self._gone

    def get(self, type: str, id: str, version: str | None = None) -> Stored | None:
        """The newest version, or the one that is named."""
        if version is None:
            return self._by_type.get(type, {}).get(id)
        return next((one for one in self.versions(type, id) if one.version == version), None)

    def versions(self, type: str, id: str) -> list[Stored]:
        """All versions, oldest first."""
        return self._versions.get((type, id), [])

    def of(self, type: str, patient: str | None = None) -> list[Stored]:
        """The newest versions of a type, of everybody or of one patient."""
        found = self._by_type.get(type, {}) if patient is None else self._by_patient.get((type, patient), {})
        return list(found.values())

    def _keep(self, raw: bytes, at: datetime) -> None:
        body = msgspec.json.decode(raw)
        type, id, meta = body["resourceType"], body["id"], body.get("meta", {})
        before = self._versions.setdefault((type, id), [])
        version = meta.get("versionId")
        if version is None or any(one.version == version for one in before):
            version = str(len(before) + 1)
        updated = datetime.fromisoformat(meta["lastUpdated"]) if "lastUpdated" in meta else at
        if self._stamps and not {"versionId", "lastUpdated"} <= meta.keys():
            raw = _stamped(raw, {"versionId": version, "lastUpdated": instant_text(updated)})
            body = msgspec.json.decode(raw)
        stored = Stored(type, id, version, updated, raw, body, frozenset(_patients(body)))
        if before and not self.gone(type, id):
            self.remove(stored.name)
        self._gone.discard((type, id))
        before.append(stored)
        self._by_type[type][id] = stored
        for patient in stored.patients:
            self._by_patient[type, patient][id] = stored


def _documents(source: Loadable) -> Iterator[bytes]:
    if isinstance(source, Mapping):
        yield public_json(source)
    elif isinstance(source, bytes):
        yield source
    elif source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.name.removesuffix(".gz").endswith((".json", *_LINES)):
                yield from _documents(path)
    else:
        data = gzip.decompress(source.read_bytes()) if source.name.endswith(".gz") else source.read_bytes()
        lines = source.name.removesuffix(".gz").endswith(_LINES)
        yield from (line for line in data.splitlines() if line.strip()) if lines else (data,)


def _resources(data: bytes) -> Iterator[bytes]:
    """The resource itself, or those of the Bundle, with `urn:uuid:` resolved to `Type/id`."""
    if data.lstrip()[:1] == b"[":  # a list of files beside them
        return
    if msgspec.json.decode(data, type=_Head).type != "Bundle":
        yield data
        return
    entries = [entry for entry in msgspec.json.decode(data, type=_Bundle).entry if entry.resource]
    heads = [msgspec.json.decode(entry.resource, type=_Head) for entry in entries]
    names = {
        entry.full_url.encode(): f'"{head.type}/{head.id}"'.encode()
        for entry, head in zip(entries, heads, strict=True)
        if entry.full_url is not None and head.id is not None
    }
    for entry in entries:
        yield _LINK.sub(lambda found: names.get(found[1], found[0]), bytes(entry.resource))


def _stamped(raw: bytes, said: Mapping[str, str]) -> bytes:
    """A resource with this in its `meta`, decimals with their digits."""
    body = parse_json(raw)
    assert isinstance(body, dict)
    return public_json(body | {"meta": said | body.get("meta", {})})


def _patients(body: Mapping[str, Any]) -> Iterable[str]:
    if body["resourceType"] == "Patient":
        yield body["id"]
        return
    for element in PATIENT_ELEMENTS:
        said = body.get(element)
        for one in said if isinstance(said, list) else [said]:
            reference = one.get("reference", "") if isinstance(one, Mapping) else ""
            found = re.search(r"(?:^|/)Patient/([^/]+)(?:/_history/[^/]+)?$", reference)
            if found is not None:
                yield found[1]
