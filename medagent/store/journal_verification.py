# SPDX-License-Identifier: Apache-2.0
"""Verifies the journals of one tenant: each row by itself, and all rows of a run together.

While a run goes on, a row that was changed shows by its seal and one that was taken out by the gap in the numbering.
Once it has ended, the audit event of its outcome says how many rows there are and of which calls they tell.
"""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, select

from medagent.errors import IntegrityError
from medagent.log.verify import LogFinding, Tampering
from medagent.store.cipher import Cipher
from medagent.store.journal import Told, calls_of, open_row
from medagent.store.physical import row_name, unindexed
from medagent.store.schema import journal

NO_JOURNAL: Mapping[str, object] = {"calls": [], "rows": 0}
"""What an outcome says that was recorded before there were journals."""


def journal_findings(
    connection: Connection, cipher: Cipher, tenant: str, audited: Mapping[str, Mapping[str, object]]
) -> Iterator[LogFinding]:
    """What does not fit. `audited`: what the outcomes' audit events say, by run."""
    runs: dict[str, list[Told]] = {run: [] for run in audited}
    query = unindexed(select(journal).where(journal.c.tenant == tenant), journal)
    for row in connection.execute(query).mappings():
        try:
            open_row(cipher, row)
        except IntegrityError as error:
            name = row_name(row, journal)
            yield LogFinding(Tampering.EDITED, "journal", name, str(error).removeprefix(f"journal {name}: "))
        runs.setdefault(row["request_id"], []).append(Told(*(row[name] for name in Told._fields)))
    for run, rows in runs.items():
        rows.sort()
        if run in audited:
            yield from _ended_findings(run, rows, audited[run])
        else:
            yield from _missing(run, rows, len(rows))


def _ended_findings(run: str, rows: Sequence[Told], said: Mapping[str, object]) -> Iterator[LogFinding]:
    count = int(str(said["rows"]))
    yield from _missing(run, rows, count)
    for row in rows:
        if not 0 <= row.position < count:
            detail = "the run had ended before it"
            yield LogFinding(Tampering.INSERTED, "journal", f"{run}/{row.position}", detail)
    if len(rows) == count and [list(call) for call in calls_of(rows)] != said["calls"]:
        yield LogFinding(Tampering.EDITED, "journal", run, "its calls are not those that were audited")


def _missing(run: str, rows: Sequence[Told], count: int) -> Iterator[LogFinding]:
    """The places below `count` at which nothing stands. Where the last rows of an open run are gone, nothing tells."""
    for position in sorted(set(range(count)) - {row.position for row in rows}):
        yield LogFinding(Tampering.MISSING, "journal", f"{run}/{position}", "its run's journal had it")
