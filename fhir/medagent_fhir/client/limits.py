# SPDX-License-Identifier: Apache-2.0
"""How much a FHIR client takes, and how long it waits. Every limit has a unit and a reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of one client. `concurrency` is the server's: the first client of a process and base decides it."""

    concurrency: int = 8
    """Calls at once to one server, of all clients in this process: an EHR serves wards beside us."""
    connect_seconds: float = 5.0
    """A server on the hospital's own network takes a connection at once or is not there."""
    silence_seconds: float = 30.0
    """Between two parts of an answer: who is silent for that long has lost the connection, or the query."""
    call_seconds: float = 60.0
    """One call with its retries and the pauses between them. A page, not a search."""
    body_bytes: int = 64_000_000
    """One body after content decoding: bounds memory per call, also against an archive that unpacks without end."""
    pages: int = 2_000
    """Of one search: ends the walk of a server whose links never end."""
    attempts: int = 4
    """Of one call, the first included."""
    pause_seconds: float = 0.25
    """Most before the second attempt; doubled for each that follows. The pause is drawn from 0 to there."""
    longest_pause_seconds: float = 8.0
    """Where doubling ends."""
    retry_share: float = 0.2
    """Most retries as a share of the calls to one server, in the long run: an outage is not made worse."""
    export_seconds: float = 3_600.0
    """A Bulk Data export from its start to its manifest."""
