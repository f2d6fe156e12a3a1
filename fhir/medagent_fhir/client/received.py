# SPDX-License-Identifier: Apache-2.0
"""What a FHIR server gave: bytes as they were received, and what is needed to cite them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from medagent.errors import FhirError
from medagent_fhir.calls import Call
from medagent_fhir.client.bodies import JSON_TYPES, Bundle, Head, decoded, media_type, said_in
from medagent_fhir.client.exchange import Answer


@dataclass(frozen=True, slots=True)
class Received:
    """One answer whose call is on record. Its repr shows nothing of what it holds."""

    body: bytes = field(repr=False)
    """After content decoding."""
    sha256: str
    """Of the body."""
    status: int
    etag: str | None = field(repr=False)
    """As it was sent, for If-None-Match."""
    last_modified: str | None = field(repr=False)
    content_type: str
    """Media type in lower case, without parameters."""
    retrieved_at: datetime
    """When it was there in full, by our clock, UTC."""
    name: str
    """For messages, without patient data: `Observation page 2`."""
    next: str | None = field(repr=False, default=None)
    """Address of the page that follows, as the server gave it. It may tell whom it is about."""
    call: Call | None = field(repr=False, default=None, compare=False)
    """As it went on record."""


Shape = Callable[[bytes, str], str | None]
"""Judges a body by its name for messages: FhirError where it is not what was asked for, else its next link."""


def received(answer: Answer, name: str, shape: Shape) -> Received:
    """An answer that must be FHIR JSON of that shape."""
    kind = media_type(answer.headers.get("Content-Type"))
    if kind not in JSON_TYPES:
        raise _failed(f"{name}: the server sent something else than FHIR JSON; check its base URL", answer)
    try:
        following = shape(answer.body, name)
    except FhirError as error:
        said = said_in(answer.body)
        raise FhirError(error.failure, str(error), status=answer.status, outcome=said.text) from None
    return _received(answer, name, kind, following)


def content(answer: Answer, name: str, accept: str) -> Received:
    """An answer that must be of that media type."""
    kind = media_type(answer.headers.get("Content-Type"))
    if kind != media_type(accept):
        raise _failed(f"{name}: the server sent another media type than was asked for", answer)
    return _received(answer, name, kind, None)


def resource(kind: str, id: str) -> Shape:
    """One resource: this one."""

    def judge(body: bytes, name: str) -> None:
        head = decoded(body, Head, name)
        if head.resource_type == "OperationOutcome":
            raise FhirError("invalid", f"{name}: the server sent an OperationOutcome in its place")
        if (head.resource_type, head.id) != (kind, id):
            raise FhirError("foreign", f"{name}: the server sent another resource; nothing of it is used")

    return judge


def searchset(body: bytes, name: str) -> str | None:
    """A page of what was found."""
    bundle = _bundle(body, name)
    if bundle.type != "searchset":
        raise FhirError("invalid", f"{name}: the server sent a Bundle that is no searchset")
    return bundle.next


def some_bundle(body: bytes, name: str) -> str | None:
    """A page of whatever kind."""
    return _bundle(body, name).next


def batch_response(entries: int, name: str) -> Shape:
    """As many answers as there were requests."""

    def judge(body: bytes, name: str) -> None:
        answers = decoded(body, _Entries, name)
        if answers.type != "batch-response" or len(answers.entry) != entries:
            raise FhirError("invalid", f"{name}: the server did not answer each request")

    return judge


def json_of(reader: Callable[[bytes], object]) -> Shape:
    """What a reader can read."""

    def judge(body: bytes, name: str) -> None:
        reader(body)

    return judge


def named(recorded: tuple[Received, Call]) -> Received:
    """Together with its call. What is given again keeps the call that gave it."""
    given, call = recorded
    return given if given.call is not None else replace(given, call=call)


class _Entries(msgspec.Struct):
    type: str | None = None
    entry: tuple[msgspec.Raw, ...] = ()


def _bundle(body: bytes, name: str) -> Bundle:
    bundle = decoded(body, Bundle, name)
    if bundle.resource_type != "Bundle":
        raise FhirError("invalid", f"{name}: the server sent something else than a Bundle")
    return bundle


def _received(answer: Answer, name: str, kind: str, following: str | None) -> Received:
    headers = answer.headers
    return Received(
        body=answer.body,
        sha256=answer.sha256,
        status=answer.status,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        content_type=kind,
        retrieved_at=answer.retrieved_at,
        name=name,
        next=following,
    )


def _failed(message: str, answer: Answer) -> FhirError:
    return FhirError("invalid", message, status=answer.status, outcome=said_in(answer.body).text)
