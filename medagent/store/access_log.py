# SPDX-License-Identifier: Apache-2.0
"""The access log in the database: calls to EHRs among the audit events, so that one log tells everything in order."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from medagent.accesses import Access
from medagent.clock import Clock, instant_text
from medagent.errors import AuditError, CanonicalError, StoreError
from medagent.store.audit import NewEvent, append_events
from medagent.store.cipher import Cipher
from medagent.store.engine import writing


@dataclass(frozen=True, slots=True)
class SqlAccessLog:
    """The access log of one tenant: see AccessLog."""

    engine: Engine
    cipher: Cipher
    clock: Clock
    tenant: str

    def record(self, accesses: Sequence[Access]) -> None:
        """Records them in one transaction."""
        if not accesses:
            return
        try:
            events = [self._event(access, instant_text(self.clock.now())) for access in accesses]
            with writing(self.engine) as connection:
                append_events(connection, self.cipher, self.tenant, events)
        except AuditError:
            raise
        except StoreError as error:
            raise AuditError(f"The calls are not on record, so nothing of them may be used: {error}") from error
        except CanonicalError as error:
            raise AuditError(f"A call cannot be put on record, so nothing of it may be used: {error}") from error

    def _event(self, access: Access, at: str) -> NewEvent:
        """The patient stands in the encrypted payload, too: verification holds the index of the row against it."""
        patient = access.patient
        return NewEvent(
            type=access.type,
            actor=access.actor,
            occurred_at=at,
            request=access.request,
            patient_index=self.cipher.patient_index(self.tenant, patient) if patient is not None else None,
            body={"patient": patient, "audit_event": access.body},
        )
