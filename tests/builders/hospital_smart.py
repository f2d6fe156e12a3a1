# SPDX-License-Identifier: Apache-2.0
"""The authorization server of the simulated hospital: discovery and `/authorize`, as SMART App Launch 2.2 has them.

It approves whatever is right, without a page, and answers what is not as RFC 6749 says: where client or redirect_uri
are wrong it never redirects. Stricter than most: a `state` and a PKCE challenge are taken once.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from builders.hospital_access import Access, GrantedAccess
from builders.hospital_clients import ALGORITHMS, Client, Clients, OAuthRefused
from builders.hospital_grants import Context, Issue, Smart, granted
from builders.hospital_identity import key_set
from builders.hospital_outcomes import Refused
from builders.hospital_records import Records
from builders.hospital_tokens import Grants
from builders.hospital_wire import Asked, Reply

_PATH = "/oauth"
_CAPABILITIES = (
    *("launch-ehr", "launch-standalone", "client-public", "client-confidential-symmetric"),
    *("client-confidential-asymmetric", "sso-openid-connect", "context-ehr-patient", "context-ehr-encounter"),
    *("context-standalone-patient", "permission-patient", "permission-user", "permission-offline", "permission-v2"),
)
_STATE_MIN = 21  # characters of base64url: 122 bits need as many
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class AuthorizationServer:
    """Answers requests below `/oauth`, and says what a token may see."""

    def __init__(self, rules: Smart, records: Records, root: Callable[[], str], elsewhere: Callable[[], str]) -> None:
        self.rules, self._records, self._root, self._elsewhere = rules, records, root, elsewhere
        self.clients = Clients(lambda: self.rules.clients, lambda: self.address("token"), self._now)
        self.grants = Grants(rules, self.clients, lambda: self._root() + _PATH, self._now)
        self._launches: dict[str, Context] = {}
        self._seen: set[str] = set()

    def launch(self, context: Context) -> str:
        """A launch token of the EHR."""
        token = f"launch-{secrets.token_urlsafe(16)}"
        self._launches[token] = context
        return token

    def address(self, name: str) -> str:
        """Of an endpoint."""
        return f"{self._root()}{_PATH}/{name}"

    def discovery(self) -> Reply:
        """`.well-known/smart-configuration`."""
        breaks = self.rules.breaks
        if "discovery garbage" in breaks:
            return Reply(200, b"<html>Welcome</html>", content_type="text/html")
        said: dict[str, Any] = {
            "issuer": "https://elsewhere.example" if "discovery issuer" in breaks else self._root() + _PATH,
            "jwks_uri": self.address("jwks"),
            "authorization_endpoint": self.address("authorize"),
            "token_endpoint": self.address("token"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "scopes_supported": ["openid", "fhirUser", "launch", "launch/patient", "offline_access", "patient/*.rs"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["plain"] if "S256 absent" in breaks else ["S256"],
            "authorization_response_iss_parameter_supported": "iss absent" not in breaks,
            "capabilities": [*_CAPABILITIES, *(["permission-v1"] if self.rules.first_version else [])],
        }
        if "PKCE absent" in breaks:
            del said["code_challenge_methods_supported"]
        if "token URL elsewhere" in breaks:
            said["token_endpoint"] = f"{self._elsewhere()}{_PATH}/token"
        return Reply(200, json.dumps(said).encode(), content_type="application/json")

    def answer(self, asked: Asked) -> Reply | None:
        """None: the address is none of ours."""
        match asked.path.removeprefix(f"{_PATH}/"), asked.method:
            case "authorize", "GET" | "POST":
                return self._authorize(dict(asked.parameters))
            case "token", "POST":
                return self.grants.answer(asked)
            case "jwks", "GET":
                keys = json.dumps(key_set(self.rules.breaks)).encode()
                return Reply(200, keys, content_type="application/json")
            case "authorize" | "token" | "jwks", _:
                return Reply(405, headers={"Allow": "GET, POST"})
        return None

    def access(self, asked: Asked) -> Access:
        """What who sent this may see. Raises Refused (401)."""
        if "access_token" in dict(asked.parameters):
            raise Refused(400, "security", "A token belongs in the Authorization header")
        issue = self.grants.issue(asked.bearer)
        if issue is None:
            error = ' error="invalid_token"' if asked.bearer else ""
            challenge = {"WWW-Authenticate": f'Bearer realm="hospital"{error}'}
            raise Refused(401, "login", "A valid access token is needed", challenge)
        return GrantedAccess(self._records, issue, first_version=self.rules.first_version)

    def _authorize(self, asked: Mapping[str, str]) -> Reply:
        client = self.clients.get(asked.get("client_id"))
        if client is None or asked.get("redirect_uri") not in client.redirect_uris:
            page = b"<!doctype html><title>Error</title><p>Unknown client_id or redirect_uri"
            return Reply(400, page, content_type="text/html; charset=utf-8")
        try:
            if "denied" in self.rules.breaks:
                raise OAuthRefused("access_denied", "The user said no")
            answer = {"code": self._code(client, asked)}
        except OAuthRefused as refused:
            answer = {"error": refused.error, "error_description": refused.description}
        answer |= {"state": asked.get("state", ""), "iss": self._root() + _PATH}
        if "state wrong" in self.rules.breaks:
            answer["state"] = secrets.token_urlsafe(24)
        if "iss wrong" in self.rules.breaks:
            answer["iss"] = "https://elsewhere.example/oauth"
        gone = {name for name in ("state", "iss") if f"{name} absent" in self.rules.breaks}
        query = urlencode({name: value for name, value in answer.items() if name not in gone})
        return Reply(302, headers={"Location": f"{asked['redirect_uri']}?{query}", "Cache-Control": "no-store"})

    def _code(self, client: Client, asked: Mapping[str, str]) -> str:
        """A code for what was asked. Raises OAuthRefused."""
        if asked.get("response_type") != "code":
            raise OAuthRefused("unsupported_response_type", "response_type is code")
        self._once("state", asked.get("state", ""), len(asked.get("state", "")) >= _STATE_MIN)
        if asked.get("code_challenge_method") != "S256":
            raise OAuthRefused("invalid_request", "code_challenge_method is S256")
        challenge = asked.get("code_challenge", "")
        self._once("code_challenge", challenge, _CHALLENGE.fullmatch(challenge) is not None)
        if asked.get("aud") != f"{self._root()}/fhir":
            raise OAuthRefused("invalid_request", "aud is the FHIR base")
        scopes = asked.get("scope", "").split()
        context = self._context(asked, scopes)
        issue = Issue(client, tuple(self._granted(client, scopes)), context, asked.get("nonce"))
        return self.grants.code(issue, asked["redirect_uri"], challenge)

    def _once(self, name: str, value: str, good: bool) -> None:
        if not good or value in self._seen:
            raise OAuthRefused("invalid_request", f"{name} is absent, too short or was used before")
        self._seen.add(value)

    def _context(self, asked: Mapping[str, str], scopes: Sequence[str]) -> Context:
        launch = asked.get("launch")
        if ("launch" in scopes) != (launch is not None):
            raise OAuthRefused("invalid_request", "the scope launch and the parameter launch come together")
        if launch is None:
            return Context(patient=self.rules.picks if "launch/patient" in scopes else None)
        if launch not in self._launches:
            raise OAuthRefused("invalid_request", "this launch is not known")
        return self._launches[launch]

    def _granted(self, client: Client, scopes: Sequence[str]) -> list[str]:
        if any(scope.startswith("system/") for scope in scopes):
            raise OAuthRefused("invalid_scope", "system/ scopes are for backend services")
        return granted(self.rules, client, scopes)

    def _now(self) -> float:
        return self.rules.clock.now().timestamp()
