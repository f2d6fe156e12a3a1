# SPDX-License-Identifier: Apache-2.0
"""Bodies are unpacked within bounds, and what is wrong with them is told without quoting them."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from medagent.errors import FhirError
from medagent_fhir.client.bodies import Bundle, Head, decoded, media_type, said_in, unpacked, whole

NAME = "a-name-that-nobody-may-see"


def response(body: bytes, packing: str | None = None, part: int = 65_536) -> httpx.Response:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), part):
            yield body[start : start + part]

    return httpx.Response(200, headers={"Content-Encoding": packing} if packing else {}, content=parts())


def read(body: bytes, packing: str | None = None, *, limit: int = 1_000_000, part: int = 65_536) -> bytes:
    return asyncio.run(whole(response(body, packing, part), limit, "Observation page 1"))


@pytest.mark.parametrize("packing", [None, "identity", "gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("part", [1, 7, 65_536])
def test_a_body_is_what_was_packed(packing: str | None, part: int) -> None:
    body = bytes(range(256)) * 12 + b" " * 30_000
    sent = gzip.compress(body) if packing and "gzip" in packing.lower() else body

    assert read(sent, packing, part=part) == body


def test_archives_that_follow_one_another_are_one_body() -> None:
    assert read(gzip.compress(b"one,") + gzip.compress(b"two"), "gzip", part=5) == b"one,two"


def test_a_piece_that_exactly_fills_what_is_unpacked_at_once_ends_nothing() -> None:
    body = b" " * (1 << 20) * 2

    assert read(gzip.compress(body), "gzip", limit=len(body)) == body


@pytest.mark.parametrize(
    ("body", "packing"),
    [
        pytest.param(gzip.compress(b"x" * 5_000)[:-9], "gzip", id="half an archive"),
        pytest.param(gzip.compress(b"one") + b"rest", "gzip", id="something behind the archive"),
        pytest.param(b"no archive", "gzip", id="no archive"),
        pytest.param(b"x", "br", id="another packing"),
        pytest.param(b"x", "gzip, gzip", id="packed twice"),
    ],
)
def test_what_cannot_be_unpacked_is_invalid(body: bytes, packing: str) -> None:
    with pytest.raises(FhirError) as caught:
        read(body, packing)

    assert caught.value.failure == "invalid"


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "packed"])
def test_a_body_ends_where_it_is_longer_than_may_be(packed: bool) -> None:
    body = b" " * 1_001

    with pytest.raises(FhirError, match="longer than 1000 bytes"):
        read(gzip.compress(body) if packed else body, "gzip" if packed else None, limit=1_000)


def test_an_archive_that_unpacks_without_end_costs_little_memory() -> None:
    bomb = gzip.compress(b" " * 150_000_000, 9)
    tracemalloc.start()
    try:
        with pytest.raises(FhirError, match="longer than"):
            read(bomb, "gzip", limit=2_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(bomb) > 2 * 65_536  # several parts, each of which would unpack to 60 MB
    assert peak < 12_000_000


def test_no_more_is_read_than_may_be() -> None:
    asked: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            asked.append(1)
            yield b" " * 1_000

    async def reading() -> None:
        async for _ in unpacked(httpx.Response(200, content=endless()), 5_000, "Observation page 1"):
            pass

    with pytest.raises(FhirError):
        asyncio.run(reading())
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(f'{{"resourceType": "{NAME}'.encode(), "is no JSON", id="half a document"),
        pytest.param(NAME.encode(), "is no JSON", id="a page of text"),
        pytest.param(b'{"resourceType": "\xff"}', "is no JSON", id="no UTF-8"),
        pytest.param(f'{{"resourceType": 7, "id": "{NAME}"}}'.encode(), "is not the FHIR", id="wrong types"),
        pytest.param(f'["{NAME}"]'.encode(), "is not the FHIR", id="no object"),
        pytest.param(b"", "is no JSON", id="nothing"),
    ],
)
def test_what_is_no_resource_is_told_and_not_quoted(body: bytes, problem: str) -> None:
    with pytest.raises(FhirError, match=problem) as caught:
        decoded(body, Head, "Patient/1")

    assert caught.value.failure == "invalid"
    assert NAME not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_next_link_is_the_one_of_that_relation() -> None:
    body = b'{"resourceType":"Bundle","link":[{"relation":"self","url":"a"},{"relation":"next","url":"b"}]}'

    assert decoded(body, Bundle, "page").next == "b"


def test_an_outcome_is_told_in_codes_and_kept_in_its_own_words() -> None:
    said = said_in(
        b'{"resourceType":"OperationOutcome","issue":['
        b'{"severity":"error","code":"not-found","details":{"text":"Jo Doe is not here"},"diagnostics":"at once"},'
        b'{"severity":"error","code":"Jo Doe!"},{"severity":"error","code":"not-found","diagnostics":"at once"}]}'
    )

    assert said.codes == ("not-found",)
    assert said.text == "Jo Doe is not here; at once"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"resourceType":"Patient","issue":[]}', b'{"issue":7}', b"[1]"])
def test_what_is_no_outcome_says_nothing(body: bytes) -> None:
    said = said_in(body)

    assert (said.codes, said.text) == ((), "")


@pytest.mark.parametrize(
    ("header", "name"),
    [("Application/FHIR+json; charset=utf-8", "application/fhir+json"), (None, ""), ("text/html ;x", "text/html")],
)
def test_a_media_type_is_compared_without_its_parameters(header: str | None, name: str) -> None:
    assert media_type(header) == name
