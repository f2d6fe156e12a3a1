# SPDX-License-Identifier: Apache-2.0
"""The sealer: what it signs, what it refuses to sign, and that no crash costs an event."""

from collections.abc import Iterator

import pytest
from builders.store import TENANT, Records, record
from sqlalchemy import select

from medagent.errors import IntegrityError, StoreError
from medagent.log.checkpoint import open_checkpoint
from medagent.log.tree import check_consistency, consistency_proof, tree_root
from medagent.store import Store, sealer
from medagent.store.engine import open_engine, reading
from medagent.store.schema import audit_events, log_entries


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """A store with one finished request that is not sealed."""
    with records.open() as opened:
        record(opened)
        yield opened


def leaf_hashes(records: Records) -> list[bytes]:
    """The sealed leaves in their order."""
    engine = open_engine(records.database_url)
    with reading(engine) as connection:
        hashes = list(connection.scalars(select(log_entries.c.leaf_hash).order_by(log_entries.c.tree_index)))
    engine.dispose()
    return hashes


# standards: 52
def test_a_checkpoint_covers_everything_that_waited(store: Store, records: Records) -> None:
    checkpoint = store.seal()
    assert checkpoint is not None
    assert checkpoint.origin == "medagent/local"
    assert checkpoint.size == 4
    assert checkpoint.root == tree_root(leaf_hashes(records))
    note = store.newest_note(TENANT)
    assert note is not None
    assert open_checkpoint(note, store.verifier_key(TENANT)) == checkpoint


def test_nothing_waiting_signs_nothing(store: Store) -> None:
    store.seal()
    assert store.seal() is None


# standards: 52, 53
def test_each_checkpoint_continues_the_one_before(store: Store, records: Records) -> None:
    first = store.seal()
    record(store, 2)
    second = store.seal()
    assert first is not None
    assert second is not None
    proof = consistency_proof(leaf_hashes(records), first.size)
    check_consistency(first.size, second.size, first.root, second.root, proof)


def test_more_events_than_one_batch_are_all_sealed(store: Store, records: Records) -> None:
    columns = ", ".join(column.name for column in audit_events.columns)
    more = f"SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {sealer.BATCH_EVENTS}"  # noqa: S608 - our own number
    numbers = f"WITH RECURSIVE n(i) AS ({more})"
    records.attack(  # the quickest way to many events; they are not genuine, but the sealer only counts and hashes them
        f"{numbers} INSERT INTO audit_events ({columns}) "  # noqa: S608 - our own names
        f"SELECT {columns.replace(' id', ' id || i')} FROM n, (SELECT * FROM audit_events LIMIT 1) AS one",
        "INSERT INTO unsealed_events SELECT tenant, schema_version, id FROM audit_events WHERE true "
        "ON CONFLICT DO NOTHING",
    )
    checkpoint = store.seal()
    assert checkpoint is not None
    assert checkpoint.size == sealer.BATCH_EVENTS + 4
    assert checkpoint.root == tree_root(leaf_hashes(records))
    assert records.scalar("SELECT count(*) FROM checkpoints") == 2


def test_the_newest_checkpoint_is_kept_outside_of_the_database(store: Store, records: Records) -> None:
    store.seal()
    assert (records.home / "checkpoints/local.note").read_text() == store.newest_note(TENANT)


# standards: 51
def test_a_crash_before_the_commit_leaves_the_events_waiting(store: Store, records: Records) -> None:
    with records.refusing("checkpoints", "crash"), pytest.raises(StoreError, match="crash"):
        store.seal()
    assert records.scalar("SELECT count(*) FROM log_entries") == 0
    assert records.scalar("SELECT count(*) FROM unsealed_events") == 4
    assert store.seal() is not None
    assert store.verify(TENANT).ok


# standards: 51
def test_a_crash_between_commit_and_keeping_is_made_good(store: Store, records: Records) -> None:
    (records.home / "checkpoints/local.new").mkdir(parents=True)  # where the file would be written first
    with pytest.raises(StoreError, match="cannot be kept"):
        store.seal()
    (records.home / "checkpoints/local.new").rmdir()
    assert not store.verify(TENANT).ok
    assert store.seal() is None
    assert store.verify(TENANT).ok


# standards: 52
def test_a_kept_checkpoint_that_was_edited_stops_the_sealer_and_is_named(store: Store, records: Records) -> None:
    store.seal()
    record(store, 2)
    path = records.home / "checkpoints/local.note"
    path.write_text(path.read_text().replace("\n4\n", "\n3\n"))
    with pytest.raises(IntegrityError, match=f"The kept checkpoint {path}: .* does not hold"):
        store.seal()


# standards: 52
@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        pytest.param(
            ("DELETE FROM log_entries", "DELETE FROM checkpoints"),
            "its end was cut off; nothing is signed",
            id="cut off",
        ),
        pytest.param(("UPDATE checkpoints SET frontier = {zeros}",), "contradicts its signed text", id="other tree"),
        pytest.param(("UPDATE checkpoints SET frontier = {zero}",), "cut off", id="damaged tree"),
        pytest.param(
            ("UPDATE checkpoints SET note = replace(note, '\n4', '\n3')",),
            "does not hold",
            id="edited checkpoint",
        ),
    ],
)
def test_nothing_is_signed_on_top_of_a_log_that_was_tampered_with(
    store: Store, records: Records, statements: tuple[str, ...], complaint: str
) -> None:
    store.seal()
    record(store, 2)
    literals = {"zeros": records.literal(bytes(32)), "zero": records.literal(bytes(1))}
    records.attack(*(statement.format(**literals) for statement in statements))
    before = records.scalar("SELECT count(*) FROM checkpoints")
    with pytest.raises(IntegrityError, match=complaint):
        store.seal()
    assert records.scalar("SELECT count(*) FROM checkpoints") == before


# standards: 52
def test_a_log_that_was_signed_anew_from_the_start_is_not_continued(store: Store, records: Records) -> None:
    store.seal()
    note = (records.home / "checkpoints/local.note").read_text()
    records.attack(
        "INSERT INTO unsealed_events SELECT tenant, schema_version, event_id FROM log_entries WHERE tree_index < 4",
        "DELETE FROM log_entries",
        "DELETE FROM checkpoints",
        "UPDATE audit_events SET actor = 'user/nobody' WHERE type = 'request_recorded'",
    )
    (records.home / "checkpoints/local.note").unlink()
    assert store.seal() is not None  # nobody can tell by now
    (records.home / "checkpoints/local.note").write_text(note)
    record(store, 2)
    with pytest.raises(IntegrityError, match="the log was rewritten; nothing is signed"):
        store.seal()


def test_each_tenant_has_a_log_of_its_own(store: Store, records: Records) -> None:
    store.record_request(request_id="request-1", body=b"{}", patient="Patient/1", actor="user/1", tenant="other")
    other = store.seal("other")
    assert other is not None
    assert (other.origin, other.size) == ("medagent/other", 1)
    assert store.verify("other").ok
    local = store.seal()
    assert local is not None
    assert local.size == 4
    assert {path.name for path in (records.home / "checkpoints").glob("*.note")} == {"local.note", "other.note"}


# standards: 54
def test_a_kept_checkpoint_that_is_gone_stops_the_sealer_until_somebody_answers_for_it(
    store: Store, records: Records
) -> None:
    store.seal()
    record(store, 2)
    store.seal()
    (records.home / "checkpoints/local.note").unlink()
    record(store, 3)
    with pytest.raises(IntegrityError, match="medagent audit keep"):
        store.seal()
    assert store.keep_checkpoint_again(TENANT, "reviewer") is not None
    assert (records.home / "checkpoints/local.note").read_text() == store.newest_note(TENANT)
    assert store.audit_events(TENANT)[0].header.type == "checkpoint_kept_again"
    assert store.verify(TENANT).ok


def test_looking_at_an_event_is_an_event(store: Store) -> None:
    record(store, 2)
    looked_at = store.audit_events(TENANT)[0].header.id
    store.audit_event(looked_at, TENANT, "reviewer")
    newest = store.audit_events(TENANT)[0].header
    assert (newest.type, newest.actor) == ("audit_event_read", "reviewer")
