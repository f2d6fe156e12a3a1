# SPDX-License-Identifier: Apache-2.0
"""What every journal does: nothing is asked twice, nothing that came back is lost or exchanged."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from builders.store import TENANT, Records, outcome, request

from medagent.canonical import sha256_hex
from medagent.errors import JournalError
from medagent.store import Store

RUN = "request-1"
PROCESSES = 4


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """A store with one request that is being worked on."""
    with records.open() as opened:
        request(opened)
        yield opened


def test_a_new_call_has_no_result(store: Store) -> None:
    entry = store.journal(TENANT).intend(RUN, "model/1", b"question")
    assert (entry.run, entry.key, entry.request, entry.attempts) == (RUN, "model/1", b"question", 1)
    assert entry.request_sha256 == sha256_hex(b"question")
    assert (entry.result, entry.result_sha256, entry.concluded_at) == (None, None, None)


def test_a_call_that_was_concluded_is_answered_from_the_journal(store: Store) -> None:
    journal = store.journal(TENANT)
    first = journal.intend(RUN, "model/1", b"question")
    journal.conclude(RUN, "model/1", b"answer")
    again = journal.intend(RUN, "model/1", b"question")
    assert (again.result, again.result_sha256) == (b"answer", sha256_hex(b"answer"))
    assert again.intended_at == first.intended_at
    assert again.concluded_at is not None
    assert again.concluded_at > again.intended_at


def test_each_time_that_a_call_is_asked_for_is_counted(store: Store) -> None:
    journal = store.journal(TENANT)
    assert [journal.intend(RUN, "model/1", b"question").attempts for _ in range(3)] == [1, 2, 3]


def test_other_bytes_under_the_same_key_are_refused_and_change_nothing(store: Store) -> None:
    journal = store.journal(TENANT)
    journal.intend(RUN, "model/1", b"question")
    before = journal.entries(RUN)
    with pytest.raises(JournalError, match="another request under model/1: its inputs changed"):
        journal.intend(RUN, "model/1", b"another question")
    assert journal.entries(RUN) == before


def test_the_same_result_again_changes_nothing_and_another_is_refused(store: Store) -> None:
    journal = store.journal(TENANT)
    journal.intend(RUN, "model/1", b"question")
    journal.conclude(RUN, "model/1", b"answer")
    before = journal.entries(RUN)
    journal.conclude(RUN, "model/1", b"answer")
    with pytest.raises(JournalError, match="already journaled another result of model/1"):
        journal.conclude(RUN, "model/1", b"another answer")
    assert journal.entries(RUN) == before


def test_a_result_without_an_intent_is_refused(store: Store) -> None:
    with pytest.raises(JournalError, match="did not journal the call model/1 before it was made"):
        store.journal(TENANT).conclude(RUN, "model/1", b"answer")


@pytest.mark.parametrize("tenant", [TENANT, "other"])
def test_a_run_that_was_not_recorded_has_no_journal(store: Store, tenant: str) -> None:
    run = "request-2" if tenant == TENANT else RUN  # another tenant's request is nobody's
    journal = store.journal(tenant)
    with pytest.raises(JournalError, match=f"No request {run} was recorded"):
        journal.intend(run, "model/1", b"question")
    assert journal.entries(run) == ()


def test_entries_come_in_the_order_of_intent(store: Store) -> None:
    journal = store.journal(TENANT)
    for key in ("tool/1/1", "tool/1/0", "model/2"):
        journal.intend(RUN, key, key.encode())
    journal.conclude(RUN, "tool/1/0", b"second")
    journal.conclude(RUN, "tool/1/1", b"first")
    entries = journal.entries(RUN)
    assert [(entry.key, entry.result) for entry in entries] == [
        ("tool/1/1", b"first"),
        ("tool/1/0", b"second"),
        ("model/2", None),
    ]


def test_empty_bytes_are_a_result(store: Store) -> None:
    journal = store.journal(TENANT)
    journal.intend(RUN, "tool/1/0", b"")
    journal.conclude(RUN, "tool/1/0", b"")
    assert journal.entries(RUN)[0].result == b""


def test_once_a_run_has_ended_its_journal_is_only_read(store: Store) -> None:
    journal = store.journal(TENANT)
    journal.intend(RUN, "model/1", b"question")
    journal.conclude(RUN, "model/1", b"answer")
    journal.intend(RUN, "model/2", b"question")
    store.record_outcome(outcome())
    before = journal.entries(RUN)
    assert journal.intend(RUN, "model/1", b"question") == before[0]
    journal.conclude(RUN, "model/1", b"answer")
    with pytest.raises(JournalError, match="has ended; nothing new"):
        journal.intend(RUN, "model/3", b"question")
    with pytest.raises(JournalError, match="came too late"):
        journal.conclude(RUN, "model/2", b"answer")
    assert journal.entries(RUN) == before


def _intend(records: Records, process: int) -> None:
    with records.open() as store:
        journal = store.journal(TENANT)
        journal.intend(RUN, "model/1", b"question")
        journal.intend(RUN, f"tool/1/{process}", b"arguments")
        journal.conclude(RUN, "model/1", b"answer")


def test_processes_that_walk_the_same_run_journal_each_call_once(store: Store, records: Records) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        list(pool.map(_intend, [records] * PROCESSES, range(PROCESSES)))
    first, *others = store.journal(TENANT).entries(RUN)
    assert (first.key, first.attempts, first.result) == ("model/1", PROCESSES, b"answer")
    assert sorted((entry.key, entry.attempts) for entry in others) == [(f"tool/1/{n}", 1) for n in range(PROCESSES)]
    store.record_outcome(outcome())
    store.seal()
    assert store.verify(TENANT).ok


_DIES_AT_ONCE = """
import os, signal, sys
from pathlib import Path
from builders.store import TENANT, Records
with Records(Path(sys.argv[1]), sys.argv[2] or None).open() as store:
    journal = store.journal(TENANT)
    journal.intend("request-1", "model/1", b"question")
    journal.conclude("request-1", "model/1", b"answer")
    journal.intend("request-1", "model/2", b"question")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_journaled_outlives_the_process(store: Store, records: Records) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", _DIES_AT_ONCE, str(records.home), records.url or ""]
    done = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own code
    assert done.returncode == -signal.SIGKILL
    assert [(entry.key, entry.result) for entry in store.journal(TENANT).entries(RUN)] == [
        ("model/1", b"answer"),
        ("model/2", None),
    ]
