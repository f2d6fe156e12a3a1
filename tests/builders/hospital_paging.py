# SPDX-License-Identifier: Apache-2.0
"""Searchsets in pages, with next links of every kind that real servers, and wrong ones, hand out."""

import json
import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from builders.hospital_outcomes import Refused
from builders.hospital_records import Stored
from builders.hospital_wire import Reply

LinkStyle = Literal[
    "opaque", "relative", "below", "cross-origin", "outside", "userinfo", "looping", "endless", "expiring"
]
"""How the next page is named.

`opaque`: a token behind the base, as HAPI does. `relative`: the same as an absolute path. `below`: a token in a path
below the base. Wrong ones: `cross-origin` (`Hospital.elsewhere`), `outside` (same origin, not below the base),
`userinfo` (our address as the user name at `elsewhere`), `looping` (each page names the first one), `endless` (there is
always another page, without entries), `expiring` (it answers 410 when it is followed)."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search as it was asked for."""

    type: str
    url: str
    """The self link."""
    found: Callable[[], Sequence[Stored]]
    """All matches, when a page is asked for: of the moment of the search, or of now."""
    included: Callable[[Sequence[Stored]], Sequence[Stored]]
    """What goes along with the matches of a page."""
    total: bool
    """Whether the server says how many match."""
    bundle_type: str = "searchset"


@dataclass(frozen=True, slots=True)
class _Promise:
    """A page that a link names."""

    search: Search
    start: int
    count: int
    owner: Hashable
    """Whose link it is: nobody else may follow it."""


class Pages:
    """Makes pages and keeps what their links name."""

    def __init__(self, base: Callable[[], str], elsewhere: Callable[[], str], style: LinkStyle) -> None:
        self.style = style
        self._base = base
        self._elsewhere = elsewhere
        self._promised: dict[str, _Promise] = {}

    def first(self, search: Search, count: int, owner: Hashable) -> Reply:
        """The first page of a search."""
        return self._page(_Promise(search, 0, count, owner), secrets.token_urlsafe(12))

    def next(self, token: str, owner: Hashable) -> Reply:
        """A page that a link named."""
        promise = self._promised.get(token)
        if promise is None or self.style == "expiring":
            raise Refused(410, "expired", "This page is kept no longer: search again")
        if promise.owner != owner:
            raise Refused(403, "forbidden", "This page belongs to another search")
        return self._page(promise, token)

    def type(self, token: str) -> str | None:
        """What a link's page consists of."""
        promise = self._promised.get(token)
        return promise.search.type if promise else None

    def _page(self, promise: _Promise, token: str) -> Reply:
        search, start, count = promise.search, promise.start, promise.count
        self._promised[token] = promise
        found = search.found()
        matched = found[start : start + count]
        links = [{"relation": "self", "url": search.url if start == 0 else self._link(token)}]
        more = start + count < len(found) or self.style == "endless"
        if more and count > 0:
            following = token if self.style == "looping" and start > 0 else secrets.token_urlsafe(12)
            self._promised.setdefault(following, _Promise(search, start + count, count, promise.owner))
            links.append({"relation": "next", "url": self._link(following)})
        return searchset(
            self._base(),
            matched,
            search.included(matched),
            links=links,
            total=len(found) if search.total else None,
            type=search.bundle_type,
        )

    def _link(self, token: str) -> str:
        base, query = self._base(), f"?_getpages={token}"
        root, _, path = base.partition("://")[2].partition("/")
        scheme = base.partition("://")[0]
        match self.style:
            case "relative":
                return f"/{path}{query}"
            case "below":
                return f"{base}/_page/{token}"
            case "cross-origin":
                return f"{self._elsewhere()}/{path}{query}"
            case "outside":
                return f"{scheme}://{root}/other{query}"
            case "userinfo":
                return f"{scheme}://{root}@{self._elsewhere().partition('://')[2]}/{path}{query}"
            case _:
                return base + query


def searchset(
    base: str,
    matched: Sequence[Stored],
    included: Sequence[Stored] = (),
    *,
    links: Sequence[dict[str, str]] = (),
    total: int | None = None,
    type: str = "searchset",
) -> Reply:
    """A Bundle of resources, each as its own bytes."""
    head = {"resourceType": "Bundle", "id": secrets.token_hex(8), "type": type}
    if total is not None:
        head["total"] = total  # type: ignore[assignment]  # the one number among texts
    head["link"] = list(links)  # type: ignore[assignment]  # the one list among texts
    if type == "history":
        entries = [_version(base, one) for one in matched]
    else:
        matches = (_entry(base, one, "match") for one in matched)
        entries = [*matches, *(_entry(base, one, "include") for one in included)]
    body = json.dumps(head).encode()
    if entries:
        body = body[:-1] + b', "entry": [' + b",".join(entries) + b"]}"
    return Reply(200, body)


def _entry(base: str, stored: Stored, mode: str) -> bytes:
    return b'{"fullUrl":"%s/%s","resource":%s,"search":{"mode":"%s"}}' % (
        base.encode(),
        stored.name.encode(),
        stored.raw,
        mode.encode(),
    )


def _version(base: str, stored: Stored) -> bytes:
    return b'{"fullUrl":"%s/%s","resource":%s,"request":{"method":"PUT","url":"%s"},"response":%s}' % (
        base.encode(),
        stored.name.encode(),
        stored.raw,
        stored.name.encode(),
        json.dumps({"status": "200", "etag": stored.etag}).encode(),
    )
