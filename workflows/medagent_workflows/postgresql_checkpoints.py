# SPDX-License-Identifier: Apache-2.0
"""LangGraph's checkpoints in PostgreSQL, in a schema of their own beside the records.

LangGraph's table `checkpoints` would meet the log's of the same name. It brings its own migrations, which run outside
of a transaction, so they are guarded by a lock of the session.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from medagent.errors import StoreError
from medagent.store import Upgrade

_SCHEMA = "langgraph"
_SEARCH_PATH = f"SET search_path TO {_SCHEMA}"
_VERSION = f"SELECT max(v) AS version FROM {_SCHEMA}.checkpoint_migrations"  # noqa: S608 - our own name
_NEWEST = len(PostgresSaver.MIGRATIONS) - 1
_LOCK_SECONDS = 60.0  # eight upgrades at once each wait for seven that have nothing to do
_LOCK = 0x6D65_6461_6765_6E74  # any number, as long as it is always the same
_CONNECTION: dict[str, Any] = {
    "autocommit": True,  # this and the rows as mappings are what LangGraph asks for
    "row_factory": dict_row,
    "prepare_threshold": 0,
}


@asynccontextmanager
async def open_saver(arguments: dict[str, Any], serde: SerializerProtocol) -> AsyncIterator[AsyncPostgresSaver]:
    """The checkpointer, once the tables are those that it needs. One connection is enough: it takes turns itself."""
    pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]](
        kwargs={**arguments, **_CONNECTION},
        min_size=1,
        max_size=1,
        open=False,
        configure=_configure,
        check=AsyncConnectionPool.check_connection,  # the server may have restarted since the last run
        name="checkpoints",
    )
    try:
        await _refuse_old_tables(arguments)
        async with pool:
            yield AsyncPostgresSaver(pool, serde=serde)
    except (psycopg.Error, PoolTimeout) as error:
        raise StoreError(f"The graph's checkpoints in PostgreSQL cannot be used: {_reason(error)}") from error


def upgrade_tables(arguments: dict[str, Any]) -> Upgrade:
    """Makes or renews LangGraph's tables. Safe in any number of processes at once."""
    try:
        with psycopg.Connection[DictRow].connect(**arguments, **_CONNECTION) as connection:
            _wait_for_turn(connection)
            before = _version(connection)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
            connection.execute(_SEARCH_PATH)
            PostgresSaver(connection).setup()
            after = _version(connection)
    except psycopg.Error as error:
        raise StoreError(f"The tables of the graph's checkpoints cannot be made: {_reason(error)}") from error
    return Upgrade(None if before is None else str(before), str(after))


async def _configure(connection: psycopg.AsyncConnection[DictRow]) -> None:
    await connection.execute(_SEARCH_PATH)


async def _refuse_old_tables(arguments: dict[str, Any]) -> None:
    async with await psycopg.AsyncConnection[DictRow].connect(**arguments, **_CONNECTION) as connection:
        try:
            row = await (await connection.execute(_VERSION)).fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
    version = row["version"] if row is not None else None
    if version is None or version < _NEWEST:
        found = "no tables" if version is None else f"tables of the older version {version}"
        raise StoreError(f"PostgreSQL has {found} for the graph's checkpoints; run: medagent db upgrade")


def _wait_for_turn(connection: psycopg.Connection[DictRow]) -> None:
    """Until this session is the only one that migrates. Waiting inside a statement would hold a snapshot, which the
    other one's CREATE INDEX CONCURRENTLY would wait for in turn."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s) AS held", (_LOCK,)).fetchone()
        if row is not None and row["held"]:
            return
        if time.monotonic() > deadline:
            raise StoreError("Another process has been migrating the graph's checkpoints for a minute; try again later")
        time.sleep(0.1)


def _version(connection: psycopg.Connection[DictRow]) -> int | None:
    try:
        row = connection.execute(_VERSION).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row["version"] if row is not None else None


def _reason(error: Exception) -> str:
    """What the driver says: its first line. Further down it may quote rows."""
    return str(error).partition("\n")[0] or type(error).__name__
