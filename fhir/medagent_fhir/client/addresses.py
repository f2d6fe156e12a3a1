# SPDX-License-Identifier: Apache-2.0
"""Where a request may go: to the FHIR base and what lies below it.

Links are opaque: what a server gave is sent back byte for byte. They are taken apart only to see where they lead, and
the connection is made to the origin that was checked, never to one that is read from a link a second time.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from medagent.errors import FhirError, UsageError

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_DECODINGS = 4  # of an escape that escapes an escape


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where one request goes."""

    origin: str
    """Scheme, host and port."""
    target: str
    """Path and query, as they are sent."""

    @property
    def url(self) -> str:
        """Both together. It may tell whom it is about."""
        return self.origin + self.target

    @property
    def encrypted(self) -> bool:
        """Whether what is sent there can be read by its host alone: by TLS, or because it never leaves this machine."""
        return self.origin.startswith("https:") or _is_loopback(urlsplit(self.origin).hostname or "")


@dataclass(frozen=True, slots=True)
class Base:
    """A FHIR base URL."""

    origin: str
    path: str
    """Without a slash at its end; empty for the root."""

    @classmethod
    def of(cls, url: str) -> "Base":
        """Raises UsageError for what is no base."""
        try:
            parts = urlsplit(url) if _PRINTABLE.fullmatch(url) else SplitResult("", "", "", "", "")
            origin = _origin(parts)
        except ValueError:
            origin = None
        if origin is None or parts.query or parts.fragment or _strays(parts.path):
            raise UsageError("The FHIR base URL: write it like https://ehr.example.org/fhir, without query or fragment")
        if "@" in parts.netloc:
            raise UsageError("The FHIR base URL holds a user or password, which ends in logs: take them out")
        return cls(origin, parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """As text."""
        return self.origin + self.path

    def below(self, path: str = "", query: str = "") -> Address:
        """An address of ours: a path that is encoded already, under the base."""
        return Address(self.origin, f"{self.path}{path}" + (f"?{query}" if query else "") or "/")

    def linked(self, link: str, page: str) -> Address:
        """Where a link leads that stands on a page of this server. FhirError `foreign` where that is not below the
        base, `invalid` where it is no URL."""
        address = self.on_origin(link, page)
        if not self.contains(address):
            raise FhirError("foreign", "A link of the server leads out of its FHIR base. It is not followed")
        return address

    def contains(self, address: Address) -> bool:
        """Whether it is the base or lies below it."""
        path = address.target.partition("?")[0]
        return address.origin == self.origin and (path == self.path or path.startswith(f"{self.path}/"))

    def on_origin(self, link: str, page: str) -> Address:
        """As `linked`, anywhere on the server's origin."""
        address = absolute(link, page)
        if address.origin != self.origin:
            raise FhirError("foreign", "A link of the server leads to another server. It is not followed")
        return address


def absolute(link: str, page: str) -> Address:
    """Where a link leads, wherever that is. FhirError `invalid` where it is no HTTP URL; `foreign` where servers would
    disagree on where it leads."""
    origin = None
    if _PRINTABLE.fullmatch(link):
        try:
            given = link if urlsplit(link).scheme else urljoin(page, link)
            parts = urlsplit(given)
            origin = _origin(parts)
        except ValueError:
            origin = None
    if origin is None:
        raise FhirError("invalid", "A link of the server is no HTTP URL. It is not followed")
    if "@" in parts.netloc or _strays(parts.path):
        raise FhirError("foreign", "A link of the server hides where it leads. It is not followed")
    target = given.partition("#")[0].partition("://")[2].removeprefix(parts.netloc)
    return Address(origin, target if target.startswith("/") else f"/{target}")


def segment(text: str, what: str) -> str:
    """An id or version as one segment of a path. FhirError `refused` for what can be none."""
    if not text or text in (".", ".."):
        raise FhirError("refused", f"{what}: can be no part of a FHIR address")
    return quote(text, safe="")


def type_segment(text: str) -> str:
    """A resource type as one segment of a path. FhirError `refused` for what can be none."""
    if not _TYPE.fullmatch(text):
        raise FhirError("refused", "A resource type is letters only and starts with a capital one")
    return text


def _origin(parts: SplitResult) -> str | None:
    """In one spelling. None: not HTTP, or without a host. Raises ValueError for a port that can be none."""
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _PORTS or not host:
        return None
    port = parts.port or _PORTS[scheme]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port == _PORTS[scheme] else f":{port}")


def _strays(path: str) -> bool:
    """Whether some server may read it as leading upwards: dots and slashes in their many spellings."""
    for _ in range(_DECODINGS):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    else:
        return True
    segments = path.split("/")
    return "\\" in path or any(part.partition(";")[0] in (".", "..") for part in segments)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
