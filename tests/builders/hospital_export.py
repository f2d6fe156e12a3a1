# SPDX-License-Identifier: Apache-2.0
"""Bulk Data export of the simulated hospital, asynchronous as https://hl7.org/fhir/uv/bulkdata/export.html has it.

Kick-off gives 202 and an address; polled too early it says 202 with Retry-After, in the end a manifest of NDJSON files,
no larger than `lines_max` each; deleted it answers 404. Patient exports and those of a Group are of its members.
"""

import json
import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from builders.hospital_access import Access
from builders.hospital_outcomes import Refused, outcome
from builders.hospital_records import Records, Stored
from builders.hospital_wire import Asked, Reply

_PARAMETERS = {"_type", "_since", "_outputFormat", "_typeFilter", "patient"}
_FORMATS = {"application/fhir+ndjson", "application/ndjson", "ndjson"}


@dataclass(slots=True)
class Export:
    """How exports go. A test may change it while the hospital runs."""

    polls: int = 1
    """How often it is not ready yet."""
    retry_after: int | None = 0
    """Seconds that a client is told to wait between two polls."""
    lines_max: int = 100
    """Resources in one file."""
    requires_token: bool | None = None
    """What the manifest says of its files (requiresAccessToken). None: the truth."""
    elsewhere: bool = False
    """Whether the files are at another origin, where no token may go."""
    fails: bool = False
    """Whether the status ends in 500."""
    errors: Sequence[str] = ()
    """Texts of OperationOutcomes that the manifest refers to."""


@dataclass(slots=True)
class _Job:
    """One export."""

    owner: Hashable
    request: str
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By name: a type, and lines."""
    errors: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0


class Exports:
    """All exports."""

    def __init__(self, records: Records, rules: Export, base: Callable[[], str], elsewhere: Callable[[], str]) -> None:
        self._records, self.rules, self._base, self._elsewhere = records, rules, base, elsewhere
        self._jobs: dict[str, _Job] = {}
        self.cancelled: list[str] = []
        """Addresses of exports that their client deleted."""

    def start(self, asked: Asked, patients: Sequence[str] | None, access: Access) -> Reply:
        """Kick-off. `patients`: whose. None: everything there is. Raises Refused."""
        parameters = dict(asked.query)
        unknown = sorted(parameters.keys() - _PARAMETERS)
        if unknown:
            raise Refused(400, "not-supported", f"Unknown parameter {unknown[0]} of $export")
        if "respond-async" not in asked.headers.get("prefer", ""):
            raise Refused(400, "invalid", "An export is asked for with Prefer: respond-async")
        if parameters.get("_outputFormat", "ndjson") not in _FORMATS:
            raise Refused(400, "not-supported", "Exports are NDJSON")
        types = parameters["_type"].split(",") if "_type" in parameters else self._records.types
        for type in types:
            access.require(type, "r")
        job = _Job(access.owner, f"{self._base()}{asked.target.partition('/fhir')[2]}")
        for type in types:
            found = [one for one in self._of(type, patients) if access.shows(one, "r")]
            for start in range(0, len(found), self.rules.lines_max):
                part = found[start : start + self.rules.lines_max]
                lines = b"".join(one.raw.replace(b"\n", b" ") + b"\n" for one in part)
                job.files[f"{secrets.token_hex(6)}.ndjson"] = (type, lines)
        for text in self.rules.errors:
            job.errors[f"{secrets.token_hex(6)}.ndjson"] = outcome(500, "processing", text).body + b"\n"
        name = secrets.token_hex(8)
        self._jobs[name] = job
        return Reply(202, headers={"Content-Location": f"{self._base()}/_export/{name}"})

    def answer(self, asked: Asked, parts: Sequence[str], access: Access) -> Reply:
        """Status, file or cancellation. Raises Refused."""
        job = self._jobs.get(parts[0]) if parts else None
        if job is None:
            raise Refused(404, "not-found", "This export is not known, or no more")
        if job.owner != access.owner:
            raise Refused(403, "forbidden", "This export is another client's")
        match asked.method, list(parts[1:]):
            case "DELETE", []:
                del self._jobs[parts[0]]
                self.cancelled.append(f"{self._base()}/_export/{parts[0]}")
                return Reply(202)
            case "GET", []:
                return self._status(parts[0], job)
            case "GET", [file] if file in job.files or file in job.errors:
                return self.file(parts[0], file)
        raise Refused(404, "not-found", "This file is not known")

    def file(self, name: str, file: str) -> Reply:
        """The lines of a file."""
        job = self._jobs[name]
        body = job.errors[file] if file in job.errors else job.files[file][1]
        return Reply(200, body, content_type="application/fhir+ndjson")

    def _status(self, name: str, job: _Job) -> Reply:
        job.asked += 1
        if job.asked <= self.rules.polls:
            wait = {} if self.rules.retry_after is None else {"Retry-After": str(self.rules.retry_after)}
            return Reply(202, headers={"X-Progress": "under way", **wait})
        if self.rules.fails:
            raise Refused(500, "exception", "The export failed")
        root = f"{self._elsewhere()}/fhir" if self.rules.elsewhere else self._base()
        honest = job.owner is not None and not self.rules.elsewhere
        place = f"{root}/_export/{name}"
        manifest = {
            "transactionTime": "2026-01-05T12:00:00Z",
            "request": job.request,
            "requiresAccessToken": honest if self.rules.requires_token is None else self.rules.requires_token,
            "output": [
                {"type": type, "url": f"{place}/{file}", "count": lines.count(b"\n")}
                for file, (type, lines) in job.files.items()
            ],
            "error": [{"type": "OperationOutcome", "url": f"{place}/{file}"} for file in job.errors],
        }
        return Reply(200, json.dumps(manifest).encode(), content_type="application/json")

    def _of(self, type: str, patients: Sequence[str] | None) -> list[Stored]:
        if patients is None:
            return self._records.of(type)
        return [one for patient in patients for one in self._records.of(type, patient)]
