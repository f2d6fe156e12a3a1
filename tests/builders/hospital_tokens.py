# SPDX-License-Identifier: Apache-2.0
"""The token endpoint of the simulated hospital: codes, refresh tokens that die when they are used, backend services."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from builders.hospital_clients import Client, Clients, OAuthRefused
from builders.hospital_grants import Context, Issue, Smart, granted
from builders.hospital_identity import id_token
from builders.hospital_wire import FORM, Asked, Reply

_CODE_SECONDS = 60
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(slots=True)
class _Code:
    """A code until it is redeemed, and after."""

    issue: Issue
    redirect_uri: str
    challenge: str
    until: float
    family: str
    redeemed: bool = False


@dataclass(slots=True)
class _Token:
    """An access or refresh token. Tokens of one launch are a family: they end together."""

    issue: Issue
    family: str
    until: float
    dead: bool = False


class Grants:
    """All codes and tokens."""

    def __init__(self, rules: Smart, clients: Clients, issuer: Callable[[], str], now: Callable[[], float]) -> None:
        self._rules, self._clients, self._issuer, self._now = rules, clients, issuer, now
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, _Token] = {}
        self._refresh: dict[str, _Token] = {}
        self.secrets: list[str] = []
        """Every code and token that was handed out."""

    def code(self, issue: Issue, redirect_uri: str, challenge: str) -> str:
        """A new code."""
        code = self._secret("code")
        self._codes[code] = _Code(issue, redirect_uri, challenge, self._now() + _CODE_SECONDS, secrets.token_hex(8))
        return code

    def issue(self, bearer: str | None) -> Issue | None:
        """What an access token stands for. None: it is none, or no more."""
        token = self._access.get(bearer or "")
        return None if token is None or token.dead or self._now() >= token.until else token.issue

    def token(self, client: Client, scopes: tuple[str, ...], patient: str | None) -> str:
        """An access token without a launch, for tests of the FHIR side alone."""
        return self._new_access(Issue(client, scopes, Context(patient)), secrets.token_hex(8))

    def end_access(self) -> None:
        """All access tokens that are out are refused from now on."""
        for token in self._access.values():
            token.dead = True

    def end_refresh(self) -> None:
        """All refresh tokens that are out are refused from now on."""
        for token in self._refresh.values():
            token.dead = True

    def answer(self, asked: Asked) -> Reply:
        """`/token`. Raises OAuthRefused."""
        if not asked.is_form or asked.query:
            raise OAuthRefused("invalid_request", f"a POST of {FORM}, nothing in the URL")
        form = dict(asked.form)
        if len(form) != len(asked.form):
            raise OAuthRefused("invalid_request", "a parameter came twice")
        client = self._clients.authenticated(asked)
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem(client, form)
            case "refresh_token":
                return self._refreshed(client, form)
            case "client_credentials":
                return self._backend(client, form)
        raise OAuthRefused("unsupported_grant_type", "authorization_code, refresh_token or client_credentials")

    def _redeem(self, client: Client, form: dict[str, str]) -> Reply:
        code = self._codes.get(form.get("code", ""))
        if code is None or code.issue.client.id != client.id or self._now() >= code.until:
            raise OAuthRefused("invalid_grant", "the code is not known, or no more")
        if code.redeemed:
            self._end(code.family)
            raise OAuthRefused("invalid_grant", "the code was used before: what it gave ends now")
        if form.get("redirect_uri") != code.redirect_uri:
            raise OAuthRefused("invalid_grant", "redirect_uri differs from the one at /authorize")
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if _VERIFIER.fullmatch(verifier) is None or digest != code.challenge:
            raise OAuthRefused("invalid_grant", "code_verifier does not fit")
        code.redeemed = True
        return self._launched(code.issue, code.family, refreshable=True, first=True)

    def _refreshed(self, client: Client, form: dict[str, str]) -> Reply:
        token = self._refresh.get(form.get("refresh_token", ""))
        if token is None or token.issue.client.id != client.id:
            raise OAuthRefused("invalid_grant", "the refresh token is not known")
        if token.dead:
            self._end(token.family)
            raise OAuthRefused("invalid_grant", "the refresh token was used before: its family ends now")
        scopes = tuple(form["scope"].split()) if "scope" in form else token.issue.scopes
        if not set(scopes) <= set(token.issue.scopes):
            raise OAuthRefused("invalid_scope", "a refresh cannot widen")
        keeps = "refresh token kept" in self._rules.breaks
        token.dead = not keeps
        return self._launched(replace(token.issue, scopes=scopes), token.family, refreshable=not keeps, first=False)

    def _backend(self, client: Client, form: dict[str, str]) -> Reply:
        asked = form.get("scope", "").split()
        if not client.backend or client.kind != "asymmetric":
            raise OAuthRefused("unauthorized_client", "this client is no backend service")
        if not asked or not all(scope.startswith("system/") for scope in asked):
            raise OAuthRefused("invalid_scope", "a backend service asks for system/ scopes")
        scopes = granted(self._rules, client, asked)
        if not scopes:
            raise OAuthRefused("invalid_scope", "none of this may be granted")
        issue = Issue(client, tuple(scopes), Context())
        return self._reply(self._body(issue, secrets.token_hex(8)))

    def _launched(self, issue: Issue, family: str, *, refreshable: bool, first: bool) -> Reply:
        """The answer to a code (`first`) or to a refresh."""
        body = self._body(issue, family)
        context = dict(issue.context.more)
        if issue.context.patient is not None and "patient absent" not in self._rules.breaks:
            context["patient"] = issue.context.patient
        body |= context
        if refreshable and {"offline_access", "online_access"} & set(issue.scopes):
            body["refresh_token"] = self._secret("refresh")
            self._refresh[body["refresh_token"]] = _Token(issue, family, float("inf"))
        if first and "openid" in issue.scopes and "id_token absent" not in self._rules.breaks:
            body["id_token"] = self._identity(issue)
            self.secrets.append(body["id_token"])
        return self._reply(body)

    def _body(self, issue: Issue, family: str) -> dict[str, Any]:
        breaks = self._rules.breaks
        body: dict[str, Any] = {
            "access_token": self._new_access(issue, family),
            "token_type": "mac" if "token type" in breaks else "Bearer",
            "expires_in": self._rules.token_seconds,
            "scope": " ".join(issue.scopes),
        }
        for name in ("expires_in", "scope"):
            if f"{name} absent" in breaks:
                del body[name]
        return body

    def _identity(self, issue: Issue) -> str:
        user, base = self._rules.user, self._issuer().removesuffix("/oauth") + "/fhir"
        claims = {"iss": self._issuer(), "aud": issue.client.id, "sub": "user-1"}
        if issue.nonce is not None:
            claims["nonce"] = issue.nonce
        if "fhirUser" in issue.scopes:
            claims["fhirUser"] = f"{base}/{user}" if self._rules.absolute_user else user
        return id_token(claims, self._rules.breaks, self._now())

    def _new_access(self, issue: Issue, family: str) -> str:
        token = self._secret("access")
        self._access[token] = _Token(issue, family, self._now() + self._rules.token_seconds)
        return token

    def _end(self, family: str) -> None:
        for token in (*self._access.values(), *self._refresh.values()):
            token.dead = token.dead or token.family == family

    def _secret(self, kind: str) -> str:
        secret = f"{kind}-{secrets.token_urlsafe(24)}"
        self.secrets.append(secret)
        return secret

    def _reply(self, body: dict[str, Any]) -> Reply:
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
        return Reply(200, json.dumps(body).encode(), headers, "application/json")
