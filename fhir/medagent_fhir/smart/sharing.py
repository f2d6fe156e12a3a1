# SPDX-License-Identifier: Apache-2.0
"""One token for many: renewed by one task, thread or process, and taken from the vault by all others (standards 14).

A refresh token that rotates may be sent once. So whoever renews holds a claim in the vault, the tasks of one event loop
wait for one of them, and a task that is cancelled meanwhile does not take the answer with it.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from pydantic import SecretStr

from medagent.clock import Clock
from medagent.errors import AuthorizationError
from medagent.vault import Kind, Vault
from medagent_fhir.smart.kept import KeptToken
from medagent_fhir.smart.tokens import TokenRefused

_PAUSE_SECONDS = 0.05
_AGAIN = timedelta(seconds=10)
"""After a renewal that failed, a token that still holds is used for so long before the next one is tried."""

K = TypeVar("K", bound=KeptToken)


class SharedToken(Generic[K]):
    """A row of the vault that holds a token."""

    def __init__(
        self,
        vault: Vault,
        clock: Clock,
        kind: Kind,
        key: str,
        *,
        read: Callable[[bytes], K | None],
        renew: Callable[[K | None], Awaitable[tuple[K, datetime]]],
        renewable: Callable[[K], bool],
        takes: timedelta,
    ) -> None:
        """`renew` gives the row's new content and how long it is kept; from None it makes a first one. `renewable`:
        whether there is another to be had, so that it pays to ask before the end. `takes`: longer than any renewal, so
        that nobody renews beside one who is slow; a process that died is waited for."""
        self._vault = vault
        self._clock = clock
        self._kind: Kind = kind
        self._key = key
        self._read = read
        self._renew = renew
        self._renewable = renewable
        self._takes = takes
        self._held: K | None = None
        self._not_again_before: datetime | None = None
        self._renewal: asyncio.Task[K] | None = None

    @property
    def held(self) -> K | None:
        """What was handed out last."""
        return self._held

    async def get(self, refused: SecretStr | None) -> K:
        """One that holds for a while yet. Raises AuthorizationError."""
        if self._held is None or not self._holds(self._held, refused):
            self._held = await self._shared(refused)
        return self._held

    async def _shared(self, refused: SecretStr | None) -> K:
        """What one renewal gives, to every task of this event loop that waits for it."""
        for _ in range(2):  # whoever joined may have been refused what the others were about to get
            renewal = self._renewal
            if renewal is None or renewal.done() or renewal.get_loop() is not asyncio.get_running_loop():
                renewal = self._renewal = asyncio.create_task(self._current(refused))
                renewal.add_done_callback(_look_at)
            kept = await asyncio.shield(renewal)
            if not _same(kept, refused):
                return kept
        raise AuthorizationError("The authorization server gives the token again that the EHR refuses")

    async def _current(self, refused: SecretStr | None) -> K:
        """What the vault holds, renewed where that is due: by us, or by another who claimed that first."""
        holder = secrets.token_hex(16)
        give_up_at = asyncio.get_running_loop().time() + 1.25 * self._takes.total_seconds()
        while asyncio.get_running_loop().time() < give_up_at:
            kept = await self._load()
            if kept is not None and self._holds(kept, refused):
                return kept
            until = self._clock.now() + self._takes
            if await asyncio.to_thread(self._vault.claim, self._kind, self._key, holder, until):
                try:
                    return await self._renewed(refused)
                finally:
                    await asyncio.to_thread(self._vault.release, self._kind, self._key, holder)
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AuthorizationError("The access token is being renewed elsewhere and did not come in time: try again")

    async def _renewed(self, refused: SecretStr | None) -> K:
        """Renews, as the one who may.

        (1) Somebody may have done so just before. (2) What is refused for good is over: the row goes, unless it is
        another by now. (3) What fails otherwise ends nothing while the old one holds. (4) What was ended meanwhile
        stays so.
        """
        kept = await self._load()
        if kept is not None and self._holds(kept, refused):  # (1)
            return kept
        try:
            fresh, until = await self._renew(kept)
        except TokenRefused as error:
            if error.code != "invalid_grant" or kept is None:
                raise
            replaced = await self._load()  # (2)
            if replaced is not None and not _same(replaced, kept.access_token):
                return replaced
            await asyncio.to_thread(self._vault.delete, self._kind, self._key)
            raise TokenRefused(f"{error}; the session is over, launch again", error.code) from None
        except AuthorizationError:
            now = self._clock.now()
            if kept is None or _same(kept, refused) or kept.expires_at is None or kept.expires_at <= now:
                raise
            self._not_again_before = now + _AGAIN  # (3)
            return kept
        if kept is not None and await self._load() is None:  # (4)
            raise AuthorizationError("The session was ended; launch again")
        await asyncio.to_thread(self._vault.put, self._kind, self._key, fresh.to_bytes(), until)
        return fresh

    async def _load(self) -> K | None:
        secret = await asyncio.to_thread(self._vault.get, self._kind, self._key)
        return None if secret is None else self._read(secret)

    def _holds(self, kept: K, refused: SecretStr | None) -> bool:
        if _same(kept, refused):
            return False
        now = self._clock.now()
        waits = self._not_again_before is not None and now < self._not_again_before
        end = kept.renew_at if self._renewable(kept) and not waits else kept.expires_at
        return end is None or now < end


def _same(kept: KeptToken, refused: SecretStr | None) -> bool:
    if refused is None:
        return False
    return hmac.compare_digest(kept.access_token.get_secret_value(), refused.get_secret_value())


def _look_at(renewal: "asyncio.Task[K]") -> None:
    """Takes note of how it ended: everybody who waited for it may have been cancelled."""
    if not renewal.cancelled():
        renewal.exception()
