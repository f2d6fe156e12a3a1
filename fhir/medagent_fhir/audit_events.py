# SPDX-License-Identifier: Apache-2.0
"""Every call to an EHR goes on record before anything of its answer is used: the audit log's side of the client."""

import asyncio
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from medagent.accesses import Access, AccessLog
from medagent_fhir.balp import Parties, access_type, audit_event
from medagent_fhir.calls import Call

__all__ = ["Auditor", "Parties"]


class Auditor:
    """Records the calls of one run: see Recorder. Belongs to one event loop.

    One transaction is under way at a time; calls that end meanwhile share the next one. So a chart whose searches end
    together waits for a disk two or three times, not thirty.
    """

    def __init__(
        self,
        log: AccessLog,
        parties: Parties,
        *,
        actor: str,
        request: str | None = None,
        retrieval: str | None = None,
    ) -> None:
        """`actor` as `Request.actor`; `request`: id of the recorded request, where there is one already; `retrieval`:
        None gives the run a new, random one."""
        self.parties = parties
        self.request = request
        """May be named once it is recorded; later events then say so."""
        self._log = log
        self._actor = actor
        self._retrieval = retrieval if retrieval is not None else f"retrieval-{secrets.token_hex(16)}"
        self._turn = asyncio.Lock()
        self._gathering: _Batch | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def retrieval(self) -> str:
        """What the calls have in common: see Recorder."""
        return self._retrieval

    async def record(self, call: Call) -> None:
        """Durable on return. Raises AuditError: see Recorder. The call was made, so its event is written also where
        whoever waits for it is cancelled."""
        access = Access(
            type=access_type(call),
            actor=self._actor,
            patient=call.patient,
            request=self.request,
            body=audit_event(call, self.parties, self._actor),
        )
        await asyncio.shield(self._join(access))

    async def aclose(self) -> None:
        """Waits until what was handed over is written, also after a cancellation."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _join(self, access: Access) -> "asyncio.Task[None]":
        """The batch that is still gathering takes it; where there is none, another begins."""
        if self._gathering is None:
            batch: list[Access] = []
            task = asyncio.ensure_future(self._write(batch))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
            self._gathering = _Batch(batch, task)
        self._gathering.accesses.append(access)
        return self._gathering.written

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Takes note of how it ended: where one record fails, those who waited for the next one are cancelled, and the
        event loop would complain that nobody heard of it."""
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()

    async def _write(self, accesses: list[Access]) -> None:
        async with self._turn:
            self._gathering = None  # what comes from here on is for the next
            await asyncio.to_thread(self._log.record, accesses)


@dataclass(frozen=True, slots=True)
class _Batch:
    accesses: list[Access]
    written: "asyncio.Task[None]"
