# SPDX-License-Identifier: Apache-2.0
"""A FHIR client in tests: who it calls for, and what it put on record."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from medagent.clock import Clock, SystemClock
from medagent.errors import AuditError
from medagent.scopes import Grant
from medagent_fhir.authorization import Authorization, Open
from medagent_fhir.calls import Call
from medagent_fhir.client import ClientLimits, FhirClient

T = TypeVar("T")
QUICK = ClientLimits(attempt_seconds=5, pause_seconds=0.01, longest_pause_seconds=0.02, attempts=3)
"""Limits for a server on this machine."""


_LONGEST = 60  # seconds; a call that never ends fails its test


class Recording:
    """A recorder in memory. `full`: from this call on it can take no more, as a log on a full disk."""

    def __init__(self, *, full: int | None = None) -> None:
        self.calls: list[Call] = []
        self.retrieval = "retrieval"
        self._full = full

    async def record(self, call: Call) -> None:
        await asyncio.sleep(0)
        if self._full is not None and len(self.calls) + 1 >= self._full:
            raise AuditError("The audit log takes no more")
        self.calls.append(call)

    @property
    def outcomes(self) -> list[tuple[str, int | None, str | None]]:
        """Interaction, status and failure of each, but for what every client asks first."""
        told = [(call.interaction, call.status, call.failure) for call in self.calls]
        return [one for one in told if one[0] != "capabilities"]


class Tokens:
    """An authorization that has these tokens, one after another; the last one is given again."""

    def __init__(self, base: str, *tokens: str, patient: str | None = None) -> None:
        self.base = base
        self.granted: Grant | None = None
        self.patient = patient
        self.refused: list[SecretStr] = []
        self._tokens = list(tokens)

    @property
    def token_id(self) -> str | None:
        return f"id of {self._tokens[0][:5]}"

    async def token(self, refused: SecretStr | None = None) -> SecretStr | None:
        if refused is not None:
            self.refused.append(refused)
            if len(self._tokens) > 1:
                self._tokens.pop(0)
        return SecretStr(self._tokens[0])


def asked(
    whom: str | Authorization,
    use: Callable[[FhirClient], Awaitable[T]],
    *,
    recording: Recording | None = None,
    limits: ClientLimits = QUICK,
    clock: Clock | None = None,
    ca_file: Path | None = None,
    patient: str | None = None,
) -> T:
    """What a client of its own gives. `whom`: a base that asks for no authorization, or an authorization."""
    authorization = Open(whom) if isinstance(whom, str) else whom

    async def using() -> T:
        client = FhirClient(
            authorization,
            recording or Recording(),
            clock=clock or SystemClock(),
            limits=limits,
            ca_file=ca_file,
            patient=patient,
        )
        async with asyncio.timeout(_LONGEST), client:
            return await use(client)

    return asyncio.run(using())


async def all_of(pages: AsyncIterator[T]) -> list[T]:
    """Everything that comes."""
    return [page async for page in pages]


def entries(bodies: Iterable[bytes]) -> str:
    """All bodies as one text, to look for ids in."""
    return b"".join(bodies).decode()
