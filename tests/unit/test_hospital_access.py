# SPDX-License-Identifier: Apache-2.0
"""What a token shows in the simulated hospital, who its user is, and the rules that it breaks where a test wants so."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from builders.hospital import Hospital, Smart, SmartBreak, hospital
from builders.hospital_application import ASYMMETRIC, HTTP, PUBLIC, RECORD, SYMMETRIC, discovery, fhir, launched
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

Json = dict[str, Any]


@pytest.fixture
def ehr() -> Iterator[Hospital]:
    """A hospital that knows a client of each kind."""
    with hospital(*RECORD, smart=Smart((PUBLIC, SYMMETRIC, ASYMMETRIC))) as running:
        yield running


@pytest.mark.parametrize(
    ("scopes", "path", "expected"),
    [
        ("patient/Observation.rs", "Observation", 2),
        ("patient/Observation.rs", "Observation?patient=one", 2),
        ("patient/Observation.rs", "Observation?patient=two", 403),
        ("patient/Observation.rs", "Observation?patient=one,two", 403),
        ("patient/Observation.rs", "Observation/theirs", 403),
        ("patient/Observation.rs", "Observation/of-nobody", 403),
        ("patient/Observation.r", "Observation", 403),
        ("patient/Observation.s", "Observation/lab", 403),
        ("patient/Observation.sr", "Observation", 403),
        ("patient/Observation.dus", "Observation", 403),
        ("patient/Observation.read", "Observation", 2),
        ("patient/Observation.rs?category=http://example.org/category|laboratory", "Observation", 1),
        ("patient/Observation.rs?category=http://example.org/category|laboratory", "Observation/lab", 200),
        ("patient/Observation.rs?category=http://example.org/category|laboratory", "Observation/vital", 403),
        ("patient/Observation.rs", "Condition", 403),
        ("patient/*.rs", "Condition", 1),
        ("patient/*.rs", "Patient/two", 403),
        ("patient/*.rs", "Patient?_id=two", 403),
        ("patient/*.rs", "Medication/m", 200),
        ("patient/*.rs", "Binary/b", 200),
        ("patient/Binary.rs", "Binary/b", 403),
        ("patient/Patient.rs patient/Condition.rs", "Patient/one/$everything", 2),
        ("user/Observation.rs", "Observation", 4),
        ("system/Observation.rs", "Observation?patient=two", 1),
        ("", "Patient/one", 403),
        ("openid launch", "Patient/one", 403),
    ],
)
def test_a_token_shows_its_scopes_of_its_patient(ehr: Hospital, scopes: str, path: str, expected: int) -> None:
    answer = fhir(ehr, path, ehr.access_token(*scopes.split(), patient="one"))
    found = answer.json() if answer.content else {}
    assert (found["total"] if found.get("resourceType") == "Bundle" else answer.status_code) == expected


def test_without_a_token_that_lives_nothing_is_shown(ehr: Hospital) -> None:
    token = ehr.access_token("patient/*.rs", patient="one")
    assert fhir(ehr, "metadata", None).status_code == 200
    assert fhir(ehr, f"Patient/one?access_token={token}", token).status_code == 400
    assert [fhir(ehr, "Patient/one", one).status_code for one in (token, None, "guessed")] == [200, 401, 401]
    ehr.end_access_tokens()
    answer = fhir(ehr, "Patient/one", token)
    assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True)


def test_a_next_link_is_for_who_searched() -> None:
    with hospital(*RECORD, page=1, smart=Smart()) as ehr:
        mine, newer = (ehr.access_token("patient/*.rs", patient="one") for _ in range(2))
        theirs = ehr.access_token("patient/*.rs", patient="two")
        path = fhir(ehr, "Observation", mine).json()["link"][1]["url"].removeprefix(f"{ehr.url}")
        assert [fhir(ehr, path, token).status_code for token in (mine, newer, theirs)] == [200, 200, 403]


def test_what_is_granted_may_be_less_or_nothing(ehr: Hospital) -> None:
    ehr.smart.granted = ("launch", "patient/Patient.r")
    assert launched(ehr).redeem().json()["scope"] == "launch patient/Patient.r"
    ehr.smart.granted = ()
    answer = launched(ehr).redeem().json()
    assert (answer["scope"], "id_token" in answer, "refresh_token" in answer) == ("", False, False)
    ehr.smart.granted, ehr.smart.first_version = None, False
    assert launched(ehr, scope="launch patient/Patient.read").redeem().json()["scope"] == "launch"


def identity(ehr: Hospital) -> Json:
    """Claims of the id_token of a launch, checked as OpenID Connect has it. Raises JoseError or KeyError."""
    token = launched(ehr).redeem().json()["id_token"]
    keys = httpx.get(f"{ehr.root}/oauth/jwks", **HTTP).json()
    assert all("d" not in key for key in keys["keys"])
    checks = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": f"{ehr.root}/oauth"},
        aud={"essential": True, "value": "medagent"},
        nonce={"essential": True, "value": "n"},
        fhirUser={"essential": True, "value": f"{ehr.url}/Practitioner/practitioner-1"},
        exp={"essential": True},
    )
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
    checks.validate(decoded.claims)
    return decoded.claims


def test_an_id_token_is_right(ehr: Hospital) -> None:
    assert identity(ehr)["fhirUser"] == f"{ehr.url}/Practitioner/practitioner-1"


@pytest.mark.parametrize(
    "breaks",
    [
        ["id_token absent"],
        ["id_token audience"],
        ["id_token issuer"],
        ["id_token expired"],
        ["id_token signature"],
        ["id_token unsigned"],
        ["id_token symmetric"],
        ["id_token nonce"],
        ["id_token kid unknown"],
        ["id_token garbage"],
        ["foreign user"],
        ["user of another type"],
    ],
    ids=lambda breaks: breaks[0],
)
def test_an_id_token_is_wrong_as_a_test_wants_it(ehr: Hospital, breaks: list[SmartBreak]) -> None:
    ehr.smart.breaks = breaks
    with pytest.raises((JoseError, ValueError, KeyError)):
        identity(ehr)


def test_a_kid_may_be_absent_with_one_key_or_two(ehr: Hospital) -> None:
    ehr.smart.breaks = ["id_token kid absent", "two keys"]
    token = launched(ehr).redeem().json()["id_token"]
    keys = httpx.get(f"{ehr.root}/oauth/jwks", **HTTP).json()["keys"]
    header = base64.urlsafe_b64decode(token.split(".")[0] + "==")
    assert (len(keys), b"kid" in header) == (2, False)


@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ("S256 absent", lambda ehr: discovery(ehr).json()["code_challenge_methods_supported"] == ["plain"]),
        ("PKCE absent", lambda ehr: "code_challenge_methods_supported" not in discovery(ehr).json()),
        ("discovery garbage", lambda ehr: discovery(ehr).text.startswith("<html>")),
        ("discovery issuer", lambda ehr: discovery(ehr).json()["issuer"] == "https://elsewhere.example"),
        ("token URL elsewhere", lambda ehr: discovery(ehr).json()["token_endpoint"].startswith(ehr.elsewhere)),
        ("state wrong", lambda ehr: (launch := launched(ehr)).callback()["state"] != launch.authorize["state"]),
        ("state absent", lambda ehr: "state" not in launched(ehr).callback()),
        ("iss wrong", lambda ehr: launched(ehr).callback()["iss"] == "https://elsewhere.example/oauth"),
        ("iss absent", lambda ehr: "iss" not in launched(ehr).callback()),
        ("denied", lambda ehr: launched(ehr).callback()["error"] == "access_denied"),
        ("scope absent", lambda ehr: "scope" not in launched(ehr).redeem().json()),
        ("patient absent", lambda ehr: "patient" not in launched(ehr).redeem().json()),
        ("expires_in absent", lambda ehr: "expires_in" not in launched(ehr).redeem().json()),
        ("token type", lambda ehr: "Bearer" not in launched(ehr).redeem().json().values()),
    ],
)
def test_a_rule_is_broken_where_a_test_says_so(
    ehr: Hospital, broken: SmartBreak, seen: Callable[[Hospital], bool]
) -> None:
    with pytest.raises((AssertionError, KeyError)):
        assert seen(ehr)
    ehr.smart.breaks = [broken]
    assert seen(ehr)
