# SPDX-License-Identifier: Apache-2.0
"""The FHIR side of the simulated hospital: which request means what, and what it is refused for."""

import json
from collections.abc import Callable, Mapping, Sequence
from email.utils import format_datetime
from urllib.parse import urlsplit

from builders.hospital_access import Access
from builders.hospital_capabilities import capability_statement
from builders.hospital_operations import batch, everything, history
from builders.hospital_outcomes import Refused
from builders.hospital_paging import Pages, Search
from builders.hospital_records import Records, Stored
from builders.hospital_search import PARAMETERS, matches, parameter, references
from builders.hospital_wire import FORM, Asked, Reply


class Fhir:
    """Answers requests below the base."""

    def __init__(
        self, records: Records, pages: Pages, base: Callable[[], str], lacks: frozenset[str], page: int, live: bool
    ) -> None:
        self.records, self.pages, self.lacks, self.page, self.live = records, pages, lacks, page, live
        self.oauth: Mapping[str, str] | None = None
        """Addresses of the authorization server."""
        self._base = base

    def answer(self, asked: Asked, path: str, access: Access) -> Reply:
        """`path`: what follows the base, without slashes around it. Raises Refused."""
        if not _accepts(asked):
            raise Refused(406, "not-supported", "Only application/fhir+json is spoken here")
        parts = [part for part in path.split("/") if part]
        if (token := self._page_token(asked, path)) is not None:
            self._method(asked, "GET")
            return self.pages.next(token, access.owner)
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
            case ["Patient", id, "$everything"] if "everything" not in self.lacks:
                self._method(asked, "GET", "POST")
                found = everything(self.records, id, asked.parameters, access)
                return self._list(asked, access, "Patient", f"Patient/{id}/$everything", lambda: found)
            case [type, id] if _is_type(type):
                self._method(asked, "GET")
                return self._read(asked, type, id, None, access)
            case [type, id, "_history", version] if "vread" not in self.lacks:
                self._method(asked, "GET")
                return self._read(asked, type, id, version, access)
            case [type, id, "_history"] if "history" not in self.lacks:
                self._method(asked, "GET")
                self._known(type)
                versions = history(self.records, type, id, access)
                return self._list(asked, access, type, f"{type}/{id}/_history", lambda: versions, "history")
        raise Refused(404, "not-found", "There is nothing at this address")

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


def _is_type(name: str) -> bool:
    return name[0].isupper()


def _accepts(asked: Asked) -> bool:
    accept = asked.headers.get("accept", "*/*")
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return bool(
        kinds & {"*/*", "application/*", "application/json", "application/fhir+json", "application/fhir+ndjson"}
    )
