# SPDX-License-Identifier: Apache-2.0
"""The audit events: appended in the transaction of what they report, read by reviewers.

The payload is encrypted and bound to the event's header, so an edited column shows even before the event is sealed.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, insert, or_, select
from sqlalchemy.exc import SQLAlchemyError

from medagent.canonical import canonical_json, parse_json
from medagent.clock import instant_text
from medagent.errors import AuditError, IntegrityError, StoreError
from medagent.log.leaf import SALT_BYTES, EventHeader, commitment
from medagent.store.cipher import Cipher
from medagent.store.engine import reason
from medagent.store.schema import ROW_SCHEMA, audit_events, log_entries, unsealed_events

PAGE_EVENTS = 100  # rows of one page of a listing
_HEADER_COLUMNS = tuple(audit_events.c[name] for name in EventHeader.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class AuditedEvent:
    """One event as a reviewer sees it."""

    header: EventHeader
    index: int | None
    """Its place in the log. None: not yet sealed."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a listing shows. What is None does not restrict."""

    type: str | None = None
    request: str | None = None
    dossier: str | None = None
    patient_index: str | None = None
    since: datetime | None = None
    """The first instant that is shown."""
    until: datetime | None = None
    """The first instant that is shown no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """What an event is to say."""

    type: str
    actor: str
    occurred_at: str
    body: Mapping[str, object]
    request: str | None = None
    dossier: str | None = None
    patient_index: str | None = None


def append_event(
    connection: Connection,
    cipher: Cipher,
    *,
    tenant: str,
    type: str,
    actor: str,
    occurred_at: str,
    body: Mapping[str, object],
    request: str | None = None,
    dossier: str | None = None,
    patient_index: str | None = None,
) -> None:
    """Appends one event to the caller's transaction. Raises AuditError: then nothing may happen."""
    event = NewEvent(
        type=type,
        actor=actor,
        occurred_at=occurred_at,
        body=body,
        request=request,
        dossier=dossier,
        patient_index=patient_index,
    )
    append_events(connection, cipher, tenant, [event])


def append_events(connection: Connection, cipher: Cipher, tenant: str, events: Sequence[NewEvent]) -> None:
    """Appends several to the caller's transaction. Raises AuditError: then nothing may happen of what they report."""
    rows = [_row(cipher, tenant, event) for event in events]
    waiting = [{"tenant": tenant, "schema_version": ROW_SCHEMA, "event_id": row["id"]} for row in rows]
    try:
        connection.execute(insert(audit_events), rows)
        connection.execute(insert(unsealed_events), waiting)
    except SQLAlchemyError as error:
        names = ", ".join(sorted({event.type for event in events}))
        raise AuditError(
            f"The audit log refused the event {names}, so nothing of it counts: {reason(error)}; "
            "see that the database can be written"
        ) from error


def _row(cipher: Cipher, tenant: str, event: NewEvent) -> dict[str, object]:
    salt, payload = secrets.token_bytes(SALT_BYTES), canonical_json(event.body)
    header = EventHeader(
        tenant=tenant,
        id=f"event-{secrets.token_hex(16)}",
        occurred_at=event.occurred_at,
        type=event.type,
        actor=event.actor,
        request=event.request,
        dossier=event.dossier,
        patient_index=event.patient_index,
        commitment=commitment(salt, payload).hex(),
    )
    sealed = cipher.seal(salt + payload, _associated(header))
    return {**header.columns(), "schema_version": ROW_SCHEMA, "key_id": cipher.key_id, "sealed": sealed}


def header_of(row: RowMapping) -> EventHeader:
    """The header out of a row that has its columns."""
    return EventHeader(**{column.name: row[column] for column in _HEADER_COLUMNS})


def open_body(cipher: Cipher, header: EventHeader, key_id: str, sealed: bytes) -> dict[str, object]:
    """An event's payload, once it fits its commitment. Raises IntegrityError."""
    if key_id != cipher.key_id:
        raise IntegrityError(f"it names the key {key_id}, not {cipher.key_id}")
    plaintext = cipher.open(sealed, _associated(header))
    salt, payload = plaintext[:SALT_BYTES], plaintext[SALT_BYTES:]
    if commitment(salt, payload).hex() != header.commitment:
        raise IntegrityError("its payload is not what it committed to")
    body = parse_json(payload)
    assert isinstance(body, dict)  # append_event writes nothing else, and the commitment holds
    return body


def events_page(
    connection: Connection, tenant: str, wanted: EventFilter, before: AuditedEvent | None, limit: int
) -> list[AuditedEvent]:
    """Events from the newest to the oldest; `before` is the last one of the page before."""
    query = _with_index(tenant).order_by(audit_events.c.occurred_at.desc(), audit_events.c.id.desc()).limit(limit)
    for name in ("type", "request", "dossier", "patient_index"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(audit_events.c[name] == value)
    if wanted.since is not None:
        query = query.where(audit_events.c.occurred_at >= instant_text(wanted.since))
    if wanted.until is not None:
        query = query.where(audit_events.c.occurred_at < instant_text(wanted.until))
    if before is not None:
        at, event_id = before.header.occurred_at, before.header.id
        older = audit_events.c.occurred_at < at
        query = query.where(or_(older, and_(audit_events.c.occurred_at == at, audit_events.c.id < event_id)))
    return [AuditedEvent(header_of(row), row["tree_index"]) for row in connection.execute(query).mappings()]


def event_with_body(
    connection: Connection, cipher: Cipher, tenant: str, event_id: str
) -> tuple[AuditedEvent, dict[str, object]]:
    """One event with its payload."""
    row = connection.execute(_with_index(tenant).where(audit_events.c.id == event_id)).mappings().one_or_none()
    if row is None:
        raise StoreError(f"There is no audit event {event_id} of the tenant {tenant}")
    header = header_of(row)
    try:
        return AuditedEvent(header, row["tree_index"]), open_body(cipher, header, row["key_id"], row["sealed"])
    except IntegrityError as error:
        raise IntegrityError(f"audit_events {event_id}: {error}") from error


def _with_index(tenant: str) -> Select[Any]:
    sealed_as = and_(log_entries.c.tenant == audit_events.c.tenant, log_entries.c.event_id == audit_events.c.id)
    joined = audit_events.outerjoin(log_entries, sealed_as)
    return select(*audit_events.c, log_entries.c.tree_index).select_from(joined).where(audit_events.c.tenant == tenant)


def _associated(header: EventHeader) -> bytes:
    return b"audit_events" + header.canonical()
