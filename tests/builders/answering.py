# SPDX-License-Identifier: Apache-2.0
"""A server that answers as a test says, behind a real socket."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from builders.hospital_wire import Asked, Listener, Reply


@contextmanager
def answering(respond: Callable[[Asked], Reply]) -> Iterator[str]:
    """Runs it; gives its root URL."""
    listener = Listener(respond)
    listener.start()
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        listener.stop()
        assert not listener.errors, f"The server itself failed: {listener.errors}"


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON document."""
    return Reply(status, json.dumps(value).encode(), headers, "application/json")
