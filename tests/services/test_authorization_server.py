# SPDX-License-Identifier: Apache-2.0
"""SMART App Launch against oidc-provider, which is stricter than EHRs are and was not written to agree with us."""

import asyncio
import secrets
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from builders.counterparts import Counterparts, launch
from builders.fhir import bundle, observation, patient
from builders.registered import COOKIE, Kind, Registered, browsed, registered

from medagent.errors import AuthorizationError, LaunchError
from medagent_fhir.authorization import Authorization
from medagent_fhir.smart import SmartSession

pytestmark = pytest.mark.services

NAME = "ward"
PATIENT = "ada"
ALLOWED = ("patient/Patient.rs", "patient/Observation.rs?category=laboratory")
ASKED = ("openid", "fhirUser", "offline_access", *ALLOWED, "patient/Condition.rs")
"""More than the EHR allows."""
SHORT = 20
"""Seconds that a token holds, so that the client's clock, set ahead, stays near the server's."""
BRIEF = 4
"""Seconds that a token holds where a test waits for its end."""
NEARLY_OVER = 16
"""Seconds after which it is exchanged for another."""
BACKEND = ("system/Patient.rs", "system/Observation.rs")


@pytest.fixture(scope="module")
def servers(counterpart_servers: Counterparts) -> Counterparts:
    """Both servers, with one patient in the repository."""
    resources = (patient(PATIENT), observation("4548-4", "6.5", "%", patient=PATIENT, id="hba1c"))
    counterpart_servers.load(NAME, bundle(*resources))
    return counterpart_servers


async def launched(at: Registered, from_ehr: str | None = None) -> SmartSession:
    """A launch from its beginning to its session; `from_ehr`: what the EHR hands over."""
    launcher = at.launcher()
    url = await launcher.begin(at.ehr.issuer, from_ehr, COOKIE)
    return await launcher.finish(await asyncio.to_thread(browsed, url), COOKIE)


async def status(authorization: Authorization, path: str) -> int:
    """How the FHIR server answers under this authorization."""
    token = await authorization.token()
    assert token is not None
    bearer = {"Authorization": f"Bearer {token.get_secret_value()}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return (await client.get(f"{authorization.base}/{path}", headers=bearer)).status_code


# standards: 2, 3, 4, 5, 7, 9, 10, 13, 17
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_launch_from_the_ehr_opens_a_session_for_its_patient(
    servers: Counterparts, tmp_path: Path, kind: Kind
) -> None:
    async def story(at: Registered) -> None:
        session = await launched(
            at, launch(patient=PATIENT, encounter="e1", intent="review", need_patient_banner=False)
        )
        context = session.context
        assert (context.patient, context.encounter, context.intent) == (f"Patient/{PATIENT}", "Encounter/e1", "review")
        assert not context.need_patient_banner
        assert session.user == "Practitioner/practitioner-1"
        authorization = at.launcher().authorization(session)
        assert await status(authorization, f"Patient/{PATIENT}") == 200
        assert await status(authorization, f"Condition?patient={PATIENT}") == 403

    with registered(tmp_path, servers, NAME, kind=kind, asked=ASKED, allowed=ALLOWED) as at:
        asyncio.run(story(at))


# standards: 5, 11
def test_a_launch_of_our_own_is_for_the_patient_who_is_picked_and_knows_what_was_granted(
    servers: Counterparts, tmp_path: Path
) -> None:
    with registered(tmp_path, servers, NAME, asked=ASKED, allowed=ALLOWED) as at:
        session = asyncio.run(launched(at))
    assert session.context.patient == f"Patient/{PATIENT}"
    assert session.context.need_patient_banner
    assert session.granted.reading("Patient") == ((),)
    assert session.granted.reading("Observation") == ((("category", "laboratory"),),)
    assert session.granted.reading("Condition") is None


def test_a_launch_that_the_ehr_does_not_know_is_refused_by_name(servers: Counterparts, tmp_path: Path) -> None:
    with (
        registered(tmp_path, servers, NAME, asked=ASKED, allowed=ALLOWED) as at,
        pytest.raises(LaunchError, match="did not grant the launch: invalid_request"),
    ):
        asyncio.run(launched(at, "made-up"))


# standards: 14
@pytest.mark.parametrize("kind", get_args(Kind))
def test_however_many_need_a_new_token_the_refresh_token_is_used_once(
    servers: Counterparts, tmp_path: Path, kind: Kind
) -> None:
    """The server rotates it. Were it sent twice, the server would end the whole grant, and the last call fail."""

    async def story(at: Registered) -> None:
        session = await launched(at)
        first = await at.launcher().authorization(session).token()
        tokens = {first.get_secret_value() if first is not None else ""}
        for _ in range(2):
            at.clock.go_on(NEARLY_OVER)
            everybody = [at.launcher().authorization(session) for _ in range(8)]
            given = await asyncio.gather(*(authorization.token() for authorization in everybody))
            (token,) = {token.get_secret_value() for token in given if token is not None}
            assert token not in tokens
            tokens.add(token)
        assert await status(at.launcher().authorization(session), f"Patient/{PATIENT}") == 200

    with registered(tmp_path, servers, NAME, kind=kind, asked=ASKED, allowed=ALLOWED, token_seconds=SHORT) as at:
        asyncio.run(story(at))


# standards: 14
def test_a_token_that_the_server_refuses_before_its_time_is_replaced(servers: Counterparts, tmp_path: Path) -> None:
    async def story(at: Registered) -> None:
        authorization = at.launcher().authorization(await launched(at))
        refused = await authorization.token()
        await asyncio.sleep(BRIEF + 0.5)  # by the server's clock; ours stands still
        assert await authorization.token() == refused
        assert await status(authorization, f"Patient/{PATIENT}") == 401
        assert await authorization.token(refused) != refused
        assert await status(authorization, f"Patient/{PATIENT}") == 200

    with registered(tmp_path, servers, NAME, asked=ASKED, allowed=ALLOWED, token_seconds=BRIEF) as at:
        asyncio.run(story(at))


def test_a_session_that_the_ehr_ended_is_over(servers: Counterparts, tmp_path: Path) -> None:
    async def story(at: Registered) -> None:
        session = await launched(at)
        authorization = at.launcher().authorization(session)
        token = await authorization.token()
        assert token is not None
        ended = {"client_id": at.ehr.client_id, "token": token.get_secret_value()}
        httpx.post(f"{servers.issuer}/token/revocation", data=ended, trust_env=False).raise_for_status()
        assert await status(authorization, f"Patient/{PATIENT}") == 401
        with pytest.raises(AuthorizationError, match="the session is over, launch again"):
            await authorization.token(token)
        assert await at.launcher().session(session.key, COOKIE) is None

    with registered(tmp_path, servers, NAME, kind="public", asked=ASKED, allowed=ALLOWED) as at:
        asyncio.run(story(at))


# standards: 7, 18
@pytest.mark.parametrize("kind", ["RS384", "ES384"])
def test_a_backend_service_reads_what_it_was_granted_and_asks_again_in_time(
    servers: Counterparts, tmp_path: Path, kind: Kind
) -> None:
    async def story(at: Registered) -> None:
        authorization = await at.launcher().backend(at.ehr, f"Patient/{PATIENT}")
        assert authorization.granted is not None
        assert authorization.granted.reading("Patient") == ((),)
        assert authorization.granted.reading("Observation") is None
        assert await status(authorization, f"Patient/{PATIENT}") == 200
        first = await authorization.token()
        assert await authorization.token() == first
        at.clock.go_on(NEARLY_OVER)
        assert await authorization.token() != first
        assert await status(authorization, f"Observation?patient={PATIENT}") == 403

    scopes = {"asked": ASKED, "allowed": BACKEND[:1], "backend": BACKEND}
    with registered(tmp_path, servers, NAME, kind=kind, token_seconds=SHORT, **scopes) as at:
        asyncio.run(story(at))


def _assertion(at: Registered, **changes: Any) -> dict[str, str]:
    """A client's request for a token with an assertion of the registered key."""
    claims = {
        "iss": at.ehr.client_id,
        "sub": at.ehr.client_id,
        "aud": "",
        "exp": int(at.clock.now().timestamp()) + 180,
        "jti": secrets.token_urlsafe(32),
    }
    return {
        "grant_type": "client_credentials",
        "scope": BACKEND[0],
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": at.keys.signed("ES384", claims | changes),
    }


# standards: 7
def test_the_server_is_strict_about_assertions(servers: Counterparts, tmp_path: Path) -> None:
    """Otherwise the tests above would prove little: they pass since ours hold, not since anything does."""
    endpoint = f"{servers.issuer}/token"

    def answer(form: dict[str, str]) -> tuple[int, str | None]:
        response = httpx.post(endpoint, data=form, trust_env=False)
        return response.status_code, response.json().get("error")

    with registered(tmp_path, servers, NAME, asked=ASKED, allowed=BACKEND, backend=BACKEND) as at:
        accepted, refused = (200, None), (401, "invalid_client")
        once = _assertion(at, aud=endpoint)
        assert answer(once) == accepted
        assert answer(once) == refused, "a jti that was used"
        late = int(at.clock.now().timestamp()) + 360
        assert answer(_assertion(at, aud=endpoint, exp=late)) == refused, "more than five minutes"
        assert answer(_assertion(at, aud=servers.issuer)) == refused, "for another URL"
        assert answer(_assertion(at, aud=endpoint, sub="another")) == refused, "about somebody else"


# standards: 3, 5
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"code_challenge": None, "code_challenge_method": None}, "invalid_request", id="no PKCE"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", id="PKCE without a hash"),
        pytest.param({"aud": "https://elsewhere.example.org/fhir"}, "invalid_request", id="another FHIR base"),
        pytest.param({"scope": "openid launch"}, "invalid_request", id="the scope of a launch without a launch"),
    ],
)
def test_the_server_is_strict_about_launches(
    servers: Counterparts, tmp_path: Path, changes: dict[str, str | None], error: str
) -> None:
    with registered(tmp_path, servers, NAME, asked=ASKED, allowed=ALLOWED) as at:
        url = httpx.URL(asyncio.run(at.launcher().begin(at.ehr.issuer, None, COOKIE)))
        for name, value in changes.items():
            url = url.copy_remove_param(name) if value is None else url.copy_set_param(name, value)
        assert ("error", error) in browsed(str(url))
