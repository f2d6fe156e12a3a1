# SPDX-License-Identifier: Apache-2.0
"""Many processes at once: first start, writing, sealing. Nothing is lost, nothing doubled."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from builders.store import TENANT, Records, outcome, record, request

PROCESSES = 8
REQUESTS_EACH = 13  # with an outcome each: 8 × 26 events


def _record_many(records: Records, process: int) -> int:
    """One of the processes: opens the store, which may not exist yet, and records; every third seals, too."""
    sealed = 0
    with records.open() as store:
        for number in range(process * REQUESTS_EACH, (process + 1) * REQUESTS_EACH):
            record(store, number)
            if number % 3 == 0 and store.seal() is not None:
                sealed += 1
    return sealed


def _record_the_same(records: Records, number: int) -> None:
    with records.open() as store:
        request(store, 1)
        store.record_outcome(outcome(1))


# standards: 51
def test_eight_processes_from_the_first_start_on_lose_and_double_nothing(records: Records) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        sealed = sum(pool.map(_record_many, [records] * PROCESSES, range(PROCESSES)))
    assert sealed > 0
    with records.open() as store:
        store.seal()
        report = store.verify(TENANT)
    assert [str(finding) for finding in report.findings] == []
    requests = PROCESSES * REQUESTS_EACH
    assert (report.entries, report.unsealed) == (2 * requests + 2, 0)  # two events name the keys
    assert records.scalar("SELECT count(*) FROM requests") == requests
    assert records.scalar("SELECT count(*) FROM dossiers") == requests
    assert records.scalar("SELECT count(*) FROM keys") == 2


def test_the_same_outcome_from_eight_processes_is_recorded_once(records: Records) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        list(pool.map(_record_the_same, [records] * PROCESSES, range(PROCESSES)))
    assert records.scalar("SELECT count(*) FROM dossiers") == 1
    assert records.scalar("SELECT count(*) FROM audit_events WHERE type = 'outcome_recorded'") == 1


_SEALS_FOR_EVER = """
import sys
from builders.store import Records, record
from pathlib import Path
with Records(Path(sys.argv[1]), sys.argv[2] or None).open() as store:
    number = int(sys.argv[3])
    while True:
        record(store, number)
        store.seal()
        print("sealed", flush=True)
        number += 1
"""


# standards: 51
@pytest.mark.chaos
def test_killed_writers_and_sealers_leave_a_log_that_verifies(records: Records) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", _SEALS_FOR_EVER, str(records.home), records.url or ""]
    for turn in range(4):
        started = [
            subprocess.Popen(  # noqa: S603 - our own code
                [*command, str(1_000 * number)], env=environment, stdout=subprocess.PIPE
            )
            for number in (2 * turn, 2 * turn + 1)
        ]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.3)  # somewhere in its work
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    with records.open() as store:
        store.seal()
        report = store.verify(TENANT)
    assert [str(finding) for finding in report.findings] == []
    assert report.entries > 2 + 2 * 8  # eight processes had recorded at least one request each
    assert report.entries == records.scalar("SELECT count(*) FROM audit_events")


def test_a_transaction_that_is_held_while_the_log_is_sealed_loses_nothing(records: Records) -> None:
    code = (
        "import sys, time; from pathlib import Path; from builders.store import *\n"
        "records = Records(Path(sys.argv[1]), sys.argv[2] or None)\n"
        "with records.open() as store, store.transaction() as transaction:\n"
        "    transaction.record_request(request_id='late', body=b'{}', patient=PATIENT, actor=ACTOR, tenant=TENANT)\n"
        "    print('held', flush=True); time.sleep(1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with records.open() as store:
        record(store)
        with subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-c", code, str(records.home), records.url or ""], env=environment, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            checkpoint = store.seal()
        assert checkpoint is not None
        store.seal()
        report = store.verify(TENANT)
    assert report.ok
    assert report.entries == 5
