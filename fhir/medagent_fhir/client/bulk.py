# SPDX-License-Identifier: Apache-2.0
"""Bulk Data export: start, poll, stream the files, delete. https://hl7.org/fhir/uv/bulkdata/export.html

Files are streamed line by line and never held whole. A token goes along to the server's own origin alone; files that
lie elsewhere are fetched only from origins that the caller names, and without one.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Self

import httpx
import msgspec

from medagent.errors import FhirError
from medagent.retries import seconds_of
from medagent_fhir.client.addresses import Address, absolute
from medagent_fhir.client.bodies import JSON_TYPES, NDJSON_TYPES, decoded, media_type
from medagent_fhir.client.channel import Channel
from medagent_fhir.client.exchange import Answer, Ask

ExportLevel = str
"""`system`, `Patient`, or `Group/id`."""

_POLL_SECONDS = 5  # where the server does not say when to ask again
_POLL_SECONDS_MIN = 0.1  # where it says at once, or what means nothing
_POLL_SECONDS_MAX = 300.0  # who asks us to wait for longer is asked a little too often


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of NDJSON: resources of one type, a line each."""

    type: str
    """Resource type; `OperationOutcome` in the list of errors."""
    count: int | None
    """Lines, where the server says so."""
    address: Address
    with_token: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export gave."""

    transaction_time: str
    """Instant that the export shows, as the server wrote it."""
    output: tuple[ExportFile, ...]
    deleted: tuple[ExportFile, ...]
    """Bundles that name what was deleted since."""
    errors: tuple[ExportFile, ...]
    """OperationOutcomes: what could not be exported."""


class _File(msgspec.Struct):
    type: str
    url: str
    count: int | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    transaction_time: str
    requires_access_token: bool
    output: tuple[_File, ...]
    error: tuple[_File, ...] = ()
    deleted: tuple[_File, ...] = ()


class Export:
    """One export. Leaving `async with` deletes it on the server, whether it is ready or not."""

    def __init__(self, channel: Channel, status: Ask, elsewhere: frozenset[str]) -> None:
        self._channel = channel
        self._status = status
        self._elsewhere = elsewhere
        self._deleted = False

    @classmethod
    async def started(cls, channel: Channel, ask: Ask, elsewhere: frozenset[str]) -> "Export":
        """Kicks one off."""

        def take(answer: Answer) -> Address:
            link = answer.headers.get("Content-Location")
            if not link:
                raise FhirError("invalid", f"{ask.name}: the server does not say where its progress is told")
            return channel.base.on_origin(link, ask.address.url)

        address, _ = await channel.ask(ask, take)
        status = replace(ask, name="Export status", address=address, headers=(), expected=(200, 202), repeatable=True)
        return cls(channel, status, elsewhere)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self.cancel()
        except FhirError:
            if error is None:
                raise

    async def manifest(self) -> Manifest:
        """Polls until it is there, as often as the server asks. FhirError `deadline` where that takes too long."""
        try:
            async with asyncio.timeout(self._channel.limits.export_seconds):
                while True:
                    ready, _ = await self._channel.ask(self._status, self._progress)
                    if isinstance(ready, Manifest):
                        return ready
                    await asyncio.sleep(ready)
        except TimeoutError:
            raise FhirError("deadline", "Export: the server did not finish in time") from None

    async def cancel(self) -> None:
        """Ends it on the server, and has its files deleted. Asked again, it does nothing."""
        if self._deleted:
            return
        self._deleted = True
        ask = replace(self._status, method="DELETE", expected=(200, 202, 204, 404, 410), repeatable=False)
        await self._channel.ask(ask, lambda answer: None)

    async def lines(self, file: ExportFile) -> AsyncGenerator[bytes, None]:
        """The lines of a file, without their ends. The call is on record before the first is handed out. Use it with
        `contextlib.aclosing` where you may leave early."""
        ask = replace(
            self._status,
            name=f"Export file of {file.type}",
            address=file.address,
            accept=", ".join(sorted(NDJSON_TYPES)),
            expected=(200,),
            public=not file.with_token,
        )
        longest = self._channel.limits.body_bytes
        rest = bytearray()
        async with self._channel.stream(ask, NDJSON_TYPES) as parts:
            async for part in parts:
                rest += part
                if b"\n" not in part and len(rest) <= longest:
                    continue
                *lines, tail = bytes(rest).split(b"\n")
                rest = bytearray(tail)
                if max(map(len, (*lines, tail))) > longest:
                    raise FhirError("invalid", f"{ask.name}: a line is longer than {longest} bytes")
                for line in filter(bytes.strip, lines):
                    yield line.rstrip(b"\r")
        if rest.strip():
            yield bytes(rest).rstrip(b"\r")

    def _progress(self, answer: Answer) -> Manifest | float:
        """The manifest, or the seconds to wait for it."""
        if answer.status == httpx.codes.ACCEPTED:
            asked = answer.headers.get("Retry-After", str(_POLL_SECONDS))
            return min(max(seconds_of(asked, self._channel.clock.now()), _POLL_SECONDS_MIN), _POLL_SECONDS_MAX)
        name = self._status.name
        if media_type(answer.headers.get("Content-Type")) not in JSON_TYPES:
            raise FhirError("invalid", f"{name}: the server sent something else than a manifest")
        said = decoded(answer.body, _Manifest, name)
        needed = said.requires_access_token

        def files(named: tuple[_File, ...]) -> tuple[ExportFile, ...]:
            return tuple(ExportFile(one.type, one.count, self._place(one.url, needed), needed) for one in named)

        return Manifest(said.transaction_time, files(said.output), files(said.deleted), files(said.error))

    def _place(self, link: str, needs_token: bool) -> Address:
        address = absolute(link, self._status.address.url)
        own = address.origin == self._channel.base.origin
        if not own and (needs_token or address.origin not in self._elsewhere):
            raise FhirError("foreign", "Export: a file lies on another server. It is not fetched")
        return address
