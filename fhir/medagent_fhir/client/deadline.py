# SPDX-License-Identifier: Apache-2.0
"""A deadline that several calls share, side by side or one after another."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ENDS: ContextVar[float | None] = ContextVar("fhir_calls_end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is called inside, also by tasks made there, ends by then; an earlier end that is set already stays."""
    ends = asyncio.get_running_loop().time() + seconds
    outer = _ENDS.get()
    token = _ENDS.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _ENDS.reset(token)


def ends_at() -> float | None:
    """When calls have to be over, in the time of the event loop. None: whenever they are."""
    return _ENDS.get()


def seconds_left() -> float | None:
    """Until then."""
    ends = _ENDS.get()
    return None if ends is None else max(0.0, ends - asyncio.get_running_loop().time())
