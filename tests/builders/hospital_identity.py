# SPDX-License-Identifier: Apache-2.0
"""id_tokens of the simulated hospital, and the keys that sign them."""

import functools
import hmac
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from joserfc import jwt
from joserfc.jwk import RSAKey
from joserfc.util import urlsafe_b64encode

IdentityBreak = Literal[
    "id_token absent",
    "id_token audience",
    "id_token issuer",
    "id_token expired",
    "id_token signature",
    "id_token unsigned",
    "id_token symmetric",
    "id_token nonce",
    "id_token kid absent",
    "id_token kid unknown",
    "id_token garbage",
    "two keys",
    "foreign user",
    "user of another type",
]
"""What can be wrong with who the user is. `id_token kid absent` alone is as real launchers do; with `two keys` nobody
knows which one signed. `id_token symmetric`: HS256 with what is public of the key, the known attack."""


@functools.cache
def _key(number: int) -> RSAKey:
    """One for all hospitals of a process: it takes a while to find."""
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": f"hospital-{number}"})


def key_set(breaks: Collection[str]) -> dict[str, Any]:
    """The hospital's JWKS: public members only."""
    return {"keys": [_key(number).as_dict(private=False) for number in ((0, 1) if "two keys" in breaks else (0,))]}


def id_token(claims: Mapping[str, Any], breaks: Collection[str], now: float) -> str:
    """A signed id_token of these claims, wrong where a test wants it so."""
    said = dict(claims) | {"iat": int(now), "exp": int(now) + 300}
    header = {"alg": "RS256", "kid": _key(0).kid}
    key = _key(0)
    for broken in breaks:
        match broken:
            case "id_token audience":
                said["aud"] = "another-client"
            case "id_token issuer":
                said["iss"] = "https://elsewhere.example/oauth"
            case "id_token expired":
                said |= {"iat": int(now) - 7200, "exp": int(now) - 3600}
            case "id_token nonce":
                said["nonce"] = "another"
            case "id_token signature":
                key = _key(1)
            case "id_token kid absent":
                del header["kid"]
            case "id_token kid unknown":
                header["kid"] = "nobody"
            case "foreign user":
                said["fhirUser"] = "https://elsewhere.example/fhir/Practitioner/p1"
            case "user of another type":
                said["fhirUser"] = "Organization/o1"
    if "id_token garbage" in breaks:
        return "this.is.none"
    if "id_token unsigned" in breaks:
        return _compact({"alg": "none"}, said, None)
    if "id_token symmetric" in breaks:
        return _compact(header | {"alg": "HS256"}, said, _key(0).as_pem(private=False))
    return jwt.encode(header, said, key)


def _compact(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes | None) -> str:
    """A JWT that no library would make."""
    signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims))
    signature = b"" if secret is None else urlsafe_b64encode(hmac.digest(secret, signed, "sha256"))
    return (signed + b"." + signature).decode()
