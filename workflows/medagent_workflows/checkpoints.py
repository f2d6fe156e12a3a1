# SPDX-License-Identifier: Apache-2.0
"""Where LangGraph keeps how far each run has come: a file of its own beside SQLite, a schema of its own in PostgreSQL.

A run resumes at the last step that is kept here. What it asked of models and tools is not: the journal has that. So
a checkpoint holds ids, hashes and codes, nothing else passes the serializer, and one that is lost costs no call.
Run the graph with `durability="sync"`: only then is a step kept before the next one begins.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from medagent.errors import IntegrityError, StoreError
from medagent.settings import Settings
from medagent.store import Upgrade, postgresql_arguments
from medagent.store.file_lock import file_lock
from medagent.store.keys import private_folder

_BUSY_SECONDS = 30
_KINDS = ("null", "msgpack")
_PLAIN = (str, int, float, bool, type(None))


class PlainSerializer(JsonPlusSerializer):
    """Takes plain JSON and LangGraph's own types. Nothing is pickled, and no other class is made when it is read."""

    def __init__(self) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The value as bytes. Of an error only its kind is kept: a message of others may quote a patient."""
        if isinstance(obj, BaseException):
            return super().dumps_typed(type(obj).__name__)
        _refuse_others(obj)
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value again. What we would not have written, somebody else did."""
        kind = data[0]
        if kind not in _KINDS:
            raise IntegrityError(f"A checkpoint of the graph is of the kind {kind}, which is never written")
        return super().loads_typed(data)


@asynccontextmanager
async def open_checkpointer(settings: Settings) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """The checkpointer for the database of the settings. Opens one connection; raises StoreError where PostgreSQL was
    not prepared by `medagent db upgrade`."""
    arguments = postgresql_arguments(settings.database_url.get_secret_value())
    if arguments is not None:
        # Only who runs PostgreSQL pays for loading its driver.
        from medagent_workflows.postgresql_checkpoints import open_saver  # noqa: PLC0415

        async with open_saver(arguments, PlainSerializer()) as saver:
            yield saver
        return
    path = settings.home / "graph.db"
    await asyncio.to_thread(_prepare_file, path)
    async with aiosqlite.connect(path, timeout=_BUSY_SECONDS) as connection:
        # A killed process loses nothing; a loss of power may cost the last steps, which the journal answers again.
        await connection.execute("PRAGMA synchronous = NORMAL")
        yield AsyncSqliteSaver(connection, serde=PlainSerializer())


def upgrade_checkpoints(settings: Settings) -> Upgrade | None:
    """Makes or renews LangGraph's tables in PostgreSQL (`medagent db upgrade`). None: SQLite needs none beforehand."""
    arguments = postgresql_arguments(settings.database_url.get_secret_value())
    if arguments is None:
        return None
    # Only who runs PostgreSQL pays for loading its driver.
    from medagent_workflows.postgresql_checkpoints import upgrade_tables  # noqa: PLC0415

    return upgrade_tables(arguments)


def _prepare_file(path: Path) -> None:
    """A file that only its owner may read, in WAL mode: the switch to it cannot wait for others, so it is guarded."""
    private_folder(path.parent)
    with file_lock(path.with_name(path.name + ".lock")):
        path.touch(mode=0o600)
        try:
            with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"The file {path} cannot be used ({error}). It only holds how far open runs have come: delete it"
            ) from error


def _refuse_others(value: object) -> None:
    """Raises StoreError for what is neither plain JSON nor LangGraph's own. LangGraph's types may hold some in turn."""
    if isinstance(value, dict):
        for key, member in value.items():
            _refuse_others(key)
            _refuse_others(member)
    elif isinstance(value, list | tuple | set | frozenset):
        for member in value:
            _refuse_others(member)
    elif type(value).__module__.startswith("langgraph."):
        for name in ("arg", "value"):  # Send, Interrupt and the like
            _refuse_others(getattr(value, name, None))
    elif type(value) not in _PLAIN:
        raise StoreError(
            f"The graph's state holds a {type(value).__name__}; put its id or hash there and the thing into the journal"
        )
