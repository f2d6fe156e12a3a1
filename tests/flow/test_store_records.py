# SPDX-License-Identifier: Apache-2.0
"""Recording and reading: together with the audit event, exactly once, encrypted, or not at all."""

import base64
import hashlib
import resource
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from builders.store import ACTOR, NOON, PATIENT, TENANT, Records, calls, open_store, outcome, record, request

from medagent.canonical import parse_json, sha256_hex
from medagent.errors import AuditError, IntegrityError, JournalError, MedAgentError, SettingsError, StoreError
from medagent.store import RecordedOutcome, Store
from medagent.store.schema import APPEND_ONLY, metadata

TABLES = [table.name for table in metadata.sorted_tables]


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """A fresh store."""
    with records.open() as opened:
        yield opened


def counts(records: Records) -> dict[str, object]:
    """Rows by table, straight out of the database."""
    return {name: records.scalar(f"SELECT count(*) FROM {name}") for name in TABLES}  # noqa: S608 - our own names


def test_what_was_recorded_is_read_again(store: Store) -> None:
    record(store)
    expected = outcome()
    assert store.dossier("dossier-1", TENANT, ACTOR) == expected.canonical
    for sha256, data in expected.evidence.items():
        assert store.evidence(sha256, TENANT) == data


# standards: 48
def test_each_record_comes_with_its_audit_event(store: Store) -> None:
    record(store)
    store.dossier("dossier-1", TENANT, "user/reader")
    events = store.audit_events(TENANT)
    assert [(one.header.type, one.header.actor, one.header.dossier) for one in events[:3]] == [
        ("dossier_read", "user/reader", "dossier-1"),
        ("outcome_recorded", ACTOR, "dossier-1"),
        ("request_recorded", ACTOR, None),
    ]


def test_the_event_of_an_outcome_commits_to_all_that_was_recorded(store: Store) -> None:
    record(store)
    recorded = outcome()
    newest = store.audit_events(TENANT)[0]
    _, body = store.audit_event(newest.header.id, TENANT, "reviewer")
    assert body["sha256"] == sha256_hex(recorded.canonical)
    assert body["evidence"] == sorted(recorded.evidence)
    assert body["patient"] == PATIENT
    assert body["as_of"] == "2024-03-01T12:00:00.000000Z"
    assert body["recommendations"] == [
        {
            "id": "recommendation-1",
            "rule": "rule-1",
            "guideline": "guideline-1",
            "edition": "2024",
            "urgency": "warning",
        }
    ]


def test_the_event_of_an_outcome_commits_to_the_journal(store: Store) -> None:
    record(store)
    newest = store.audit_events(TENANT)[0]
    _, body = store.audit_event(newest.header.id, TENANT, "reviewer")
    answered, in_vain = store.journal(TENANT).entries("request-1")
    assert body["journal"] == {
        "calls": [
            ["model/1", answered.request_sha256, answered.result_sha256],
            ["tool/1/0", in_vain.request_sha256, ""],
        ],
        "rows": 4,
    }


def test_an_outcome_that_rests_on_other_calls_than_were_journaled_is_refused(store: Store, records: Records) -> None:
    request(store)
    calls(store)
    before = counts(records)
    digest = sha256_hex(b"{}")
    with pytest.raises(JournalError, match="request-1 rests on other calls"):
        store.record_outcome(replace(outcome(), journal=(("tool/1/0", digest, digest),)))
    assert counts(records) == before
    told = tuple(
        (entry.key, entry.request_sha256, entry.result_sha256 or "")
        for entry in store.journal(TENANT).entries("request-1")
    )
    store.record_outcome(replace(outcome(), journal=told))
    store.seal()
    assert store.verify(TENANT).ok


def test_what_is_open_is_found_and_read_until_it_has_ended(store: Store) -> None:
    for number in (2, 1):
        request(store, number)
    record(store, 3)
    assert store.open_requests(TENANT) == ("request-2", "request-1")
    assert store.open_requests("other") == ()
    assert parse_json(store.request("request-1", TENANT)) == {"request": 1, "patient": PATIENT}
    assert store.outcome_of("request-1", TENANT) is None
    store.record_outcome(outcome(1))
    assert store.outcome_of("request-1", TENANT) == outcome(1).canonical
    assert store.open_requests(TENANT) == ("request-2",)


# standards: 48
@pytest.mark.parametrize("table", ["audit_events", "unsealed_events"])
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store: request(store, 2), id="no request"),
        pytest.param(lambda store: store.record_outcome(outcome(1)), id="no recommendation"),
    ],
)
def test_no_audit(store: Store, records: Records, act: Callable[[Store], None], table: str) -> None:
    request(store, 1)
    before = counts(records)
    with records.refusing(table, "broken"), pytest.raises(AuditError, match="so nothing of it counts: broken"):
        act(store)
    assert counts(records) == before


# standards: 48
def test_no_audit_no_reading(store: Store, records: Records) -> None:
    record(store)
    records.attack("ALTER TABLE audit_events RENAME TO gone")
    with pytest.raises(AuditError, match=r"no such table|does not exist"):
        store.dossier("dossier-1", TENANT, ACTOR)


def test_a_full_disk_leaves_nothing_half_recorded(tmp_path: Path) -> None:
    records = Records(tmp_path)
    with records.open() as store:
        _fill_the_disk(store, records)


def _fill_the_disk(store: Store, records: Records) -> None:
    request(store, 1)
    data = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(40_000))  # does not compress
    before = counts(records)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # no file may grow beyond that
    try:
        with pytest.raises(StoreError, match=r"full|disk I/O error"):
            store.record_outcome(outcome(1, evidence={sha256_hex(data): data}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert counts(records) == before
    store.record_outcome(outcome(1))  # with room again, the work goes on


def test_a_transaction_that_fails_later_takes_everything_with_it(store: Store, records: Records) -> None:
    def record_two_outcomes_for_one_request() -> None:
        with store.transaction() as transaction:
            transaction.record_request(request_id="request-1", body=b"{}", patient=PATIENT, actor=ACTOR, tenant=TENANT)
            transaction.record_outcome(outcome(1))
            transaction.record_outcome(outcome(2))

    before = counts(records)
    with pytest.raises(StoreError, match="No request request-2"):
        record_two_outcomes_for_one_request()
    assert counts(records) == before


def test_the_same_request_and_outcome_again_change_nothing(store: Store, records: Records) -> None:
    record(store)
    before = counts(records)
    record(store)
    assert counts(records) == before


def _other_evidence() -> RecordedOutcome:
    return replace(outcome(), evidence={"0" * 64: b"{}"})


@pytest.mark.parametrize(
    ("second", "kind", "complaint"),
    [
        pytest.param(
            replace(outcome(), dossier_id="dossier-9"),
            StoreError,
            "already ended in the dossier dossier-1",
            id="another dossier",
        ),
        pytest.param(replace(outcome(), canonical=b"{}"), StoreError, "already ended", id="another content"),
        pytest.param(_other_evidence(), IntegrityError, "has another hash", id="evidence under a wrong hash"),
        pytest.param(replace(outcome(), request_id="request-9"), StoreError, "No request request-9", id="no request"),
        pytest.param(
            replace(outcome(), tenant="other"), StoreError, "No request request-1", id="another tenant's request"
        ),
    ],
)
def test_a_second_outcome_is_refused(
    store: Store, records: Records, second: RecordedOutcome, kind: type[MedAgentError], complaint: str
) -> None:
    record(store)
    before = counts(records)
    with pytest.raises(kind, match=complaint):
        store.record_outcome(second)
    assert counts(records) == before


def test_another_request_under_the_same_id_is_refused(store: Store) -> None:
    request(store)
    with pytest.raises(StoreError, match="Another request was recorded under the id request-1"):
        store.record_request(request_id="request-1", body=b"{}", patient=PATIENT, actor=ACTOR, tenant=TENANT)


def test_evidence_that_two_outcomes_share_is_stored_once(store: Store, records: Records) -> None:
    record(store, 1)
    record(store, 2)
    assert records.scalar("SELECT count(*) FROM evidence_bytes") == 3


def test_thousands_of_resources_are_recorded_at_once(store: Store, records: Records) -> None:
    request(store)
    resources = [b'{"resourceType":"Observation","id":"%d"}' % number for number in range(1_200)]
    store.record_outcome(outcome(evidence={sha256_hex(data): data for data in resources}))
    assert records.scalar("SELECT count(*) FROM evidence_bytes") == 1_200


def test_an_outcome_without_recommendations_or_evidence_is_recorded(store: Store) -> None:
    request(store)
    store.record_outcome(replace(outcome(evidence={}), outcome="abstained", reason="deceased", recommendations=()))
    store.seal()
    assert store.verify(TENANT).ok


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda store: store.dossier("dossier-1", "other", ACTOR), id="a dossier of another tenant"),
        pytest.param(lambda store: store.dossier("dossier-2", TENANT, ACTOR), id="a dossier that does not exist"),
        pytest.param(lambda store: store.evidence(sha256_hex(b"x"), TENANT), id="evidence that does not exist"),
        pytest.param(lambda store: store.request("request-2", TENANT), id="a request that does not exist"),
        pytest.param(lambda store: store.audit_event("event-0", TENANT, "reviewer"), id="an event that does not exist"),
    ],
)
def test_not_found(store: Store, read: Callable[[Store], object]) -> None:
    record(store)
    with pytest.raises(StoreError, match="There is no"):
        read(store)


def test_no_patient_and_no_content_stands_in_the_file_in_the_clear(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store)
        store.dossier("dossier-1", TENANT, ACTOR)
        store.seal()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert "medagent.db" in {path.name for path in files}
    for path in files:
        data = path.read_bytes()
        assert PATIENT.encode() not in data
        assert b"sample-ada" not in data
        assert b"resourceType" not in data


def _change(records: Records, table: str, action: str) -> str:
    """A statement that changes rows, or would if there were any."""
    if action == "REPLACE" and records.on_sqlite:
        return f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"  # noqa: S608 - our own names
    statements = {
        "UPDATE": f"UPDATE {table} SET tenant = tenant",  # noqa: S608 - our own names
        "DELETE": f"DELETE FROM {table}",  # noqa: S608 - our own names
        "REPLACE": f"INSERT INTO {table} SELECT * FROM {table} "  # noqa: S608 - our own names
        f"ON CONFLICT ON CONSTRAINT {table}_pkey DO UPDATE SET tenant = EXCLUDED.tenant",
    }
    return statements[action]


# standards: 49
@pytest.mark.parametrize("action", ["UPDATE", "DELETE", "REPLACE"])
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_database_refuses_to_change_what_is_append_only(
    store: Store, records: Records, table: str, action: str
) -> None:
    record(store)
    store.seal()
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.RaiseException), match="is append-only"):
        records.execute(_change(records, table, action))


def test_a_dossier_whose_bytes_were_changed_is_not_handed_out(store: Store, records: Records) -> None:
    record(store)
    records.attack(f"UPDATE dossiers SET sealed = {records.literal(bytes(200))}")  # noqa: S608 - an attack is SQL
    with pytest.raises(IntegrityError, match="dossiers dossier-1: its encrypted bytes"):
        store.dossier("dossier-1", TENANT, ACTOR)


def test_exchanged_dossiers_are_not_handed_out(store: Store, records: Records) -> None:
    record(store, 1)
    record(store, 2)
    other = "(SELECT sealed FROM dossiers WHERE id = 'dossier-2')"
    records.attack(f"UPDATE dossiers SET sealed = {other} WHERE id = 'dossier-1'")  # noqa: S608 - an attack is SQL
    with pytest.raises(IntegrityError, match="dossiers dossier-1"):
        store.dossier("dossier-1", TENANT, ACTOR)


def test_the_wrong_encryption_key_is_named_before_anything_is_read(store: Store, records: Records) -> None:
    record(store)
    (records.home / "keys/encryption.key").write_text(base64.b64encode(bytes(32)).decode())
    with pytest.raises(SettingsError, match=r"encryption key \w+ is not the key \w+ that \S+ was written under"):
        records.open()


def test_the_wrong_signing_key_is_named(store: Store, records: Records) -> None:
    with open_store(records.home / "other"):
        (records.home / "other/keys/log-signing.pem").replace(records.home / "keys/log-signing.pem")
    with pytest.raises(SettingsError, match=r"signing key \w+ is not the key"):
        records.open()


def test_a_lost_key_is_not_replaced(store: Store, records: Records) -> None:
    record(store)
    (records.home / "keys/encryption.key").unlink()
    with pytest.raises(SettingsError, match=r"encryption\.key is missing"):
        records.open()


def test_messages_hold_no_patient_data(store: Store, records: Records) -> None:
    records.attack("ALTER TABLE requests RENAME TO gone")
    with pytest.raises(StoreError) as refusal:
        request(store)
    cause = refusal.value.__cause__
    assert PATIENT not in f"{refusal.value} {cause}"
    assert str(NOON.year) not in str(cause)
