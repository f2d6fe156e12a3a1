# SPDX-License-Identifier: Apache-2.0
"""Who an id_token says that the user is, and everything for which it is not believed."""

import asyncio
import functools
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from builders.answering import answering, as_json
from builders.hospital_wire import Asked, Reply
from builders.vault import StandingClock
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from medagent.errors import AuthorizationError, LaunchError
from medagent_fhir.smart.exchange import Peer
from medagent_fhir.smart.id_tokens import Expected, IdTokens, fhir_user
from medagent_fhir.smart.limits import SmartLimits

PEER = Peer("EHR north", None, SmartLimits())
ISSUER = "https://login.example"
NOW = int(StandingClock().now().timestamp())
CLAIMS = {"iss": ISSUER, "aud": "medagent", "sub": "u", "exp": NOW + 300, "iat": NOW, "nonce": "nonce-1"}
BASE = "https://ehr.example/fhir"


@functools.cache
def rsa(number: int = 0) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": f"rsa-{number}"})


@functools.cache
def curve(name: str = "P-384") -> ECKey:
    return ECKey.generate_key(name, {"kid": name})


class Issuer:
    """An authorization server's key set, which counts who asks for it."""

    def __init__(self) -> None:
        self.keys: list[Any] = [rsa().as_dict(private=False), curve().as_dict(private=False)]
        self.fetched = 0
        self.root = ""

    def respond(self, asked: Asked) -> Reply:
        self.fetched += 1
        return as_json({"keys": self.keys})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with answering(made.respond) as root:
        made.root = root
        yield made


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def signed(
    claims: Mapping[str, Any] = CLAIMS,
    key: RSAKey | ECKey | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
    **header: Any,
) -> str:
    """A token of the issuer's; a member of the header that is None is left out."""
    key = key or rsa()
    said = {"alg": "RS256" if isinstance(key, RSAKey) else "ES384", "kid": key.kid} | header | dict(more)
    said = {name: value for name, value in said.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[said["alg"]], strict_check_header=False)
    return jwt.encode(said, dict(claims), key, registry=registry)


def signed_text(claims: str) -> str:
    """What no encoder would write."""
    return jws.serialize_compact({"alg": "RS256", "kid": rsa().kid}, claims, rsa(), algorithms=["RS256"])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


def check(issuer: Issuer, token: str, clock: StandingClock | None = None) -> Mapping[str, Any]:
    tokens = IdTokens(clock or StandingClock())
    return asyncio.run(tokens.claims(SecretStr(token), expected(issuer), PEER))


def expected(issuer: Issuer) -> Expected:
    return Expected(issuer=ISSUER, client_id="medagent", nonce="nonce-1", jwks_uri=f"{issuer.root}/jwks")


def short_modulus() -> str:
    """Of a key that could be broken."""
    numbers = generate_private_key(65_537, 1_024).public_key().public_numbers()  # noqa: S505 - that is the point
    return urlsafe_b64encode(numbers.n.to_bytes(128, "big")).rstrip(b"=").decode()


def unsigned(header: object, claims: object = CLAIMS, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused() -> str:
    """No library makes it: a shared-key signature whose secret is what everybody may know."""
    text = unsigned({"alg": "HS256", "kid": "rsa-0"}).removesuffix(".")
    digest = hmac.digest(rsa().as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


# standards: 9
@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: signed(), id="as it should be"),
        pytest.param(lambda: signed(CLAIMS | {"aud": ["medagent"]}), id="its audience a list of one"),
        pytest.param(
            lambda: signed(CLAIMS | {"aud": ["x", "medagent"], "azp": "medagent"}), id="for several, issued to us"
        ),
        pytest.param(lambda: signed(CLAIMS | {"exp": NOW - 59}), id="over by less than clocks differ"),
        pytest.param(lambda: signed(CLAIMS | {"iat": NOW + 60}), id="made by a clock that is ahead"),
        pytest.param(lambda: signed(kid=None), id="without kid, where there is one key"),
        pytest.param(lambda: signed(more={"pi.atm": "8"}), id="with a member of the header that nobody knows"),
        pytest.param(lambda: signed(alg="PS384"), id="signed with PS384"),
    ],
)
def test_a_good_token_is_believed(issuer: Issuer, token: Callable[[], str]) -> None:
    assert check(issuer, token())["sub"] == "u"


# standards: 9
@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: signed(CLAIMS | {"iss": "https://evil.example"}), id="another issuer"),
        pytest.param(lambda: signed(CLAIMS | {"iss": [ISSUER]}), id="an issuer in a list"),
        pytest.param(lambda: signed(without("iss")), id="no issuer"),
        pytest.param(lambda: signed(CLAIMS | {"aud": "another"}), id="another audience"),
        pytest.param(lambda: signed(CLAIMS | {"aud": ["another"]}), id="others as audience"),
        pytest.param(lambda: signed(CLAIMS | {"aud": ["medagent", "x"]}), id="for several, issued to nobody"),
        pytest.param(
            lambda: signed(CLAIMS | {"aud": ["medagent", "x"], "azp": "x"}), id="for several, issued to another"
        ),
        pytest.param(lambda: signed(without("aud")), id="no audience"),
        pytest.param(lambda: signed(CLAIMS | {"exp": NOW - 60}), id="over"),
        pytest.param(lambda: signed(CLAIMS | {"exp": float("nan")}), id="over never: not a number"),
        pytest.param(lambda: signed(CLAIMS | {"exp": "never"}), id="over never: a word"),
        pytest.param(lambda: signed(without("exp")), id="no end"),
        pytest.param(lambda: signed(CLAIMS | {"iat": NOW + 61}), id="of the future"),
        pytest.param(lambda: signed(CLAIMS | {"nbf": NOW + 61}), id="not yet valid"),
        pytest.param(lambda: signed(without("sub")), id="nobody"),
        pytest.param(lambda: signed(CLAIMS | {"nonce": "nonce-2"}), id="of another launch"),
        pytest.param(lambda: signed(CLAIMS | {"nonce": ["nonce-1"]}), id="a nonce in a list"),
        pytest.param(lambda: signed_text(json.dumps(CLAIMS | {"nonce": "\ud800"})), id="a nonce of half a sign"),
        pytest.param(lambda: signed(without("nonce")), id="no nonce"),
        pytest.param(lambda: signed(key=rsa(1), kid="rsa-0"), id="another's signature"),
        pytest.param(lambda: signed(key=rsa(1)), id="a key that the issuer does not publish"),
        pytest.param(lambda: signed(key=curve(), kid="rsa-0"), id="a signature of another kind than the key"),
        pytest.param(lambda: signed()[:-8] + "AAAAAAAA", id="a signature that was changed"),
        pytest.param(lambda: ".".join([*signed().split(".")[:2], ""]), id="no signature"),
        pytest.param(lambda: unsigned({"alg": "none"}), id="alg none"),
        pytest.param(lambda: unsigned({"alg": "None", "kid": "rsa-0"}), id="alg None"),
        pytest.param(lambda: confused(), id="HS256 with the public key as secret"),
        pytest.param(lambda: unsigned({"alg": ["RS256"]}), id="a list of algorithms"),
        pytest.param(lambda: unsigned({"alg": "RS256", "kid": ["rsa-0"]}), id="a list of kids"),
        pytest.param(lambda: unsigned({"alg": "RS256", "crit": ["exp"], "kid": "rsa-0"}), id="critical and unknown"),
        pytest.param(lambda: unsigned(["alg"]), id="a header that is a list"),
        pytest.param(lambda: "this.is.none", id="three words"),
        pytest.param(lambda: "eyJh", id="one word"),
        pytest.param(lambda: signed() + "." + signed(), id="two tokens"),
    ],
)
def test_any_other_is_not(issuer: Issuer, token: Callable[[], str]) -> None:
    with pytest.raises(LaunchError, match="EHR north: the id_token") as raised:
        check(issuer, token())
    assert token()[:40] not in str(raised.value)


# standards: 9
@pytest.mark.parametrize(
    ("keys", "believed"),
    [
        pytest.param(lambda: [rsa()], True, id="one key"),
        pytest.param(lambda: [rsa(), curve()], True, id="one of its kind"),
        pytest.param(lambda: [rsa(), rsa(1)], False, id="two of its kind"),
        pytest.param(list, False, id="no key"),
    ],
)
def test_without_kid_it_is_believed_where_one_key_fits(
    issuer: Issuer, keys: Callable[[], list[RSAKey | ECKey]], believed: bool
) -> None:
    issuer.keys = [key.as_dict(private=False) for key in keys()]
    if believed:
        assert check(issuer, signed(kid=None))
        return
    with pytest.raises(LaunchError, match="names no key"):
        check(issuer, signed(kid=None))


# standards: 9
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"use": "enc"}, id="for encryption"),
        pytest.param({"alg": "RS512"}, id="for another algorithm"),
        pytest.param({"n": short_modulus()}, id="of 1,024 bits"),
        pytest.param({"n": 5}, id="of a number that is none"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0"}, id="a shared secret"),
        pytest.param({"kty": "AKP"}, id="of a kind that nobody knows"),
        pytest.param({"kid": "other"}, id="of another name"),
    ],
)
def test_a_key_that_does_not_fit_verifies_nothing(issuer: Issuer, change: Mapping[str, Any]) -> None:
    issuer.keys = [rsa().as_dict(private=False) | dict(change), "no key", None]
    with pytest.raises(LaunchError, match="does not publish"):
        check(issuer, signed())


def test_curves_are_verified_on_their_own_curve_alone(issuer: Issuer) -> None:
    issuer.keys = [curve().as_dict(private=False), curve("P-256").as_dict(private=False)]
    assert check(issuer, signed(key=curve(), kid=None))
    with pytest.raises(LaunchError):
        check(issuer, unsigned({"alg": "ES256", "kid": "P-384"}, signature=b"x" * 64))


# standards: 9
def test_keys_are_fetched_once_and_again_for_a_kid_that_is_new_but_not_without_end(
    issuer: Issuer, clock: StandingClock
) -> None:
    tokens = IdTokens(clock)

    async def believed(token: str) -> bool:
        try:
            await tokens.claims(SecretStr(token), expected(issuer), PEER)
        except LaunchError:
            return False
        return True

    async def story() -> None:
        assert await believed(signed())
        assert await believed(signed())
        assert issuer.fetched == 1
        issuer.keys = [rsa(1).as_dict(private=False)]  # the issuer rotates
        clock.go_on(30)
        assert await believed(signed(key=rsa(1)))
        assert issuer.fetched == 2
        assert not any([await believed(signed(kid=f"made-up-{number}")) for number in range(5)])
        assert issuer.fetched == 2
        clock.go_on(30)
        assert not await believed(signed(kid="made-up"))
        assert issuer.fetched == 3

    asyncio.run(story())


def test_keys_that_cannot_be_fetched_are_no_fault_of_the_launch(issuer: Issuer) -> None:
    tokens = IdTokens(StandingClock())
    nowhere = Expected(ISSUER, "medagent", "nonce-1", "http://127.0.0.1:9/jwks")
    with pytest.raises(AuthorizationError, match="cannot be reached"):
        asyncio.run(tokens.claims(SecretStr(signed()), nowhere, PEER))


def test_the_present_is_that_of_our_clock(issuer: Issuer) -> None:
    now = int(time.time())
    later = StandingClock(datetime.fromtimestamp(now, UTC))
    with pytest.raises(LaunchError, match="expired"):
        check(issuer, signed(), later)
    assert check(issuer, signed(CLAIMS | {"iat": now, "exp": now + 1}), later)


_VALUES = st.none() | st.booleans() | st.text(max_size=4) | st.lists(st.text(max_size=3), max_size=2)
_HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64"]), _VALUES)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="eyJhbGciOi.RS256_-=Ä", max_size=40), _HEADERS)
def test_no_token_does_anything_but_be_refused(text: str, header: dict[str, object]) -> None:
    tokens = IdTokens(StandingClock())
    nowhere = Expected(ISSUER, "medagent", "nonce-1", "http://ehr.example/never-asked")
    for token in (text, unsigned(header), unsigned(header, text)):
        with pytest.raises((LaunchError, AuthorizationError)):
            asyncio.run(tokens.claims(SecretStr(token), nowhere, PEER))


# standards: 10
@pytest.mark.parametrize(
    ("claim", "user"),
    [
        pytest.param("Practitioner/p1", "Practitioner/p1", id="relative"),
        pytest.param(f"{BASE}/Practitioner/p1", "Practitioner/p1", id="absolute, of this server"),
        pytest.param(
            "https://other.example/r4/Person/p.1", "https://other.example/r4/Person/p.1", id="absolute, of another"
        ),
        pytest.param("Patient/p1", "Patient/p1", id="a patient"),
        pytest.param("PractitionerRole/p1", "PractitionerRole/p1", id="a role"),
        pytest.param("RelatedPerson/p1", "RelatedPerson/p1", id="a relative"),
        pytest.param(None, None, id="nobody"),
    ],
)
def test_a_user_is_named_relative_to_the_server(claim: object, user: str | None) -> None:
    assert fhir_user(claim, BASE) == user


# standards: 10
@pytest.mark.parametrize(
    "claim",
    [
        pytest.param("Organization/o1", id="of another type"),
        pytest.param(f"{BASE}/Device/d1", id="a device"),
        pytest.param("XPractitioner/p1", id="a type that ends like one"),
        pytest.param("Practitioner", id="no id"),
        pytest.param("Practitioner/", id="an empty id"),
        pytest.param("Practitioner/../Patient/1", id="a path that leads upwards"),
        pytest.param("Practitioner/p1?x=1", id="a query"),
        pytest.param("Practitioner/p1\n", id="a line break"),
        pytest.param(f"Practitioner/{'x' * 65}", id="an id beyond 64 characters"),
        pytest.param("http://other.example/Practitioner/p1", id="plain http"),
        pytest.param("javascript:/Practitioner/p1", id="a script"),
        pytest.param("/Practitioner/p1", id="half a URL"),
        pytest.param(5, id="a number"),
    ],
)
def test_what_can_be_no_user_is_refused(claim: object) -> None:
    with pytest.raises(LaunchError, match="fhirUser"):
        fhir_user(claim, BASE)
