# SPDX-License-Identifier: Apache-2.0
"""What an EHR says of its authorization server: `.well-known/smart-configuration`, checked before use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medagent.errors import AuthorizationError
from medagent_fhir.smart.addresses import safe_url
from medagent_fhir.smart.exchange import Peer
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.registry import Ehr


@dataclass(frozen=True, slots=True)
class Configuration:
    """The endpoints of one EHR's authorization server. They are that EHR's, and nothing of another's is sent there."""

    token_endpoint: str
    authorization_endpoint: str | None
    jwks_uri: str | None
    issuer: str | None
    """Of the authorization server, as its id_tokens and its `iss` parameter name it."""
    names_itself: bool
    """Whether each of its redirects carries `iss` (RFC 9207)."""
    offers_s256: bool


def peer(ehr: Ehr, limits: SmartLimits) -> Peer:
    """The EHR as one that is spoken to."""
    return Peer(f"EHR {ehr.name}", ehr.ca_file, limits)


async def discovered(ehr: Ehr, limits: SmartLimits) -> Configuration:
    """The configuration that the EHR publishes at present. Raises AuthorizationError."""
    return checked(ehr, await peer(ehr, limits).get(f"{ehr.base}/.well-known/smart-configuration"))


def checked(ehr: Ehr, read: Mapping[str, Any]) -> Configuration:
    """What of a configuration may be used. Raises AuthorizationError.

    (1) Endpoints are https; plain http only for an EHR that is itself on loopback, or one far away could make us call
    services of this machine. (2) Where the site named the issuer, it is that one.
    """
    token_endpoint = _endpoint(ehr, read, "token_endpoint")  # (1)
    if token_endpoint is None:
        raise AuthorizationError(f"EHR {ehr.name}: its SMART configuration names no token_endpoint")
    methods = read.get("code_challenge_methods_supported")
    return Configuration(
        token_endpoint=token_endpoint,
        authorization_endpoint=_endpoint(ehr, read, "authorization_endpoint"),
        jwks_uri=_endpoint(ehr, read, "jwks_uri"),
        issuer=_issuer(ehr, read),  # (2)
        names_itself=read.get("authorization_response_iss_parameter_supported") is True,
        offers_s256=isinstance(methods, list) and "S256" in methods,
    )


def _endpoint(ehr: Ehr, read: Mapping[str, Any], name: str) -> str | None:
    url = read.get(name)
    if url is None:
        return None
    parts = safe_url(url, query=True) if isinstance(url, str) else None
    if parts is None or (parts.scheme == "http" and not ehr.issuer.startswith("http:")):
        raise AuthorizationError(f"EHR {ehr.name}: {name} of its SMART configuration is no URL that may be trusted")
    assert isinstance(url, str)
    return url


def _issuer(ehr: Ehr, read: Mapping[str, Any]) -> str | None:
    issuer = read.get("issuer")
    if issuer is not None and not isinstance(issuer, str):
        raise AuthorizationError(f"EHR {ehr.name}: issuer of its SMART configuration is no text")
    if ehr.authorization_issuer is None:
        return issuer
    if issuer not in (None, ehr.authorization_issuer):
        raise AuthorizationError(
            f"EHR {ehr.name}: its SMART configuration names another issuer than authorization_issuer of the registry"
        )
    return ehr.authorization_issuer
