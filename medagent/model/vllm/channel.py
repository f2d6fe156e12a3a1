# SPDX-License-Identifier: Apache-2.0
"""HTTP to one origin: a pool of connections, a deadline, careful retries and a circuit breaker."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

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
from medagent.errors import ModelError, ModelFailure, SettingsError
from medagent.model.breaker import Breaker
from medagent.model.vllm.failures import Transient, connection_problem, refusal
from medagent.retries import RetryBudget, seconds_of

T = TypeVar("T")
CONNECT_SECONDS = 5.0  # a server on the hospital's own network takes a connection at once or is not there
_IDLE_SECONDS = 4.0  # vLLM closes connections that were idle for five
_PORT_MAX = 65_535
_REFUSAL_BYTES = 65_536  # of an error's body; it is looked at, not kept


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and with what pauses, an attempt that gave nothing is repeated."""

    attempts: int = 4
    """The first included."""
    first_seconds: float = 0.25
    """Most seconds before the second attempt; doubled for each that follows. The pause is drawn from 0 to there."""
    longest_seconds: float = 8.0
    share: float = 0.2
    """Most retries as a share of calls, in the long run."""


class Question(NamedTuple):
    """One HTTP request."""

    method: str
    path: str
    """Under the server's root."""
    body: bytes | None = None
    accept: str = "application/json"


class Channel:
    """What is sent goes to this origin only: redirects are not followed, and no proxy or .netrc of the environment
    is taken into account. It belongs to the event loop that uses it first."""

    def __init__(
        self,
        root: str,
        api_key: SecretStr | None,
        *,
        clock: Clock,
        retries: Retries,
        breaker: Breaker,
        connections: int,
    ) -> None:
        self._clock = clock
        self._retries = retries
        self._breaker = breaker
        self._budget = RetryBudget(share=retries.share)
        self._client = httpx.AsyncClient(
            base_url=root,
            headers={"Accept-Encoding": "identity"} | _authorization(api_key),
            follow_redirects=False,
            trust_env=False,
            verify=_trust(root),
            # The deadline is of the whole exchange, whatever a single read takes.
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=_IDLE_SECONDS,
            ),
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def ask(
        self,
        question: Question,
        take: Callable[[httpx.Response], Awaitable[T]],
        *,
        seconds: float,
        late: ModelFailure = "deadline",
    ) -> tuple[T, int]:
        """What `take` makes of the answer, and the number of attempts. Raises ModelError only; `late` where time ran
        out. Cancelled, it closes the connection, upon which vLLM aborts the request."""
        self._budget.pay_in()
        try:
            async with asyncio.timeout(seconds) as limit:
                async for attempt in self._attempts(seconds):
                    with attempt:
                        taken = await self._attempt(question, take)
                        return taken, attempt.retry_state.attempt_number
        except TimeoutError:
            if not limit.expired():
                raise
        raise ModelError(late, f"The model server did not answer {question.path} within {max(seconds, 0):.0f} s")

    def _attempts(self, seconds: float) -> AsyncRetrying:
        jittered = wait_random_exponential(self._retries.first_seconds, self._retries.longest_seconds)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            # Jitter on top: those who were sent away together shall not come back together.
            return (error.wait if isinstance(error, Transient) else 0.0) + jittered(state)

        ends = stop_any(stop_after_attempt(self._retries.attempts), stop_before_delay(seconds))
        return AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception_type(Transient),
            wait=wait,
            stop=lambda state: ends(state) or not self._budget.take(),  # asked last, for asking it spends
            reraise=True,
        )

    async def _attempt(self, question: Question, take: Callable[[httpx.Response], Awaitable[T]]) -> T:
        """Sends once.

        (1) The breaker may refuse. (2) What fails before an answer starts may be tried again. (3) An answer that has
        started is taken once: what breaks in it ends the call.
        """
        with self._breaker.watching():  # (1)
            started = False
            try:
                response = await self._client.send(self._request(question), stream=True)
                try:
                    if response.status_code == httpx.codes.OK:
                        started = True
                        return await take(response)  # (3)
                    failure = await self._refusal(response)
                finally:
                    await response.aclose()
            except httpx.RequestError as error:  # raised below, unchained: it holds the request
                problem = connection_problem(error)
                failure = ModelError("unavailable", problem) if started else Transient(problem)  # (2)
            raise failure

    def _request(self, question: Question) -> httpx.Request:
        headers = {"Accept": question.accept}
        if question.body is not None:
            headers["Content-Type"] = "application/json"
        return self._client.build_request(question.method, question.path, content=question.body, headers=headers)

    async def _refusal(self, response: httpx.Response) -> ModelError:
        said = bytearray()
        async for part in response.aiter_bytes():
            said += part
            if len(said) > _REFUSAL_BYTES:
                break
        wait = seconds_of(response.headers.get("Retry-After"), self._clock.now())
        return refusal(response.status_code, said.decode("utf-8", "replace"), wait)


def _trust(root: str) -> ssl.SSLContext:
    """Whose certificates count: those that the system trusts. Plain HTTP needs none, and reading them takes 25 ms."""
    return ssl.create_default_context() if root.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _authorization(api_key: SecretStr | None) -> dict[str, str]:
    if api_key is None:
        return {}
    secret = api_key.get_secret_value()
    if not (secret.isascii() and secret.isprintable() and secret.strip() == secret != ""):
        raise SettingsError("The API key of the model server holds signs that no HTTP header may hold: copy it anew")
    return {"Authorization": f"Bearer {secret}"}


def server_root(url: str) -> str:
    """The root of a server by its base URL, which may or may not end in `/v1`. Raises SettingsError."""
    try:
        parsed = httpx.URL(url)
        is_usable = parsed.scheme in ("http", "https") and bool(parsed.host) and (parsed.port or 1) <= _PORT_MAX
    except (httpx.InvalidURL, ValueError):  # ValueError: a name that cannot be a host's
        is_usable = False
    if not is_usable or parsed.query or parsed.fragment:
        raise SettingsError("MEDAGENT_MODEL_URL: write it like http://127.0.0.1:8000/v1, without query or fragment")
    if parsed.userinfo:
        raise SettingsError("MEDAGENT_MODEL_URL: holds a user or password, which ends in logs: pass an API key instead")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
