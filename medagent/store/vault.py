# SPDX-License-Identifier: Apache-2.0
"""The vault in the database: secrets that live for a while, each decided about by one statement.

Of processes that race, the database picks the one whose statement deletes the row (`take`) or inserts it (`claim`); no
lock is held in between, so a process that dies holds up nobody. A secret is bound to its key and to when it expires: a
row that was moved, or made to live longer, does not decrypt.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Table, and_, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from medagent.clock import Clock, instant_text
from medagent.errors import IntegrityError
from medagent.store.cipher import place
from medagent.store.engine import reading, writing
from medagent.store.schema import ROW_SCHEMA, vault_claims, vault_secrets
from medagent.store.token_keys import TokenKeys
from medagent.vault import Kind

_log = logging.getLogger(__name__)
_KEY = ["tenant", "kind", "key"]
_SEALED = (vault_secrets.c.expires_at, vault_secrets.c.key_id, vault_secrets.c.sealed)


@dataclass(frozen=True, slots=True)
class SqlVault:
    """The vault of one tenant: see Vault."""

    engine: Engine
    clock: Clock
    tenant: str
    keys: TokenKeys

    def put(self, kind: Kind, key: str, secret: bytes, expires_at: datetime) -> None:
        """Keeps a secret, in place of any earlier one; the claim on it ends.

        What has expired is removed along the way: after all else, and passing by what others work on, so that
        transactions never wait for each other in a circle.
        """
        until = instant_text(expires_at)
        cipher = self.keys.newest
        sealed = cipher.seal(secret, self._place(kind, key, until))
        row = {"expires_at": until, "key_id": cipher.key_id, "sealed": sealed}
        with writing(self.engine) as connection:
            statement = _insert(connection, vault_secrets).values({**self._named(kind, key), **row})
            connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=row))
            connection.execute(delete(vault_claims).where(self._is(vault_claims, kind, key)))
            self._purge(connection)

    def get(self, kind: Kind, key: str) -> bytes | None:
        """The secret. None: there is none, or no longer."""
        with reading(self.engine) as connection:
            row = connection.execute(select(*_SEALED).where(self._lives(kind, key))).mappings().one_or_none()
        return self._opened(kind, key, row)

    def take(self, kind: Kind, key: str) -> bytes | None:
        """The secret, to one caller; it is gone then, also where it cannot be decrypted."""
        with writing(self.engine) as connection:
            taken = delete(vault_secrets).where(self._lives(kind, key)).returning(*_SEALED)
            row = connection.execute(taken).mappings().one_or_none()
        return self._opened(kind, key, row)

    def claim(self, kind: Kind, key: str, holder: str, until: datetime) -> bool:
        """Whether `holder` may replace it now. A claim that has not ended is refused to everybody, to its own holder,
        too: two callers of one name are still two."""
        row = {"holder": holder, "expires_at": instant_text(until)}
        with writing(self.engine) as connection:
            statement = _insert(connection, vault_claims).values({**self._named(kind, key), **row})
            ended = vault_claims.c.expires_at <= self._now()
            claimed = statement.on_conflict_do_update(index_elements=_KEY, set_=row, where=ended)
            return connection.execute(claimed.returning(vault_claims.c.holder)).first() is not None

    def release(self, kind: Kind, key: str, holder: str) -> None:
        """Ends a claim of this holder; of another's nothing."""
        own = and_(self._is(vault_claims, kind, key), vault_claims.c.holder == holder)
        with writing(self.engine) as connection:
            connection.execute(delete(vault_claims).where(own))

    def delete(self, kind: Kind, key: str) -> None:
        """Removes it; where there is none, nothing. A claim on it stays with its holder."""
        with writing(self.engine) as connection:
            connection.execute(delete(vault_secrets).where(self._is(vault_secrets, kind, key)))

    def purge(self) -> None:
        """Removes what has expired. Nobody could read it any more; `put` does this, too."""
        with writing(self.engine) as connection:
            self._purge(connection)

    def _purge(self, connection: Connection) -> None:
        for table in (vault_secrets, vault_claims):
            named = [table.c[name] for name in _KEY]
            over = and_(table.c.tenant == self.tenant, table.c.expires_at <= self._now())
            expired = select(*named).where(over).with_for_update(skip_locked=True)  # SQLite's writers are alone anyway
            connection.execute(delete(table).where(tuple_(*named).in_(expired)))

    def _opened(self, kind: Kind, key: str, row: RowMapping | None) -> bytes | None:
        """What a row holds. Under a key that is no longer there it is gone, as its site wanted; or machines that share
        a database do not share their keys, which nobody would find without a word."""
        if row is None:
            return None
        cipher = self.keys.get(row["key_id"])
        if cipher is None:
            _log.warning("vault_key_unknown kind=%s key_id=%s", kind, row["key_id"])
            return None
        try:
            return cipher.open(row["sealed"], self._place(kind, key, row["expires_at"]))
        except IntegrityError as error:
            raise IntegrityError(f"vault_secrets, one of the kind {kind}: {error}") from None

    def _place(self, kind: Kind, key: str, until: str) -> bytes:
        return place("vault_secrets", self.tenant, f"{kind}/{until}/{key}")

    def _named(self, kind: Kind, key: str) -> dict[str, Any]:
        return {"tenant": self.tenant, "schema_version": ROW_SCHEMA, "kind": kind, "key": key}

    def _is(self, table: Table, kind: Kind, key: str) -> ColumnElement[bool]:
        return and_(table.c.tenant == self.tenant, table.c.kind == kind, table.c.key == key)

    def _lives(self, kind: Kind, key: str) -> ColumnElement[bool]:
        return and_(self._is(vault_secrets, kind, key), vault_secrets.c.expires_at > self._now())

    def _now(self) -> str:
        return instant_text(self.clock.now())


def _insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that may end in ON CONFLICT, which both databases write alike."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
