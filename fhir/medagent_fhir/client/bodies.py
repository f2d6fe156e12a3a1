# SPDX-License-Identifier: Apache-2.0
"""Bodies as they arrive: unpacked within bounds, and read as far as a client must to pass them on.

httpx would unpack each part whole, however much comes out of it, and takes half an archive for a whole one.
"""

import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import httpx
import msgspec

from medagent.errors import FhirError

T = TypeVar("T")
FHIR_JSON = "application/fhir+json"
JSON_TYPES = frozenset({FHIR_JSON, "application/json"})
NDJSON_TYPES = frozenset({"application/fhir+ndjson", "application/ndjson", "application/x-ndjson"})

_GZIP = zlib.MAX_WBITS | 16
_UNPACKED = 1 << 20  # bytes that are unpacked at once
_CODE = re.compile(r"[a-z][a-z-]{1,40}")  # of issue-type; anything else might be somebody's words


class Head(msgspec.Struct, rename="camel"):
    """What every resource has."""

    resource_type: str
    id: str | None = None


class TooLong(FhirError):
    """A body has more bytes than were to be taken in. It was read no further."""


class Link(msgspec.Struct):
    """To another page."""

    relation: str | None = None
    url: str | None = None


class Bundle(msgspec.Struct, rename="camel"):
    """Of a Bundle, what is needed to go on to the next."""

    resource_type: str
    type: str | None = None
    link: tuple[Link, ...] = ()

    @property
    def next(self) -> str | None:
        """The link to the next page, as given."""
        return next((link.url for link in self.link if link.relation == "next" and link.url), None)


class _Text(msgspec.Struct):
    text: str | None = None


class _Issue(msgspec.Struct):
    code: str | None = None
    diagnostics: str | None = None
    details: _Text | None = None


class _Outcome(msgspec.Struct, rename="camel"):
    resource_type: str
    issue: tuple[_Issue, ...] = ()


class Said(msgspec.Struct):
    """What an OperationOutcome says."""

    codes: tuple[str, ...] = ()
    """Of its issues, without repetition. Safe to show."""
    text: str = ""
    """In its own words, which may name a patient."""


_outcome = msgspec.json.Decoder(_Outcome)


def decoded(body: bytes, shape: type[T], name: str) -> T:
    """The body as that shape. The decoder's error is not chained: it may quote what was read."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        problem = "is not the FHIR that belongs there"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = "is no JSON"
    raise FhirError("invalid", f"{name}: what the server sent {problem}")


def said_in(body: bytes) -> Said:
    """What a body says if it is an OperationOutcome, else nothing."""
    try:
        outcome = _outcome.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said()
    if outcome.resource_type != "OperationOutcome":
        return Said()
    codes = dict.fromkeys(issue.code for issue in outcome.issue if issue.code and _CODE.fullmatch(issue.code))
    texts = ((issue.details.text if issue.details else None, issue.diagnostics) for issue in outcome.issue)
    return Said(tuple(codes), "; ".join(dict.fromkeys(text for pair in texts for text in pair if text)))


def media_type(content_type: str | None) -> str:
    """In lower case, without parameters; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


async def unpacked(response: httpx.Response, bytes_max: int, name: str) -> AsyncIterator[bytes]:
    """The body in parts, after content decoding; ends in TooLong (`invalid`) as soon as it exceeds the limit."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("identity", "", "gzip", "x-gzip"):
        raise FhirError("invalid", f"{name}: the server packed its answer in a way that was not asked for")
    archive = _Archive(name) if "gzip" in packing else None
    length = 0
    async for part in response.aiter_raw():
        for piece in archive.unpack(part) if archive else (part,):
            length += len(piece)
            if length > bytes_max:
                raise TooLong("invalid", f"{name}: the server's answer is longer than {bytes_max} bytes")
            yield piece
    if archive:
        archive.end()


async def whole(response: httpx.Response, bytes_max: int, name: str) -> bytes:
    """The body in one."""
    return b"".join([piece async for piece in unpacked(response, bytes_max, name)])


async def beginning(response: httpx.Response, bytes_max: int, name: str) -> bytes:
    """As much of the body as is worth reading."""
    read = bytearray()
    async for piece in unpacked(response, 2 * _UNPACKED, name):
        read += piece
        if len(read) > bytes_max:
            break
    return bytes(read[:bytes_max])


class _Archive:
    """Unpacks gzip in pieces of bounded size, also where several archives follow one another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def unpack(self, part: bytes) -> Iterator[bytes]:
        while part:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            yield from self._of_member(part)
            part = self._member.unused_data

    def _of_member(self, part: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._member.decompress(part, _UNPACKED)
            except zlib.error:
                raise self._broken() from None
            part = self._member.unconsumed_tail
            if piece:
                yield piece
            if not part and len(piece) < _UNPACKED:
                return

    def end(self) -> None:
        """Raises where it is not whole."""
        if self._begun and not self._member.eof:
            raise self._broken()

    def _broken(self) -> FhirError:
        return FhirError("invalid", f"{self._name}: what the server sent is no whole gzip archive")
