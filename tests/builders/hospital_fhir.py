# SPDX-License-Identifier: Apache-2.0
"""The FHIR side of the simulated hospital: which request means what, and what it is refused for."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import urlsplit

from builders.hospital_access import Access
from builders.hospital_capabilities import capability_statement
from builders.hospital_export import Exports
from builders.hospital_operations import batch, everything, history
from builders.hospital_outcomes import Refused
from builders.hospital_paging import Pages, Search
from builders.hospital_records import Records, Stored
from builders.hospital_search import PARAMETERS, matches, parameter, references
from builders.hospital_wire import FORM, Asked, Reply


@dataclass(frozen=True, slots=True)
class Manner:
    """How the FHIR side goes about its work."""

    lacks: frozenset[str] = frozenset()
    """Abilities and types that are not there."""
    page: int = 50
    """Entries of a page at most."""
    live: bool = False
    """Whether each page shows the record of now."""


class Fhir:
    """Answers requests below the base."""

    def __init__(
        self, records: Records, pages: Pages, exports: Exports, base: Callable[[], str], manner: Manner
    ) -> None:
        self.records, self.pages, self.exports = records, pages, exports
        self.lacks, self.page, self.live = manner.lacks, manner.page, manner.live
        self.oauth: Mapping[str, str] | None = None
        """Addresses of the authorization server."""
        self._base = base

    def answer(self, asked: Asked, path: str, access: Access) -> Reply:
        """`path`: what follows the base, without slashes around it. Raises Refused."""
        parts = [part for part in path.split("/") if part]
        if not _accepts(asked) and parts[:1] != ["Binary"]:
            raise Refused(406, "not-supported", "Only application/fhir+json is spoken here")
        if (token := self._page_token(asked, path)) is not None:
            self._method(asked, "GET")
            return self.pages.next(token, access.owner)
        if parts and (parts[-1] == "$export" or parts[0] == "_export") and "export" not in self.lacks:
            return self._export(asked, parts, access)
        match parts:
            case ["metadata"] if "metadata" not in self.lacks:
                self._method(asked, "GET")
                return self._capabilities()
            case [] if "batch" not in self.lacks:
                self._method(asked, "POST")
                return batch(asked, urlsplit(self._base()).path, lambda one: self._entry(one, access))
            case [type, "_search"] if _is_type(type):
                self._search_form(asked)
                return self._search(asked, type, access)
            case [type] if _is_type(type):
                self._method(asked, "GET")
                return self._search(asked, type, access)
            case [type, id, *rest] if _is_type(type):
                return self._instance(asked, type, id, rest, access)
        raise _nothing()

    def _instance(self, asked: Asked, type: str, id: str, rest: Sequence[str], access: Access) -> Reply:
        """What is at or below `Type/id`."""
        self._method(asked, "GET", *(["POST"] if list(rest) == ["$everything"] else []))
        self._known(type)
        match rest:
            case []:
                return self._read(asked, type, id, None, access)
            case ["_history", version] if "vread" not in self.lacks:
                return self._read(asked, type, id, version, access)
            case ["_history"] if "history" not in self.lacks:
                versions = history(self.records, type, id, access)
                return self._list(asked, access, type, f"{type}/{id}/_history", lambda: versions, "history")
            case ["$everything"] if type == "Patient" and "everything" not in self.lacks:
                found = everything(self.records, id, asked.parameters, access)
                return self._list(asked, access, type, f"{type}/{id}/$everything", lambda: found)
        raise _nothing()

    def _export(self, asked: Asked, parts: Sequence[str], access: Access) -> Reply:
        if parts[0] == "_export":
            self._method(asked, "GET", "DELETE")
            return self.exports.answer(asked, parts[1:], access)
        self._method(asked, "GET")
        match parts:
            case ["$export"]:
                return self.exports.start(asked, None, access)
            case ["Patient", "$export"]:
                return self.exports.start(asked, [one.id for one in self.records.of("Patient")], access)
            case ["Group", id, "$export"] if (group := self.records.get("Group", id)) is not None:
                members = [name.removeprefix("Patient/") for name in references(group, ["member.entity"])]
                return self.exports.start(asked, members, access)
        raise _nothing()

    def labels(self, asked: Asked, path: str) -> frozenset[str]:
        """What a request may be called in a rule of faults: see `hospital_faults`."""
        token = self._page_token(asked, path)
        if token is not None:
            return frozenset({"*", "page", self.pages.type(token) or "page"})
        return frozenset({"*", path, path.split("/")[0], path.split("/")[-1]})

    def _page_token(self, asked: Asked, path: str) -> str | None:
        """What a followed next link names."""
        if not path:
            return dict(asked.query).get("_getpages")
        return path.split("/")[1] if path.startswith("_page/") else None

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
        if type == "Binary" and not _asks_for_fhir(asked):
            content = base64.b64decode(stored.body.get("data", ""))
            return Reply(200, content, headers, stored.body["contentType"])
        return Reply(200, stored.raw, headers)

    def _search(self, asked: Asked, type: str, access: Access) -> Reply:
        self._known(type)
        if "search" in self.lacks:
            raise _nothing()
        access.require(type, "s")
        parameters = asked.parameters
        access.require_patient(type, parameters)
        self._check_controls(type, parameters)

        def found() -> Sequence[Stored]:
            return [one for one in matches(self.records, type, parameters) if access.shows(one, "s")]

        now = found()
        return self._list(
            asked,
            access,
            type,
            type,
            found if self.live else lambda: now,
            included=lambda page: self._included(page, parameters, access),
        )

    def _list(
        self,
        asked: Asked,
        access: Access,
        type: str,
        path: str,
        found: Callable[[], Sequence[Stored]],
        bundle_type: str = "searchset",
        included: Callable[[Sequence[Stored]], Sequence[Stored]] = lambda page: (),
    ) -> Reply:
        """The first page of what was found."""
        controls = dict(asked.parameters)
        count = "0" if controls.get("_summary") == "count" else controls.get("_count", str(self.page))
        if not count.isdigit():
            raise Refused(400, "invalid", "_count is a number")
        total = "total" not in self.lacks
        search = Search(type, f"{self._base()}/{path}", found, included, total, bundle_type)
        return self.pages.first(search, min(int(count), self.page), access.owner)

    def _entry(self, asked: Asked, access: Access) -> Reply:
        """One entry of a batch."""
        path = asked.path.removeprefix(urlsplit(self._base()).path).strip("/")
        if not path:
            raise Refused(400, "invalid", "A batch within a batch")
        return self.answer(asked, path, access)

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

    def _capabilities(self) -> Reply:
        types = sorted({*PARAMETERS, *self.records.types, "Binary"} - self.lacks)
        return Reply(200, json.dumps(capability_statement(self._base(), types, self.lacks, self.oauth)).encode())


def _nothing() -> Refused:
    return Refused(404, "not-found", "There is nothing at this address")


def _is_type(name: str) -> bool:
    return name[0].isupper()


def _kinds(asked: Asked) -> set[str]:
    accept = asked.headers.get("accept", "*/*")
    return {part.split(";")[0].strip().lower() for part in accept.split(",")}


def _accepts(asked: Asked) -> bool:
    return _asks_for_fhir(asked) or bool(_kinds(asked) & {"*/*", "application/*", "application/fhir+ndjson"})


def _asks_for_fhir(asked: Asked) -> bool:
    return bool(_kinds(asked) & {"application/json", "application/fhir+json"})
