# SPDX-License-Identifier: Apache-2.0
"""HTTP to authorization servers: few, small requests, each to a URL that was checked, none of them followed elsewhere.

No error of httpx leaves this module, not even as a context: it holds the request, and with it secrets.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from medagent.errors import AuthorizationError, FhirError
from medagent_fhir.client.bodies import whole
from medagent_fhir.client.quiet import silence_http_logs
from medagent_fhir.smart.addresses import safe_url
from medagent_fhir.smart.limits import SmartLimits

_BYTES = 262_144  # a key set with certificates takes a tenth of it


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    body: Mapping[str, Any] | None = field(repr=False)
    """The JSON object. None: the body is none."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom we speak to."""

    name: str
    """As messages name it."""
    ca_file: Path | None
    limits: SmartLimits

    async def get(self, url: str) -> Mapping[str, Any]:
        """A JSON document. Raises AuthorizationError."""
        answer = await self._ask("GET", url, {}, None)
        if answer.status != httpx.codes.OK:
            raise self._failure(url, f"answered {answer.status}")
        if answer.body is None:
            raise self._failure(url, "answered with something else than a JSON object of at most 256 KiB")
        return answer.body

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """What a form gives. Raises AuthorizationError where there is no answer."""
        return await self._ask("POST", url, headers, form)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> Answer:
        if safe_url(url, query=True) is None:
            raise self._failure(url, "is no URL that may be asked")
        try:
            async with (
                asyncio.timeout(self.limits.answer_seconds),
                self._client() as client,
                client.stream(method, url, data=form, headers=headers) as response,
            ):
                return Answer(response.status_code, _object(await _body(response)))
        except TimeoutError:
            problem = f"did not answer within {self.limits.answer_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # raised below, unchained: it holds the request
            problem = _problem(error)
        raise self._failure(url, problem)

    def _client(self) -> httpx.AsyncClient:
        silence_http_logs()
        return httpx.AsyncClient(
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
            verify=_trust(self.ca_file),
            timeout=httpx.Timeout(None, connect=self.limits.connect_seconds),  # the deadline is of the whole exchange
        )

    def _failure(self, url: str, problem: str) -> AuthorizationError:
        return AuthorizationError(f"{self.name}: {url.partition('?')[0][:200]} {problem}")


async def _body(response: httpx.Response) -> bytes:
    """The body, or nothing where it is longer than any that has a meaning here, also unpacked: httpx would unpack each
    part whole, which takes hundreds of times that."""
    try:
        return await whole(response, _BYTES, "The answer")
    except FhirError:
        return b""


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _problem(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "shows a certificate that is not trusted; is ca_file of the EHR registry right?"
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, OSError)):
        return "cannot be reached"
    return f"broke off ({type(error).__name__})"


@cache
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whose certificates count. Kept: reading the system's takes 25 ms."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError):
        raise AuthorizationError(f"ca_file {ca_file} holds no certificates (PEM)") from None
