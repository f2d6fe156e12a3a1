# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker: it keeps a struggling model server from being asked more.

It counts; it neither sleeps, sends nor looks at a clock of its own. It belongs to one event loop.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medagent.errors import ModelError


class Breaker:
    """Closed, it lets every call through. After so many failures in a row it opens and refuses at once, for a pause.
    Then one call may probe: its success closes the breaker, its failure opens it for another pause."""

    def __init__(
        self, *, failures: int = 5, pause_seconds: float = 15.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._pause = pause_seconds
        self._monotonic = monotonic
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around one call. Raises ModelError `unavailable` in place of the call while the breaker is open.

        A failure is an `unavailable` of the call itself. Any other ModelError shows that the server answers. A call
        that is cancelled or runs out of its time shows nothing: a model may be slow and well.
        """
        probe = self._admit()
        outcome: bool | None = None
        try:
            yield
            outcome = True
        except ModelError as error:
            outcome = error.failure != "unavailable"
            raise
        finally:
            self._record(outcome, probe)

    def _admit(self) -> bool:
        """Whether the call that comes is a probe."""
        if self._open_until is None:
            return False
        wait = self._open_until - self._monotonic()
        if wait > 0 or self._probing:
            raise ModelError(
                "unavailable",
                f"The model server failed {self._failures} times in a row and is not asked for now. "
                f"Ask again in {max(wait, 1.0):.0f} s",
            )
        self._probing = True
        return True

    def _record(self, outcome: bool | None, probe: bool) -> None:
        if probe:
            self._probing = False
        if outcome is True:
            self._failures = 0
            self._open_until = None
        elif outcome is False:
            self._failures += 1
            if probe or self._failures >= self._limit:
                self._open_until = self._monotonic() + self._pause
