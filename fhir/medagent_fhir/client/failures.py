# SPDX-License-Identifier: Apache-2.0
"""What went wrong with an HTTP exchange, as a `FhirError`.

Messages are ours: a server's own words may name a patient, so they go into `outcome` alone. The HTTP library's errors
hold the request with its token, so none is chained.
"""

import ssl

import httpx

from medagent.errors import FhirError, FhirFailure
from medagent.retries import RETRY_AFTER_MAX
from medagent_fhir.client.bodies import Said

_OVERLOADED = frozenset({429, 503})
_BROKEN = frozenset({502, 504})
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})
_FAILURES: dict[int, FhirFailure] = {401: "unauthorized", 403: "forbidden", 404: "not_found", 410: "gone"}
_TOLD: dict[FhirFailure, str] = {
    "unauthorized": "the server does not take our token: launch anew, or check the client's registration",
    "forbidden": "the server does not let us: the right to it was not granted",
    "not_found": "the server has no such thing",
    "gone": "the server has it no longer",
    "busy": "the server is overloaded: ask again later",
    "unavailable": "the server failed: its own log says why",
    "refused": "the server refuses the request",
    "foreign": "the server points elsewhere, which is not followed: set the FHIR base URL to where it ends",
    "invalid": "the server answers with a status that has no meaning here",
}


class Transient(FhirError):
    """The server gave nothing, and the next attempt may succeed."""

    wait: float = 0.0
    """Least seconds until then, as the server asks."""


def connection_problem(error: httpx.RequestError | ssl.SSLError, name: str) -> FhirError:
    """By the kind of error alone."""
    if _is_of_tls(error):
        return FhirError(
            "unavailable",
            f"{name}: the server's TLS certificate is not trusted, or TLS failed. "
            "Give the file of the authority that issued it as MEDAGENT_FHIR_CA_FILE, or check the host's name",
        )
    match error:
        case httpx.ConnectTimeout():
            return Transient("unavailable", f"{name}: the server did not take a connection in time")
        case httpx.ConnectError():
            return Transient("unavailable", f"{name}: the server cannot be reached. Check its URL and that it runs")
        case httpx.LocalProtocolError():
            return FhirError("refused", f"{name}: the request holds signs that no HTTP header or URL may hold")
        case _:
            return Transient("unavailable", f"{name}: the connection broke before the answer was there")


def refusal(status: int, said: Said, wait: float, name: str) -> FhirError:
    """The failure that an HTTP status stands for."""
    failure = _failure(status)
    codes = f"status {status}" + (f"; {', '.join(said.codes)}" if said.codes else "")
    message = f"{name}: {_TOLD[failure]} ({codes})"
    if status in _BROKEN or (status in _OVERLOADED and wait <= RETRY_AFTER_MAX):
        transient = Transient(failure, message, status=status, outcome=said.text)
        transient.wait = wait
        return transient
    return FhirError(failure, message, status=status, outcome=said.text)


def _failure(status: int) -> FhirFailure:
    if status in _FAILURES:
        return _FAILURES[status]
    if status in _OVERLOADED:
        return "busy"
    if status in _REDIRECTS:
        return "foreign"
    if status == httpx.codes.NOT_IMPLEMENTED or 400 <= status < 500:
        return "refused"
    return "unavailable" if status >= 500 else "invalid"


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
