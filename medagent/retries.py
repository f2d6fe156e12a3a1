# SPDX-License-Identifier: Apache-2.0
"""How often a struggling server may be asked again, and how soon: alike for the model's server and for EHRs.

Nothing here sleeps, sends or looks at a clock of its own.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_MAX = 60.0
"""Seconds. Who is told to wait for longer is better told that the server is busy."""


class RetryBudget:
    """Retries are paid from what calls pay in, so that they add at most that share to the load of an outage.

    It belongs to one event loop.
    """

    def __init__(self, *, share: float = 0.2, reserve: float = 5.0) -> None:
        self._share = share
        self._most = reserve
        """What can be saved up. It is there at the start, so that a quiet process may retry at all."""
        self._balance = reserve

    def pay_in(self) -> None:
        """For each call, before its first attempt."""
        self._balance = min(self._most, self._balance + self._share)

    def take(self) -> bool:
        """For each retry: whether it may be made."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True


def seconds_of(retry_after: str | None, now: datetime) -> float:
    """What a Retry-After header asks for (RFC 9110, 10.2.3): seconds, or a date. 0 where it asks for nothing."""
    if retry_after is None:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # the latter for an offset of many days
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
