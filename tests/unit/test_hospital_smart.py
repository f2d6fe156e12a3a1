# SPDX-License-Identifier: Apache-2.0
"""The simulated hospital authorizes as strictly as the standards let an EHR do, asked by plain HTTP and JOSE."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from builders.hospital import Client, Hospital, Smart, hospital
from builders.hospital_application import (
    ASYMMETRIC,
    EC,
    HTTP,
    PUBLIC,
    RECORD,
    RSA,
    SCOPES,
    STRANGER,
    SYMMETRIC,
    asked_for_token,
    assertion,
    discovery,
    fhir,
    launched,
)
from builders.hospital_clients import ASSERTION
from builders.hospital_faults import status
from builders.hospital_wire import FORM
from builders.vault import StandingClock

Json = dict[str, Any]

NOTHING: dict[str, str | None] = {"client_assertion_type": None, "client_assertion": None}


@pytest.fixture
def ehr() -> Iterator[Hospital]:
    """A hospital that knows a client of each kind."""
    with hospital(*RECORD, smart=Smart((PUBLIC, SYMMETRIC, ASYMMETRIC))) as running:
        yield running


@pytest.mark.parametrize("client", [PUBLIC, SYMMETRIC, ASYMMETRIC], ids=lambda client: client.kind)
def test_a_launch_that_is_right_gives_a_token_with_its_context(ehr: Hospital, client: Client) -> None:
    launch = launched(ehr, client)
    callback = launch.callback()
    assert (callback["state"], callback["iss"]) == (launch.authorize["state"], f"{ehr.root}/oauth")
    answer = launched(ehr, client).redeem().json()
    assert (answer["patient"], answer["encounter"], answer["tenant"]) == ("one", "e", "north")
    assert (answer["scope"], answer["token_type"]) == (SCOPES, "Bearer")
    assert {answer[name] for name in ("access_token", "refresh_token", "id_token")} < set(ehr.secrets)
    assert fhir(ehr, "Patient/one", answer["access_token"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"state": None}, "invalid_request"),
        ({"state": "short"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"aud": "https://elsewhere.example/fhir"}, "invalid_request"),
        ({"launch": None}, "invalid_request"),
        ({"launch": "guessed"}, "invalid_request"),
        ({"scope": "openid patient/Observation.rs"}, "invalid_request"),
        ({"scope": "launch system/Observation.rs"}, "invalid_scope"),
    ],
)
def test_an_authorization_that_is_wrong_gives_no_code(ehr: Hospital, changes: dict[str, str], error: str) -> None:
    callback = launched(ehr).callback(**changes)
    assert (callback["error"], "code" in callback) == (error, False)


@pytest.mark.parametrize("name", ["state", "code_challenge"])
def test_state_and_challenge_are_taken_once(ehr: Hospital, name: str) -> None:
    first, second = launched(ehr), launched(ehr)
    assert "code" in first.callback()
    assert second.callback(**{name: first.authorize[name]})["error"] == "invalid_request"


@pytest.mark.parametrize("changes", [{"client_id": "nobody"}, {"redirect_uri": "https://elsewhere.example/"}])
def test_who_is_not_known_is_not_redirected(ehr: Hospital, changes: dict[str, str]) -> None:
    answer = launched(ehr).answer(**changes)
    assert (answer.status_code, "Location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": secrets.token_urlsafe(48)},
        {"code_verifier": None},
        {"redirect_uri": "http://127.0.0.1:1/"},
        {"code": "guessed"},
    ],
    ids=["another verifier", "no verifier", "another redirect_uri", "another code"],
)
def test_a_code_is_for_who_asked_for_it(ehr: Hospital, changes: dict[str, str | None]) -> None:
    answer = launched(ehr).redeem(**changes)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_code_that_comes_twice_ends_what_it_gave(ehr: Hospital) -> None:
    launch = launched(ehr)
    code = launch.callback()["code"]
    token = launch.token(launch.redemption(code)).json()["access_token"]
    assert launch.token(launch.redemption(code)).json()["error"] == "invalid_grant"
    assert fhir(ehr, "Patient/one", token).status_code == 401


def test_a_code_is_no_other_clients(ehr: Hospital) -> None:
    code = launched(ehr, PUBLIC).callback()["code"]
    answer = launched(ehr, ASYMMETRIC).redeem(code=code)
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS384", "ES384"])
def test_a_right_assertion_is_taken_once(ehr: Hospital, key: Any) -> None:
    form = assertion(ehr, key) | {"grant_type": "client_credentials", "scope": "system/Observation.rs"}
    assert asked_for_token(ehr, ASYMMETRIC, form).status_code == 200
    assert asked_for_token(ehr, ASYMMETRIC, form).json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda ehr: assertion(ehr, RSA, {"alg": "RS256"}), id="RS256"),
        pytest.param(lambda ehr: assertion(ehr, RSA, {"alg": "PS384"}), id="PS384"),
        pytest.param(lambda ehr: assertion(ehr, EC, {"typ": None}), id="no typ"),
        pytest.param(lambda ehr: assertion(ehr, EC, {"kid": None}), id="no kid"),
        pytest.param(lambda ehr: assertion(ehr, EC, {"kid": "nobody"}), id="unknown kid"),
        pytest.param(lambda ehr: assertion(ehr, STRANGER), id="another key"),
        pytest.param(lambda ehr: assertion(ehr, iss="another"), id="another iss"),
        pytest.param(lambda ehr: assertion(ehr, sub="another"), id="another sub"),
        pytest.param(lambda ehr: assertion(ehr, aud=ehr.url), id="another aud"),
        pytest.param(lambda ehr: assertion(ehr, exp=int(time.time()) - 1), id="past"),
        pytest.param(lambda ehr: assertion(ehr, exp=int(time.time()) + 400), id="too far"),
        pytest.param(lambda ehr: assertion(ehr, exp=None), id="no exp"),
        pytest.param(lambda ehr: assertion(ehr, iat=int(time.time()) + 60), id="future"),
        pytest.param(lambda ehr: assertion(ehr, jti=None), id="no jti"),
        pytest.param(lambda ehr: {"client_assertion_type": ASSERTION, "client_assertion": "no.jwt"}, id="no JWT"),
        pytest.param(
            lambda ehr: {"client_assertion_type": None, "client_assertion": None, "client_id": "asymmetric"},
            id="nothing",
        ),
        pytest.param(lambda ehr: assertion(ehr) | {"client_id": "medagent"}, id="another client_id"),
        pytest.param(lambda ehr: assertion(ehr) | {"client_secret": "s"}, id="a secret too"),
    ],
)
def test_an_assertion_that_is_wrong_shows_nobody(
    ehr: Hospital, wrong: Callable[[Hospital], dict[str, str | None]]
) -> None:
    form = {"grant_type": "client_credentials", "scope": "system/Observation.rs"} | wrong(ehr)
    answer = asked_for_token(ehr, ASYMMETRIC, form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_secret_comes_as_basic_and_is_right(ehr: Hospital) -> None:
    form: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": "r"}
    answers = [
        asked_for_token(ehr, SYMMETRIC, form, auth=("symmetric", "wrong")),
        asked_for_token(ehr, PUBLIC, form | {"client_id": "symmetric", "client_secret": "s3 cr:t"}),
        asked_for_token(ehr, PUBLIC, form | {"client_id": "symmetric"}),
        asked_for_token(ehr, SYMMETRIC, form | {"client_id": "asymmetric"}),
    ]
    assert [answer.json()["error"] for answer in answers] == ["invalid_client"] * 4
    assert asked_for_token(ehr, SYMMETRIC, form).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "more",
    [
        {"params": {"scope": "x"}},
        {"headers": {"Content-Type": "application/json"}},
        {"content": "grant_type=x&client_id=medagent&client_id=medagent"},
    ],
    ids=["something in the URL", "no form", "a parameter twice"],
)
def test_a_token_is_asked_for_by_a_form(ehr: Hospital, more: Json) -> None:
    form: Json = {"content": "grant_type=x&client_id=medagent", "headers": {"Content-Type": FORM}}
    answer = httpx.post(f"{ehr.root}/oauth/token", **HTTP, **(form | more))
    assert answer.json()["error"] == "invalid_request"


def test_codes_and_access_tokens_end_in_time(ehr: Hospital) -> None:
    clock = StandingClock(datetime.now(UTC))
    ehr.smart.clock = clock
    launch, late = launched(ehr), launched(ehr)
    token, code = launch.redeem().json()["access_token"], late.callback()["code"]
    clock.go_on(61)
    assert late.token(late.redemption(code)).json()["error"] == "invalid_grant"
    assert fhir(ehr, "Patient/one", token).status_code == 200
    clock.go_on(240)
    assert fhir(ehr, "Patient/one", token).status_code == 401


def test_an_assertion_comes_alone_and_says_what_it_is(ehr: Hospital) -> None:
    form: dict[str, str | None] = {"grant_type": "client_credentials", "scope": "system/Observation.rs"}
    answers = [
        asked_for_token(ehr, ASYMMETRIC, form, auth=("symmetric", "s3+cr%3At")),
        asked_for_token(ehr, ASYMMETRIC, form | {"client_assertion_type": "jwt"}),
    ]
    assert [answer.json()["error"] for answer in answers] == ["invalid_request"] * 2


def test_a_refresh_token_dies_when_it_is_used_and_takes_its_family_along(ehr: Hospital) -> None:
    launch = launched(ehr)
    first = launch.redeem().json()
    second = launch.refresh(first["refresh_token"]).json()
    assert launch.refresh(second["refresh_token"], scope="patient/*.rs").json()["error"] == "invalid_scope"
    assert fhir(ehr, "Patient/one", second["access_token"]).status_code == 200
    assert launch.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert fhir(ehr, "Patient/one", second["access_token"]).status_code == 401
    assert launch.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("client", "scope", "error"),
    [
        (ASYMMETRIC, "patient/Observation.rs", "invalid_scope"),
        (ASYMMETRIC, "", "invalid_scope"),
        (SYMMETRIC, "system/Observation.rs", "unauthorized_client"),
        (replace(ASYMMETRIC, scopes=("system/Patient.rs",)), "system/Observation.rs", "invalid_scope"),
    ],
)
def test_backend_services_ask_for_system_scopes_and_have_keys(
    ehr: Hospital, client: Client, scope: str, error: str
) -> None:
    ehr.smart.clients = (client,)
    form: dict[str, str | None] = {"grant_type": "client_credentials", "scope": scope}
    assert asked_for_token(ehr, client, form).json()["error"] == error


def test_a_standalone_launch_has_no_launch_token(ehr: Hospital) -> None:
    ehr.smart.picks = "two"
    launch = launched(ehr, scope="launch/patient patient/Patient.r")
    launch = replace(launch, authorize={name: said for name, said in launch.authorize.items() if name != "launch"})
    assert launch.redeem().json()["patient"] == "two"


def test_faults_meet_the_authorization_server_too(ehr: Hospital) -> None:
    ehr.on("token", status(503), times=1)
    assert launched(ehr).redeem().status_code == 503
    assert launched(ehr).redeem().status_code == 200


def test_a_hospital_without_authorization_says_so() -> None:
    with hospital(*RECORD) as ehr:
        assert discovery(ehr).status_code == 404
        with pytest.raises(AssertionError, match="smart="):
            ehr.launch("one")
