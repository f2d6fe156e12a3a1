# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL alone does: it waits for `medagent db upgrade`, is shared by machines, and must not tell secrets."""

import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from builders.postgresql import Cluster, copied
from builders.program import Program, recommend_sample
from builders.store import TENANT, Records, open_store, record, settings_in
from sqlalchemy import text

from medagent.errors import SettingsError, StoreError
from medagent.store import Upgrade, upgrade
from medagent.store.engine import open_engine, reading, writing
from medagent.store.schema import APPEND_ONLY, metadata
from medagent_workflows.checkpoints import upgrade_checkpoints

pytestmark = pytest.mark.services
PROCESSES = 8


@pytest.fixture
def empty(postgresql_server: Cluster) -> str:
    """The URL of a database without any table."""
    return postgresql_server.create()


@pytest.fixture
def shared(postgresql_url: str, tmp_path: Path) -> Records:
    """Records in PostgreSQL that several machines share; this one's home is `tmp_path`."""
    return Records(tmp_path, copied(postgresql_url))


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of another machine."""
    return tmp_path_factory.mktemp("elsewhere")


def test_the_migrations_create_what_the_code_uses(shared: Records) -> None:
    engine = open_engine(shared.database_url)
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


# standards: 49
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_no_table_can_be_emptied(shared: Records, table: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=f"{table} is append-only"):
        shared.execute(f"TRUNCATE {table} CASCADE")


def test_a_database_that_was_not_upgraded_is_refused(empty: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no schema; run: medagent db upgrade"):
        open_store(tmp_path, database_url=empty)


def test_a_database_of_an_older_version_is_refused_and_left_alone(shared: Records) -> None:
    shared.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StoreError, match="has the older schema 0001; run: medagent db upgrade"):
        shared.open()


# standards: 49
def test_records_from_before_there_was_a_vault_are_upgraded_and_stay_append_only(shared: Records) -> None:
    with shared.open() as store:
        record(store)
        store.seal()
    shared.execute("DROP TABLE vault_secrets, vault_claims")
    shared.execute("UPDATE alembic_version SET version_num = '0002'")
    assert upgrade(shared.database_url) == Upgrade("0002", "0003")
    with shared.open() as store:
        assert store.verify(TENANT).ok
        store.vault(TENANT).put("session", "key-1", b"secret", datetime(2999, 1, 1, tzinfo=UTC))
        assert store.vault(TENANT).take("session", "key-1") == b"secret"
    for table in APPEND_ONLY:
        with pytest.raises(psycopg.errors.RaiseException, match=f"{table} is append-only"):
            shared.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names


def test_a_database_of_a_newer_version_is_refused(shared: Records) -> None:
    shared.execute("UPDATE alembic_version SET version_num = '9999'")
    for open_it in (shared.open, lambda: upgrade(shared.database_url)):
        with pytest.raises(StoreError, match="written by a newer version of MedAgent"):
            open_it()


def _upgrade(home: str, url: str) -> tuple[Upgrade, Upgrade | None]:
    return upgrade(url), upgrade_checkpoints(settings_in(Path(home), database_url=url))


def test_eight_upgrades_at_once_are_one(empty: str, tmp_path: Path) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(_upgrade, [str(tmp_path)] * PROCESSES, [empty] * PROCESSES))
    for changes in zip(*done, strict=True):
        assert sum(change.before is None for change in changes) == 1
    with open_store(tmp_path, database_url=empty) as store:
        record(store)
        store.seal()
        assert store.verify(TENANT).ok


def test_the_command_upgrades_and_says_what_it_did_and_then_everything_works(empty: str, tmp_path: Path) -> None:
    program = Program(tmp_path)
    refused = program.run(*recommend_sample("allergies-interactions"), MEDAGENT_DATABASE_URL=empty)
    assert refused.returncode == 1
    assert "run: medagent db upgrade" in refused.stderr
    first = program.run("db", "upgrade", MEDAGENT_DATABASE_URL=empty)
    assert first.returncode == 0, first.stderr
    assert re.search(r"The records are now at schema \d+, before: none", first.stderr)
    assert "The checkpoints of runs are now at schema" in first.stderr
    second = program.run("db", "upgrade", MEDAGENT_DATABASE_URL=empty)
    assert second.stderr.count("already") == 2
    recommended = program.run(*recommend_sample("allergies-interactions"), MEDAGENT_DATABASE_URL=empty)
    assert recommended.returncode == 0, recommended.stderr
    verified = program.run("audit", "verify", MEDAGENT_DATABASE_URL=empty)
    assert verified.returncode == 0, verified.stdout
    assert "every record and the signed checkpoint" in verified.stdout
    assert not (tmp_path / "medagent.db").exists()


def test_the_driver_is_ours_and_what_is_committed_is_durable(shared: Records) -> None:
    shared.execute(f"ALTER DATABASE {shared.database_url.rpartition('/')[2]} SET synchronous_commit = off")
    engine = open_engine(shared.database_url)
    assert engine.driver == "psycopg"
    with writing(engine) as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        assert connection.scalar(text("SHOW lock_timeout")) == "30s"
    engine.dispose()


def test_who_reads_cannot_write(shared: Records) -> None:
    engine = open_engine(shared.database_url)
    with pytest.raises(StoreError, match="read-only transaction"), reading(engine) as connection:
        connection.execute(text("CREATE TABLE anything (id integer)"))
    engine.dispose()


def test_another_machine_with_other_keys_is_refused(shared: Records, elsewhere: Path) -> None:
    with shared.open() as store:
        record(store)
    with pytest.raises(SettingsError, match=r"missing, but the database holds records under that key"):
        open_store(elsewhere, database_url=shared.database_url)
    with open_store(elsewhere / "own"):  # has keys, but not these
        pass
    with pytest.raises(SettingsError, match="is not the key"):
        open_store(elsewhere / "own", database_url=shared.database_url)


def test_a_password_is_told_to_nobody(shared: Records, tmp_path: Path) -> None:
    wrong = shared.database_url.replace("@", "x@")
    password = wrong.split("@")[0].rpartition(":")[2]
    with pytest.raises(StoreError, match="password authentication failed") as refusal:
        open_store(tmp_path, database_url=wrong)
    assert password not in f"{refusal.value} {refusal.value.__cause__}"


def test_a_server_that_is_not_there_is_named(postgresql_server: Cluster, tmp_path: Path) -> None:
    nobody = replace(postgresql_server, port=1)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1/postgres refused"):
        open_store(tmp_path, database_url=nobody.url)


def test_a_connection_that_the_server_ended_is_replaced(shared: Records) -> None:
    with shared.open() as store:
        record(store, 1)
        shared.row(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        record(store, 2)
        store.seal()
        assert store.verify(TENANT).ok
