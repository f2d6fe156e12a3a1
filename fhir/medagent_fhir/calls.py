# SPDX-License-Identifier: Apache-2.0
"""Calls to a FHIR server as their audit tells them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from medagent.errors import FhirFailure

Interaction = Literal[
    "read",
    "vread",
    "search-type",
    "history-instance",
    "history-type",
    "operation",
    "batch",
    "capabilities",
    "export",
    "create",
    "update",
    "delete",
]
"""As https://hl7.org/fhir/R4/http.html names them; `export` is a Bulk Data request of any step."""


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One exchange with a FHIR server: each attempt is one, and so is a call that was refused here before it was made.

    It may name the patient, so it goes into the encrypted audit event and nowhere else.
    """

    interaction: Interaction
    method: Literal["GET", "POST", "PUT", "DELETE"]
    url: str
    """As it was asked for, with its query."""
    body: str | None
    """The search parameters of a POST, as they were sent."""
    patient: str | None
    """`Patient/id` whose chart it is about. None: nobody's, such as capabilities."""
    resource: str | None
    """`Type/id`, where the call names one."""
    status: int | None
    """HTTP status. None: there was no answer, or nothing was sent."""
    failure: FhirFailure | None
    """How it failed. None: it gave what was asked for."""
    detail: str
    """Why, in the server's words or ours."""
    request_id: str
    """X-Request-Id that went along."""
    token_id: str | None
    """What names the token that went along, never the token. None: none did."""
    started_at: datetime
    ended_at: datetime
    response_sha256: str | None
    """Of the body after content decoding."""


class Recorder(Protocol):
    """What a client reports its calls to."""

    @property
    def retrieval(self) -> str:
        """What the calls of one run have in common: X-Request-Id is this, a full stop, and a number."""
        ...

    async def record(self, call: Call) -> None:
        """MUST be durable on return, which is before anything of the answer is used. Raises AuditError: then nothing
        of it may be."""
        ...
