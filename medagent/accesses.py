# SPDX-License-Identifier: Apache-2.0
"""The access seam: each call to an EHR goes on record before what came back is used."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from medagent.evidence import Record


class Access(Record):
    """One call to a server that holds patient data, or one that was refused here."""

    type: str
    """Of the audit event, such as `fhir_read`, `fhir_search`, `scope_refused`."""
    actor: str
    """On whose behalf: as `Request.actor`."""
    patient: str | None
    """`Patient/id` whose chart it was about. It is stored as a keyed index alone."""
    request: str | None = None
    """Id of the recorded request. None: it is not recorded yet; `retrieval` in the body connects the two."""
    body: Mapping[str, Any]
    """The AuditEvent, a FHIR R4 resource as parsed JSON. It is encrypted at rest."""


class AccessLog(Protocol):
    """The audit log, as far as calls to EHRs go."""

    def record(self, accesses: Sequence[Access]) -> None:
        """Records them in one transaction. MUST be durable on return; AuditError: then nothing that the calls gave may
        be used."""
        ...
