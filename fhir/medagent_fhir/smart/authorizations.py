# SPDX-License-Identifier: Apache-2.0
"""The right to call an EHR: of a session, or of the backend service for one patient. Both implement `Authorization`."""

from datetime import datetime, timedelta
from functools import lru_cache

from pydantic import SecretStr

from medagent.clock import Clock
from medagent.errors import AuthorizationError
from medagent.scopes import Grant, parsed
from medagent.vault import Vault
from medagent_fhir.smart.discovery import discovered, peer
from medagent_fhir.smart.kept import KeptSession, KeptToken, row_key
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.registry import Asymmetric, Ehr
from medagent_fhir.smart.sessions import SmartSession
from medagent_fhir.smart.sharing import SharedToken
from medagent_fhir.smart.signing_keys import SigningKeys
from medagent_fhir.smart.tokens import Client, TokenEndpoint, TokenRefused, token_id

_UNSAID_LIFE = timedelta(minutes=5)
"""How long a backend service uses a token whose server does not say; SMART recommends no more for any."""


class SessionAuthorization:
    """What a session may do at its EHR."""

    def __init__(
        self, session: SmartSession, ehr: Ehr, keys: SigningKeys, vault: Vault, clock: Clock, limits: SmartLimits
    ) -> None:
        if session.context.patient is None:
            raise AuthorizationError(
                f"EHR {ehr.name}: the launch named no patient; launch again from a patient's chart"
            )
        self.base = ehr.base
        self.patient = session.context.patient
        self._scopes = session.scopes
        self._ehr = ehr
        self._keys = keys
        self._clock = clock
        self._limits = limits
        self._token = SharedToken(
            vault,
            clock,
            "session",
            row_key(session.key),
            read=KeptSession.of,
            renew=self._refreshed,
            renewable=lambda kept: kept.refresh_token is not None,
            takes=limits.renewal,
        )

    @property
    def granted(self) -> Grant:
        """As granted at last."""
        held = self._token.held
        return _grant(self._scopes if held is None else held.scopes, ("patient", "user"))

    @property
    def token_id(self) -> str | None:
        """What names the token that was handed out last."""
        return None if self._token.held is None else token_id(self._token.held.access_token)

    async def token(self, refused: SecretStr | None = None) -> SecretStr:
        """See `Authorization`."""
        return (await self._token.get(refused)).access_token

    async def _refreshed(self, kept: KeptSession | None) -> tuple[KeptSession, datetime]:
        if kept is None:
            raise AuthorizationError(f"EHR {self._ehr.name}: the session is over; launch again")
        if kept.refresh_token is None:
            raise AuthorizationError(f"EHR {self._ehr.name}: the token is used up and cannot be renewed; launch again")
        client = Client(self._ehr.client_id, self._ehr.authentication)
        endpoint = TokenEndpoint(peer(self._ehr, self._limits), kept.token_endpoint, client, self._keys, self._clock)
        grant = {"grant_type": "refresh_token", "refresh_token": kept.refresh_token.get_secret_value()}
        given = await endpoint.ask(grant)
        if given.rest.get("patient", _id(kept.context.patient)) != _id(kept.context.patient):
            # As one that is refused for good: the refresh token is used up, and the old right is not to be used on.
            raise TokenRefused(f"EHR {self._ehr.name}: the renewed token is for another patient", "invalid_grant")
        fresh = kept.model_copy(
            update={
                "access_token": given.access_token,
                "refresh_token": given.refresh_token or kept.refresh_token,
                "expires_at": given.expires_at,
                "renew_at": given.renew_at,
                "scopes": kept.scopes if given.scopes is None else given.scopes,
            }
        )
        return fresh, kept.ends_at


class BackendAuthorization:
    """What the backend service may do at an EHR, for the chart of one patient.

    OAuth has no way to narrow such a token to a patient: it is `patient` that binds every call, as of a launch.
    """

    def __init__(
        self, ehr: Ehr, patient: str, keys: SigningKeys, vault: Vault, clock: Clock, limits: SmartLimits
    ) -> None:
        if ehr.backend is None:
            raise AuthorizationError(f"EHR {ehr.name}: has no backend service in the registry; it can only be launched")
        self.base = ehr.base
        self.patient = patient
        self._ehr = ehr
        self._asked = ehr.backend.scopes
        self._keys = keys
        self._clock = clock
        self._limits = limits
        self._token = SharedToken(
            vault,
            clock,
            "client_token",
            row_key(ehr.issuer, ehr.backend_client_id, *self._asked),
            read=KeptToken.of,
            renew=self._issued,
            renewable=lambda kept: True,
            takes=limits.renewal,
        )

    @property
    def granted(self) -> Grant:
        """As granted at last; nothing before the first token."""
        held = self._token.held
        return _grant(() if held is None else held.scopes, ("system",))

    @property
    def token_id(self) -> str | None:
        """What names the token that was handed out last."""
        return None if self._token.held is None else token_id(self._token.held.access_token)

    async def token(self, refused: SecretStr | None = None) -> SecretStr:
        """See `Authorization`."""
        return (await self._token.get(refused)).access_token

    async def _issued(self, kept: KeptToken | None) -> tuple[KeptToken, datetime]:
        client = Client(self._ehr.backend_client_id, Asymmetric(kind="asymmetric", alg=self._ehr.backend_alg))
        configuration = await discovered(self._ehr, self._limits)
        endpoint = TokenEndpoint(
            peer(self._ehr, self._limits), configuration.token_endpoint, client, self._keys, self._clock
        )
        given = await endpoint.ask({"grant_type": "client_credentials", "scope": " ".join(self._asked)})
        if given.scopes is None:
            raise AuthorizationError(f"EHR {self._ehr.name}: the token endpoint does not say which scopes it granted")
        expires_at = given.expires_at or self._clock.now() + _UNSAID_LIFE
        fresh = KeptToken(
            access_token=given.access_token,
            expires_at=expires_at,
            renew_at=given.renew_at or expires_at,
            scopes=given.scopes,
        )
        return fresh, expires_at


@lru_cache(maxsize=64)
def _grant(scopes: tuple[str, ...], contexts: tuple[str, ...]) -> Grant:
    """Kept: it is asked for with each resource type that is read."""
    return Grant(tuple(scope for scope in map(parsed, scopes) if scope is not None and scope.context in contexts))


def _id(reference: str | None) -> str | None:
    return None if reference is None else reference.removeprefix("Patient/")
