# SPDX-License-Identifier: Apache-2.0
"""How long authorization servers and the people before them may take. Every limit has a unit and a reason."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class SmartLimits:
    """Limits of launches, sessions, and of the requests that they consist of."""

    connect_seconds: float = 5.0
    """An authorization server that is up takes a connection at once."""
    answer_seconds: float = 15.0
    """One request, everything included; a person waits for it."""
    launch_seconds: float = 600.0
    """How long somebody may take at the authorization server, to log in and to consent."""
    session_seconds: float = 28_800.0
    """A session ends with a shift at the latest; the EHR ends it earlier by refusing to renew its token."""

    @property
    def renewal(self) -> timedelta:
        """Longer than it takes to renew a token, which is two requests at most: discovery and the token endpoint."""
        return timedelta(seconds=3 * self.answer_seconds)
