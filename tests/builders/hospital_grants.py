# SPDX-License-Identifier: Apache-2.0
"""How the simulated hospital authorizes: its applications, what it grants, and which rules it breaks."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from builders.hospital_clients import Client
from builders.hospital_identity import IdentityBreak
from medagent.clock import Clock, SystemClock

SmartBreak = (
    IdentityBreak
    | Literal[
        "S256 absent",
        "PKCE absent",
        "discovery garbage",
        "discovery issuer",
        "token URL elsewhere",
        "state wrong",
        "state absent",
        "iss wrong",
        "iss absent",
        "denied",
        "scope absent",
        "patient absent",
        "expires_in absent",
        "token type",
        "refresh token kept",
    ]
)
"""Rules that a hospital can break. In discovery: no S256, no PKCE methods at all, no JSON, another issuer, a token
endpoint at `Hospital.elsewhere`. In the callback: `state` or `iss` (RFC 9207) wrong or absent; `denied`: an error
instead of a code. In the answer to a code: `scope`, `patient`, `expires_in` absent or another type of token;
`refresh token kept`: a refresh brings no new one and the old one lives on, which is allowed."""


@dataclass(slots=True)
class Smart:
    """How a hospital authorizes. A test may change it while the hospital runs."""

    clients: Sequence[Client] = (Client(),)
    granted: Sequence[str] | Callable[[Sequence[str]], Sequence[str]] | None = None
    """What is granted, of whatever was asked, or as a function of it. None: what was asked and the client may have."""
    user: str = "Practitioner/practitioner-1"
    """fhirUser; made absolute by `absolute_user`."""
    absolute_user: bool = True
    picks: str = "patient-1"
    """Who is chosen where the application asks for `launch/patient` alone."""
    token_seconds: int = 300
    first_version: bool = True
    """Whether scopes of version 1 mean anything; if not they are dropped silently."""
    breaks: Collection[SmartBreak] = ()
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True, slots=True)
class Context:
    """What a launch is about."""

    patient: str | None = None
    """Its id, without a type."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the answer to a code: encounter, fhirContext, intent, tenant, need_patient_banner …"""


@dataclass(frozen=True, slots=True)
class Issue:
    """What somebody was granted."""

    client: Client
    scopes: tuple[str, ...]
    context: Context
    nonce: str | None = None


def granted(rules: Smart, client: Client, scopes: Sequence[str]) -> list[str]:
    """Of what was asked, what is granted."""
    if callable(rules.granted):
        return list(rules.granted(scopes))
    if rules.granted is not None:
        return list(rules.granted)
    known = [scope for scope in scopes if rules.first_version or not scope.endswith((".read", ".write", ".*"))]
    return [scope for scope in known if client.scopes is None or scope in client.scopes]
