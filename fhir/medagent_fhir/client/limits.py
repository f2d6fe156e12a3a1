# SPDX-License-Identifier: Apache-2.0
"""How much a FHIR client takes, and how long it waits. Every limit has a unit and a reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of one client. Of clients that share a base in one process, the first decides those that are marked."""

    concurrency: int = 8
    """Shared. Calls under way at one server: more of them make an EHR slower for the people who work with it."""
    connect_seconds: float = 5.0
    """Shared. A server on the hospital's own network takes a connection at once or is not there."""
    attempt_seconds: float = 30.0
    """One attempt of a call, until its answer is there; of a file that is streamed, between two parts."""
    body_bytes: int = 64_000_000
    """One answer, unpacked; of a file that is streamed, one line. Bounds the memory of `concurrency` answers at once,
    also against an archive that unpacks without end."""
    pages: int = 1_000
    """Of one search: a server whose pages never end is not followed further."""
    attempts: int = 4
    """Of one call that only reads, the first included."""
    pause_seconds: float = 0.25
    """Most before the second attempt; doubled for each that follows. The pause is drawn from 0 to there."""
    longest_pause_seconds: float = 8.0
    """Where doubling ends."""
    retry_share: float = 0.2
    """Shared. Most retries as a share of calls, in the long run: they shall not make an outage worse."""
    export_seconds: float = 3_600.0
    """A Bulk Data export, from its start to its manifest."""
    export_file_bytes: int = 4_000_000_000
    """One file of an export, unpacked. It is streamed, so this bounds time and disks, not memory."""
