# SPDX-License-Identifier: Apache-2.0
"""One exchange with a FHIR server: what is asked, what was answered, and how both go on record."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import httpx

from medagent.errors import FhirError
from medagent_fhir.calls import Call, Interaction
from medagent_fhir.client.addresses import Address
from medagent_fhir.client.bodies import FHIR_JSON


@dataclass(frozen=True, slots=True, repr=False)
class Ask:
    """One call, before it is made."""

    interaction: Interaction
    name: str
    """For messages, without patient data."""
    address: Address
    patient: str | None
    """`Patient/id` whose chart it is about."""
    method: Literal["GET", "POST", "DELETE"] = "GET"
    body: str | None = None
    media_type: str | None = None
    """Of the body."""
    accept: str = f"{FHIR_JSON}, application/json;q=0.9"
    headers: tuple[tuple[str, str], ...] = ()
    resource: str | None = None
    """`Type/id`, where the call names one."""
    expected: tuple[int, ...] = (200,)
    """Statuses that give what was asked for."""
    repeatable: bool = True
    """Whether it only reads, so that it may be sent again where nobody knows whether it arrived."""
    export: bool = False
    """A step of a Bulk Data export, whose addresses lie anywhere on the server's origin."""
    bytes_max: int | None = None
    """Of the answer, unpacked, where fewer are to be taken in than of any."""
    public: bool = False
    """No token goes along."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """One answer, in full."""

    status: int
    headers: httpx.Headers
    body: bytes
    sha256: str
    retrieved_at: datetime


@dataclass(slots=True, repr=False)
class Attempt:
    """One exchange, while it goes on."""

    ask: Ask
    request_id: str
    token_id: str | None
    started_at: datetime
    status: int | None = None
    digest: str | None = None
    failure: FhirError | None = None
    """How it failed, if it did."""

    def call(self, ended_at: datetime) -> Call:
        """As it goes on record."""
        ask, failure = self.ask, self.failure
        return Call(
            interaction=ask.interaction,
            method=ask.method,
            url=ask.address.url,
            body=ask.body,
            patient=ask.patient,
            resource=ask.resource,
            status=self.status,
            failure=failure.failure if failure else None,
            detail=(failure.outcome or str(failure)) if failure else "",
            request_id=self.request_id,
            token_id=self.token_id,
            started_at=self.started_at,
            ended_at=ended_at,
            response_sha256=self.digest,
        )


def recorded(answer_call: Call, failure: FhirError) -> Call:
    """The same call, as one that failed after all."""
    return replace(answer_call, failure=failure.failure, detail=failure.outcome or str(failure))
