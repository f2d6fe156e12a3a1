# SPDX-License-Identifier: Apache-2.0
"""The business rows: requests, dossiers with their recommendations, the bytes that evidence rests on.

Each function writes into the caller's transaction, together with the audit event that reports it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Table, exists, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from medagent.canonical import sha256_hex
from medagent.clock import instant_text
from medagent.errors import IntegrityError, JournalError, StoreError
from medagent.store.audit import append_event
from medagent.store.cipher import Cipher, place
from medagent.store.engine import alone
from medagent.store.journal import JournaledCall, journaled
from medagent.store.schema import ROW_SCHEMA, dossiers, evidence_bytes, recommendations, requests

_ROWS_AT_ONCE = 500  # both bound the memory of one INSERT: evidence of a chart may be thousands of resources,
_BYTES_AT_ONCE = 4_000_000  # and one of them may hold a scanned document


@dataclass(frozen=True, slots=True)
class RecordedRecommendation:
    """What of a recommendation stands outside of the encrypted part, so that an edition can be recalled. Whom it is
    about is filed under a keyed index."""

    id: str
    rule: str | None
    guideline: str | None
    edition: str | None
    urgency: str


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """Everything that is recorded when a run ends."""

    tenant: str
    request_id: str
    dossier_id: str
    outcome: str
    reason: str | None
    as_of: datetime
    canonical: bytes
    """The dossier's canonical JSON."""
    recommendations: tuple[RecordedRecommendation, ...]
    evidence: Mapping[str, bytes]
    """The exact bytes of each resource that was used, by their SHA-256 in hexadecimal."""
    actor: str
    patient: str
    """Reference such as Patient/1. Stored encrypted only."""
    journal: tuple[JournaledCall, ...] | None = None
    """The calls that the dossier rests on. None: whatever was journaled under the request."""


def write_request(
    connection: Connection,
    cipher: Cipher,
    at: str,
    *,
    tenant: str,
    request_id: str,
    body: bytes,
    patient: str,
    actor: str,
) -> None:
    """Records a request once; the same one again changes nothing, another one under its id is refused."""
    alone(connection, "request", tenant, request_id)
    stored = _row(connection, requests, tenant, request_id)
    if stored is not None:
        if _open(cipher, "requests", tenant, request_id, stored) != body:
            raise StoreError(f"Another request was recorded under the id {request_id}")
        return
    index = cipher.patient_index(tenant, patient)
    row = _sealed(cipher, "requests", tenant, request_id, body)
    connection.execute(insert(requests), {**row, "id": request_id, "created_at": at, "patient_index": index})
    append_event(
        connection,
        cipher,
        tenant=tenant,
        type="request_recorded",
        actor=actor,
        occurred_at=at,
        request=request_id,
        patient_index=index,
        body={"patient": patient, "request": request_id, "sha256": sha256_hex(body)},
    )


def write_outcome(connection: Connection, cipher: Cipher, at: str, outcome: RecordedOutcome) -> None:
    """Records how a request ended, exactly once.

    Steps: (1) the bytes of the evidence are what their hashes say; (2) a repetition changes nothing, a second
    outcome is refused; (3) the dossier, (4) its recommendations and (5) evidence that is not yet there are written;
    (6) the audit event commits to all of them, and to the journal, which ends here.
    """
    for sha256, data in outcome.evidence.items():  # (1)
        if sha256_hex(data) != sha256:
            raise IntegrityError(f"The evidence handed over as {sha256} has another hash; nothing was recorded")
    tenant, dossier_id, digest = outcome.tenant, outcome.dossier_id, sha256_hex(outcome.canonical)
    alone(connection, "request", tenant, outcome.request_id)
    if _is_repetition(connection, outcome, digest):  # (2)
        return
    facts = {
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "as_of": instant_text(outcome.as_of),
        "sha256": digest,
    }
    index = cipher.patient_index(tenant, outcome.patient)
    row = _sealed(cipher, "dossiers", tenant, dossier_id, outcome.canonical)
    ids = {"id": dossier_id, "request_id": outcome.request_id, "created_at": at, "patient_index": index}
    connection.execute(insert(dossiers), {**row, **ids, **facts})  # (3)
    own = {"tenant": tenant, "schema_version": ROW_SCHEMA, "dossier_id": dossier_id}
    offered = [asdict(one) for one in outcome.recommendations]
    if offered:
        connection.execute(insert(recommendations), [{**own, **one} for one in offered])  # (4)
    _write_evidence(connection, cipher, tenant, outcome.evidence)  # (5)
    append_event(  # (6)
        connection,
        cipher,
        tenant=tenant,
        type="outcome_recorded",
        actor=outcome.actor,
        occurred_at=at,
        request=outcome.request_id,
        dossier=dossier_id,
        patient_index=index,
        body={
            **facts,
            "patient": outcome.patient,
            "request": outcome.request_id,
            "dossier": dossier_id,
            "recommendations": offered,
            "evidence": sorted(outcome.evidence),
            "journal": _journal(connection, outcome),
        },
    )


def _journal(connection: Connection, outcome: RecordedOutcome) -> dict[str, object]:
    """What the audit event says of the journal: each call, and how many rows tell of them."""
    calls, rows = journaled(connection, outcome.tenant, outcome.request_id)
    if outcome.journal is not None and outcome.journal != calls:
        raise JournalError(
            f"The outcome of the request {outcome.request_id} rests on other calls than its journal holds; "
            "nothing was recorded"
        )
    return {"calls": calls, "rows": rows}


def read_request(connection: Connection, cipher: Cipher, tenant: str, request_id: str) -> bytes:
    """The body of a request."""
    row = _row(connection, requests, tenant, request_id)
    if row is None:
        raise StoreError(f"There is no request {request_id} of the tenant {tenant}")
    return _open(cipher, "requests", tenant, request_id, row)


def requests_without_outcome(connection: Connection, tenant: str) -> tuple[str, ...]:
    """The requests that are still open, the oldest first."""
    ended = exists().where(dossiers.c.tenant == requests.c.tenant, dossiers.c.request_id == requests.c.id)
    query = select(requests.c.id).where(requests.c.tenant == tenant, ~ended)
    return tuple(connection.scalars(query.order_by(requests.c.created_at, requests.c.id)))


def dossier_of_request(connection: Connection, cipher: Cipher, tenant: str, request_id: str) -> bytes | None:
    """The canonical dossier that a request ended in. None: it has not ended."""
    query = select(dossiers.c.id).where(dossiers.c.tenant == tenant, dossiers.c.request_id == request_id)
    dossier_id = connection.scalar(query)
    return read_dossier(connection, cipher, tenant, dossier_id)[0] if dossier_id is not None else None


def read_dossier(connection: Connection, cipher: Cipher, tenant: str, dossier_id: str) -> tuple[bytes, RowMapping]:
    """A dossier's canonical bytes, checked against their hash, and its row."""
    row = _row(connection, dossiers, tenant, dossier_id)
    if row is None:
        raise StoreError(f"There is no dossier {dossier_id} of the tenant {tenant}")
    plaintext = _open(cipher, "dossiers", tenant, dossier_id, row)
    if sha256_hex(plaintext) != row["sha256"]:
        raise IntegrityError(f"dossiers {dossier_id}: its bytes do not have the hash that was recorded")
    return plaintext, row


def read_evidence(connection: Connection, cipher: Cipher, tenant: str, sha256: str) -> bytes:
    """The bytes with this hash."""
    query = select(evidence_bytes).where(evidence_bytes.c.tenant == tenant, evidence_bytes.c.sha256 == sha256)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise StoreError(f"There is no evidence {sha256} of the tenant {tenant}")
    plaintext = _open(cipher, "evidence_bytes", tenant, sha256, row)
    if sha256_hex(plaintext) != sha256:
        raise IntegrityError(f"evidence_bytes {sha256}: its bytes do not have that hash")
    return plaintext


def _is_repetition(connection: Connection, outcome: RecordedOutcome, digest: str) -> bool:
    if _row(connection, requests, outcome.tenant, outcome.request_id) is None:
        raise StoreError(f"No request {outcome.request_id} was recorded; record it before its outcome")
    query = select(dossiers.c.id, dossiers.c.sha256).where(
        dossiers.c.tenant == outcome.tenant, dossiers.c.request_id == outcome.request_id
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return False
    if (row["id"], row["sha256"]) != (outcome.dossier_id, digest):
        raise StoreError(f"The request {outcome.request_id} already ended in the dossier {row['id']}")
    return True


def _write_evidence(connection: Connection, cipher: Cipher, tenant: str, evidence: Mapping[str, bytes]) -> None:
    """Adds what is not there yet: the same resource serves many requests and is stored once."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(evidence_bytes).on_conflict_do_nothing()
    for part in _parts(evidence):
        known = select(evidence_bytes.c.sha256).where(
            evidence_bytes.c.tenant == tenant, evidence_bytes.c.sha256.in_(part)
        )
        present = set(connection.scalars(known))
        rows = [
            {**_sealed(cipher, "evidence_bytes", tenant, sha256, evidence[sha256]), "sha256": sha256}
            for sha256 in part
            if sha256 not in present
        ]
        if rows:
            connection.execute(statement, rows)


def _parts(evidence: Mapping[str, bytes]) -> Iterator[list[str]]:
    """The hashes, sorted, in parts that may be in memory twice."""
    part: list[str] = []
    size = 0
    for sha256 in sorted(evidence):
        part.append(sha256)
        size += len(evidence[sha256])
        if len(part) >= _ROWS_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


def _sealed(cipher: Cipher, table: str, tenant: str, row_id: str, plaintext: bytes) -> dict[str, object]:
    sealed = cipher.seal(plaintext, place(table, tenant, row_id))
    return {"tenant": tenant, "schema_version": ROW_SCHEMA, "key_id": cipher.key_id, "sealed": sealed}


def _row(connection: Connection, table: Table, tenant: str, row_id: str) -> RowMapping | None:
    return (
        connection.execute(select(table).where(table.c.tenant == tenant, table.c.id == row_id)).mappings().one_or_none()
    )


def _open(cipher: Cipher, table: str, tenant: str, row_id: str, row: RowMapping) -> bytes:
    return open_sealed(cipher, table, tenant, row_id, row["key_id"], row["sealed"])


def open_sealed(cipher: Cipher, table: str, tenant: str, row_id: str, key_id: str, sealed: bytes) -> bytes:
    """The plaintext of a record. Raises IntegrityError that names table and id."""
    if key_id != cipher.key_id:
        raise IntegrityError(f"{table} {row_id}: it names the key {key_id}, not {cipher.key_id}")
    try:
        return cipher.open(sealed, place(table, tenant, row_id))
    except IntegrityError as error:
        raise IntegrityError(f"{table} {row_id}: {error}") from error
