# SPDX-License-Identifier: Apache-2.0
"""The store: what is recorded, read and sealed, one transaction each.

A business row and the audit event that reports it commit together. Where the event cannot be written, what it was to
report does not happen: no audit, no recommendation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine

from medagent.clock import Clock, instant_text
from medagent.log.checkpoint import Checkpoint, VerifierKey
from medagent.log.verify import LogFinding, LogReport, Tampering
from medagent.settings import Settings
from medagent.store.access_log import SqlAccessLog
from medagent.store.audit import (
    PAGE_EVENTS,
    AuditedEvent,
    EventFilter,
    append_event,
    event_with_body,
    events_page,
)
from medagent.store.engine import open_engine, reading, writing
from medagent.store.journal import SqlJournal
from medagent.store.kept_checkpoint import KeptCheckpoint
from medagent.store.key_records import recorded_keys, refuse_other_keys, register_keys
from medagent.store.keys import Keys, open_keys
from medagent.store.migrate import prepare
from medagent.store.records import (
    RecordedOutcome,
    dossier_of_request,
    read_dossier,
    read_evidence,
    read_request,
    requests_without_outcome,
    write_outcome,
    write_request,
)
from medagent.store.sealer import Sealer, newest_note
from medagent.store.token_keys import TokenKeys
from medagent.store.vault import SqlVault
from medagent.store.verification import verify_rows

_EVERYTHING = EventFilter()


class Transaction:
    """What may be recorded together: all of it is durable at the end of the block, or none of it."""

    def __init__(self, connection: Connection, keys: Keys, clock: Clock) -> None:
        self._connection = connection
        self._cipher = keys.cipher
        self._clock = clock

    def record_request(self, *, request_id: str, body: bytes, patient: str, actor: str, tenant: str) -> None:
        """Records a request and its audit event; the same request again changes nothing."""
        write_request(
            self._connection,
            self._cipher,
            self._now(),
            tenant=tenant,
            request_id=request_id,
            body=body,
            patient=patient,
            actor=actor,
        )

    def record_outcome(self, outcome: RecordedOutcome) -> None:
        """Records how a request ended, with its evidence and its audit event; exactly once."""
        write_outcome(self._connection, self._cipher, self._now(), outcome)

    def _now(self) -> str:
        return instant_text(self._clock.now())


class Store:
    """The records and the log of one installation. Made by `open`; threads may share it, forked processes not."""

    def __init__(self, engine: Engine, keys: Keys, clock: Clock, settings: Settings) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._settings = settings

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> "Store":
        """Opens the database and the keys.

        Steps: (1) the schema is the one that we need; SQLite is migrated; (2) the keys are read, and generated only
        where nothing was recorded under earlier ones; (3) they are the keys that the records were written under;
        (4) on first use the log says which keys these are.
        """
        engine = open_engine(settings.database_url.get_secret_value())
        try:
            prepare(engine)  # (1)
            with reading(engine) as connection:
                recorded = recorded_keys(connection)
            keys = open_keys(settings, may_generate=not recorded)  # (2)
            refuse_other_keys(engine, keys, recorded, settings)  # (3)
            if not any(tenant == settings.tenant for tenant, _, _ in recorded):
                register_keys(engine, keys, settings, clock)  # (4)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, keys, clock, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several records in one transaction."""
        with writing(self._engine) as connection:
            yield Transaction(connection, self._keys, self._clock)

    def record_request(self, *, request_id: str, body: bytes, patient: str, actor: str, tenant: str) -> None:
        """Records a request and its audit event; the same request again changes nothing."""
        with self.transaction() as transaction:
            transaction.record_request(request_id=request_id, body=body, patient=patient, actor=actor, tenant=tenant)

    def record_outcome(self, outcome: RecordedOutcome) -> None:
        """Records how a request ended, with its evidence and its audit event; exactly once."""
        with self.transaction() as transaction:
            transaction.record_outcome(outcome)

    def dossier(self, dossier_id: str, tenant: str, actor: str) -> bytes:
        """A dossier's canonical bytes. That they were read is on record before they are returned."""
        with writing(self._engine) as connection:
            canonical, row = read_dossier(connection, self._keys.cipher, tenant, dossier_id)
            append_event(
                connection,
                self._keys.cipher,
                tenant=tenant,
                type="dossier_read",
                actor=actor,
                occurred_at=instant_text(self._clock.now()),
                request=row["request_id"],
                dossier=dossier_id,
                patient_index=row["patient_index"],
                body={"dossier": dossier_id, "sha256": row["sha256"]},
            )
        return canonical

    def evidence(self, sha256: str, tenant: str) -> bytes:
        """The exact bytes that evidence rests on, checked against their hash."""
        with reading(self._engine) as connection:
            return read_evidence(connection, self._keys.cipher, tenant, sha256)

    def journal(self, tenant: str) -> SqlJournal:
        """The journal of a tenant's runs (medagent.journal.Journal)."""
        return SqlJournal(self._engine, self._keys.cipher, self._clock, tenant)

    def vault(self, tenant: str) -> SqlVault:
        """A tenant's secrets that live for a while (medagent.vault.Vault)."""
        return SqlVault(self._engine, self._clock, tenant, TokenKeys.open(self._settings))

    def access_log(self, tenant: str) -> SqlAccessLog:
        """Where calls to EHRs go on record (medagent.accesses.AccessLog)."""
        return SqlAccessLog(self._engine, self._keys.cipher, self._clock, tenant)

    def request(self, request_id: str, tenant: str) -> bytes:
        """The body of a recorded request."""
        with reading(self._engine) as connection:
            return read_request(connection, self._keys.cipher, tenant, request_id)

    def open_requests(self, tenant: str) -> tuple[str, ...]:
        """The recorded requests that have no outcome yet, the oldest first: what is to be resumed."""
        with reading(self._engine) as connection:
            return requests_without_outcome(connection, tenant)

    def outcome_of(self, request_id: str, tenant: str) -> bytes | None:
        """The canonical dossier that a request ended in, for the process that resumes it; None while it is open. Who
        shows it to somebody reads it with `dossier`, which is audited."""
        with reading(self._engine) as connection:
            return dossier_of_request(connection, self._keys.cipher, tenant, request_id)

    def seal(self, tenant: str | None = None) -> Checkpoint | None:
        """Seals what was recorded since the last time; None if nothing was. Default: the tenant of the settings."""
        name = tenant or self._settings.tenant
        return Sealer(self._engine, self._keys.signer(name), name, self._kept(name)).seal()

    def keep_checkpoint_again(self, tenant: str, actor: str) -> Checkpoint | None:
        """Keeps the newest checkpoint outside of the database again, after its file was lost. That this was done, and
        by whom, goes into the log."""
        with writing(self._engine) as connection:
            append_event(
                connection,
                self._keys.cipher,
                tenant=tenant,
                type="checkpoint_kept_again",
                actor=actor,
                occurred_at=instant_text(self._clock.now()),
                body={"origin": self.verifier_key(tenant).name},
            )
        signer = self._keys.signer(tenant)
        return Sealer(self._engine, signer, tenant, self._kept(tenant), may_keep_anew=True).seal()

    def audit_events(
        self,
        tenant: str,
        wanted: EventFilter = _EVERYTHING,
        *,
        before: AuditedEvent | None = None,
        limit: int = PAGE_EVENTS,
    ) -> list[AuditedEvent]:
        """One page of audit events, the newest first; `before` is the last one of the page before."""
        with reading(self._engine) as connection:
            return events_page(connection, tenant, wanted, before, limit)

    def audit_event(self, event_id: str, tenant: str, actor: str) -> tuple[AuditedEvent, dict[str, object]]:
        """One audit event and its decrypted payload. That it was read is on record before it is returned."""
        with writing(self._engine) as connection:
            event, body = event_with_body(connection, self._keys.cipher, tenant, event_id)
            append_event(
                connection,
                self._keys.cipher,
                tenant=tenant,
                type="audit_event_read",
                actor=actor,
                occurred_at=instant_text(self._clock.now()),
                request=event.header.request,
                dossier=event.header.dossier,
                patient_index=event.header.patient_index,
                body={"event": event_id},
            )
        return event, body

    def patient_index(self, patient: str, tenant: str) -> str:
        """What a patient's events and dossiers are filed under (`EventFilter.patient_index`)."""
        return self._keys.cipher.patient_index(tenant, patient)

    def verifier_key(self, tenant: str) -> VerifierKey:
        """The public key of a tenant's log. Keep a copy elsewhere: who can replace the key can sign anything."""
        return self._keys.signer(tenant).verifier_key

    def newest_note(self, tenant: str) -> str | None:
        """The newest signed checkpoint in the database."""
        with reading(self._engine) as connection:
            return newest_note(connection, tenant)

    def verify(self, tenant: str, key: VerifierKey | None = None, kept_checkpoint: str | None = None) -> LogReport:
        """Verifies everything of a tenant. Default: by the installation's own key, against the checkpoint that it
        keeps outside of the database."""
        kept = kept_checkpoint if kept_checkpoint is not None else self._kept(tenant).read()
        with reading(self._engine) as connection:
            report = verify_rows(connection, self._keys.cipher, tenant, key or self.verifier_key(tenant), kept)
        if kept is None and report.checkpoint is not None:  # the end of the log may be missing, and nothing could tell
            detail = "no checkpoint is kept outside of the database; the next one that is sealed will be"
            lost = LogFinding(Tampering.MISSING, "kept checkpoint", str(self._kept(tenant).path), detail)
            report = replace(report, findings=(*report.findings, lost))
        return report

    def _kept(self, tenant: str) -> KeptCheckpoint:
        return KeptCheckpoint(self._settings.checkpoint_folder, tenant)
