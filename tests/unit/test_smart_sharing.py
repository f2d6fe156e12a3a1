# SPDX-License-Identifier: Apache-2.0
"""One token for many: renewed once, whoever waits for it, however the one who renews it fares."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from builders.store import Records
from builders.vault import StandingClock, open_vault
from pydantic import SecretStr

from medagent.errors import AuthorizationError
from medagent.vault import Vault
from medagent_fhir.smart.kept import KeptToken
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.sharing import SharedToken
from medagent_fhir.smart.tokens import TokenRefused

KEY = "row"
LIFE = 300
AHEAD = 60


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def vault(tmp_path: Path, clock: StandingClock) -> Iterator[Vault]:
    with open_vault(Records(tmp_path), clock) as opened:
        yield opened


class Server:
    """An authorization server whose tokens have numbers. It wants each to be renewed once."""

    def __init__(self, clock: StandingClock) -> None:
        self.clock = clock
        self.asked: list[str | None] = []
        """With which token it was asked for another."""
        self.failing: list[Exception] = []
        """How the next requests end."""
        self.meanwhile: Callable[[], object] = lambda: None
        self.waits: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0.02)
        self._lock = threading.Lock()

    def token(self, number: int) -> KeptToken:
        now = self.clock.now()
        return KeptToken(
            access_token=SecretStr(f"token-{number}"),
            expires_at=now + timedelta(seconds=LIFE),
            renew_at=now + timedelta(seconds=LIFE - AHEAD),
            scopes=(),
        )

    async def renew(self, kept: KeptToken | None) -> tuple[KeptToken, datetime]:
        with self._lock:
            self.asked.append(None if kept is None else kept.access_token.get_secret_value())
            number = len(self.asked)
            failure = self.failing.pop(0) if self.failing else None
        await self.waits()
        self.meanwhile()
        if failure is not None:
            raise failure
        return self.token(number), self.clock.after(3600)


@pytest.fixture
def server(clock: StandingClock) -> Server:
    return Server(clock)


def shared(vault: Vault, server: Server, *, renewable: bool = True) -> SharedToken[KeptToken]:
    """The token as one task, thread or process has it."""
    return SharedToken(
        vault,
        server.clock,
        "session",
        KEY,
        read=KeptToken.of,
        renew=server.renew,
        renewable=lambda kept: renewable,
        takes=SmartLimits().renewal,
    )


def put(vault: Vault, server: Server, number: int = 0) -> None:
    vault.put("session", KEY, server.token(number).to_bytes(), server.clock.after(3600))


async def got(token: SharedToken[KeptToken], refused: str | None = None) -> str:
    kept = await token.get(None if refused is None else SecretStr(refused))
    return kept.access_token.get_secret_value()


def test_one_that_holds_is_handed_out_and_nobody_is_asked(vault: Vault, server: Server, clock: StandingClock) -> None:
    put(vault, server)
    clock.go_on(LIFE - AHEAD - 1)
    assert asyncio.run(got(shared(vault, server))) == "token-0"
    assert server.asked == []


# standards: 18
def test_it_is_renewed_before_it_ends(vault: Vault, server: Server, clock: StandingClock) -> None:
    put(vault, server)
    token = shared(vault, server)

    async def story() -> None:
        assert await got(token) == "token-0"
        clock.go_on(LIFE - AHEAD)
        assert await got(token) == "token-1"
        assert await got(token) == "token-1"

    asyncio.run(story())
    assert server.asked == ["token-0"]


# standards: 14
@pytest.mark.parametrize("one", [True, False], ids=["that share an authorization", "that have one each"])
def test_of_many_tasks_one_renews(vault: Vault, server: Server, clock: StandingClock, one: bool) -> None:
    put(vault, server)
    clock.go_on(LIFE)
    tokens = [shared(vault, server)] * 20 if one else [shared(vault, server) for _ in range(20)]

    async def story() -> list[str]:
        return await asyncio.gather(*map(got, tokens))

    assert asyncio.run(story()) == ["token-1"] * 20
    assert server.asked == ["token-0"]


def test_a_failure_is_told_to_all_tasks_that_waited_and_tried_by_one(
    vault: Vault, server: Server, clock: StandingClock
) -> None:
    put(vault, server)
    clock.go_on(LIFE)
    server.failing = [AuthorizationError("cannot be reached")] * 20
    token = shared(vault, server)

    async def story() -> list[str | BaseException]:
        return await asyncio.gather(*(got(token) for _ in range(20)), return_exceptions=True)

    assert {type(end) for end in asyncio.run(story())} == {AuthorizationError}
    assert len(server.asked) == 1


# standards: 14
@pytest.mark.parametrize("one", [True, False], ids=["that share an authorization", "that have one each"])
def test_of_many_threads_one_renews(vault: Vault, server: Server, clock: StandingClock, one: bool) -> None:
    put(vault, server)
    clock.go_on(LIFE)
    tokens = [shared(vault, server)] * 6 if one else [shared(vault, server) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda token: asyncio.run(got(token)), tokens)) == ["token-1"] * 6
    assert server.asked == ["token-0"]


# standards: 14
def test_all_that_were_refused_one_token_get_one_other(vault: Vault, server: Server) -> None:
    put(vault, server)
    tokens = [shared(vault, server) for _ in range(3)]

    async def story() -> None:
        assert await asyncio.gather(*map(got, tokens)) == ["token-0"] * 3
        answers = await asyncio.gather(*(got(token, "token-0") for token in tokens * 4))
        assert answers == ["token-1"] * 12

    asyncio.run(story())
    assert server.asked == ["token-0"]


def test_who_was_refused_a_newer_one_gets_a_newer_one_yet(vault: Vault, server: Server, clock: StandingClock) -> None:
    put(vault, server)
    token = shared(vault, server)

    async def story() -> None:
        clock.go_on(LIFE)
        first, second = await asyncio.gather(got(token), got(token, "token-1"))
        assert (first, second) == ("token-1", "token-2")

    asyncio.run(story())


def test_a_server_that_gives_the_refused_token_again_is_not_asked_for_ever(vault: Vault, server: Server) -> None:
    async def again(kept: KeptToken | None) -> tuple[KeptToken, datetime]:
        server.asked.append(None)
        return server.token(0), server.clock.after(60)

    put(vault, server)
    token = SharedToken(
        vault,
        server.clock,
        "session",
        KEY,
        read=KeptToken.of,
        renew=again,
        renewable=lambda kept: True,
        takes=SmartLimits().renewal,
    )
    with pytest.raises(AuthorizationError, match="gives the token again"):
        asyncio.run(got(token, "token-0"))
    assert len(server.asked) == 2


# standards: 14
def test_what_was_renewed_is_kept_though_the_task_was_cancelled(vault: Vault, server: Server) -> None:
    put(vault, server)
    token = shared(vault, server)

    async def story() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(got(token, "token-0"), 0.005)
        return await got(token, "token-0")

    server.waits = lambda: asyncio.sleep(0.1)
    assert asyncio.run(story()) == "token-1"
    assert server.asked == ["token-0"]


# standards: 14
def test_a_process_that_died_renewing_is_waited_for_and_then_replaced(
    vault: Vault, server: Server, clock: StandingClock
) -> None:
    put(vault, server)
    clock.go_on(LIFE)
    assert vault.claim("session", KEY, "a process that died", clock.after(60))
    token = shared(vault, server)

    async def story() -> str:
        waiting = asyncio.create_task(got(token))
        await asyncio.sleep(0.3)
        assert server.asked == []
        assert not waiting.done()
        clock.go_on(60)
        return await waiting

    assert asyncio.run(story()) == "token-1"


# standards: 14
def test_a_grant_that_is_over_ends_the_session_for_everybody(vault: Vault, server: Server) -> None:
    put(vault, server)
    server.failing = [TokenRefused("EHR north: refuses: invalid_grant", "invalid_grant")]
    with pytest.raises(AuthorizationError, match="the session is over, launch again"):
        asyncio.run(got(shared(vault, server), "token-0"))
    assert vault.get("session", KEY) is None


def test_a_client_that_is_refused_ends_no_session(vault: Vault, server: Server) -> None:
    put(vault, server)
    server.failing = [TokenRefused("EHR north: refuses: invalid_client", "invalid_client")]
    with pytest.raises(AuthorizationError, match="invalid_client"):
        asyncio.run(got(shared(vault, server), "token-0"))
    assert vault.get("session", KEY) is not None
    assert asyncio.run(got(shared(vault, server), "token-0")) == "token-2"


# standards: 14
def test_a_grant_that_another_replaced_meanwhile_is_not_over(vault: Vault, server: Server) -> None:
    put(vault, server)
    server.failing = [TokenRefused("EHR north: refuses: invalid_grant", "invalid_grant")]
    server.meanwhile = lambda: put(vault, server, 7)
    assert asyncio.run(got(shared(vault, server), "token-0")) == "token-7"


def test_while_a_token_holds_its_server_may_be_away(vault: Vault, server: Server, clock: StandingClock) -> None:
    put(vault, server)
    clock.go_on(LIFE - AHEAD)
    server.failing = [AuthorizationError("cannot be reached")] * 2
    token = shared(vault, server)

    async def story() -> None:
        assert [await got(token) for _ in range(5)] == ["token-0"] * 5
        assert len(server.asked) == 1
        clock.go_on(10)
        assert await got(token) == "token-0"
        clock.go_on(10)
        assert await got(token) == "token-3"

    asyncio.run(story())


@pytest.mark.parametrize("refused", [None, "token-0"], ids=["one that ended", "one that was refused"])
def test_no_other_is_used_than_one_that_holds(
    vault: Vault, server: Server, clock: StandingClock, refused: str | None
) -> None:
    put(vault, server)
    clock.go_on(LIFE if refused is None else 0)
    server.failing = [AuthorizationError("cannot be reached")]
    with pytest.raises(AuthorizationError, match="cannot be reached"):
        asyncio.run(got(shared(vault, server), refused))
    assert asyncio.run(got(shared(vault, server), refused)) == "token-2"


def test_what_cannot_be_renewed_is_used_to_its_end(vault: Vault, server: Server, clock: StandingClock) -> None:
    put(vault, server)
    clock.go_on(LIFE - 1)
    assert asyncio.run(got(shared(vault, server, renewable=False))) == "token-0"
    assert server.asked == []


def test_a_session_that_was_ended_meanwhile_stays_ended(vault: Vault, server: Server) -> None:
    put(vault, server)
    server.meanwhile = lambda: vault.delete("session", KEY)
    with pytest.raises(AuthorizationError, match="was ended"):
        asyncio.run(got(shared(vault, server), "token-0"))
    assert vault.get("session", KEY) is None


def test_what_another_version_left_is_as_good_as_nothing(vault: Vault, server: Server, clock: StandingClock) -> None:
    vault.put("session", KEY, b'{"another": "form"}', clock.after(60))
    assert asyncio.run(got(shared(vault, server))) == "token-1"
    assert server.asked == [None]
