# SPDX-License-Identifier: Apache-2.0
"""SMART App Launch 2.2: how a launch begins, how it is finished, and what may be done with it."""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from urllib.parse import urlencode

from pydantic import SecretStr

from medagent.clock import Clock
from medagent.errors import AuthorizationError, LaunchError, SettingsError
from medagent.vault import Vault
from medagent_fhir.authorization import Authorization
from medagent_fhir.smart.addresses import FHIR_ID, safe_url
from medagent_fhir.smart.authorizations import BackendAuthorization, SessionAuthorization
from medagent_fhir.smart.discovery import Configuration, discovered, peer
from medagent_fhir.smart.id_tokens import Expected, IdTokens, fhir_user
from medagent_fhir.smart.kept import KeptContext, KeptSession, PendingLaunch, row_key
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.registry import Ehr, EhrRegistry
from medagent_fhir.smart.sessions import SmartSession, launch_context
from medagent_fhir.smart.signing_keys import SigningKeys
from medagent_fhir.smart.tokens import Client, TokenEndpoint, TokenRefused, Tokens

_SECRET_BYTES = 32
_BROWSER_MIN = 22  # characters: 122 bits in base64url take 21, and no encoding is denser
_OPAQUE = re.compile(r"[ -~]{1,4096}")
_ERROR = re.compile(r"[a-z_]{1,64}")


class Launcher:
    """Launches from, and backend services at, the EHRs of a registry. Any thread, event loop or process may finish
    what another began: what is between lies in the vault."""

    def __init__(
        self,
        registry: EhrRegistry,
        keys: SigningKeys,
        vault: Vault,
        clock: Clock,
        redirect_uri: str | None,
        limits: SmartLimits = SmartLimits(),  # noqa: B008  # frozen
    ) -> None:
        """`redirect_uri`: None where nothing is launched, such as on the command line."""
        if redirect_uri is not None and safe_url(redirect_uri) is None:
            raise SettingsError("redirect_uri: must be a https URL (http only on loopback) without query and fragment")
        self._registry = registry
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._redirect_uri = redirect_uri
        self._limits = limits
        self._id_tokens = IdTokens(clock)

    @property
    def _callback(self) -> str:
        if self._redirect_uri is None:
            raise SettingsError("MEDAGENT_PUBLIC_URL: is needed for a launch, which comes back to it")
        return self._redirect_uri

    async def begin(self, iss: str, launch: str | None, browser: str) -> str:
        """The URL of the authorization server to send the browser to. `launch`: as the EHR gave it; None: a launch of
        our own. `browser`: the value of a random cookie (122 bits or more). LaunchError: answer with 400.
        AuthorizationError: the EHR cannot be reached or trusted; answer with 502.

        (1) Only issuers of the registry, exactly; nothing was asked of anybody before. (2) Only with S256. (3) What the
        callback must match is kept; the URL holds the state and a hash of the verifier.
        """
        ehr = self._registry.of_issuer(iss)  # (1)
        if ehr is None:
            raise LaunchError("iss is none of the EHRs that this site works with; its registry lists them")
        if launch is not None and not _OPAQUE.fullmatch(launch):
            raise LaunchError("launch is not what an EHR gives: launch again from the EHR")
        if len(browser) < _BROWSER_MIN:
            raise LaunchError("The browser has no cookie of ours to bind the launch to: allow cookies, launch again")
        configuration = await discovered(ehr, self._limits)
        if not configuration.offers_s256:  # (2)
            raise AuthorizationError(f"EHR {ehr.name}: its SMART configuration does not offer PKCE with S256")
        state, verifier, nonce = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        pending = _pending(ehr, configuration, launch, browser, SecretStr(verifier), SecretStr(nonce))
        url = self._authorization_url(ehr, configuration, pending, state, launch)
        until = self._clock.now() + timedelta(seconds=self._limits.launch_seconds)
        await asyncio.to_thread(self._vault.put, "launch", row_key(state), pending.to_bytes(), until)  # (3)
        return url

    def _authorization_url(
        self, ehr: Ehr, configuration: Configuration, pending: PendingLaunch, state: str, launch: str | None
    ) -> str:
        endpoint = configuration.authorization_endpoint
        if endpoint is None:
            raise AuthorizationError(f"EHR {ehr.name}: its SMART configuration names no authorization_endpoint")
        digest = hashlib.sha256(pending.verifier.get_secret_value().encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": ehr.client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(pending.scopes),
            "state": state,
            "aud": ehr.issuer,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"),
            "code_challenge_method": "S256",
        }
        if launch is not None:
            asked["launch"] = launch
        if "openid" in pending.scopes:
            asked["nonce"] = pending.nonce.get_secret_value()
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def finish(self, parameters: Iterable[tuple[str, str]], browser: str) -> SmartSession:
        """The session that the callback's parameters (all pairs of the query) open. Errors as of `begin`.

        (1) The state is one of ours, once, and (2) of this browser. (3) It is the authorization server that the browser
        was sent to. (4) It gave a code. (5) The code gives tokens. (6) The user is who the id_token says. Whatever
        fails, nothing of what follows is done.
        """
        given = _single(parameters)
        secret = await asyncio.to_thread(self._vault.take, "launch", row_key(given.get("state", "")))  # (1)
        if (pending := PendingLaunch.of(secret)) is None:
            raise LaunchError("state: this launch is unknown, over, or was finished before; launch again")
        if not hmac.compare_digest(pending.browser, row_key(browser)):  # (2)
            raise LaunchError("state: this launch was begun by another browser; launch again")
        ehr = self._registry.of_issuer(pending.issuer)
        if ehr is None:
            raise LaunchError("The site does no longer work with the EHR of this launch")
        _check_issuer(ehr, pending, given.get("iss"))  # (3)
        code = _code(ehr, given)  # (4)
        tokens = await self._exchanged(ehr, pending, code)  # (5)
        user = await self._user(ehr, pending, tokens)  # (6)
        return await self._opened(ehr, pending, tokens, user)

    async def _exchanged(self, ehr: Ehr, pending: PendingLaunch, code: str) -> Tokens:
        client = Client(ehr.client_id, ehr.authentication)
        endpoint = TokenEndpoint(peer(ehr, self._limits), pending.token_endpoint, client, self._keys, self._clock)
        try:
            tokens = await endpoint.ask(
                {
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": self._callback,
                    "code_verifier": pending.verifier.get_secret_value(),
                }
            )
        except TokenRefused as error:
            raise LaunchError(f"{error}; launch again") from None
        if tokens.scopes is None:
            raise LaunchError(f"EHR {ehr.name}: does not say which scopes it granted, as SMART has it")
        return tokens

    async def _user(self, ehr: Ehr, pending: PendingLaunch, tokens: Tokens) -> str | None:
        if "openid" not in pending.scopes:
            return None
        if tokens.id_token is None:
            if "openid" in (tokens.scopes or ()):
                raise LaunchError(f"EHR {ehr.name}: granted openid and gave no id_token")
            return None
        if pending.authorization_issuer is None or pending.jwks_uri is None:
            raise LaunchError(
                f"EHR {ehr.name}: gave an id_token, but its SMART configuration lacks issuer or jwks_uri: name the "
                "issuer in the registry (authorization_issuer), or do not ask for openid"
            )
        expected = Expected(
            issuer=pending.authorization_issuer,
            client_id=ehr.client_id,
            nonce=pending.nonce.get_secret_value(),
            jwks_uri=pending.jwks_uri,
        )
        claims = await self._id_tokens.claims(tokens.id_token, expected, peer(ehr, self._limits))
        return fhir_user(claims.get("fhirUser"), ehr.base)

    async def _opened(self, ehr: Ehr, pending: PendingLaunch, tokens: Tokens, user: str | None) -> SmartSession:
        context = launch_context(tokens.rest)
        kept = KeptSession(
            issuer=ehr.issuer,
            browser=pending.browser,
            token_endpoint=pending.token_endpoint,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=tokens.expires_at,
            renew_at=tokens.renew_at,
            scopes=tokens.scopes or (),
            context=KeptContext(**{name: getattr(context, name) for name in KeptContext.model_fields}),
            user=user,
            ends_at=self._clock.now() + timedelta(seconds=self._limits.session_seconds),
        )
        key = secrets.token_urlsafe(_SECRET_BYTES)
        await asyncio.to_thread(self._vault.put, "session", row_key(key), kept.to_bytes(), kept.ends_at)
        return kept.opened(key, ehr.name, ehr.base)

    async def session(self, key: str, browser: str) -> SmartSession | None:
        """The session of this key, for the browser that it was opened by. None: there is none, or no longer."""
        secret = await asyncio.to_thread(self._vault.get, "session", row_key(key))
        kept = KeptSession.of(secret)
        if kept is None or not hmac.compare_digest(kept.browser, row_key(browser)):
            return None
        ehr = self._registry.of_issuer(kept.issuer)
        return None if ehr is None else kept.opened(key, ehr.name, ehr.base)

    async def end(self, session: SmartSession) -> None:
        """Forgets the session and its tokens. A run that is under way keeps the token it has until that ends."""
        await asyncio.to_thread(self._vault.delete, "session", row_key(session.key))

    def authorization(self, session: SmartSession) -> Authorization:
        """The right to read the chart of the launch. AuthorizationError where it named no patient."""
        ehr = self._registry.named(session.ehr)
        if ehr is None or ehr.base != session.base:
            raise AuthorizationError(f"EHR {session.ehr}: the site does no longer work with it")
        return SessionAuthorization(session, ehr, self._keys, self._vault, self._clock, self._limits)

    async def backend(self, ehr: Ehr, patient: str) -> Authorization:
        """The right of the backend service, for the chart of one patient (`Patient/id`). Raises AuthorizationError."""
        kind, _, id_ = patient.partition("/")
        if kind != "Patient" or not FHIR_ID.fullmatch(id_):
            raise AuthorizationError(f"EHR {ehr.name}: a backend service works for one patient, named like Patient/123")
        authorization = BackendAuthorization(ehr, patient, self._keys, self._vault, self._clock, self._limits)
        await authorization.token()  # what is granted is known from then on
        return authorization


def _pending(
    ehr: Ehr, configuration: Configuration, launch: str | None, browser: str, verifier: SecretStr, nonce: SecretStr
) -> PendingLaunch:
    return PendingLaunch(
        issuer=ehr.issuer,
        browser=row_key(browser),
        scopes=ehr.asked_for(from_ehr=launch is not None),
        verifier=verifier,
        nonce=nonce,
        token_endpoint=configuration.token_endpoint,
        jwks_uri=configuration.jwks_uri,
        authorization_issuer=configuration.issuer,
        names_itself=configuration.names_itself,
    )


def _single(parameters: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """The parameters by name. One that comes twice could be read one way here and another way elsewhere."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise LaunchError("The callback names a parameter twice; launch again")
        given[name] = value
    return given


def _check_issuer(ehr: Ehr, pending: PendingLaunch, iss: str | None) -> None:
    """RFC 9207: where the authorization server names itself, it is the one that the browser was sent to. It is never
    looked up as an EHR."""
    if iss is None and pending.names_itself:
        raise LaunchError(f"iss: EHR {ehr.name} names its authorization server in each callback, and this one does not")
    if iss is not None and iss != pending.authorization_issuer:
        raise LaunchError(
            f"iss: the callback comes from another authorization server than that of EHR {ehr.name}; where it is the "
            "right one, name it in the registry (authorization_issuer)"
        )


def _code(ehr: Ehr, given: Mapping[str, str]) -> str:
    if "error" in given:
        error = given["error"] if _ERROR.fullmatch(given["error"]) else "an error of no known kind"
        raise LaunchError(f"EHR {ehr.name}: the authorization server did not grant the launch: {error}")
    code = given.get("code", "")
    if not _OPAQUE.fullmatch(code):
        raise LaunchError(f"EHR {ehr.name}: the callback brings no code; launch again")
    return code
