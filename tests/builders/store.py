# SPDX-License-Identifier: Apache-2.0
"""Stores, settings, clocks and outcomes for tests. The patient and everything about them is made up."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from builders import postgresql
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
    journal.intend(run, "model/1", b'{"question":%d,"patient":"%s"}' % (number, PATIENT.encode()))
    journal.conclude(run, "model/1", b'{"answer":%d}' % number)
    journal.intend(run, "tool/1/0", b"{}")
    journal.intend(run, "tool/1/0", b"{}")


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]
"""Parameters of a fixture that gives `Records`."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of one installation lie, and how to get at them behind the store's back."""

    home: Path
    url: str | None = None
    """None: the SQLite file in `home`."""

    @classmethod
    def fresh(cls, request: pytest.FixtureRequest, home: Path) -> Self:
        """Empty records in the database that the fixture's parameter names; skips where that is absent."""
        if request.param == "sqlite":
            return cls(home)
        upgraded: str = request.getfixturevalue("postgresql_url")
        return cls(home, postgresql.copied(upgraded))

    def copied(self, home: Path) -> Self:
        """A copy of them, while nobody has them open."""
        shutil.copytree(self.home, home, dirs_exist_ok=True)
        return replace(self, home=home, url=None if self.url is None else postgresql.copied(self.url))

    @property
    def database_url(self) -> str:
        """What stands in MEDAGENT_DATABASE_URL, or would by default."""
        return self.url or f"sqlite:///{self.home}/medagent.db"

    @property
    def on_sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self.url is None

    def open(self) -> Store:
        """The store, created on first use."""
        return open_store(self.home, **({} if self.url is None else {"database_url": self.url}))

    def attack(self, *statements: str) -> None:
        """Changes the database as somebody can who owns it: without triggers, constraints between tables, and keys."""
        if self.url is None:
            attack(self.home, *statements)
            return
        with psycopg.connect(self.url) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                if connection.execute(statement.encode()).rowcount == 0:
                    raise AssertionError(f"The attack touched nothing: {statement}")

    def execute(self, statement: str) -> None:
        """One statement as any client can send it, with every trigger in force."""
        if self.url is None:
            with closing(sqlite3.connect(self.home / "medagent.db")) as connection, connection:
                connection.execute("PRAGMA recursive_triggers = ON")  # as our own connections have it
                connection.execute(statement)
        else:
            with psycopg.connect(self.url) as client:
                client.execute(statement.encode())

    @contextmanager
    def refusing(self, table: str, message: str) -> Iterator[None]:
        """A database that takes no rows of one table, and says so."""
        on = f"BEFORE INSERT ON {table}"
        if self.url is None:
            self.execute(f"CREATE TRIGGER broken {on} BEGIN SELECT RAISE(ABORT, '{message}'); END")
            yield
            self.execute("DROP TRIGGER broken")
            return
        body = f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$"
        self.execute(f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS {body}")
        self.execute(f"CREATE TRIGGER broken {on} FOR EACH STATEMENT EXECUTE FUNCTION broken()")
        yield
        self.execute("DROP FUNCTION broken() CASCADE")

    def row(self, query: str) -> tuple[Any, ...]:
        """One row straight out of the database."""
        if self.url is None:
            with closing(sqlite3.connect(self.home / "medagent.db")) as connection:
                row = connection.execute(query).fetchone()
        else:
            with psycopg.connect(self.url) as client:
                row = client.execute(query.encode()).fetchone()
        assert row is not None, f"There is no row: {query}"
        return tuple(row)

    def scalar(self, query: str) -> Any:
        """One value straight out of the database."""
        return self.row(query)[0]

    def literal(self, data: bytes) -> str:
        """Bytes as SQL of this database writes them."""
        return f"x'{data.hex()}'" if self.url is None else f"'\\x{data.hex()}'::bytea"


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
