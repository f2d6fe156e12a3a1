# SPDX-License-Identifier: Apache-2.0
"""The vault seam: secrets that live for a while, such as launches that wait for their callback, and tokens.

They are the only rows that are changed and deleted, and no part of any dossier: nothing of them is evidence.
"""

from datetime import datetime
from typing import Literal, Protocol

Kind = Literal["launch", "session", "client_token"]
"""A launch under way; what a finished launch was granted; the token of a backend service."""


class Vault(Protocol):
    """Secrets of one tenant. Threads and processes may share it. What it holds MUST be encrypted at rest, and what has
    expired MUST be gone for every caller. Keys are random or hashes: they MUST tell nothing."""

    def put(self, kind: Kind, key: str, secret: bytes, expires_at: datetime) -> None:
        """Keeps a secret, in place of any earlier one under this key. Ends a claim on it."""
        ...

    def get(self, kind: Kind, key: str) -> bytes | None:
        """The secret. None: there is none, or no longer."""
        ...

    def take(self, kind: Kind, key: str) -> bytes | None:
        """The secret, which is gone then. Of several callers at once MUST exactly one get it."""
        ...

    def claim(self, kind: Kind, key: str, holder: str, until: datetime) -> bool:
        """Whether `holder` is the one caller who may replace it now. Of several at once MUST exactly one be; a claim
        ends with `put`, `release`, or at `until`, so that a process that died holds up nobody for long. A key without
        secret can be claimed, too."""
        ...

    def release(self, kind: Kind, key: str, holder: str) -> None:
        """Ends a claim of this holder; of another's nothing."""
        ...

    def delete(self, kind: Kind, key: str) -> None:
        """Removes it; where there is none, nothing."""
        ...
