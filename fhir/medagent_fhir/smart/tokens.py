# SPDX-License-Identifier: Apache-2.0
"""The token endpoint: three grants, three ways to show who the client is, and one kind of answer (RFC 6749, RFC 7523).

What it says in an error is told by its code alone: the rest is unbounded text of somebody else.
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import httpx
from pydantic import SecretStr

from medagent.clock import Clock
from medagent.errors import AuthorizationError
from medagent_fhir.smart.exchange import Peer
from medagent_fhir.smart.registry import Asymmetric, Authentication, Public, Symmetric
from medagent_fhir.smart.signing_keys import SigningKeys

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = timedelta(seconds=180)
"""SMART allows 300; the rest is for clocks that differ."""
_LIFE_MAX = timedelta(days=1)
_AHEAD = timedelta(seconds=60)
"""How long before its end a token is exchanged: a call that was begun with it shall end with it."""
_CODES = re.compile(r"[a-z_]{1,64}")
_TOKEN = re.compile(r"[!-~]{1,16384}")
_JTI = re.compile(r"[A-Za-z0-9._~:-]{1,128}")


_ADVICE = {
    "invalid_client": "check client_id, and that the EHR has our keys, of MEDAGENT_PUBLIC_URL/.well-known/jwks.json",
    "unauthorized_client": "the EHR has not registered this client for what it asks",
    "invalid_scope": "ask for fewer scopes, or have the EHR grant them to this client",
}
"""What a site may have to put right, by the code of RFC 6749."""


class TokenRefused(AuthorizationError):
    """The token endpoint answered with an error of OAuth's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and how it shows that."""

    id: str
    authentication: Authentication


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave."""

    access_token: SecretStr
    refresh_token: SecretStr | None
    id_token: SecretStr | None
    scopes: tuple[str, ...] | None
    """As granted. None: it did not say."""
    expires_at: datetime | None
    """By our clock, reckoned from before it was asked for. None: it did not say."""
    renew_at: datetime | None
    """When it is time for another."""
    rest: Mapping[str, Any] = field(repr=False)
    """The launch context, unchecked."""


class TokenEndpoint:
    """Asks one token endpoint on behalf of one client."""

    def __init__(self, peer: Peer, url: str, client: Client, keys: SigningKeys, clock: Clock) -> None:
        self._peer = peer
        self._url = url
        self._client = client
        self._keys = keys
        self._clock = clock

    async def ask(self, grant: Mapping[str, str]) -> Tokens:
        """The tokens for a grant. Raises TokenRefused, or AuthorizationError where there is no usable answer."""
        asked_at = self._clock.now()
        form, headers = self._shown()
        answer = await self._peer.post(self._url, {**grant, **form}, headers)
        if answer.status == httpx.codes.OK and answer.body is not None:
            return self._taken(answer.body, asked_at)
        code = answer.body.get("error") if answer.body is not None else None
        if answer.status in (400, 401, 403) and isinstance(code, str) and _CODES.fullmatch(code):
            advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
            raise TokenRefused(f"{self._peer.name}: the authorization server refuses: {code}{advice}", code)
        raise self._failure(f"answered {answer.status} without a token")

    def _shown(self) -> tuple[dict[str, str], dict[str, str]]:
        """Who we are, as fields of the form and as headers."""
        match self._client.authentication:
            case Public():
                return {"client_id": self._client.id}, {}
            case Symmetric() as symmetric:  # RFC 6749, 2.3.1: both are form-encoded first
                secret = quote_plus(symmetric.secret().get_secret_value())
                pair = f"{quote_plus(self._client.id)}:{secret}".encode()
                return {}, {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
            case Asymmetric(alg=alg):
                claims = {
                    "iss": self._client.id,
                    "sub": self._client.id,
                    "aud": self._url,
                    "exp": int((self._clock.now() + _ASSERTION_LIFE).timestamp()),
                    "jti": secrets.token_urlsafe(32),
                }
                return {"client_assertion_type": _ASSERTION, "client_assertion": self._keys.signed(alg, claims)}, {}

    def _taken(self, body: Mapping[str, Any], asked_at: datetime) -> Tokens:
        kind = body.get("token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise self._failure("gave a token of another type than Bearer")
        scope = body.get("scope")
        if scope is not None and not isinstance(scope, str):
            raise self._failure("named scopes that are no text")
        access_token = self._secret(body, "access_token")
        if access_token is None:
            raise self._failure("gave no access_token")
        life = _life(body.get("expires_in"))
        return Tokens(
            access_token=access_token,
            refresh_token=self._secret(body, "refresh_token"),
            id_token=self._secret(body, "id_token"),
            scopes=None if scope is None else tuple(dict.fromkeys(scope.split())),
            expires_at=None if life is None else asked_at + life,
            renew_at=None if life is None else asked_at + life - min(_AHEAD, life / 4),
            rest=body,
        )

    def _secret(self, body: Mapping[str, Any], name: str) -> SecretStr | None:
        secret = body.get(name)
        if secret is None:
            return None
        if not isinstance(secret, str) or not _TOKEN.fullmatch(secret):
            raise self._failure(f"gave a {name} that no header may hold")
        return SecretStr(secret)

    def _failure(self, problem: str) -> AuthorizationError:
        return AuthorizationError(f"{self._peer.name}: the token endpoint {problem}")


def _life(seconds: object) -> timedelta | None:
    """How long a token holds. None: nothing usable is said. Some servers write the number as a text."""
    if isinstance(seconds, str) and re.fullmatch(r"\d{1,9}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        return None
    return min(_LIFE_MAX, timedelta(seconds=min(seconds, _LIFE_MAX.total_seconds())))


def token_id(token: SecretStr) -> str:
    """What names a token in audit events: the `jti` where it is a JWT that has one, else a hash. Nothing is believed of
    it: it is a name."""
    text = token.get_secret_value()
    parts = text.split(".")
    if len(parts) == 3:
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (ValueError, binascii.Error, RecursionError):
            claims = None
        jti = claims.get("jti") if isinstance(claims, dict) else None
        if isinstance(jti, str) and _JTI.fullmatch(jti):
            return jti
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]
