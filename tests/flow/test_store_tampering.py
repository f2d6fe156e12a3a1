# SPDX-License-Identifier: Apache-2.0
"""Somebody changes the database file directly: whatever it is, the verification names the row."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from builders.store import DATABASES, TENANT, Records, calls, open_store, outcome, record, request

from medagent.errors import SettingsError, StoreError
from medagent.log.verify import LogReport
from medagent.store import Store
from medagent.store.schema import metadata

VAULT = {"vault_secrets", "vault_claims"}  # no evidence; what somebody gains by changing them is in test_store_vault
TABLES = {table.name: table for table in metadata.sorted_tables if table.name not in VAULT}
EVENT = "(SELECT event_id FROM log_entries WHERE tree_index = 4)"


@pytest.fixture(scope="module", params=DATABASES)
def untouched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Three finished requests, sealed one by one: entries 0 to 3, 4 and 5, 6 and 7; an event waits."""
    records = Records.fresh(request, tmp_path_factory.mktemp("untouched"))
    with records.open() as store:
        for number in (1, 2, 3):
            record(store, number)
            store.seal()
        store.dossier("dossier-1", TENANT, "user/reader")
        assert store.verify(TENANT).ok
    return records


@pytest.fixture
def records(untouched: Records, tmp_path: Path) -> Records:
    """A copy of it, to be attacked."""
    return untouched.copied(tmp_path)


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """The store on that copy."""
    with records.open() as opened:
        yield opened


def named(report: LogReport) -> set[tuple[str, str]]:
    """Kind and place of everything that the report names."""
    return {(finding.kind.value, f"{finding.table} {finding.id}") for finding in report.findings}


def test_an_untouched_store_is_verified(store: Store) -> None:
    report = store.verify(TENANT)
    assert report.ok
    assert (report.entries, report.unsealed) == (8, 1)


def _columns() -> list[tuple[str, str]]:
    every = [(table.name, column.name) for table in TABLES.values() for column in table.columns]
    empty = ("dossiers", "reason")  # in an outcome that offers something; EDITS fills it
    return [one for one in every if one[1] != "tenant" and one != empty]


# standards: 54
@pytest.mark.parametrize(("table", "column"), _columns(), ids=[f"{table}.{column}" for table, column in _columns()])
def test_one_changed_bit_in_any_column_is_detected_and_its_row_named(
    store: Store, records: Records, table: str, column: str
) -> None:
    identity = [part.name for part in TABLES[table].primary_key.columns if part.name != "tenant"]
    query = f"SELECT {', '.join(identity)}, {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1"  # noqa: S608
    *names, value = records.row(query)
    where = " AND ".join(f"{part} = {name!r}" for part, name in zip(identity, names, strict=True))
    records.attack(f"UPDATE {table} SET {column} = {_flipped(records, value)} WHERE {where}")  # noqa: S608 - an attack is SQL
    report = store.verify(TENANT)
    places = {f"{finding.table} {finding.id}" for finding in report.findings}
    if table == "unsealed_events" or (table, column) == ("log_entries", "event_id"):
        assert any(place.startswith(("audit_events event-", "unsealed_events")) for place in places)  # the event itself
    else:
        assert f"{table} {'/'.join(map(str, names))}" in places


def _flipped(records: Records, value: str | bytes | int) -> str:
    """The value with one bit flipped, as SQL. PostgreSQL takes no text that is not UTF-8, SQLite does."""
    if isinstance(value, int):
        return str(value ^ 64)
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[len(data) // 2] ^= 0x80 if records.on_sqlite else 0x01
    if isinstance(value, bytes):
        return records.literal(bytes(data))
    text = records.literal(bytes(data))
    return f"CAST({text} AS TEXT)" if records.on_sqlite else f"convert_from({text}, 'UTF8')"


def _rows(home: Path) -> dict[str, list[str]] | None:
    """Every row of the file. None: SQLite cannot read it any more."""
    try:
        with closing(sqlite3.connect(home / "medagent.db")) as connection:
            connection.text_factory = bytes
            return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name} NOT INDEXED"))) for name in TABLES}  # noqa: S608
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None


# standards: 54
@pytest.mark.parametrize("untouched", ["sqlite"], indirect=True)
def test_one_flipped_bit_anywhere_in_the_file_is_noticed_unless_it_changes_nothing(
    untouched: Records, tmp_path: Path
) -> None:
    original_home = untouched.home
    before, original = _rows(original_home), (original_home / "medagent.db").read_bytes()
    positions = random.Random(54)  # noqa: S311 - seeded on purpose
    noticed = 0
    for number in range(60):
        home = tmp_path / str(number)
        shutil.copytree(original_home, home)
        damaged = bytearray(original)
        damaged[positions.randrange(len(damaged))] ^= 1 << positions.randrange(8)
        (home / "medagent.db").write_bytes(damaged)
        changed = _rows(home) != before
        try:
            with open_store(home) as store:
                passed = store.verify(TENANT).ok
        except (StoreError, SettingsError):
            passed = False
        assert not (changed and passed)
        noticed += changed
    assert noticed > 3  # the file is mostly free space, but not only


EDITS = [
    pytest.param(
        "UPDATE dossiers SET outcome = 'nothing_due' WHERE id = 'dossier-2'",
        {("edited", "dossiers dossier-2")},
        id="an outcome",
    ),
    pytest.param(
        "UPDATE dossiers SET reason = 'deadline' WHERE id = 'dossier-2'",
        {("edited", "dossiers dossier-2")},
        id="a reason",
    ),
    pytest.param(
        "UPDATE recommendations SET urgency = 'info' WHERE id = 'recommendation-3'",
        {("edited", "recommendations dossier-3/recommendation-3")},
        id="an urgency",
    ),
    pytest.param(
        "UPDATE requests SET created_at = '2020-01-01T00:00:00.000000Z' WHERE id = 'request-1'",
        {("edited", "requests request-1")},
        id="when a request came",
    ),
    pytest.param(
        "UPDATE dossiers SET sealed = (SELECT sealed FROM dossiers WHERE id = 'dossier-3') WHERE id = 'dossier-2'",
        {("edited", "dossiers dossier-2")},
        id="a ciphertext put in the place of another",
    ),
    pytest.param(
        "UPDATE journal SET sha256 = (SELECT sha256 FROM journal WHERE request_id = 'request-3' AND position = 1) "
        "WHERE request_id = 'request-2' AND position = 1",
        {("edited", "journal request-2"), ("edited", "journal request-2/1")},
        id="a result's hash",
    ),
    pytest.param(
        "UPDATE log_entries SET leaf_hash = 'abc' WHERE tree_index = 4",
        {("edited", "log_entries 4")},
        id="a text where bytes belong",
    ),
    pytest.param(
        "UPDATE checkpoints SET note = note || ' ' WHERE tree_size = 6", {("edited", "checkpoints 6")}, id="a note"
    ),
    pytest.param(
        "UPDATE checkpoints SET root = {zeros} WHERE tree_size = 6", {("edited", "checkpoints 6")}, id="a root"
    ),
]


# standards: 54
@pytest.mark.parametrize(("statement", "expected"), EDITS)
def test_an_edit_is_named_and_nothing_else_is(
    store: Store, records: Records, statement: str, expected: set[tuple[str, str]]
) -> None:
    records.attack(statement.format(zeros=records.literal(bytes(32))))
    assert named(store.verify(TENANT)) == expected


# standards: 54
def test_an_edited_event_is_named(store: Store, records: Records) -> None:
    event = records.scalar(f"SELECT id FROM audit_events WHERE id = {EVENT}")  # noqa: S608 - our own names
    records.attack(f"UPDATE audit_events SET actor = 'user/nobody' WHERE id = '{event}'")  # noqa: S608 - an attack is SQL
    assert ("edited", f"audit_events {event}") in named(store.verify(TENANT))


# standards: 54
def test_an_event_edited_before_it_was_sealed_is_named(store: Store, records: Records) -> None:
    event = records.scalar("SELECT event_id FROM unsealed_events")
    records.attack(f"UPDATE audit_events SET actor = 'user/nobody' WHERE id = '{event}'")  # noqa: S608 - an attack is SQL
    store.seal()
    assert named(store.verify(TENANT)) == {("edited", f"audit_events {event}")}


# standards: 54
@pytest.mark.parametrize(
    ("table", "where", "expected"),
    [
        pytest.param("requests", "id = 'request-2'", "requests request-2", id="a request"),
        pytest.param("dossiers", "id = 'dossier-2'", "dossiers dossier-2", id="a dossier"),
        pytest.param(
            "recommendations",
            "dossier_id = 'dossier-2'",
            "recommendations dossier-2/recommendation-2",
            id="a recommendation",
        ),
        pytest.param(
            "evidence_bytes",
            f"sha256 = '{max(outcome(2).evidence)}'",
            f"evidence_bytes {max(outcome(2).evidence)}",
            id="evidence",
        ),
        pytest.param("journal", "request_id = 'request-2' AND position = 1", "journal request-2/1", id="a result"),
        pytest.param("journal", "request_id = 'request-2' AND position = 3", "journal request-2/3", id="an attempt"),
        pytest.param("journal", "request_id = 'request-2'", "journal request-2/0", id="a whole journal"),
        pytest.param("log_entries", "tree_index = 4", "log_entries 4", id="an entry of the log"),
        pytest.param("checkpoints", "tree_size = 6", "checkpoints 6", id="a checkpoint"),
        pytest.param("keys", "purpose = 'encryption'", "keys encryption/", id="the note of a key"),
    ],
)
def test_a_deleted_row_is_named(store: Store, records: Records, table: str, where: str, expected: str) -> None:
    records.attack(f"DELETE FROM {table} WHERE {where}")  # noqa: S608 - an attack is SQL
    places = named(store.verify(TENANT))
    assert any(kind == "missing" and place.startswith(expected) for kind, place in places)


# standards: 54
def test_a_deleted_event_is_named(store: Store, records: Records) -> None:
    event = records.scalar(f"SELECT id FROM audit_events WHERE id = {EVENT}")  # noqa: S608 - our own names
    records.attack(f"DELETE FROM audit_events WHERE id = '{event}'")  # noqa: S608 - an attack is SQL
    assert ("missing", f"audit_events {event}") in named(store.verify(TENANT))


# standards: 54
def test_an_event_taken_out_of_the_queue_is_named(store: Store, records: Records) -> None:
    event = records.scalar("SELECT event_id FROM unsealed_events")
    records.attack("DELETE FROM unsealed_events")
    assert named(store.verify(TENANT)) == {("inserted", f"audit_events {event}")}


# standards: 54
@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        pytest.param("requests", "id = 'forged'", "requests forged", id="a request"),
        pytest.param("dossiers", "id = 'forged', request_id = 'forged'", "dossiers forged", id="a dossier"),
        pytest.param("recommendations", "id = 'forged'", "recommendations dossier-1/forged", id="a recommendation"),
        pytest.param("evidence_bytes", "sha256 = 'forged'", "evidence_bytes forged", id="evidence"),
        pytest.param("journal", "position = 4, number = 9", "journal request-1/4", id="a row of a journal"),
        pytest.param("audit_events", "id = 'forged'", "audit_events forged", id="an event"),
        pytest.param("log_entries", "tree_index = 8, event_id = 'forged'", "log_entries 8", id="an entry of the log"),
        pytest.param("checkpoints", "tree_size = 7", "checkpoints 7", id="a checkpoint"),
        pytest.param("unsealed_events", "event_id = 'forged'", "audit_events forged", id="an event that waits"),
    ],
)
def test_an_inserted_row_is_named(store: Store, records: Records, table: str, values: str, expected: str) -> None:
    records.attack(
        f"CREATE TABLE forged AS SELECT * FROM {table} LIMIT 1",  # noqa: S608 - an attack is SQL
        f"UPDATE forged SET {values}",  # noqa: S608 - an attack is SQL
        f"INSERT INTO {table} SELECT * FROM forged",  # noqa: S608 - an attack is SQL
    )
    assert expected in {place for _, place in named(store.verify(TENANT))}


# standards: 54
def test_exchanged_entries_are_named(store: Store, records: Records) -> None:
    records.attack(
        "UPDATE log_entries SET tree_index = -1 WHERE tree_index = 4",
        "UPDATE log_entries SET tree_index = 4 WHERE tree_index = 7",
        "UPDATE log_entries SET tree_index = 7 WHERE tree_index = -1",
    )
    assert {("reordered", "log_entries 4"), ("reordered", "log_entries 7")} <= named(store.verify(TENANT))


# standards: 54
def test_an_edited_call_of_a_run_that_goes_on_is_named(store: Store, records: Records) -> None:
    request(store, 4)
    calls(store, 4)
    store.seal()
    assert store.verify(TENANT).ok
    records.attack("UPDATE journal SET kind = 'result' WHERE request_id = 'request-4' AND position = 3")
    assert named(store.verify(TENANT)) == {("edited", "journal request-4/3")}


TRUNCATION = (
    "DELETE FROM log_entries WHERE tree_index >= 6",
    "DELETE FROM checkpoints WHERE tree_size > 6",
    "DELETE FROM unsealed_events",
    "DELETE FROM audit_events WHERE id NOT IN (SELECT event_id FROM log_entries)",
    "DELETE FROM recommendations WHERE dossier_id = 'dossier-3'",
    "DELETE FROM dossiers WHERE id = 'dossier-3'",
    "DELETE FROM journal WHERE request_id = 'request-3'",
    "DELETE FROM requests WHERE id = 'request-3'",
    f"DELETE FROM evidence_bytes WHERE sha256 = '{next(iter(set(outcome(3).evidence) - set(outcome(2).evidence)))}'",  # noqa: S608
)


# standards: 54
def test_an_end_that_was_cut_off_with_all_its_rows_shows_against_the_kept_checkpoint(
    store: Store, records: Records
) -> None:
    records.attack(*TRUNCATION)
    assert named(store.verify(TENANT)) == {("truncated", "log_entries 6 to 7")}


# standards: 54
def test_without_any_kept_checkpoint_the_report_does_not_pass(store: Store, records: Records) -> None:
    note = (records.home / "checkpoints/local.note").read_text()
    records.attack(*TRUNCATION)
    (records.home / "checkpoints/local.note").unlink()
    assert {kind for kind, _ in named(store.verify(TENANT))} == {"missing"}
    assert named(store.verify(TENANT, kept_checkpoint=note)) == {("truncated", "log_entries 6 to 7")}


def test_an_edited_kept_checkpoint_is_named(store: Store, records: Records) -> None:
    path = records.home / "checkpoints/local.note"
    path.write_text(path.read_text().replace("\n8\n", "\n9\n"))
    assert named(store.verify(TENANT)) == {("edited", "kept checkpoint medagent/local")}


def test_a_log_that_was_never_sealed_does_not_pass(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store)
        assert named(store.verify(TENANT)) == {("unsigned", "checkpoints medagent/local")}


def test_a_store_signed_by_somebody_else_does_not_pass(store: Store, records: Records) -> None:
    with open_store(records.home / "other") as other:
        report = store.verify(TENANT, key=other.verifier_key(TENANT))
    assert not report.ok
    assert report.checkpoint is None
