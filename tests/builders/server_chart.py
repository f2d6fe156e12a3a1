# SPDX-License-Identifier: Apache-2.0
"""Charts from the simulated hospital, by the real client and the real source.

    with hospital(fhir.patient(), fhir.observation("4548-4", "6.5", "%")) as ehr:
        served = Served(ehr.url)
        chart = served.read("patient-1")

Each chart is read by a client of its own, as each run has one; `served.bodies` is what was received, `served.calls`
what went on record.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from builders.fhir_client import QUICK, Recording, Tokens
from medagent.chart import AsOf
from medagent.clock import SystemClock
from medagent.evidence import Query, Reading
from medagent.scopes import Grant
from medagent_fhir.calls import Call
from medagent_fhir.client import FhirClient, Received
from medagent_fhir.clinical import READERS
from medagent_fhir.sensitivity import Sensitivity
from medagent_fhir.server import ServerChart, ServerChartSource

_T = TypeVar("_T")


class _Keeping(FhirClient):
    """Keeps what it was given."""

    bodies: dict[str, bytes]

    async def read(self, *arguments: Any, **options: Any) -> Received:
        return self._kept(await super().read(*arguments, **options))

    async def binary(self, *arguments: Any, **options: Any) -> Received:
        return self._kept(await super().binary(*arguments, **options))

    async def search(self, *arguments: Any, **options: Any) -> AsyncGenerator[Received]:
        async for page in super().search(*arguments, **options):
            yield self._kept(page)

    def _kept(self, received: Received) -> Received:
        self.bodies[sha256(received.body).hexdigest()] = received.body
        return received


@dataclass(slots=True)
class Served:
    """A chart source over HTTP that tests can look into."""

    base: str
    plan: tuple[str, ...] = tuple(READERS)
    scopes: tuple[str, ...] | None = None
    """What was granted. None: the server asks for no authorization."""
    bearer: str = "right"
    launched: str | None = None
    """`Patient/id` of the launch."""
    sensitivity: Sensitivity = field(default_factory=Sensitivity.default)
    bytes_max: int = 100_000_000
    attached_max: int = 20_000_000
    count: int = 200
    recording: Recording = field(default_factory=Recording)
    bodies: dict[str, bytes] = field(default_factory=dict)
    """Bodies that were handed out, by hash."""

    @property
    def calls(self) -> list[Call]:
        """What went on record."""
        return self.recording.calls

    async def chart(self, patient: str | None, as_of: AsOf) -> ServerChart:
        """Of a client that ends with it: nothing more can be provided."""
        return await self._with(patient, as_of, _itself)

    def read(self, patient: str | None = "patient-1", as_of: AsOf = "latest") -> ServerChart:
        """The chart after the plan."""
        return asyncio.run(self._with(patient, as_of, _itself))

    def use(
        self, use: Callable[[ServerChart], Awaitable[_T]], patient: str = "patient-1", as_of: AsOf = "latest"
    ) -> _T:
        """What somebody makes of the chart while the server can be asked for more."""
        return asyncio.run(self._with(patient, as_of, use))

    async def _with(self, patient: str | None, as_of: AsOf, use: Callable[[ServerChart], Awaitable[_T]]) -> _T:
        authorization = Tokens(self.base, self.bearer, patient=self.launched)
        authorization.granted = None if self.scopes is None else Grant.of(self.scopes)
        client = _Keeping(authorization, self.recording, clock=SystemClock(), limits=QUICK)
        client.bodies = self.bodies
        async with client:
            source = ServerChartSource(
                client,
                zone=ZoneInfo("UTC"),
                clock=_Standing(),
                plan=self.plan,
                sensitivity=self.sensitivity,
                bytes_max=self.bytes_max,
                attached_max=self.attached_max,
                count=self.count,
            )
            return await use(await source.chart(patient, as_of))


def reading(chart: ServerChart, *types: str) -> Reading:
    """Everything of these types."""
    return chart.read(Query(resource_types=types), {})


def members(chart: ServerChart, *types: str) -> list[str]:
    """The ids of the resources that a reading's members come from."""
    return [chart.fact(member).source.uri.split("/")[1] for member in reading(chart, *types).members]


async def _itself(chart: ServerChart) -> ServerChart:
    return chart


class _Standing:
    def now(self) -> datetime:
        return datetime(2026, 2, 1, tzinfo=UTC)
