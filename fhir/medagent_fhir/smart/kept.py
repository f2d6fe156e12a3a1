# SPDX-License-Identifier: Apache-2.0
"""What lies in the vault: launches under way, sessions, and tokens of backend services. It is the one place where a
secret is written out, and the vault encrypts it."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import PlainSerializer, SecretStr, ValidationError

from medagent.evidence import Record
from medagent_fhir.smart.sessions import LaunchContext, SmartSession

_Secret = Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json-unless-none")]


def row_key(*parts: str) -> str:
    """The key of a row: a hash, which tells nothing of what it was made of."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _Row(Record):
    def to_bytes(self) -> bytes:
        """For the vault alone."""
        return self.model_dump_json().encode()

    @classmethod
    def of(cls, secret: bytes | None) -> Self | None:
        """What lay in the vault. None: nothing did, or what another version of MedAgent left there."""
        try:
            return None if secret is None else cls.model_validate_json(secret)
        except ValidationError:
            return None


class PendingLaunch(_Row):
    """A browser that is away at its authorization server. The endpoints are those that it was sent to by."""

    issuer: str
    browser: str
    """Hash of the cookie's value."""
    scopes: tuple[str, ...]
    """As asked for."""
    verifier: _Secret
    nonce: _Secret
    token_endpoint: str
    jwks_uri: str | None
    authorization_issuer: str | None
    names_itself: bool


class KeptToken(_Row):
    """An access token that several may use at a time."""

    access_token: _Secret
    expires_at: datetime | None
    """None: it holds until it is refused."""
    renew_at: datetime | None
    scopes: tuple[str, ...]


class KeptContext(Record):
    """The launch context as JSON."""

    patient: str | None
    encounter: str | None
    fhir_context: tuple[Mapping[str, Any], ...]
    intent: str | None
    tenant: str | None
    need_patient_banner: bool
    app_context: str | None


class KeptSession(KeptToken):
    """A session with its tokens."""

    issuer: str
    browser: str
    """Hash of the cookie's value."""
    token_endpoint: str
    refresh_token: _Secret | None
    """None: there was none, so the session's use ends with its token."""
    context: KeptContext
    user: str | None
    ends_at: datetime

    def opened(self, key: str, ehr: str, base: str) -> SmartSession:
        """Without its tokens."""
        return SmartSession(
            key=key,
            ehr=ehr,
            base=base,
            context=LaunchContext(**{name: getattr(self.context, name) for name in KeptContext.model_fields}),
            user=self.user,
            scopes=self.scopes,
            ends_at=self.ends_at,
        )
