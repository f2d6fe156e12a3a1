# SPDX-License-Identifier: Apache-2.0
"""The journal of one run: what was asked of a model or a tool, and what came back.

A run that died is resumed by walking its steps again. Each step names its call by a key and journals it before the
call goes out; where the journal has the result, that is used and nothing is asked twice. Checkpoints of the graph
cannot stand in for it: a node that dies after its first call starts again at its beginning.
"""

from datetime import datetime
from typing import Protocol

from medagent.evidence import Record


class JournalEntry(Record):
    """One call: that it was to be made, how often, and what came of it."""

    run: str
    """Id of the recorded request."""
    key: str
    """What the run calls this step, such as `model/3` or `tool/3/0`: the same in every walk."""
    request_sha256: str
    request: bytes
    """Exactly what was to be sent."""
    result_sha256: str | None
    result: bytes | None
    """None: it is not known whether the call was carried out."""
    intended_at: datetime
    """When it was first asked for, by our clock, UTC."""
    concluded_at: datetime | None
    attempts: int
    """How often it was asked for. Where there is a result, later attempts were answered from here."""


class Journal(Protocol):
    """The journal of one tenant. Threads may share it; several processes may write about one run."""

    def intend(self, run: str, key: str, request: bytes) -> JournalEntry:
        """Journals that a call is about to be made. MUST be durable on return.

        The same run, key and bytes again: counts an attempt and returns what is recorded, with its result if there
        is one. Other bytes under the same key: JournalError, for the inputs changed and the run cannot be resumed.
        Of a run that has ended nothing new is journaled or counted: what is recorded is returned, a call that is not
        is refused with JournalError.
        """
        ...

    def conclude(self, run: str, key: str, result: bytes) -> None:
        """Journals what came back. MUST be durable on return; exactly once: the same again changes nothing, another
        result, or one for a call that was not intended, raises JournalError."""
        ...

    def entries(self, run: str) -> tuple[JournalEntry, ...]:
        """Everything journaled of a run, in the order of intent."""
        ...
