# SPDX-License-Identifier: Apache-2.0
"""Every call to an EHR as an AuditEvent, on record before anything of its answer is used.

The form is that of IHE's Basic Audit Log Patterns (https://profiles.ihe.net/ITI/BALP).
"""

from dataclasses import dataclass

from medagent.accesses import AccessLog
from medagent_fhir.calls import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who takes part in a call."""

    server: str
    """FHIR base URL."""
    client: str
    """Under which the server knows us: the client id of the registration."""
    user: str | None = None
    """`fhirUser` of the launch. None: no person stands behind the call, as with backend services."""


class Auditor:
    """Records the calls of one run (medagent_fhir.calls.Recorder). Belongs to one event loop."""

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
        raise NotImplementedError

    @property
    def retrieval(self) -> str:
        """What the calls have in common: see Recorder."""
        raise NotImplementedError

    async def record(self, call: Call) -> None:
        """Durable on return; calls that end together share a transaction. Raises AuditError: see Recorder."""
        raise NotImplementedError
