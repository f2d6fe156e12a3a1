# SPDX-License-Identifier: Apache-2.0
"""What every vault does: a secret lives until its time, one caller takes it, one caller may replace it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from builders.store import TENANT, Records
from builders.vault import CANARY, StandingClock, open_vault

from medagent.store.vault import SqlVault
from medagent.vault import Vault

PROCESSES = 4
RACES = 25


@pytest.fixture
def clock() -> StandingClock:
    """Shows noon until a test moves it."""
    return StandingClock()


@pytest.fixture
def vault(records: Records, clock: StandingClock) -> Iterator[SqlVault]:
    """An empty vault."""
    with open_vault(records, clock) as opened:
        yield opened


def test_what_was_put_can_be_got_again_and_again(vault: Vault, clock: StandingClock) -> None:
    vault.put("session", "key-1", CANARY, clock.after(60))
    assert [vault.get("session", "key-1") for _ in range(2)] == [CANARY, CANARY]


def test_where_nothing_was_put_there_is_nothing(vault: Vault) -> None:
    assert vault.get("session", "key-1") is None
    assert vault.take("session", "key-1") is None
    vault.delete("session", "key-1")
    vault.release("session", "key-1", "holder")


def test_a_secret_may_be_empty_and_is_not_absent_then(vault: Vault, clock: StandingClock) -> None:
    vault.put("session", "key-1", b"", clock.after(60))
    assert vault.get("session", "key-1") == b""


def test_a_later_secret_takes_the_place_of_an_earlier_one(vault: Vault, clock: StandingClock) -> None:
    vault.put("session", "key-1", b"first", clock.after(60))
    vault.put("session", "key-1", b"second", clock.after(600))
    clock.go_on(61)
    assert vault.get("session", "key-1") == b"second"


# standards: 4
def test_what_was_taken_is_gone(vault: Vault, clock: StandingClock) -> None:
    vault.put("launch", "state-1", CANARY, clock.after(60))
    assert vault.take("launch", "state-1") == CANARY
    assert vault.take("launch", "state-1") is None
    assert vault.get("launch", "state-1") is None


def test_what_was_deleted_is_gone(vault: Vault, clock: StandingClock) -> None:
    vault.put("session", "key-1", CANARY, clock.after(60))
    vault.delete("session", "key-1")
    assert vault.get("session", "key-1") is None


@pytest.mark.parametrize("look", [SqlVault.get, SqlVault.take], ids=["got", "taken"])
def test_what_has_expired_cannot_be(
    vault: SqlVault, clock: StandingClock, look: Callable[[SqlVault, str, str], bytes | None]
) -> None:
    vault.put("launch", "state-1", CANARY, clock.after(60))
    clock.go_on(59.999)
    assert vault.get("launch", "state-1") == CANARY
    clock.go_on(0.001)
    assert look(vault, "launch", "state-1") is None


@pytest.mark.parametrize("clean", [SqlVault.purge, None], ids=["by a purge", "with the next secret that is put"])
def test_what_has_expired_is_removed(
    vault: SqlVault, clock: StandingClock, records: Records, clean: Callable[[SqlVault], None] | None
) -> None:
    vault.put("launch", "state-1", CANARY, clock.after(60))
    vault.put("session", "lives", CANARY, clock.after(600))
    vault.claim("session", "key-2", "died", clock.after(60))
    vault.claim("session", "lives", "works", clock.after(600))
    clock.go_on(60)
    if clean is None:
        vault.put("session", "new", CANARY, clock.after(60))
        vault.delete("session", "new")
    else:
        clean(vault)
    assert records.row("SELECT count(*), max(key) FROM vault_secrets") == (1, "lives")
    assert records.row("SELECT count(*), max(key) FROM vault_claims") == (1, "lives")


def test_kinds_are_kept_apart(vault: Vault, clock: StandingClock) -> None:
    vault.put("session", "key-1", CANARY, clock.after(60))
    assert vault.get("client_token", "key-1") is None
    assert vault.take("launch", "key-1") is None
    vault.delete("launch", "key-1")
    assert vault.claim("session", "key-1", "first", clock.after(60))
    assert vault.claim("client_token", "key-1", "second", clock.after(60))
    assert vault.get("session", "key-1") == CANARY


def test_tenants_are_kept_apart(vault: Vault, clock: StandingClock, records: Records) -> None:
    vault.put("session", "key-1", CANARY, clock.after(60))
    assert vault.claim("session", "key-1", "ours", clock.after(60))
    with open_vault(records, clock, tenant="other") as other:
        assert other.get("session", "key-1") is None
        assert other.take("session", "key-1") is None
        assert other.claim("session", "key-1", "theirs", clock.after(60))
        other.put("session", "key-1", b"another", clock.after(60))
        other.delete("session", "key-1")
        clock.go_on(60)
        other.purge()
    assert records.scalar(f"SELECT count(*) FROM vault_secrets WHERE tenant = '{TENANT}'") == 1  # noqa: S608 - our own name


class TestAClaim:
    """Who may replace a secret."""

    @pytest.mark.parametrize("there", [True, False], ids=["on a secret", "where there is none yet"])
    def test_is_had_by_one(self, vault: Vault, clock: StandingClock, there: bool) -> None:
        if there:
            vault.put("session", "key-1", CANARY, clock.after(600))
        assert vault.claim("session", "key-1", "first", clock.after(60))
        assert not vault.claim("session", "key-1", "second", clock.after(60))
        assert vault.get("session", "key-1") == (CANARY if there else None)

    def test_is_not_had_twice_by_callers_of_one_name(self, vault: Vault, clock: StandingClock) -> None:
        assert vault.claim("session", "key-1", "worker", clock.after(60))
        assert not vault.claim("session", "key-1", "worker", clock.after(60))

    def test_ends_when_the_secret_is_put(self, vault: Vault, clock: StandingClock) -> None:
        vault.claim("session", "key-1", "first", clock.after(60))
        vault.put("session", "key-1", CANARY, clock.after(60))
        assert vault.claim("session", "key-1", "second", clock.after(60))

    def test_ends_when_its_holder_releases_it(self, vault: Vault, clock: StandingClock) -> None:
        vault.claim("session", "key-1", "first", clock.after(60))
        vault.release("session", "key-1", "second")
        assert not vault.claim("session", "key-1", "second", clock.after(60))
        vault.release("session", "key-1", "first")
        assert vault.claim("session", "key-1", "second", clock.after(60))

    def test_ends_by_itself_where_its_holder_died(self, vault: Vault, clock: StandingClock) -> None:
        vault.claim("session", "key-1", "died", clock.after(30))
        clock.go_on(29.999)
        assert not vault.claim("session", "key-1", "second", clock.after(30))
        clock.go_on(0.001)
        assert vault.claim("session", "key-1", "second", clock.after(30))
        vault.release("session", "key-1", "died")  # who comes back late ends nothing
        assert not vault.claim("session", "key-1", "third", clock.after(30))

    def test_outlives_a_secret_that_is_taken_or_deleted(self, vault: Vault, clock: StandingClock) -> None:
        vault.put("session", "key-1", CANARY, clock.after(60))
        vault.claim("session", "key-1", "first", clock.after(60))
        vault.take("session", "key-1")
        vault.delete("session", "key-1")
        assert not vault.claim("session", "key-1", "second", clock.after(60))


def _race(records: Records, process: int) -> tuple[set[str], set[str]]:
    """What one of the processes took and claimed."""
    clock = StandingClock()
    taken, claimed = set(), set()
    with open_vault(records, clock) as vault:
        for number in range(RACES):
            key = f"key-{number}"
            if vault.take("launch", key) is not None:
                taken.add(key)
            if vault.claim("session", key, f"process-{process}", clock.after(60)):
                claimed.add(key)
    return taken, claimed


# standards: 4
# standards: 14
def test_of_processes_that_race_exactly_one_takes_and_one_claims(
    vault: Vault, clock: StandingClock, records: Records
) -> None:
    keys = {f"key-{number}" for number in range(RACES)}
    for key in keys:
        vault.put("launch", key, CANARY, clock.after(60))
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(_race, [records] * PROCESSES, range(PROCESSES)))
    for had in zip(*done, strict=True):
        assert sum(map(len, had)) == RACES
        assert set().union(*had) == keys


def _replace(records: Records, process: int) -> None:
    clock = StandingClock()
    with open_vault(records, clock) as vault:
        for number in range(RACES):
            clock.go_on(1)  # what was put before expires, so that each put removes what others may be putting anew
            vault.put("session", f"key-{(process + number) % 3}", b"%d" % process, clock.after(1))


def test_processes_that_put_and_purge_at_once_do_not_stand_in_each_others_way(vault: Vault, records: Records) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        list(pool.map(_replace, [records] * PROCESSES, range(PROCESSES)))
    assert records.scalar("SELECT count(*) FROM vault_secrets") <= 3
