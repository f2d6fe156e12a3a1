# SPDX-License-Identifier: Apache-2.0
"""Applications that the simulated hospital knows, and how strictly it makes sure that it is them who call."""

import base64
import binascii
import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from builders.hospital_wire import Asked, Reply

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS384", "ES384")
REDIRECT = "http://127.0.0.1:8000/callback"

_SOON = 300  # seconds that an assertion may hold at most


class OAuthRefused(Exception):
    """Ends the answering of a request to the authorization server: an error of RFC 6749 goes out."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description = error, description
        headers = {"Cache-Control": "no-store"} | ({"WWW-Authenticate": "Basic"} if status == 401 else {})
        body = json.dumps({"error": error, "error_description": description}).encode()
        self.reply = Reply(status, body, headers, "application/json")


@dataclass(frozen=True, slots=True)
class Client:
    """A registered application."""

    id: str = "medagent"
    kind: Literal["public", "symmetric", "asymmetric"] = "public"
    secret: str | None = None
    """Of a symmetric client."""
    jwks: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | str | None = None
    """Public keys of an asymmetric client: themselves, a function that gives today's, or the URL they stand at."""
    redirect_uris: Sequence[str] = (REDIRECT,)
    scopes: Sequence[str] | None = None
    """What it may be granted at most. None: anything."""
    backend: bool = False
    """Whether it may ask for tokens of its own (`client_credentials`)."""

    def keys(self) -> KeySet:
        """Its public keys as they are now."""
        if isinstance(self.jwks, str):
            with urllib.request.urlopen(self.jwks, timeout=5) as answer:  # noqa: S310  # a test's own address
                return KeySet.import_key_set(json.load(answer))
        return KeySet.import_key_set(dict(self.jwks() if callable(self.jwks) else self.jwks or {"keys": []}))  # type: ignore[arg-type]  # JSON as it came


class Clients:
    """All applications, and the assertions that they have used up."""

    def __init__(
        self, known: Callable[[], Sequence[Client]], token_url: Callable[[], str], now: Callable[[], float]
    ) -> None:
        self._known, self._token_url, self._now = known, token_url, now
        self._used: set[tuple[str, str]] = set()

    def get(self, id: str | None) -> Client | None:
        """By client_id."""
        return next((client for client in self._known() if client.id == id), None)

    def authenticated(self, asked: Asked) -> Client:
        """Who asks for a token. Raises OAuthRefused."""
        form = dict(asked.form)
        if "client_secret" in form:
            raise _unknown("client_secret in the form: this server takes client_secret_basic")
        ways = ["authorization" in asked.headers, "client_assertion" in form]
        if all(ways):
            raise OAuthRefused("invalid_request", "two ways of authentication at once")
        if ways[1]:
            return self._asserted(form)
        return self._with_secret(asked, form) if ways[0] else self._public(form)

    def _public(self, form: Mapping[str, str]) -> Client:
        client = self.get(form.get("client_id"))
        if client is None or client.kind != "public":
            raise _unknown("no such public client")
        return client

    def _with_secret(self, asked: Asked, form: Mapping[str, str]) -> Client:
        scheme, _, encoded = asked.headers["authorization"].partition(" ")
        try:
            id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _unknown("Authorization is not readable") from error
        client = self.get(unquote_plus(id))
        if scheme != "Basic" or client is None or client.kind != "symmetric" or client.secret != unquote_plus(secret):
            raise _unknown("no such client with this secret")
        if form.get("client_id", client.id) != client.id:
            raise _unknown("client_id is somebody else's")
        return client

    def _asserted(self, form: Mapping[str, str]) -> Client:
        """`private_key_jwt` as SMART profiles it."""
        if form.get("client_assertion_type") != ASSERTION:
            raise OAuthRefused("invalid_request", f"client_assertion_type is {ASSERTION}")
        text = form["client_assertion"]
        try:
            header = jws.extract_compact(text.encode()).headers()
            claims = json.loads(jws.extract_compact(text.encode()).payload)
        except (JoseError, ValueError) as error:
            raise _unknown("the assertion is no JWT") from error
        client = self.get(claims.get("sub"))
        if client is None or client.kind != "asymmetric":
            raise _unknown("no such client with keys")
        if header.get("alg") not in ALGORITHMS or header.get("typ") != "JWT" or "kid" not in header:
            raise _unknown("the assertion's header has alg RS384 or ES384, typ JWT and kid")
        try:  # also finds the key by its kid
            jwt.decode(text, client.keys(), algorithms=list(ALGORITHMS))
        except JoseError as error:
            raise _unknown("no key of the client's JWKS fits the assertion's kid and signature") from error
        self._check_claims(claims, client, form)
        return client

    def _check_claims(self, claims: Mapping[str, Any], client: Client, form: Mapping[str, str]) -> None:
        now, exp = self._now(), claims.get("exp")
        if claims.get("iss") != client.id or form.get("client_id", client.id) != client.id:
            raise _unknown("the assertion's iss, its sub and client_id are one")
        if claims.get("aud") != self._token_url():
            raise _unknown("the assertion's aud is this token URL")
        if not isinstance(exp, int) or not now < exp <= now + _SOON:
            raise _unknown("the assertion's exp is an integer within five minutes from now")
        if any(claims.get(name, 0) > now + 1 for name in ("iat", "nbf")):
            raise _unknown("the assertion is of the future")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti or (client.id, jti) in self._used:
            raise _unknown("the assertion's jti is absent or was used before")
        self._used.add((client.id, jti))


def _unknown(description: str) -> OAuthRefused:
    return OAuthRefused("invalid_client", description, status=401)
