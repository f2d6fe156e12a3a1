# SPDX-License-Identifier: Apache-2.0
"""The schema: created by migrations, equal to what the code uses, refused where it is newer."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from builders.store import TENANT, open_store, record, scalar, settings_in
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from medagent.errors import StoreError
from medagent.store import upgrade
from medagent.store.engine import open_engine, reading
from medagent.store.schema import APPEND_ONLY, CHANGING, metadata


def test_the_migrations_create_what_the_code_uses(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/medagent.db"
    upgrade(url)
    engine = open_engine(url)
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


# standards: 49
def test_every_table_but_the_queue_and_the_vault_is_append_only(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/medagent.db")
    assert {table.name for table in metadata.sorted_tables} - set(APPEND_ONLY) == set(CHANGING)
    assert set(CHANGING) == {"unsealed_events", "vault_secrets", "vault_claims"}
    assert scalar(tmp_path, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == 2 * len(APPEND_ONLY)


def test_every_unique_key_starts_with_the_tenant_and_every_row_has_a_version() -> None:
    for table in metadata.sorted_tables:
        assert "schema_version" in table.columns
        keys = [one for one in (table.primary_key, *table.constraints) if hasattr(one, "columns")]
        assert all("tenant" in key.columns for key in keys)


def test_the_tables_can_be_created_in_postgresql() -> None:
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy types it not
        assert f"CREATE TABLE {table.name}" in statement


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/medagent.db"
    upgrade(url)
    before = (tmp_path / "medagent.db").read_bytes()
    upgrade(url)
    assert (tmp_path / "medagent.db").read_bytes() == before


def test_records_from_before_there_was_a_vault_are_migrated_and_verify(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store)
        store.seal()
        events = store.verify(TENANT).entries
    triggers = "SELECT group_concat(sql) FROM (SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name)"
    before = scalar(tmp_path, triggers)
    with closing(sqlite3.connect(tmp_path / "medagent.db")) as connection, connection:
        connection.executescript(
            "DROP TABLE vault_secrets; DROP TABLE vault_claims; UPDATE alembic_version SET version_num = '0002'"
        )
    with open_store(tmp_path) as store:
        assert (store.verify(TENANT).ok, store.verify(TENANT).entries) == (True, events)
        store.vault(TENANT).put("session", "key-1", b"secret", datetime(2999, 1, 1, tzinfo=UTC))
        assert store.vault(TENANT).get("session", "key-1") == b"secret"
    assert scalar(tmp_path, triggers) == before


def test_the_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/medagent.db")
    assert stat.S_IMODE((tmp_path / "medagent.db").stat().st_mode) == 0o600


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store)
    with closing(sqlite3.connect(tmp_path / "medagent.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer version of MedAgent \(schema 9999\): install that version"):
        open_store(tmp_path)
    assert scalar(tmp_path, "SELECT count(*) FROM dossiers") == 1


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        pytest.param("sqlite://", "SQLite needs a file", id="a database in memory"),
        pytest.param("nonsense", "MEDAGENT_DATABASE_URL: no database can be opened", id="no URL"),
        pytest.param("oracle9://x/y", "MEDAGENT_DATABASE_URL: no database can be opened", id="an unknown database"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused(tmp_path: Path, url: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint):
        open_store(tmp_path, database_url=url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "medagent.db").write_text("This is a letter and not a database. " * 200)
    with pytest.raises(StoreError, match="file is not a database"):
        open_store(tmp_path)


def test_a_database_elsewhere_than_in_the_home_folder_is_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "data" / "records.db"
    with open_store(tmp_path / "home", database_url=f"sqlite:///{elsewhere}") as store:
        record(store)
        store.seal()
        assert store.verify(TENANT).ok
    assert elsewhere.exists()
    assert not (settings_in(tmp_path / "home").home / "medagent.db").exists()


def test_importing_the_package_loads_no_database() -> None:
    code = "import sys, medagent, medagent.log.verify; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "False"
