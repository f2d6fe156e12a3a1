# SPDX-License-Identifier: Apache-2.0
"""The journal in the database: one encrypted row for each thing that happened to a call, in the run's order.

A row is bound to all of its columns, so an edited one shows at once, also while the run goes on; how many rows there
are, and which calls, is committed to by the audit event of the run's outcome. After that none is added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, insert, select

from medagent.canonical import canonical_json, sha256_hex
from medagent.clock import Clock, instant_text
from medagent.errors import IntegrityError, JournalError
from medagent.journal import JournalEntry
from medagent.store.cipher import Cipher
from medagent.store.engine import alone, reading, writing
from medagent.store.schema import ROW_SCHEMA, dossiers, journal, requests


class Happening(StrEnum):
    """What a row says of its call."""

    INTENT = "intent"
    ATTEMPT = "attempt"
    """It was asked for again. Its own bytes are empty; the hash is that of the intent."""
    RESULT = "result"


JournaledCall = tuple[str, str, str]
"""Key, SHA-256 of the request, SHA-256 of the result or nothing: what the outcome's audit event says of a call."""


_Row = dict[str, Any]
"""The columns of a row by name."""


@dataclass(frozen=True, slots=True)
class SqlJournal:
    """The journal of one tenant."""

    engine: Engine
    cipher: Cipher
    clock: Clock
    tenant: str

    def intend(self, run: str, key: str, request: bytes) -> JournalEntry:
        """Journals that a call is about to be made: see Journal.

        Steps: (1) nobody else writes about this run meanwhile; (2) an unknown call is an intent, unless the run has
        ended; (3) a known one must be the same, and (4) is counted, unless the run has ended.
        """
        with writing(self.engine) as connection:
            ended = self._enter(connection, run)  # (1)
            known = self._rows(connection, run, key)
            kind = Happening.ATTEMPT if known else Happening.INTENT
            if not known and ended:  # (2)
                raise JournalError(f"The run {run} has ended; nothing new is journaled under {key}")
            if known and known[0]["sha256"] != sha256_hex(request):  # (3)
                raise JournalError(
                    f"The run {run} journaled another request under {key}: its inputs changed, so it cannot be resumed"
                )
            if not ended:  # (4)
                number = 1 + sum(row["kind"] != Happening.RESULT for row in known)
                known = [*known, self._append(connection, run, key, kind, number, request)]
            return self._entry(known, request)

    def conclude(self, run: str, key: str, result: bytes) -> None:
        """Journals what came back, exactly once: see Journal."""
        with writing(self.engine) as connection:
            ended = self._enter(connection, run)
            known = self._hashes(connection, run, key)
            if Happening.INTENT not in known:
                raise JournalError(f"The run {run} did not journal the call {key} before it was made")
            if (recorded := known.get(Happening.RESULT)) is not None:
                if recorded != sha256_hex(result):
                    raise JournalError(f"The run {run} already journaled another result of {key}; use that one")
                return
            if ended:
                raise JournalError(f"The run {run} has ended; the result of {key} came too late")
            self._append(connection, run, key, Happening.RESULT, 1, result)

    def entries(self, run: str) -> tuple[JournalEntry, ...]:
        """Everything journaled of a run, in the order of intent."""
        with reading(self.engine) as connection:
            rows = self._rows(connection, run)
        calls: dict[str, list[_Row]] = {}
        for row in rows:
            calls.setdefault(row["call_key"], []).append(row)
        return tuple(map(self._entry, calls.values()))

    def _enter(self, connection: Connection, run: str) -> bool:
        """Waits until nobody else writes about the run; whether it has ended."""
        alone(connection, "request", self.tenant, run)
        known = select(requests.c.id).where(requests.c.tenant == self.tenant, requests.c.id == run)
        if connection.execute(known).first() is None:
            raise JournalError(f"No request {run} was recorded; record it before its calls")
        ended = select(dossiers.c.id).where(dossiers.c.tenant == self.tenant, dossiers.c.request_id == run)
        return connection.execute(ended).first() is not None

    def _rows(self, connection: Connection, run: str, key: str | None = None) -> list[_Row]:
        query = select(journal).where(journal.c.tenant == self.tenant, journal.c.request_id == run)
        if key is not None:
            query = query.where(journal.c.call_key == key)
        return [dict(row) for row in connection.execute(query.order_by(journal.c.position)).mappings()]

    def _hashes(self, connection: Connection, run: str, key: str) -> dict[str, str]:
        """What was journaled of a call by its kind, without the bytes."""
        query = select(journal.c.kind, journal.c.sha256).where(
            journal.c.tenant == self.tenant, journal.c.request_id == run, journal.c.call_key == key
        )
        return {row.kind: row.sha256 for row in connection.execute(query)}

    def _append(self, connection: Connection, run: str, key: str, kind: Happening, number: int, payload: bytes) -> _Row:
        """Adds a row at the end of the run's journal, and returns it."""
        last = select(func.max(journal.c.position)).where(journal.c.tenant == self.tenant, journal.c.request_id == run)
        before = connection.scalar(last)
        columns = {
            "tenant": self.tenant,
            "schema_version": ROW_SCHEMA,
            "request_id": run,
            "position": 0 if before is None else before + 1,
            "call_key": key,
            "kind": kind.value,
            "number": number,
            "created_at": instant_text(self.clock.now()),
            "sha256": sha256_hex(payload),
            "key_id": self.cipher.key_id,
        }
        own = b"" if kind is Happening.ATTEMPT else payload
        row = {**columns, "sealed": self.cipher.seal(own, _associated(columns))}
        connection.execute(insert(journal), row)
        return row

    def _entry(self, rows: Sequence[_Row], request: bytes | None = None) -> JournalEntry:
        """One call out of its rows, of which the first is the intent. `request`: its bytes, where they are at hand."""
        intent = rows[0]
        result = next((row for row in rows if row["kind"] == Happening.RESULT), None)
        return JournalEntry(
            run=intent["request_id"],
            key=intent["call_key"],
            request_sha256=intent["sha256"],
            request=open_row(self.cipher, intent) if request is None else request,
            result_sha256=result["sha256"] if result is not None else None,
            result=open_row(self.cipher, result) if result is not None else None,
            intended_at=datetime.fromisoformat(intent["created_at"]),
            concluded_at=datetime.fromisoformat(result["created_at"]) if result is not None else None,
            attempts=sum(row["kind"] != Happening.RESULT for row in rows),
        )


def open_row(cipher: Cipher, row: Mapping[Any, Any]) -> bytes:
    """What a row holds, once it fits its columns and its hash. Raises IntegrityError that names run and position."""
    name = f"journal {row['request_id']}/{row['position']}"
    if row["key_id"] != cipher.key_id:
        raise IntegrityError(f"{name}: it names the key {row['key_id']}, not {cipher.key_id}")
    columns = {column.name: row[column.name] for column in journal.columns if column.name != "sealed"}
    try:
        payload = cipher.open(row["sealed"], _associated(columns))
    except IntegrityError as error:
        raise IntegrityError(f"{name}: {error}") from error
    if row["kind"] != Happening.ATTEMPT and sha256_hex(payload) != row["sha256"]:
        raise IntegrityError(f"{name}: its bytes do not have the hash that it names")
    return payload


class Told(NamedTuple):
    """What a row tells without its bytes."""

    position: int
    call_key: str
    kind: str
    sha256: str


def journaled(connection: Connection, tenant: str, run: str) -> tuple[tuple[JournaledCall, ...], int]:
    """What the journal says of each call of a run, in the order of intent, and how many rows say it."""
    columns = (journal.c[name] for name in Told._fields)
    query = select(*columns).where(journal.c.tenant == tenant, journal.c.request_id == run)
    rows = [Told(*row) for row in connection.execute(query.order_by(journal.c.position))]
    return calls_of(rows), len(rows)


def calls_of(rows: Iterable[Told]) -> tuple[JournaledCall, ...]:
    """The calls that rows tell of, which come in the run's order."""
    requested: dict[str, str] = {}
    concluded: dict[str, str] = {}
    for row in rows:
        (concluded if row.kind == Happening.RESULT else requested).setdefault(row.call_key, row.sha256)
    return tuple((key, sha256, concluded.get(key, "")) for key, sha256 in requested.items())


def _associated(columns: dict[str, object]) -> bytes:
    return b"journal" + canonical_json(columns)
