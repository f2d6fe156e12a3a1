# SPDX-License-Identifier: Apache-2.0
"""The connection to the database: how transactions begin, and what its errors become.

On SQLite a writer begins with BEGIN IMMEDIATE: a transaction that starts as a reader and then writes cannot wait for
its turn and fails as soon as others write, too. On PostgreSQL writers work side by side, and those that must not ask
for it (`alone`). Readers see one snapshot and hold up nobody.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from medagent.canonical import canonical_json
from medagent.errors import StoreError

_BUSY_SECONDS = 30  # transactions take milliseconds: who waits longer waits for something that hangs
_BEGIN = "medagent_begin"

_POSTGRESQL = "postgresql+psycopg"  # psycopg 3, whichever driver the URL leaves open
_CONNECT: dict[str, dict[str, object]] = {
    "sqlite": {"timeout": _BUSY_SECONDS},
    "postgresql": {
        "connect_timeout": 10,
        "application_name": "medagent",
    },  # seconds; a server that is there answers in one
}
_SNAPSHOT: dict[str, dict[str, object]] = {
    "sqlite": {},  # every transaction has one
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers and one writer do not wait for each other
    "PRAGMA synchronous = FULL",  # what was committed survives a loss of power
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",  # so that INSERT OR REPLACE meets the triggers against DELETE
)

_SETTINGS = (
    f"SET lock_timeout = '{_BUSY_SECONDS}s'",
    # What was committed survives a loss of power, whatever the server does by default; stricter settings stay.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)


def open_engine(url: str) -> Engine:
    """An engine for the database at `url`. Opens no connection yet."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise StoreError("MEDAGENT_DATABASE_URL: SQLite needs a file here; records must outlive the process")
        if backend == "postgresql":
            parsed = parsed.set(drivername=_POSTGRESQL)
        elif backend != "sqlite":
            raise StoreError("MEDAGENT_DATABASE_URL: no database can be opened with it: name sqlite or postgresql")
        # Parameters are ciphertext and ids of patients' records: they belong into no traceback. A server may have
        # restarted since a connection was last used, so it is tried first.
        engine = create_engine(
            parsed, hide_parameters=True, pool_pre_ping=backend != "sqlite", connect_args=_CONNECT[backend]
        )
    except (ArgumentError, ImportError) as error:
        raise StoreError(f"MEDAGENT_DATABASE_URL: no database can be opened with it: {error}") from error
    except ValueError as error:  # a port or a timeout that is no number; the message may quote a password
        raise StoreError("MEDAGENT_DATABASE_URL: no database can be opened with it: a number is malformed") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _configure_postgresql)
    return engine


def postgresql_arguments(url: str) -> dict[str, Any] | None:
    """How psycopg itself connects to the database at `url`, for what does not go through SQLAlchemy. None: it is
    SQLite."""
    engine = open_engine(url)
    if engine.dialect.name == "sqlite":
        return None
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return {**_CONNECT["postgresql"], **arguments}


def describe(engine: Engine) -> str:
    """The database's place for messages, without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write: all of it is durable at the end of the block, or none of it."""
    with _translated(engine), engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that reads a single snapshot."""
    snapshot = engine.execution_options(**_SNAPSHOT[engine.dialect.name])
    with _translated(engine), snapshot.begin() as connection:
        yield connection


def alone(connection: Connection, *names: str) -> None:
    """Waits until no other transaction works on the thing of these names, and keeps others away until it ends.

    On SQLite a transaction that writes is alone anyway. What is read afterwards is what others left committed.
    """
    if connection.dialect.name != "sqlite":
        digest = hashlib.sha256(canonical_json(["medagent", *names])).digest()
        number = int.from_bytes(digest[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(number)))


def reason(error: SQLAlchemyError) -> str:
    """What the driver says, without the statement's values: its first line (PostgreSQL quotes rows further down)."""
    return str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(f"The database {describe(engine)} refused: {reason(error)}") from error
    except UnicodeDecodeError as error:  # SQLite quotes the damaged schema in its message
        raise StoreError(f"The database {describe(engine)} is damaged: its schema is not readable text") from error


def _configure_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.text_factory = _lenient_text
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _configure_postgresql(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.autocommit = True  # else the settings would be rolled back with the first transaction
    cursor = connection.cursor()
    for setting in _SETTINGS:
        cursor.execute(setting)
    cursor.close()
    connection.autocommit = False


def _lenient_text(data: bytes) -> str:
    """Text of which a byte was flipped stays readable, so that the verification can name its row."""
    return data.decode("utf-8", "replace")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
