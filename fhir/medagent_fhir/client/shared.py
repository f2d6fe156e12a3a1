# SPDX-License-Identifier: Apache-2.0
"""What the clients of one base share in one event loop: connections, the limit of calls at once, what is known."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from weakref import WeakKeyDictionary

import httpx

from medagent.errors import SettingsError
from medagent.retries import RetryBudget
from medagent_fhir.client.addresses import Base
from medagent_fhir.client.capabilities import Capabilities
from medagent_fhir.client.limits import ClientLimits
from medagent_fhir.client.quiet import silence_http_logs

_IDLE_SECONDS = 30.0  # many servers close connections that were idle for a minute; a chart is read in one go
_Key = tuple[str, Path | None]


class Shared:
    """Of one server."""

    def __init__(self, base: Base, limits: ClientLimits, ca_file: Path | None) -> None:
        silence_http_logs()
        self.slots = asyncio.Semaphore(limits.concurrency)
        self.budget = RetryBudget(share=limits.retry_share)
        self.capabilities: Capabilities | None = None
        """None: not asked for yet."""
        self.asking = asyncio.Lock()
        """Held by who asks for them."""
        self.posts_searches = True
        """Whether searches go by POST: until the server refuses one."""
        self.users = 0
        self.http = httpx.AsyncClient(
            headers={"Accept-Encoding": "gzip", "User-Agent": "MedAgent"},
            # One patient's session shall not go along with the calls of another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
            verify=_trust(base, ca_file),
            # The deadline is of a whole exchange, whatever a single read takes.
            timeout=httpx.Timeout(None, connect=limits.connect_seconds),
            # `slots` bounds what is under way. A bound of the pool itself would be used up by cancelled calls, which
            # httpcore 1.0.9 may never give back (encode/httpcore issue 1093).
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=limits.concurrency, keepalive_expiry=_IDLE_SECONDS
            ),
        )


_servers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared(base: Base, limits: ClientLimits, ca_file: Path | None) -> AsyncIterator[Shared]:
    """What clients of this base share while at least one of them is open. The first one's limits hold."""
    servers = _servers.setdefault(asyncio.get_running_loop(), {})
    key = (base.url, ca_file)
    server = servers.get(key)
    if server is None:
        server = servers[key] = Shared(base, limits, ca_file)
    server.users += 1
    try:
        yield server
    finally:
        server.users -= 1
        if server.users == 0:
            del servers[key]
            await server.http.aclose()


def _trust(base: Base, ca_file: Path | None) -> ssl.SSLContext:
    """Whose certificates count: the site's, else those that the system trusts. Plain HTTP needs none, and reading them
    takes 25 ms."""
    if not base.origin.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"MEDAGENT_FHIR_CA_FILE: {ca_file} is no PEM file of certificates that can be read"
        ) from error
