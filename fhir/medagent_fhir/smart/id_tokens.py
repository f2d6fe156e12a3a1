# SPDX-License-Identifier: Apache-2.0
"""Who the user is: id_tokens checked with the keys of their issuer, and fhirUser."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from medagent.clock import Clock
from medagent.errors import LaunchError
from medagent_fhir.smart.addresses import FHIR_ID, safe_url
from medagent_fhir.smart.exchange import Peer

_SKEW_SECONDS = 60  # clocks of hospitals differ, by less than this where they are set by NTP
_FETCH_AGAIN = timedelta(seconds=30)
"""An unknown `kid` makes us fetch the keys anew, but not more often than this, whoever sends such tokens."""
_FETCHED_FOR = timedelta(hours=1)
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ALGORITHMS = (*_RSA, *_CURVES)
"""Signatures with a public key. Neither `none` nor HS*: their key would be our secret, or none."""
_RSA_MODULUS_MIN = 342  # base64url of 2,048 bits
_USERS = ("Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person")
_USER = re.compile(rf"(?:(?P<base>.+)/)?(?P<local>(?:{'|'.join(_USERS)})/{FHIR_ID.pattern})")

_Jwks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an id_token must say."""

    issuer: str
    client_id: str
    nonce: str
    jwks_uri: str


@dataclass(slots=True)
class _Fetched:
    keys: _Jwks
    at: datetime


class IdTokens:
    """Checks id_tokens. Keeps the keys of their issuers for an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fetched: dict[str, _Fetched] = {}

    async def claims(self, token: SecretStr, expected: Expected, peer: Peer) -> Mapping[str, Any]:
        """What it says, once it is certain who says it.

        (1) Signed with a public key that fits, by its issuer. (2) From that issuer, for us, not expired. (3) In answer
        to this launch. Raises LaunchError; AuthorizationError where the keys cannot be fetched.
        """
        text = token.get_secret_value()
        try:
            header: Mapping[str, Any] | None = jws.extract_compact(text.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError):
            header = None
        if not isinstance(header, dict):  # joserfc takes a list for one
            raise _refused(peer, "is no signed JWT")
        key = await self._key(header, expected.jwks_uri, peer)
        try:
            registry = jws.JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
            claims = jwt.decode(text, key, registry=registry).claims  # (1)
            jwt.JWTClaimsRegistry(
                now=int(self._clock.now().timestamp()),
                leeway=_SKEW_SECONDS,
                iss={"essential": True, "value": expected.issuer},
                aud={"essential": True, "value": expected.client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(claims)  # (2)
        except JoseError as error:
            raise _refused(peer, f"does not hold ({error.error})") from None
        if len(_several(claims["aud"])) > 1 and claims.get("azp") != expected.client_id:
            raise _refused(peer, "is for several, and not issued to us (azp)")
        nonce = claims.get("nonce")
        said = nonce.encode(errors="replace") if isinstance(nonce, str) else b""
        if not hmac.compare_digest(said, expected.nonce.encode()):  # (3)
            raise _refused(peer, "answers another launch (nonce)")
        return claims

    async def _key(self, header: Mapping[str, Any], jwks_uri: str, peer: Peer) -> RSAKey | ECKey:
        alg, kid = header.get("alg"), header.get("kid")
        if alg not in _ALGORITHMS:
            raise _refused(peer, "is not signed with a public key")
        fitting = _fitting(await self._keys(jwks_uri, peer, None), alg, kid)
        if not fitting and kid is not None:
            fitting = _fitting(await self._keys(jwks_uri, peer, _FETCH_AGAIN), alg, kid)
        if len(fitting) != 1:
            raise _refused(peer, "names no key" if kid is None else "names a key that its issuer does not publish once")
        return fitting[0]

    async def _keys(self, uri: str, peer: Peer, older_than: timedelta | None) -> _Jwks:
        """The published keys; fetched where those kept are older than that (None: than an hour)."""
        now = self._clock.now()
        kept = self._fetched.get(uri)
        if kept is None or now - kept.at >= (_FETCHED_FOR if older_than is None else older_than):
            keys = (await peer.get(uri)).get("keys")
            listed = [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
            kept = self._fetched[uri] = _Fetched(listed, now)
        return kept.keys


def _fitting(keys: _Jwks, alg: str, kid: object) -> list[RSAKey | ECKey]:
    """The keys that can have made such a signature."""
    found: list[RSAKey | ECKey] = []
    for key in keys:
        if key.get("use", "sig") != "sig" or key.get("alg", alg) != alg or (kid is not None and key.get("kid") != kid):
            continue
        public = {name: key[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in key}
        try:
            if alg in _RSA and key.get("kty") == "RSA" and len(str(key.get("n"))) >= _RSA_MODULUS_MIN:
                found.append(RSAKey.import_key(public))
            elif alg not in _RSA and key.get("kty") == "EC" and key.get("crv") == _CURVES[alg]:
                found.append(ECKey.import_key(public))
        except (JoseError, ValueError, TypeError):
            continue  # not ours to judge: another key of the set may fit
    return found


def _several(audience: object) -> list[object]:
    return audience if isinstance(audience, list) else [audience]


def _refused(peer: Peer, problem: str) -> LaunchError:
    return LaunchError(f"{peer.name}: the id_token {problem}; launch again, or ask who runs the EHR")


def fhir_user(claim: object, base: str) -> str | None:
    """The resource that the user is: `Type/id`, absolute where it is not on this server. None: nothing is said. Raises
    LaunchError for what can be no user."""
    if claim is None:
        return None
    found = _USER.fullmatch(claim) if isinstance(claim, str) else None
    if found is not None and found["base"] in (None, base):
        return found["local"]
    if found is None or safe_url(found[0]) is None:
        raise LaunchError(f"fhirUser: must name one of {', '.join(_USERS)}, relative or as a https URL; tell the EHR")
    return found[0]
