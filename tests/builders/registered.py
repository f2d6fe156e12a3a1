# SPDX-License-Identifier: Apache-2.0
"""MedAgent as a client that oidc-provider knows, and a browser that launches it (see builders.counterparts)."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx

from builders.counterparts import Counterparts
from builders.store import Records
from builders.vault import StandingClock, open_vault
from medagent.vault import Vault
from medagent_fhir.smart import Ehr, EhrRegistry, Launcher, SigningKeys
from medagent_fhir.smart.registry import ALGORITHMS

Kind = Literal["public", "symmetric", "RS384", "ES384"]
"""How the client shows who it is: not at all, by a shared secret, or by an assertion signed so."""

CALLBACK = "http://127.0.0.1:9/callback"
"""Where the browser comes back to. Nobody listens there: it stops before."""
COOKIE = "browser-0123456789abcdefghijkl"


@dataclass(frozen=True, slots=True)
class Registered:
    """A site with one EHR, under a clock that shows the present until it is moved: the servers' clocks stay."""

    ehr: Ehr
    keys: SigningKeys
    vault: Vault
    clock: StandingClock

    def launcher(self) -> Launcher:
        """As one process has it."""
        return Launcher(EhrRegistry((self.ehr,)), self.keys, self.vault, self.clock, CALLBACK)


@contextmanager
def registered(
    home: Path,
    servers: Counterparts,
    name: str,
    *,
    kind: Kind = "ES384",
    asked: Sequence[str],
    allowed: Sequence[str],
    backend: Sequence[str] = (),
    token_seconds: int = 300,
) -> Iterator[Registered]:
    """Registers a client for the guarded base of a repository. `asked`: the scopes of a launch; `allowed`: those for
    resources that the EHR grants at most; `backend`: what the client asks for without a launch."""
    clock = StandingClock(datetime.now(UTC))
    keys = SigningKeys(home / "keys", clock, (kind,) if kind in ALGORITHMS else ())
    base = servers.guarded(name)
    metadata = _metadata(kind, keys, backend=bool(backend))
    known = servers.register(base, " ".join(allowed), fhir_token_seconds=token_seconds, **metadata)
    ehr = Ehr.model_validate(
        {
            "name": "counterpart",
            "issuer": base,
            "client_id": known["client_id"],
            "authentication": _authentication(kind, home, known),
            "scopes": tuple(asked),
            "backend": {"scopes": tuple(backend)} if backend else None,
        }
    )
    with open_vault(Records(home), clock) as vault:
        yield Registered(ehr, keys, vault, clock)


def _metadata(kind: Kind, keys: SigningKeys, *, backend: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "redirect_uris": [CALLBACK],
        "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token"] + ["client_credentials"] * backend,
    }
    match kind:
        case "public":
            return metadata | {"token_endpoint_auth_method": "none"}
        case "symmetric":
            return metadata | {"token_endpoint_auth_method": "client_secret_basic"}
        case _:
            signing = {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": kind}
            return metadata | signing | {"jwks": keys.jwks()}


def _authentication(kind: Kind, home: Path, known: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "public":
            return {"kind": "public"}
        case "symmetric":
            path = home / "secret"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(known["client_secret"])
            return {"kind": "symmetric", "secret_file": path}
        case _:
            return {"kind": "asymmetric", "alg": kind}


def browsed(url: str) -> list[tuple[str, str]]:
    """What a browser brings back to the callback: redirects are followed, cookies kept, consent is given at once."""
    with httpx.Client(trust_env=False, timeout=30) as browser:
        while not url.startswith(CALLBACK):
            answer = browser.get(url)
            assert answer.is_redirect, f"{answer.status_code} {answer.text[:500]}"
            url = str(answer.next_request.url) if answer.next_request is not None else ""
    return parse_qsl(urlsplit(url).query)
