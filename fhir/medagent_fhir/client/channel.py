# SPDX-License-Identifier: Apache-2.0
"""HTTP to one FHIR server: slots, tokens, deadlines, careful retries, and every attempt on record.

This is the one place that puts a token into a request, and that hands an answer out.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from typing import NoReturn, TypeVar

import httpx
from pydantic import SecretStr
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random_exponential,
)

from medagent.clock import Clock
from medagent.errors import AuthorizationError, FhirError
from medagent.retries import seconds_of
from medagent_fhir.authorization import Authorization
from medagent_fhir.calls import Call, Recorder
from medagent_fhir.client.addresses import Base
from medagent_fhir.client.bodies import Said, beginning, media_type, said_in, unpacked, whole
from medagent_fhir.client.deadline import ends_at, seconds_left
from medagent_fhir.client.exchange import Answer, Ask, Attempt
from medagent_fhir.client.failures import Transient, connection_problem, refusal
from medagent_fhir.client.limits import ClientLimits
from medagent_fhir.client.shared import Shared

T = TypeVar("T")
_REFUSAL_BYTES = 65_536  # of an error's body, which is told, not used
_NEVER = 86_400.0  # seconds; tenacity wants a number
_THREADED_BYTES = 2_000_000  # some 25 ms to take apart; what is longer would hold up all that the event loop serves


class Channel:
    """What is sent goes to the base's origin only, but for public files of an export."""

    def __init__(
        self,
        base: Base,
        authorization: Authorization,
        recorder: Recorder,
        shared: Shared,
        *,
        clock: Clock,
        limits: ClientLimits,
    ) -> None:
        self.base = base
        self.limits = limits
        self.clock = clock
        self._authorization = authorization
        self._recorder = recorder
        self._shared = shared
        self._numbers = count(1)

    async def ask(self, ask: Ask, take: Callable[[Answer], T]) -> tuple[T, Call]:
        """What `take` makes of the answer, and how the call went on record. `take` may raise FhirError, and is called
        in a thread where the answer is long."""
        return await self._repeated(ask, lambda token: self._attempt(ask, take, token))

    @asynccontextmanager
    async def stream(self, ask: Ask, media_types: frozenset[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The parts of an answer that is too large to be held. It takes no slot, since whoever reads it may ask for
        more between two parts. Its call is on record before the first part; where it breaks later, that goes on record
        as a call of its own."""
        attempt, response = await self._repeated(ask, lambda token: self._head(ask, token, media_types))
        try:
            yield self._parts(attempt, response)
        finally:
            await response.aclose()

    async def refuse(self, ask: Ask, failure: FhirError) -> NoReturn:
        """Puts a call on record that is not made, and raises why."""
        attempt = self._begun(ask, None)
        attempt.failure = failure
        await self._record(attempt)
        raise failure

    async def record(self, call: Call) -> None:
        """MUST be awaited before anything of the answer is used."""
        await self._recorder.record(call)

    async def _repeated(self, ask: Ask, send: Callable[[SecretStr | None], Awaitable[T]]) -> T:
        """What one of a few attempts gives."""
        self._shared.budget.pay_in()
        async for attempt in self._attempts(ask):
            with attempt:
                return await self._authorized(ask, send)
        raise AssertionError("retrying ends with an answer or an error")

    def _attempts(self, ask: Ask) -> AsyncRetrying:
        jittered = wait_random_exponential(self.limits.pause_seconds, self.limits.longest_pause_seconds)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            # Jitter on top: those who were sent away together shall not come back together.
            return (error.wait if isinstance(error, Transient) else 0.0) + jittered(state)

        left = seconds_left()
        ends = stop_any(
            stop_after_attempt(self.limits.attempts if ask.repeatable else 1),
            stop_before_delay(_NEVER if left is None else left),
        )
        return AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception_type(Transient),
            wait=wait,
            stop=lambda state: ends(state) or not self._shared.budget.take(),  # asked last, for asking it spends
            reraise=True,
        )

    async def _authorized(self, ask: Ask, send: Callable[[SecretStr | None], Awaitable[T]]) -> T:
        """One attempt, and one with another token where the server no longer takes this one."""
        token = None if ask.public else await self._token(ask, None)
        try:
            return await send(token)
        except FhirError as error:
            if error.failure != "unauthorized" or token is None:
                raise
        return await send(await self._token(ask, token))

    async def _token(self, ask: Ask, refused: SecretStr | None) -> SecretStr | None:
        async with self._in_time(ask):
            return await self._authorization.token(refused)

    async def _attempt(self, ask: Ask, take: Callable[[Answer], T], token: SecretStr | None) -> tuple[T, Call]:
        """Sends once.

        (1) Wait for a slot. (2) Send, and receive the whole answer. (3) Judge it. (4) Put the call on record, however
        it ended. (5) Only then hand out what it gave.
        """
        taken: list[T] = []
        async with self._slot(ask):  # (1)
            attempt = self._begun(ask, token)
            async with self._ending(attempt):
                answer = await self._answer(attempt, token)  # (2)
                taken.append(await _taken(take, answer))  # (3)
        call = await self._record(attempt)  # (4)
        if attempt.failure is not None:
            raise attempt.failure
        return taken[0], call  # (5)

    async def _head(
        self, ask: Ask, token: SecretStr | None, media_types: frozenset[str]
    ) -> tuple[Attempt, httpx.Response]:
        """An answer of which only the head is there."""
        opened: list[httpx.Response] = []
        attempt = self._begun(ask, token)
        async with self._ending(attempt):
            opened.append(await self._sent(attempt, token))
            if media_type(opened[0].headers.get("Content-Type")) not in media_types:
                raise FhirError("invalid", f"{ask.name}: the server sent something else than was asked for")
        try:
            await self._record(attempt)
            if attempt.failure is not None:
                raise attempt.failure
        except BaseException:  # also where we are stopped: the connection is nobody's then
            for response in opened:
                await response.aclose()
            raise
        return attempt, opened[0]

    async def _parts(self, attempt: Attempt, response: httpx.Response) -> AsyncIterator[bytes]:
        parts = unpacked(response, self.limits.export_file_bytes, attempt.ask.name)
        while True:
            part: bytes | None = None
            async with self._ending(attempt):
                part = await anext(parts, None)
            if attempt.failure is not None:
                await self._record(attempt)
                raise attempt.failure
            if part is None:
                return
            yield part

    @asynccontextmanager
    async def _ending(self, attempt: Attempt) -> AsyncIterator[None]:
        """Around an exchange: how it fails ends as `attempt.failure`. The HTTP library's errors end here altogether,
        for they hold the request with its token. Who stops us has that on record, too, and so has what we cannot
        deal with."""
        name = attempt.ask.name
        try:
            async with asyncio.timeout_at(self._ends()):
                yield
        except TimeoutError:
            attempt.failure = FhirError("deadline", f"{name}: the server did not answer in time", status=attempt.status)
        except (httpx.RequestError, ssl.SSLError) as error:  # once hands are shaken, those of TLS come as they are
            attempt.failure = connection_problem(error, name)
        except FhirError as error:
            attempt.failure = error
        except BaseException as error:  # also a fault of ours: the call was made all the same
            if isinstance(error, asyncio.CancelledError):
                problem = FhirError("deadline", f"{name}: the call was stopped here before its answer was there")
            else:
                problem = FhirError(
                    "invalid", f"{name}: the answer could not be dealt with here; nothing of it is used"
                )
            attempt.failure = problem
            await asyncio.shield(self._record(attempt))
            raise

    def _begun(self, ask: Ask, token: SecretStr | None) -> Attempt:
        number = f"{self._recorder.retrieval}.{next(self._numbers)}"
        return Attempt(ask, number, self._authorization.token_id if token else None, self.clock.now())

    async def _record(self, attempt: Attempt) -> Call:
        call = attempt.call(self.clock.now())
        await self._recorder.record(call)
        return call

    async def _sent(self, attempt: Attempt, token: SecretStr | None) -> httpx.Response:
        """The head of an answer that gives what was asked for."""
        response = await self._shared.http.send(self._request(attempt, token), stream=True)
        attempt.status = response.status_code
        if response.status_code in attempt.ask.expected:
            return response
        try:
            raise await self._refusal(attempt.ask, response)
        finally:
            await response.aclose()

    async def _answer(self, attempt: Attempt, token: SecretStr | None) -> Answer:
        response = await self._sent(attempt, token)
        try:
            body = await whole(response, self._bytes_max(attempt.ask), attempt.ask.name)
        finally:
            await response.aclose()
        attempt.digest = sha256(body).hexdigest()
        return Answer(response.status_code, response.headers, body, attempt.digest, self.clock.now())

    def _bytes_max(self, ask: Ask) -> int:
        most = self.limits.body_bytes
        return most if ask.bytes_max is None else min(most, ask.bytes_max)

    async def _refusal(self, ask: Ask, response: httpx.Response) -> FhirError:
        """What a status stands for that does not give what was asked for."""
        try:
            said = said_in(await beginning(response, _REFUSAL_BYTES, ask.name))
        except FhirError:  # what cannot be unpacked says nothing, and the status still says what happened
            said = Said()
        wait = seconds_of(response.headers.get("Retry-After"), self.clock.now())
        return refusal(response.status_code, said, wait, ask.name)

    def _request(self, attempt: Attempt, token: SecretStr | None) -> httpx.Request:
        """As it is sent. The token goes below the base and nowhere else."""
        ask = attempt.ask
        headers = {"Accept": ask.accept, "X-Request-Id": attempt.request_id, **dict(ask.headers)}
        if ask.media_type is not None:
            headers["Content-Type"] = ask.media_type
        if token is not None:
            if not (self.base.contains(ask.address) or (ask.export and ask.address.origin == self.base.origin)):
                raise FhirError("foreign", f"{ask.name}: lies elsewhere, where our token must not go")
            if not ask.address.encrypted:
                raise FhirError("refused", f"{ask.name}: a token goes over HTTPS only; write the base URL with https")
            headers["Authorization"] = _bearer(token)
        return self._shared.http.build_request(
            ask.method,
            f"{ask.address.origin}/",
            headers=headers,
            content=ask.body.encode() if ask.body is not None else None,
            # As it was checked, byte for byte: httpx would rewrite a path or query that is spelled unusually.
            extensions={"target": ask.address.target.encode("ascii")},
        )

    def _ends(self) -> float:
        """When an attempt that starts now has to be over."""
        own = asyncio.get_running_loop().time() + self.limits.attempt_seconds
        ends = ends_at()
        return own if ends is None else min(own, ends)

    @asynccontextmanager
    async def _slot(self, ask: Ask) -> AsyncIterator[None]:
        async with self._in_time(ask):
            await self._shared.slots.acquire()
        try:
            yield
        finally:
            self._shared.slots.release()

    @asynccontextmanager
    async def _in_time(self, ask: Ask) -> AsyncIterator[None]:
        """Around waiting that is not for this server's answer."""
        late = FhirError("deadline", f"{ask.name}: time ran out before the server was asked")
        if seconds_left() == 0:
            raise late
        try:
            async with asyncio.timeout_at(ends_at()):
                yield
        except TimeoutError:
            raise late from None


async def _taken(take: Callable[[Answer], T], answer: Answer) -> T:
    """What is made of an answer."""
    if len(answer.body) <= _THREADED_BYTES:
        return take(answer)
    return await asyncio.to_thread(take, answer)


def _bearer(token: SecretStr) -> str:
    secret = token.get_secret_value()
    if not (secret.isascii() and secret.isprintable() and secret.strip() == secret != ""):
        raise AuthorizationError("The access token holds signs that no HTTP header may hold")
    return f"Bearer {secret}"
