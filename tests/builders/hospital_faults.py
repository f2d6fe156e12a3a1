# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in the simulated hospital, by rule.

    ehr.on("Observation", status(503), times=2)                # the first two requests for Observations
    ehr.on("page", status(410), times=1)                       # the first next link that is followed
    ehr.on("Condition", stranger(fhir.condition("1", patient="somebody-else")))
    ehr.on("page", meanwhile(lambda: ehr.remove("Observation/a")), times=1)

A rule is for a resource type, for an address below the base (`Patient/one`, `metadata`), for its last part
(`$everything`, `_search`), for `page` (a next link that is followed), for the authorization server's `token`,
`authorize`, `jwks` and `smart-configuration`, or for `*`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Literal

from builders.hospital_outcomes import outcome
from builders.hospital_wire import Asked, Reply
from medagent.canonical import parse_json, public_json

Fault = Callable[[Asked, Callable[[], Reply]], Reply]
"""Gets the request and a way to its honest answer."""

Where = str | Callable[[Asked], bool]


@dataclass(slots=True)
class Rule:
    """When a fault plays."""

    where: Where
    fault: Fault
    times: int | None
    """How often. None: always."""
    after: int
    """How many requests that fit are spared first."""

    def plays(self, asked: Asked, labels: frozenset[str]) -> bool:
        """Whether this request meets the fault; counts."""
        fits = self.where in labels if isinstance(self.where, str) else self.where(asked)
        if not fits or self.times == 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


_CODES = {401: "login", 403: "forbidden", 404: "not-found", 410: "deleted", 429: "throttled"}


def status(code: int, text: str = "Not now", *, retry_after: int | datetime | str | None = None) -> Fault:
    """An OperationOutcome with this status. `retry_after`: seconds, or a time (UTC)."""
    headers = {}
    if retry_after is not None:
        at = format_datetime(retry_after, usegmt=True) if isinstance(retry_after, datetime) else str(retry_after)
        headers["Retry-After"] = at
    if code == 401:
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return lambda asked, honest: outcome(code, _CODES.get(code, "exception"), text, headers)


def slow(seconds: float) -> Fault:
    """The honest answer, later."""
    return lambda asked, honest: replace(honest(), delay=seconds)


def broken(ends: Literal["half", "reset", "hang", "trickle"]) -> Fault:
    """The honest answer, not all of it: see `Reply.ends`."""
    return lambda asked, honest: replace(honest(), ends=ends)


def content_type(name: str | None) -> Fault:
    """The honest answer under another name."""
    return lambda asked, honest: replace(honest(), content_type=name)


def instead(body: bytes, *, status: int = 200, content_type: str | None = "application/fhir+json") -> Fault:
    """These bytes, such as half a JSON document."""
    return lambda asked, honest: Reply(status, body, content_type=content_type)


def redirect(url: str, *, status: int = 302) -> Fault:
    """Sends the client to another address."""
    return lambda asked, honest: Reply(status, headers={"Location": url})


def padded(count: int) -> Fault:
    """The honest answer with so many spaces behind it: small when packed, large when unpacked."""

    def play(asked: Asked, honest: Callable[[], Reply]) -> Reply:
        reply = honest()
        return replace(reply, body=reply.body + b" " * count)

    return play


def changed(change: Callable[[dict[str, Any]], object]) -> Fault:
    """The honest answer after `change` has worked on its JSON, for instance on a Bundle's total."""

    def play(asked: Asked, honest: Callable[[], Reply]) -> Reply:
        reply = honest()
        body = _parsed(reply)
        change(body)
        return replace(reply, body=public_json(body))

    return play


def stranger(resource: Mapping[str, Any]) -> Fault:
    """Another patient's resource among what was found, or in place of what was read."""

    def play(asked: Asked, honest: Callable[[], Reply]) -> Reply:
        reply = honest()
        if reply.status != 200 or (bundle := _parsed(reply)).get("resourceType") != "Bundle":
            return replace(reply, status=200, body=public_json(resource))
        name = f"{resource['resourceType']}/{resource['id']}"
        base = f"http://{asked.headers['host']}/fhir"
        entry = {"fullUrl": f"{base}/{name}", "resource": resource, "search": {"mode": "match"}}
        bundle.setdefault("entry", []).append(entry)
        if "total" in bundle:
            bundle["total"] += 1
        return replace(reply, body=public_json(bundle))

    return play


def meanwhile(action: Callable[[], object]) -> Fault:
    """The honest answer, given after something else happened."""

    def play(asked: Asked, honest: Callable[[], Reply]) -> Reply:
        action()
        return honest()

    return play


def _parsed(reply: Reply) -> dict[str, Any]:
    body = parse_json(reply.body)
    assert isinstance(body, dict)
    return body
