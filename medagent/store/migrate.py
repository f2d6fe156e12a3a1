# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the schema of this version.

SQLite migrates itself on first use, under a lock, for there is nobody to do it. Any other database is shared by
machines of different versions: it waits for `medagent db upgrade`.
"""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from medagent.errors import StoreError
from medagent.store.engine import alone, describe, open_engine, reading, writing
from medagent.store.file_lock import file_lock
from medagent.store.keys import private_folder

_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a migration did. Equal: nothing was to be done."""

    before: str | None
    """Revision of the schema. None: there was none."""
    after: str


def upgrade(url: str) -> Upgrade:
    """Migrates the database at `url` to the newest schema that this version knows (`medagent db upgrade`)."""
    engine = open_engine(url)
    try:
        return upgrade_engine(engine)
    finally:
        engine.dispose()


def prepare(engine: Engine) -> None:
    """Makes sure that the schema is the one that this version needs: SQLite is migrated, another one refused."""
    if engine.dialect.name == "sqlite":
        upgrade_engine(engine)
        return
    with reading(engine) as connection:
        revision = _revision(connection)
    if revision != _newest():
        _refuse_unknown(engine, revision)
        found = f"the older schema {revision}" if revision is not None else "no schema"
        raise StoreError(f"The database {describe(engine)} has {found}; run: medagent db upgrade")


def upgrade_engine(engine: Engine) -> Upgrade:
    """Migrates, unless there is nothing to do. Safe in any number of processes at once."""
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "").absolute()
        private_folder(path.parent)
        with file_lock(path.with_name(path.name + ".lock")):  # also guards the switch to WAL, which cannot wait
            path.touch(mode=0o600)
            return _upgrade(engine)
    return _upgrade(engine)


def _upgrade(engine: Engine) -> Upgrade:
    with reading(engine) as connection:
        current = _revision(connection)
    if current != _newest():
        _refuse_unknown(engine, current)
        config = _config()
        with writing(engine) as connection:
            alone(connection, "schema")
            current = _revision(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return Upgrade(current, _newest())


def _newest() -> str:
    head = _scripts().get_current_head()
    assert head is not None  # the migrations come with the package
    return head


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(engine: Engine, revision: str | None) -> None:
    if revision is None:
        return
    try:
        _scripts().get_revision(revision)
    except CommandError as error:
        raise StoreError(
            f"The database {describe(engine)} was written by a newer version of MedAgent (schema {revision}): "
            "install that version"
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
