# SPDX-License-Identifier: Apache-2.0
"""What was received, taken apart into the exact bytes of each resource.

A container is what a resource came in: a file after decompression, one line of NDJSON, or a body over HTTP. Its hash,
and the JSON Pointer of the resource in it, let anybody find a cited resource again with a JSON parser and SHA-256.
"""

import codecs
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from medagent.errors import ChartError
from medagent_fhir.complaints import NOT_UTF8, complaint, malformed
from medagent_fhir.wire import BareHead, Bundle, Entry, Head, LooseBundle, Outcome

BYTES_SETTING = "MEDAGENT_INPUT_BYTES_MAX"

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NESTED_BUNDLES = 3  # a batch response holds searchsets; deeper is nobody's export

_head = msgspec.json.Decoder(Head)
_bare_head = msgspec.json.Decoder(BareHead)
_bundle = msgspec.json.Decoder(Bundle)
_loose_bundle = msgspec.json.Decoder(LooseBundle)
_entry = msgspec.json.Decoder(Entry)
_outcome = msgspec.json.Decoder(Outcome)

Slice = msgspec.Raw | bytes
"""The exact bytes of a resource; Raw is a view of its container's, which it keeps in memory."""

ANY_TYPE = "*"
"""Stands for a resource type that could not be read: it may have been any."""


class NotFhir(ChartError):
    """A file is JSON of something else."""


class Container(msgspec.Struct, gc=False):
    """A file after decompression, one line of NDJSON, or a body over HTTP after content decoding."""

    name: str
    sha256: str
    retrieved_at: datetime
    whole_record: bool
    """A Bundle that is meant to hold everything of its patients; otherwise only the types that are present count."""


class Resource(msgspec.Struct, gc=False):
    """One resource as it stands in its container. (A Struct of msgspec: there are tens of thousands of them.)"""

    type: str
    id: str | None
    container: Container
    pointer: str
    raw: Slice
    """At first a view of its container; a copy of its own for what is read, none for the rest, when that ends."""
    full_url: str | None
    subject: str | None
    """The reference as written, or `identifier|system|value`. None: it names no subject."""
    version: str | None
    last_updated: str | None
    fault: str | None = None
    """What is malformed of its head, so that it cannot be said whose it is."""
    _digest: str | None = None

    @property
    def uri(self) -> str:
        """`Type/id`, or the fullUrl where there is no id."""
        return f"{self.type}/{self.id}" if self.id else self.full_url or self.type

    @property
    def sha256(self) -> str:
        """Of its exact bytes."""
        if self._digest is None:
            self._digest = hashlib.sha256(self.raw).hexdigest()
        return self._digest

    @property
    def where(self) -> str:
        """For a message: file, entry, resource."""
        return _where(self.container.name, self.pointer, self.uri)


@dataclass(slots=True)
class Unread:
    """Something in a container that could not be used."""

    where: str
    reason: str
    type: str | None
    """The type of resource whose readings it makes incomplete, `ANY_TYPE`, or None: nothing clinical is lost."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a searchset says of itself."""

    matches: int
    """Entries that are no includes."""
    total: int | None
    """How many match on all pages; None: it does not say."""
    has_next: bool
    warned: bool
    """Whether the server attached an OperationOutcome that is more than information."""
    own_url: str | None
    """Its link `self`: the search as the server names it."""

    def faults(self) -> Iterator[str]:
        """Why a page that came alone is not everything."""
        if self.has_next:
            yield "a searchset has a further page that was not given"
        if self.total is not None and self.total > self.matches:
            yield "a searchset holds fewer entries than its total"
        if self.warned:
            yield "the server attached an OperationOutcome to its results"


@dataclass(slots=True)
class Contents:
    """Everything that was found in a source, before it is told apart by patient."""

    retrieved_at: datetime
    resources: list[Resource] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    """Of the searchsets, in order."""
    deleted: set[str] = field(default_factory=set)
    """`Type/id` of what a history says was deleted."""
    bytes: int = 0


def split_document(
    name: str, data: bytes, contents: Contents, address: str | None = None, digest: str | None = None
) -> None:
    """Takes a JSON document apart: a Bundle or one resource. `address`: where a server gave it. `digest`: its SHA-256,
    where it is known."""
    if data.startswith(_UTF16):
        raise ChartError(f"{name}: is UTF-16; FHIR JSON is UTF-8, convert it")
    if not _is_utf8(data):
        raise ChartError(f"{name}: {NOT_UTF8}")
    digest = digest or hashlib.sha256(data).hexdigest()
    container = Container(name, digest, contents.retrieved_at, whole_record=False)
    _split(container, "", data.removeprefix(_BOM), address, contents, depth=0)


def split_lines(name: str, data: bytes, contents: Contents) -> None:
    """Takes NDJSON apart: each line is a container of its own."""
    if data.startswith(_UTF16):
        raise ChartError(f"{name}: is UTF-16; FHIR JSON is UTF-8, convert it")
    for number, line in enumerate(_lines(data), start=1):
        content = line.removeprefix(_BOM).strip()
        if not content:
            continue
        if not _is_utf8(line):
            contents.unread.append(Unread(f"{name} line {number}", NOT_UTF8, ANY_TYPE))
            continue
        digest = hashlib.sha256(line).hexdigest()
        container = Container(f"{name} line {number}", digest, contents.retrieved_at, whole_record=False)
        try:
            _split(container, "", content, None, contents, depth=0)
        except ChartError as error:
            reason = str(error).removeprefix(f"{container.name}: ")
            contents.unread.append(Unread(container.name, reason, ANY_TYPE))


def _lines(data: bytes) -> Iterator[bytes]:
    """As `splitlines`, in pieces: a list of all lines would be many times a file of empty ones."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _CHUNK) + 1 or len(data)
        yield from data[start:end].splitlines()
        start = end


def _is_utf8(data: bytes) -> bool:
    """Of all bytes: the decoder passes over texts that it does not keep, and nobody could parse the container later."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _CHUNK):  # in pieces, so that no second copy of a large file is made
            decoder.decode(data[start : start + _CHUNK], final=start + _CHUNK >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def _split(
    container: Container,
    pointer: str,
    raw: Slice,
    full_url: str | None,
    contents: Contents,
    depth: int,
) -> None:
    head, fault = _head_of(container, pointer, raw, contents)
    if head is None:
        return
    if head.resource_type == "Bundle" and depth < _NESTED_BUNDLES:
        _split_bundle(container, pointer, raw, contents, depth)
        return
    meta = head.meta
    subject = _subject(head)
    if fault is None and _names_two(head):
        fault = "names two patients"
    contents.resources.append(
        Resource(
            type=sys.intern(head.resource_type),
            id=head.id or _id_in(full_url),
            container=container,
            pointer=pointer,
            raw=raw if pointer else bytes(raw).strip(),
            full_url=full_url,
            subject=sys.intern(subject) if subject else None,
            version=meta.version_id if meta else None,
            last_updated=meta.last_updated if meta else None,
            fault=fault,
        )
    )


def _head_of(container: Container, pointer: str, raw: Slice, contents: Contents) -> tuple[Head | None, str | None]:
    """The head and what is malformed of it. None: it cannot even be said of which type it is, which is noted; a
    container that is no FHIR at all is an error."""
    try:
        return _head.decode(raw), None
    except msgspec.ValidationError as error:
        fault = complaint(error)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if not pointer:
            raise ChartError(f"{container.name}: {malformed(error)}") from error
        contents.unread.append(Unread(_where(container.name, pointer, ""), malformed(error), ANY_TYPE))
        return None, None
    try:
        bare = _bare_head.decode(raw)
    except msgspec.ValidationError:
        bare = BareHead()
    if isinstance(bare.resource_type, str):
        return Head(resource_type=bare.resource_type, id=bare.id if isinstance(bare.id, str) else None), fault
    if not pointer:
        raise NotFhir(f"{container.name}: is not a FHIR resource: resourceType is missing")
    contents.unread.append(Unread(_where(container.name, pointer, ""), "resourceType: missing", ANY_TYPE))
    return None, None


def _split_bundle(container: Container, pointer: str, raw: Slice, contents: Contents, depth: int) -> None:
    try:
        bundle = _bundle.decode(raw)
        entries: list[Entry | None] = list(bundle.entry)
    except msgspec.ValidationError:
        bundle, entries = _salvage(container, pointer, raw, contents)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ChartError(f"{container.name}: {malformed(error)}") from error
    if bundle.type == "searchset":
        contents.pages.append(_page(bundle, entries))
    else:
        container.whole_record = True
    for number, entry in enumerate(entries):
        if entry is None:
            continue
        place = f"{pointer}/entry/{number}"
        if not memoryview(entry.resource).nbytes:
            if bundle.type == "history" and entry.request and entry.request.method == "DELETE" and entry.request.url:
                contents.deleted.add(entry.request.url)
            continue
        _split(container, f"{place}/resource", entry.resource, entry.full_url, contents, depth + 1)


def _salvage(container: Container, pointer: str, raw: Slice, contents: Contents) -> tuple[Bundle, list[Entry | None]]:
    """The readable entries of a Bundle of which something is malformed."""
    try:
        loose = _loose_bundle.decode(raw)
    except msgspec.ValidationError as error:
        raise ChartError(f"{container.name}: Bundle: {complaint(error)}") from error
    except UnicodeDecodeError as error:
        raise ChartError(f"{container.name}: {malformed(error)}") from error
    entries: list[Entry | None] = []
    for number, raw_entry in enumerate(loose.entry):
        try:
            entries.append(_entry.decode(raw_entry))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = complaint(error) if isinstance(error, msgspec.ValidationError) else malformed(error)
            place = _where(container.name, f"{pointer}/entry/{number}", "")
            contents.unread.append(Unread(place, reason, ANY_TYPE))
            entries.append(None)
    return Bundle(type=loose.type, total=loose.total, link=loose.link), entries


def _page(bundle: Bundle, entries: list[Entry | None]) -> Page:
    modes = [entry.search.mode if entry and entry.search else None for entry in entries]
    outcomes = [entry.resource for entry in entries if entry and entry.search and entry.search.mode == "outcome"]
    return Page(
        matches=sum(mode not in ("include", "outcome") for mode in modes),
        total=bundle.total,
        has_next=any(link.relation == "next" for link in bundle.link),
        warned=any(map(_warns, outcomes)),
        own_url=next((link.url for link in bundle.link if link.relation == "self"), None),
    )


def _warns(outcome: msgspec.Raw) -> bool:
    try:
        issues = _outcome.decode(outcome).issue
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True
    return not issues or any(issue.severity != "information" for issue in issues)


def _names_two(head: Head) -> bool:
    """Whether it has both elements that name a patient, which no type has, and they differ."""
    if isinstance(head.subject, msgspec.UnsetType) or isinstance(head.patient, msgspec.UnsetType):
        return False
    return head.subject != head.patient


def _subject(head: Head) -> str | None:
    for reference in (head.subject, head.patient):
        if isinstance(reference, msgspec.UnsetType):
            continue
        if reference.reference:
            return reference.reference
        if reference.identifier and reference.identifier.value:
            return f"identifier|{reference.identifier.system or ''}|{reference.identifier.value}"
    return None


def _id_in(full_url: str | None) -> str | None:
    if full_url and full_url.startswith(("urn:uuid:", "urn:oid:")):
        return full_url.rsplit(":", 1)[1]
    return None


def _where(name: str, pointer: str, uri: str) -> str:
    entries = " ".join(f"entry {number}" for number in re.findall(r"/entry/(\d+)", pointer))
    return " ".join(part for part in (name, entries, uri) if part)
