# SPDX-License-Identifier: Apache-2.0
"""Verifies everything that one tenant has stored, and names each row that is not as it was recorded.

The log's own rows are checked by medagent.log.verify. Here every other table is held against what the audit events
committed to: a row without an event was slipped in, an event without its row lost it, and what both say must agree.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, RowMapping, Table, and_, select

from medagent.canonical import sha256_hex
from medagent.errors import IntegrityError
from medagent.log.checkpoint import VerifierKey, open_checkpoint
from medagent.log.leaf import EventHeader
from medagent.log.tree import Frontier
from medagent.log.verify import LogEntry, LogFinding, LogReport, Tampering, verify_entries
from medagent.store.audit import header_of, open_body
from medagent.store.cipher import Cipher
from medagent.store.journal_verification import NO_JOURNAL, journal_findings
from medagent.store.physical import file_findings, row_name, storage_findings, unindexed
from medagent.store.records import open_sealed
from medagent.store.schema import (
    ROW_SCHEMA,
    audit_events,
    checkpoints,
    dossiers,
    evidence_bytes,
    keys,
    log_entries,
    metadata,
    recommendations,
    requests,
    unsealed_events,
)


@dataclass(slots=True)
class _Recorded:
    """What the audit events say must be stored, by table and id."""

    rows: dict[str, dict[str, dict[str, object]]] = field(
        default_factory=lambda: {"requests": {}, "dossiers": {}, "recommendations": {}, "keys": {}}
    )
    evidence: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each resource that was used, and the first event that names it."""
    journals: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """What the event of a run's outcome says of its journal, by run."""

    def take(self, header: EventHeader, body: Mapping[str, object]) -> None:
        """Notes what one event reports."""
        if header.type == "request_recorded":
            said = {"created_at": header.occurred_at, "patient_index": header.patient_index}
            self.rows["requests"][str(header.request)] = {**said, "sha256": body["sha256"]}
        elif header.type == "outcome_recorded":
            names = ("outcome", "reason", "as_of", "sha256")
            said = {"created_at": header.occurred_at, "patient_index": header.patient_index}
            facts = {name: body[name] for name in names}
            self.rows["dossiers"][str(header.dossier)] = {**said, **facts, "request_id": header.request}
            for one in _list(body["recommendations"]):
                assert isinstance(one, dict)
                self.rows["recommendations"][f"{header.dossier}/{one['id']}"] = one
            self.journals[str(header.request)] = _mapping(body.get("journal", NO_JOURNAL))
            self.evidence.update({str(sha256): header.id for sha256 in _list(body["evidence"])})
        elif header.type == "key_registered":
            name = f"{body['purpose']}/{body['key_id']}"
            self.rows["keys"][name] = {"created_at": header.occurred_at}


def verify_rows(connection: Connection, cipher: Cipher, tenant: str, key: VerifierKey, kept: str | None) -> LogReport:
    """Verifies all of a tenant's rows in one snapshot.

    Steps: (0) every column holds the kind of value that its type says, else nothing more can be computed; (1) the
    file agrees with itself, the log with its checkpoints; (2) each audit event, which yields what must be stored;
    (3) that each event is sealed or waits to be; (4) the records against the events, decrypted and hashed anew;
    (5) that each row has a version that we know.
    """
    if strange := list(storage_findings(connection, tenant)):  # (0)
        return LogReport(key.name, 0, None, tuple(strange))
    stored = sorted(_rows(connection, checkpoints, tenant), key=lambda row: int(row["tree_size"]))
    notes = [(row["tree_size"], row["note"]) for row in stored]
    report = verify_entries(_log_entries(connection, tenant), notes, key, kept)  # (1)
    findings = [*file_findings(connection), *report.findings, *_checkpoint_findings(stored, key)]
    recorded = _Recorded()
    findings += _event_findings(connection, cipher, tenant, recorded)  # (2)
    waiting, queue_findings = _queue_findings(connection, tenant)
    findings += queue_findings  # (3)
    findings += _record_findings(connection, cipher, tenant, recorded)  # (4)
    findings += _evidence_findings(connection, cipher, tenant, recorded)
    findings += journal_findings(connection, cipher, tenant, recorded.journals)
    findings += _version_findings(connection, tenant)  # (5)
    return replace(report, findings=tuple(findings), unsealed=waiting)


def _rows(connection: Connection, table: Table, tenant: str) -> Iterator[RowMapping]:
    query = unindexed(select(table).where(table.c.tenant == tenant), table)
    yield from connection.execute(query).mappings()


def _log_entries(connection: Connection, tenant: str) -> Iterator[LogEntry]:
    same = and_(audit_events.c.tenant == log_entries.c.tenant, audit_events.c.id == log_entries.c.event_id)
    query = (
        select(log_entries, *audit_events.c)
        .select_from(log_entries.outerjoin(audit_events, same))
        .where(log_entries.c.tenant == tenant)
        .order_by(log_entries.c.tree_index)
    )
    for row in connection.execute(unindexed(query, log_entries)).mappings():
        header = header_of(row) if row[audit_events.c.id] is not None else None
        yield LogEntry(row["tree_index"], row["event_id"], row["tree_size"], row["leaf_hash"], header)


def _checkpoint_findings(stored: Sequence[RowMapping], key: VerifierKey) -> Iterator[LogFinding]:
    """The columns beside the signed text, from which the sealer goes on."""
    for row in stored:
        try:
            signed = open_checkpoint(row["note"], key)
            frontier = Frontier.from_bytes(row["tree_size"], row["frontier"])
        except IntegrityError as error:
            yield LogFinding(Tampering.EDITED, "checkpoints", str(row["tree_size"]), str(error))
            continue
        if not signed.root == row["root"] == frontier.root():
            detail = "its columns contradict its signed text"
            yield LogFinding(Tampering.EDITED, "checkpoints", str(row["tree_size"]), detail)


def _event_findings(connection: Connection, cipher: Cipher, tenant: str, recorded: _Recorded) -> Iterator[LogFinding]:
    for row in _rows(connection, audit_events, tenant):
        header = header_of(row)
        try:
            body = open_body(cipher, header, row["key_id"], row["sealed"])
        except IntegrityError as error:
            yield LogFinding(Tampering.EDITED, "audit_events", header.id, str(error))
            continue
        patient = body.get("patient")
        if patient is not None and header.patient_index != cipher.patient_index(tenant, str(patient)):
            detail = "it is filed under another patient than the one in its payload"
            yield LogFinding(Tampering.EDITED, "audit_events", header.id, detail)
        recorded.take(header, body)


def _queue_findings(connection: Connection, tenant: str) -> tuple[int, list[LogFinding]]:
    """Events that neither are in the log nor wait for it, and waiting ones that do not exist."""
    events = _ids(connection, audit_events, "id", tenant)
    waiting = _ids(connection, unsealed_events, "event_id", tenant)
    sealed = _ids(connection, log_entries, "event_id", tenant)
    stray = "it is neither in the log nor does it wait to be sealed"
    findings = [
        LogFinding(Tampering.INSERTED, "audit_events", name, stray) for name in sorted(events - waiting - sealed)
    ]
    findings += [
        LogFinding(Tampering.MISSING, "audit_events", name, "it waits to be sealed, but is gone")
        for name in sorted(waiting - events)
    ]
    findings += [
        LogFinding(Tampering.INSERTED, "unsealed_events", name, "it is in the log already")
        for name in sorted(waiting & sealed)
    ]
    return len(waiting & events), findings


def _ids(connection: Connection, table: Table, column: str, tenant: str) -> set[str]:
    return set(connection.scalars(unindexed(select(table.c[column]).where(table.c.tenant == tenant), table)))


def _record_findings(connection: Connection, cipher: Cipher, tenant: str, recorded: _Recorded) -> Iterator[LogFinding]:
    for table, name_of in _RECORDS:
        said, seen = recorded.rows[table.name], set()
        for row in _rows(connection, table, tenant):
            name = name_of(row)
            seen.add(name)
            if name not in said:
                detail = "no audit event that can be read reports it"
                yield LogFinding(Tampering.INSERTED, table.name, name, detail)
            elif wrong := _contradiction(cipher, table, tenant, name, row, said[name]):
                yield LogFinding(Tampering.EDITED, table.name, name, wrong)
        for name in sorted(said.keys() - seen):
            detail = "an audit event reports it, but it is gone"
            yield LogFinding(Tampering.MISSING, table.name, name, detail)


def _contradiction(
    cipher: Cipher, table: Table, tenant: str, name: str, row: RowMapping, said: Mapping[str, object]
) -> str | None:
    """What of a row is not as its audit event says; the hash of what is encrypted counts as a column."""
    stored = dict(row)
    if "sealed" in stored:
        try:
            plaintext = open_sealed(cipher, table.name, tenant, name, row["key_id"], row["sealed"])
        except IntegrityError as error:
            return str(error).removeprefix(f"{table.name} {name}: ")
        if sha256_hex(plaintext) != said["sha256"]:
            return "its decrypted bytes do not have the hash that was audited"
        stored.setdefault("sha256", said["sha256"])
    wrong = [column for column, value in said.items() if stored[column] != value]
    return f"not what was audited: {', '.join(wrong)}" if wrong else None


def _evidence_findings(
    connection: Connection, cipher: Cipher, tenant: str, recorded: _Recorded
) -> Iterator[LogFinding]:
    seen = set()
    for row in _rows(connection, evidence_bytes, tenant):
        name = row["sha256"]
        seen.add(name)
        try:
            plaintext = open_sealed(cipher, "evidence_bytes", tenant, name, row["key_id"], row["sealed"])
        except IntegrityError as error:
            detail = str(error).removeprefix(f"evidence_bytes {name}: ")
            yield LogFinding(Tampering.EDITED, "evidence_bytes", name, detail)
            continue
        if sha256_hex(plaintext) != name:
            yield LogFinding(Tampering.EDITED, "evidence_bytes", name, "its bytes do not have that hash")
        elif name not in recorded.evidence:
            detail = "no audit event that can be read reports it"
            yield LogFinding(Tampering.INSERTED, "evidence_bytes", name, detail)
    for name in sorted(recorded.evidence.keys() - seen):
        detail = f"the audit event {recorded.evidence[name]} reports it, but it is gone"
        yield LogFinding(Tampering.MISSING, "evidence_bytes", name, detail)


def _version_findings(connection: Connection, tenant: str) -> Iterator[LogFinding]:
    for table in metadata.sorted_tables:
        other = select(table).where(table.c.tenant == tenant, table.c.schema_version != ROW_SCHEMA)
        for row in connection.execute(unindexed(other, table)).mappings():
            name = row_name(row, table)
            detail = f"its schema version {row['schema_version']} is none that this version writes"
            yield LogFinding(Tampering.EDITED, table.name, name, detail)


def _list(value: object) -> list[object]:
    assert isinstance(value, list)  # our own payload, whose commitment held
    return value


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)  # as above
    return value


_RECORDS: tuple[tuple[Table, Callable[[RowMapping], str]], ...] = (
    (keys, lambda row: f"{row['purpose']}/{row['key_id']}"),
    (requests, lambda row: str(row["id"])),
    (dossiers, lambda row: str(row["id"])),
    (recommendations, lambda row: f"{row['dossier_id']}/{row['id']}"),
)
