# SPDX-License-Identifier: Apache-2.0
"""Stores, settings, clocks and outcomes for tests. The patient and everything about them is made up."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medagent.canonical import sha256_hex
from medagent.settings import Settings
from medagent.store import RecordedOutcome, RecordedRecommendation, Store

TENANT = "local"
PATIENT = "Patient/sample-ada-9471"
ACTOR = "user/reviewer-1"
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


class FixedClock:
    """A clock that goes on by one second each time it is looked at."""

    def __init__(self, start: datetime = NOON) -> None:
        self._next = start

    def now(self) -> datetime:
        """The next second."""
        present, self._next = self._next, self._next + timedelta(seconds=1)
        return present


def settings_in(home: Path, **overrides: object) -> Settings:
    """Settings whose every file lies in `home`."""
    return Settings.load(home=home, **overrides)


def open_store(home: Path, **overrides: object) -> Store:
    """A store in `home`, created on first use."""
    return Store.open(settings_in(home, **overrides), FixedClock())


def outcome(
    number: int = 1, *, evidence: Mapping[str, bytes] | None = None, canonical: bytes | None = None
) -> RecordedOutcome:
    """How request number `number` ended: one recommendation that rests on two resources."""
    if evidence is None:
        resources = (b'{"resourceType":"Patient"}', b'{"resourceType":"Observation","n":%d}' % number)
        evidence = {sha256_hex(data): data for data in resources}
    return RecordedOutcome(
        tenant=TENANT,
        request_id=f"request-{number}",
        dossier_id=f"dossier-{number}",
        outcome="offered",
        reason=None,
        as_of=NOON,
        canonical=canonical or b'{"id":"dossier-%d","patient":"%s"}' % (number, PATIENT.encode()),
        recommendations=(
            RecordedRecommendation(f"recommendation-{number}", "rule-1", "guideline-1", "2024", "warning"),
        ),
        evidence=evidence,
        actor=ACTOR,
        patient=PATIENT,
    )


def record(store: Store, number: int = 1) -> None:
    """Records request number `number`, the calls of its run and how it ended."""
    request(store, number)
    calls(store, number)
    store.record_outcome(outcome(number))


def request(store: Store, number: int = 1) -> None:
    """Records request number `number`."""
    body = b'{"request":%d,"patient":"%s"}' % (number, PATIENT.encode())
    store.record_request(request_id=f"request-{number}", body=body, patient=PATIENT, actor=ACTOR, tenant=TENANT)


def calls(store: Store, number: int = 1) -> None:
    """Journals the calls of request number `number`: one with a result, and one that was tried twice in vain."""
    journal, run = store.journal(TENANT), f"request-{number}"
    journal.intend(run, "model/1", b'{"question":%d}' % number)
    journal.conclude(run, "model/1", b'{"answer":%d}' % number)
    journal.intend(run, "tool/1/0", b"{}")
    journal.intend(run, "tool/1/0", b"{}")


def attack(home: Path, *statements: str) -> None:
    """Changes the database behind the store's back, as somebody with its file can: without triggers and keys."""
    with closing(sqlite3.connect(home / "medagent.db")) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            if connection.execute(statement).rowcount == 0:
                raise AssertionError(f"The attack touched nothing: {statement}")


def scalar(home: Path, query: str) -> object:
    """One value straight out of the database file."""
    with closing(sqlite3.connect(home / "medagent.db")) as connection:
        (value,) = connection.execute(query).fetchone()
        return value
