# SPDX-License-Identifier: Apache-2.0
"""The FHIR side of the simulated hospital: which request means what, and what it is refused for."""

import json
from collections.abc import Callable, Sequence
from email.utils import format_datetime
from typing import Literal

from builders.hospital_access import Access
from builders.hospital_outcomes import Refused
from builders.hospital_paging import Pages, Search
from builders.hospital_records import Records, Stored
from builders.hospital_search import PARAMETERS, matches, parameter, references
from builders.hospital_wire import FORM, Asked, Reply

Ability = Literal[
    "metadata", "post_search", "include", "vread", "history", "everything", "batch", "export", "etag", "gzip", "total",
]  # fmt: skip
"""What can be taken away from the hospital; a type's name takes that type away."""

_PAGE_MAX = 1000


class Fhir:
    """Answers requests below the base."""

    def __init__(
        self, records: Records, pages: Pages, base: Callable[[], str], lacks: frozenset[str], page: int, live: bool
    ) -> None:
        self.records, self.pages, self.lacks, self.page, self.live = records, pages, lacks, page, live
        self._base = base

    def answer(self, asked: Asked, path: str, access: Access) -> Reply:
        """`path`: what follows the base, without slashes around it. Raises Refused."""
        if not _accepts(asked):
            raise Refused(406, "not-supported", "Only application/fhir+json is spoken here")
        parts = [part for part in path.split("/") if part]
        token = dict(asked.query).get("_getpages") if not parts else parts[1] if parts[0] == "_page" else None
        if token is not None:
            self._method(asked, "GET")
            return self.pages.next(token, asked.bearer)
        match parts:
            case ["metadata"] if "metadata" not in self.lacks:
                self._method(asked, "GET")
                return Reply(200, json.dumps(self._capabilities()).encode())
            case [type, "_search"] if type[0].isupper():
                self._search_form(asked)
                return self._search(asked, type, access)
            case [type] if type[0].isupper():
                self._method(asked, "GET")
                return self._search(asked, type, access)
            case [type, id] if type[0].isupper():
                self._method(asked, "GET")
                return self._read(asked, type, id, None, access)
            case [type, id, "_history", version] if "vread" not in self.lacks:
                self._method(asked, "GET")
                return self._read(asked, type, id, version, access)
        raise Refused(404, "not-found", "There is nothing at this address")

    def about(self, asked: Asked, path: str) -> str | None:
        """The resource type that a request is for, also where it follows a next link."""
        parts = path.split("/")
        token = dict(asked.query).get("_getpages") or (parts[1] if parts[0] == "_page" else "")
        return self.pages.type(token) or (parts[0] if parts[0][:1].isupper() else None)

    def _method(self, asked: Asked, *allowed: str) -> None:
        if asked.method not in allowed:
            raise Refused(405, "not-supported", f"{asked.method} is not allowed here", {"Allow": ", ".join(allowed)})

    def _search_form(self, asked: Asked) -> None:
        if "post_search" in self.lacks:
            raise Refused(405, "not-supported", "Searches go by GET here", {"Allow": "GET"})
        self._method(asked, "POST")
        if not asked.is_form:
            raise Refused(415, "not-supported", f"A search by POST is {FORM}")

    def _read(self, asked: Asked, type: str, id: str, version: str | None, access: Access) -> Reply:
        self._known(type)
        access.require(type, "r")
        stored = self.records.get(type, id, version)
        if stored is None:
            if self.records.gone(type, id):
                raise Refused(410, "deleted", f"{type}/{id} was deleted")
            raise Refused(404, "not-found", f"{type}/{id} is not known")
        access.require_resource(stored, "r")
        headers = {"Last-Modified": format_datetime(stored.updated, usegmt=True)}
        if "etag" not in self.lacks:
            headers["ETag"] = stored.etag
            if stored.etag in [tag.strip() for tag in asked.headers.get("if-none-match", "").split(",")]:
                return Reply(304, headers=headers)
        return Reply(200, stored.raw, headers)

    def _search(self, asked: Asked, type: str, access: Access) -> Reply:
        self._known(type)
        access.require(type, "s")
        parameters = asked.parameters
        access.require_patient(type, parameters)
        self._check_controls(type, parameters)

        def found() -> Sequence[Stored]:
            return [one for one in matches(self.records, type, parameters) if access.shows(one, "s")]

        now = found()
        controls = dict(parameters)
        search = Search(
            type,
            f"{self._base()}/{type}",
            found if self.live else lambda: now,
            lambda page: self._included(page, parameters, access),
            "total" not in self.lacks,
        )
        count = controls.get("_count", str(self.page))
        if not count.isdigit():
            raise Refused(400, "invalid", "_count is a number")
        if controls.get("_summary") == "count":
            count = "0"
        return self.pages.first(search, min(int(count), self.page, _PAGE_MAX), asked.bearer)

    def _check_controls(self, type: str, parameters: Sequence[tuple[str, str]]) -> None:
        for name, value in parameters:
            if name in ("_include", "_revinclude"):
                if "include" in self.lacks:
                    raise Refused(400, "not-supported", f"{name} is not supported")
                source, _, link = value.partition(":")
                parameter(source, link.split(":")[0])
                if name == "_include" and source != type:
                    raise Refused(400, "invalid", f"_include={value} in a search for {type}")

    def _included(self, page: Sequence[Stored], parameters: Sequence[tuple[str, str]], access: Access) -> list[Stored]:
        found: dict[str, Stored] = {}
        names = {one.name for one in page}
        for name, value in parameters:
            source, link, *target = value.split(":") if name in ("_include", "_revinclude") else ("", "")
            if name == "_include":
                paths = parameter(source, link).paths
                for referred in (referred for one in page for referred in references(one, paths)):
                    other = self.records.get(*referred.split("/")) if "/" in referred else None
                    if other is not None and (not target or other.type == target[0]):
                        found.setdefault(referred, other)
            elif name == "_revinclude":
                paths = parameter(source, link).paths
                for other in self.records.of(source):
                    if names & set(references(other, paths)):
                        found.setdefault(other.name, other)
        return [one for name, one in found.items() if name not in names and access.shows(one, "r")]

    def _known(self, type: str) -> None:
        if type in self.lacks or (type not in PARAMETERS and type not in self.records.types and type != "Binary"):
            raise Refused(404, "not-supported", f"Unknown resource type {type}")

    def _capabilities(self) -> dict[str, object]:
        types = sorted({*PARAMETERS, *self.records.types, "Binary"} - self.lacks)
        interactions = ["read", *(["vread", "history-instance"] if "vread" not in self.lacks else [])]
        resources = []
        for type in types:
            known = PARAMETERS.get(type, {})
            entry: dict[str, object] = {
                "type": type,
                "versioning": "versioned",
                "interaction": [
                    {"code": code} for code in [*interactions, *(["search-type"] if type != "Binary" else [])]
                ],
                "searchParam": [
                    {"name": name, "type": one.kind}
                    for name, one in {"_id": known.get("_id"), "_lastUpdated": None, **known}.items()
                    if one is not None
                ],
            }
            resources.append(entry)
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-01-01",
            "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json"],
            "implementation": {"description": "A simulated hospital", "url": self._base()},
            "rest": [{"mode": "server", "resource": resources}],
        }


def _accepts(asked: Asked) -> bool:
    accept = asked.headers.get("accept", "*/*")
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return bool(
        kinds & {"*/*", "application/*", "application/json", "application/fhir+json", "application/fhir+ndjson"}
    )
