# SPDX-License-Identifier: Apache-2.0
"""Vaults for tests, under a clock that stands still until it is told to go on. The secrets are made up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from builders.store import NOON, TENANT, Records, settings_in
from medagent.store import Store
from medagent.store.vault import SqlVault

CANARY = b"token-canary-5f3c91"
"""A secret that must occur nowhere."""


@dataclass(slots=True)
class StandingClock:
    """A clock that shows the same instant until it is moved."""

    present: datetime = NOON

    def now(self) -> datetime:
        """The instant that it shows."""
        return self.present

    def go_on(self, seconds: float) -> None:
        """Moves it."""
        self.present += timedelta(seconds=seconds)

    def after(self, seconds: float) -> datetime:
        """The instant that is so far ahead."""
        return self.present + timedelta(seconds=seconds)


@contextmanager
def open_vault(
    records: Records, clock: StandingClock | None = None, *, tenant: str = TENANT, **overrides: object
) -> Iterator[SqlVault]:
    """The vault of one tenant, as one process has it open."""
    where: dict[str, object] = {} if records.url is None else {"database_url": records.url}
    with Store.open(settings_in(records.home, **where, **overrides), clock or StandingClock()) as store:
        yield store.vault(tenant)
