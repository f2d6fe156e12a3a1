# SPDX-License-Identifier: Apache-2.0
"""What token endpoints answer, what of it is believed, and what of it is said."""

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from builders.answering import answering, as_json
from builders.hospital_wire import Asked, Reply
from builders.smart import SECRET, secret_file
from builders.vault import StandingClock
from pydantic import SecretStr

from medagent.errors import AuthorizationError
from medagent_fhir.smart import SigningKeys
from medagent_fhir.smart.exchange import Answer, Peer
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.registry import Asymmetric, Public, Symmetric
from medagent_fhir.smart.tokens import Client, TokenEndpoint, TokenRefused, Tokens, token_id

CANARY = "token-canary-2b7f90"
GOOD = {"access_token": CANARY, "token_type": "Bearer", "expires_in": 300, "scope": "patient/Patient.rs openid"}
PEER = Peer("EHR north", None, SmartLimits())


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "keys", StandingClock(), ("ES384",))


def ask(reply: Reply, keys: SigningKeys, client: Client | None = None) -> tuple[Tokens, Asked]:
    """What a token endpoint that answers so gives, and how it was asked."""
    asked: list[Asked] = []

    def respond(request: Asked) -> Reply:
        asked.append(request)
        return reply

    with answering(respond) as root:
        client = client or Client("medagent", Public(kind="public"))
        endpoint = TokenEndpoint(PEER, f"{root}/token", client, keys, StandingClock())
        tokens = asyncio.run(endpoint.ask({"grant_type": "refresh_token", "refresh_token": CANARY}))
    return tokens, asked[0]


def taken(keys: SigningKeys, **changes: Any) -> Tokens:
    """What is made of a good answer with these changes; None: without."""
    body = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return ask(as_json(body), keys)[0]


def test_a_public_client_names_itself_in_the_form(keys: SigningKeys) -> None:
    _, asked = ask(as_json(GOOD), keys)
    assert dict(asked.form) == {"grant_type": "refresh_token", "refresh_token": CANARY, "client_id": "medagent"}
    assert "authorization" not in asked.headers


def test_a_shared_secret_goes_as_http_basic_form_encoded(keys: SigningKeys, tmp_path: Path) -> None:
    authentication = Symmetric(kind="symmetric", secret_file=secret_file(tmp_path))
    _, asked = ask(as_json(GOOD), keys, Client("med:agent", authentication))
    pair = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "med%3Aagent:secret-canary+of+7%2B+signs%3A+%26%25"
    assert "client_id" not in dict(asked.form)


# standards: 7
def test_an_assertion_says_who_asks_whom_until_when_and_is_never_the_same(keys: SigningKeys) -> None:
    client = Client("medagent", Asymmetric(kind="asymmetric", alg="ES384"))
    seen = []
    for _ in range(2):
        _, asked = ask(as_json(GOOD), keys, client)
        form = dict(asked.form)
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        payload = form["client_assertion"].split(".")[1]
        seen.append((asked, json.loads(base64.urlsafe_b64decode(payload + "==="))))
    now = StandingClock().now().timestamp()
    for asked, claims in seen:
        assert claims["iss"] == claims["sub"] == "medagent"
        assert claims["aud"] == f"http://{asked.headers['host']}/token"
        assert now < claims["exp"] <= now + 300
        assert len(claims["jti"]) >= 21
    assert seen[0][1]["jti"] != seen[1][1]["jti"]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param(300, 300, id="a number"),
        pytest.param(300.5, 300.5, id="with a fraction"),
        pytest.param("300", 300, id="a number as text, as some servers write it"),
        pytest.param(10**30, 86_400, id="beyond any calendar: a day"),
        pytest.param(None, None, id="nothing"),
        pytest.param(0, None, id="nought"),
        pytest.param(-5, None, id="less than nought"),
        pytest.param(True, None, id="true"),
        pytest.param("soon", None, id="a word"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param([300], None, id="a list"),
    ],
)
def test_how_long_a_token_holds(keys: SigningKeys, said: Any, seconds: float | None) -> None:
    tokens = taken(keys, expires_in=said)
    asked_at = StandingClock().now()
    assert tokens.expires_at == (None if seconds is None else asked_at + timedelta(seconds=seconds))


# standards: 18
@pytest.mark.parametrize(("life", "ahead"), [(3600, 60), (240, 60), (40, 10), (4, 1)])
def test_another_token_is_due_before_one_ends(keys: SigningKeys, life: int, ahead: int) -> None:
    tokens = taken(keys, expires_in=life)
    assert tokens.expires_at is not None
    assert tokens.renew_at == tokens.expires_at - timedelta(seconds=ahead)


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        pytest.param("a b  a", ("a", "b"), id="some, each once"),
        pytest.param("", (), id="none"),
        pytest.param(None, None, id="not said"),
    ],
)
def test_what_was_granted_is_what_is_said(keys: SigningKeys, said: str | None, scopes: tuple[str, ...] | None) -> None:
    assert taken(keys, scope=said).scopes == scopes


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"token_type": "mac"}, id="another type of token"),
        pytest.param({"token_type": None}, id="no type of token"),
        pytest.param({"access_token": None}, id="no token"),
        pytest.param({"access_token": ""}, id="an empty token"),
        pytest.param({"access_token": 5}, id="a token that is no text"),
        pytest.param({"access_token": f"{CANARY}\r\nX-Evil: 1"}, id="a token that would break a header"),
        pytest.param({"access_token": CANARY * 1000}, id="a token beyond any header"),
        pytest.param({"refresh_token": f"{CANARY}\n"}, id="a refresh token with a line break"),
        pytest.param({"scope": ["patient/Patient.rs"]}, id="scopes that are no text"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_not_repeated(keys: SigningKeys, changes: Mapping[str, Any]) -> None:
    with pytest.raises(AuthorizationError) as raised:
        taken(keys, **changes)
    assert "EHR north: the token endpoint" in str(raised.value)
    assert CANARY not in "".join(traceback.format_exception(raised.value))


# standards: 15
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(
            as_json({"error": "invalid_grant", "error_description": CANARY * 100}, 400), "invalid_grant", id="an error"
        ),
        pytest.param(as_json({"error": "<script>" + CANARY}, 400), "answered 400", id="an error of no known kind"),
        pytest.param(as_json({"error": "invalid_grant"}, 500), "answered 500", id="an error of the server"),
        pytest.param(Reply(200, CANARY.encode(), {}, "text/html"), "answered 200", id="no JSON"),
        pytest.param(Reply(200, b"[" * 100_000, {}, "application/json"), "answered 200", id="JSON without end"),
        pytest.param(as_json([CANARY]), "answered 200", id="a list"),
        pytest.param(as_json({"access_token": CANARY, "more": "x" * 300_000}), "answered 200", id="too much"),
        pytest.param(
            Reply(307, b"", {"Location": "http://127.0.0.1:9/token"}), "answered 307", id="a redirect elsewhere"
        ),
    ],
)
def test_an_error_is_told_by_its_code_alone(keys: SigningKeys, reply: Reply, said: str) -> None:
    with pytest.raises(AuthorizationError) as raised:
        ask(reply, keys)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 200
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert isinstance(raised.value, TokenRefused) is (said == "invalid_grant")


# standards: 16
def test_a_redirect_is_not_followed(keys: SigningKeys) -> None:
    came: list[Asked] = []

    def elsewhere(request: Asked) -> Reply:
        came.append(request)
        return as_json(GOOD)

    with answering(elsewhere) as other, pytest.raises(AuthorizationError, match="answered 307"):
        ask(Reply(307, b"", {"Location": f"{other}/token"}), keys)
    assert came == []


# standards: 15
def test_no_error_of_the_library_comes_along_for_it_holds_the_request(keys: SigningKeys) -> None:
    with pytest.raises(AuthorizationError) as raised:
        ask(Reply(200, b"{}", {}, ends="reset"), keys)
    seen: BaseException | None = raised.value
    while seen is not None:
        assert isinstance(seen, AuthorizationError)
        seen = seen.__cause__ or seen.__context__


# standards: 15
def test_secrets_are_in_no_representation(keys: SigningKeys) -> None:
    tokens = taken(keys, refresh_token=CANARY, id_token=CANARY)
    assert CANARY not in f"{tokens!r} {tokens} {Answer(200, dict(tokens.rest))!r}"


# standards: 15
def test_the_http_library_logs_nothing(keys: SigningKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.http11"):
        caplog.set_level(logging.DEBUG, name)
    taken(keys)
    assert [record for record in caplog.records if record.name.startswith("http")] == []


def _jwt(claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.c2ln"


@pytest.mark.parametrize(
    ("token", "named"),
    [
        pytest.param(_jwt({"jti": "id-1"}), "id-1", id="a JWT by its jti"),
        pytest.param(_jwt({"sub": "x"}), "sha256:", id="a JWT without one by its hash"),
        pytest.param(_jwt({"jti": "x\ny"}), "sha256:", id="a jti that is no name"),
        pytest.param(_jwt({"jti": "x" * 200}), "sha256:", id="a jti without end"),
        pytest.param(_jwt(["jti"]), "sha256:", id="a list"),
        pytest.param("a.b.c", "sha256:", id="what only looks like one"),
        pytest.param("a.ä.c", "sha256:", id="beyond ASCII"),
        pytest.param(CANARY, "sha256:", id="an opaque token"),
    ],
)
def test_what_names_a_token_is_not_the_token(token: str, named: str) -> None:
    name = token_id(SecretStr(token))
    assert name.startswith(named)
    assert token not in name


def test_a_server_that_is_not_there_is_named(keys: SigningKeys) -> None:
    endpoint = TokenEndpoint(PEER, "http://127.0.0.1:9/t", Client("m", Public(kind="public")), keys, StandingClock())
    with pytest.raises(AuthorizationError, match=r"EHR north: http://127.0.0.1:9/t cannot be reached"):
        asyncio.run(endpoint.ask({"code": CANARY}))


@pytest.mark.parametrize("ends", ["hang", "trickle"])
def test_a_server_that_takes_its_time_is_not_waited_for(ends: Literal["hang", "trickle"]) -> None:
    impatient = Peer("EHR north", None, SmartLimits(answer_seconds=0.3))
    reply = Reply(200, b" " * 1000, {}, "application/json", ends=ends)
    with answering(lambda asked: reply) as root, pytest.raises(AuthorizationError, match="did not answer within"):
        asyncio.run(impatient.get(f"{root}/jwks"))


# standards: 16
def test_what_is_no_safe_url_is_asked_by_nobody() -> None:
    with pytest.raises(AuthorizationError, match="no URL that may be asked"):
        asyncio.run(PEER.post("http://ehr.example/token", {"code": CANARY}, {}))


def test_the_secret_is_read_when_it_is_needed(keys: SigningKeys, tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    client = Client("m", Symmetric(kind="symmetric", secret_file=path))
    path.write_text("another")
    _, asked = ask(as_json(GOOD), keys, client)
    assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"m:another"
    assert SECRET not in repr(client)
