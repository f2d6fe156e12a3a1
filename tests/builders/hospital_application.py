# SPDX-License-Identifier: Apache-2.0
"""An application that launches at the simulated hospital and does everything right unless it is told otherwise.

Plain HTTP and JOSE, without anything of the product: the hospital is tested with it.
"""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from builders.hospital import Client, Hospital
from builders.hospital_clients import ASSERTION, REDIRECT

Json = dict[str, Any]

HTTP: Json = {"trust_env": False, "verify": False}
"""How httpx is told to load no certificates, which takes longer than a request: all is plain HTTP on loopback."""

RSA = RSAKey.generate_key(2048, {"use": "sig", "kid": "rsa"})
EC = ECKey.generate_key("P-384", {"use": "sig", "kid": "ec"})
STRANGER = ECKey.generate_key("P-384", {"use": "sig", "kid": "ec"})
KEYS = {"keys": [RSA.as_dict(private=False), EC.as_dict(private=False)]}

PUBLIC = Client()
SYMMETRIC = Client("symmetric", "symmetric", secret="s3 cr:t")  # noqa: S106  # a test's own
ASYMMETRIC = Client("asymmetric", "asymmetric", jwks=KEYS, backend=True)

SCOPES = "openid fhirUser launch offline_access patient/Patient.r patient/Observation.rs"


def observation(id: str, patient: str, category: str) -> Json:
    """A small one."""
    return {
        "resourceType": "Observation",
        "id": id,
        "category": [{"coding": [{"system": "http://example.org/category", "code": category}]}],
        "subject": {"reference": f"Patient/{patient}"},
    }


RECORD = (
    {"resourceType": "Patient", "id": "one"},
    {"resourceType": "Patient", "id": "two"},
    observation("lab", "one", "laboratory"),
    observation("vital", "one", "vital-signs"),
    observation("theirs", "two", "laboratory"),
    {"resourceType": "Observation", "id": "of-nobody"},
    {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/one"}},
    {"resourceType": "Medication", "id": "m"},
    {"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": ""},
    {
        "resourceType": "DocumentReference",
        "id": "d",
        "subject": {"reference": "Patient/one"},
        "content": [{"attachment": {"url": "Binary/b"}}],
    },
)


@dataclass(frozen=True)
class Launch:
    """An application in the middle of a launch, which does everything right unless it is told otherwise."""

    ehr: Hospital
    client: Client
    verifier: str
    authorize: dict[str, str]

    def answer(self, **changes: str | None) -> httpx.Response:
        """Of `/authorize`."""
        asked = {name: value for name, value in (self.authorize | changes).items() if value is not None}
        return httpx.get(f"{self.ehr.root}/oauth/authorize?{urlencode(asked)}", **HTTP)

    def callback(self, **changes: str | None) -> dict[str, str]:
        """Parameters of the callback."""
        location = self.answer(**changes).headers["Location"]
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    def redeem(self, **changes: str | None) -> httpx.Response:
        """Answer to the code."""
        return self.token(self.redemption(self.callback()["code"]) | changes)

    def redemption(self, code: str) -> dict[str, str | None]:
        """The form that gives a token for a code."""
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": self.verifier}
        return {**form, "redirect_uri": REDIRECT}

    def refresh(self, token: str, **changes: str | None) -> httpx.Response:
        """Answer to a refresh token."""
        return self.token({"grant_type": "refresh_token", "refresh_token": token, **changes})

    def token(self, form: dict[str, str | None]) -> httpx.Response:
        """Of `/token`, authenticated as the client has to."""
        return asked_for_token(self.ehr, self.client, form)


def asked_for_token(ehr: Hospital, client: Client, form: dict[str, str | None], **more: Any) -> httpx.Response:
    """The answer of `/token` to a client who shows who it is."""
    form = dict(form)
    if client.kind == "public":
        form.setdefault("client_id", client.id)
    elif client.kind == "symmetric":
        more.setdefault("auth", (client.id, "s3+cr%3At"))
    else:
        form = assertion(ehr) | form
    data = {name: value for name, value in form.items() if value is not None}
    return httpx.post(f"{ehr.root}/oauth/token", data=data, **HTTP, **more)


def assertion(ehr: Hospital, key: Any = EC, header: Json | None = None, **changes: Any) -> dict[str, str | None]:
    """The two parameters of `private_key_jwt`. A change to None takes a claim or header away."""
    claims = {"iss": "asymmetric", "sub": "asymmetric", "aud": f"{ehr.root}/oauth/token", "jti": secrets.token_hex(8)}
    claims |= {"exp": int(time.time()) + 120} | changes
    head = {"alg": "RS384" if isinstance(key, RSAKey) else "ES384", "kid": key.kid, "typ": "JWT"} | (header or {})
    text = jwt.encode(
        {name: value for name, value in head.items() if value is not None},
        {name: value for name, value in claims.items() if value is not None},
        key,
        algorithms=[head["alg"]],
        default_type=None,
    )
    return {"client_assertion_type": ASSERTION, "client_assertion": text}


def launched(ehr: Hospital, client: Client = PUBLIC, scope: str = SCOPES) -> Launch:
    """A launch for the first patient."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": REDIRECT,
        "scope": scope,
        "state": secrets.token_urlsafe(24),
        "aud": ehr.url,
        "launch": ehr.launch("one", encounter="e", tenant="north"),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "nonce": "n",
    }
    return Launch(ehr, client, verifier, asked)


def fhir(ehr: Hospital, path: str, token: str | None, **more: Any) -> httpx.Response:
    """The answer of the FHIR side."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{ehr.url}/{path}", headers=headers, **HTTP, **more)


def discovery(ehr: Hospital) -> httpx.Response:
    """Of SMART."""
    return fhir(ehr, ".well-known/smart-configuration", None)
