# SPDX-License-Identifier: Apache-2.0
"""A launch from the EHR as a browser sees it, up to the page of its run: real sockets on both sides."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_faults import status
from builders.launching import Serving, ehr_toml, listening, serving, smart_for, wait
from builders.program import SAMPLES, Program
from builders.store import Records, request

from medagent.canonical import parse_json

SAMPLE = SAMPLES / "diabetes-kidney.json"
PATIENT = "diabetes-kidney-patient"


@contextmanager
def a_site(
    home: Path, *record: Any, smart: dict[str, Any] | None = None, **settings: Any
) -> Iterator[tuple[Hospital, Serving]]:
    """One EHR, and MedAgent beside it."""
    with (
        listening() as listener,
        hospital(*(record or (SAMPLE,)), smart=smart_for(listener, **(smart or {}))) as ehr,
        serving(home, listener, ehr, **settings) as web,
    ):
        yield ehr, web


def test_a_launch_leads_to_the_recommendations_for_its_patient(tmp_path: Path) -> None:
    """clinical: 14, 17; standards: 13"""
    with a_site(tmp_path) as (ehr, web):
        page = web.browser().launched(ehr, PATIENT)
        assert page.status_code == 200
        for part in ("Demonstration. Not for the care", "Not clinically reviewed", "metformin", "Sample", "1961-04-12"):
            assert part in page.text, part
        assert "dossier_read" in web.events()
        (request,) = web.services.store.open_requests("local") or [None]
        assert request is None


def test_in_shadow_the_run_is_recorded_and_nothing_of_it_is_shown(tmp_path: Path) -> None:
    """clinical: 14"""
    with a_site(tmp_path, stage="care") as (ehr, web):
        page = web.browser().launched(ehr, PATIENT)
        assert "Recorded, not shown" in page.text
        assert "no approval of the guideline" in " ".join(page.text.split())
        assert "metformin" not in page.text.lower()
        assert "Offered" not in page.text
        events = web.events()
        assert "outcome_recorded" in events
        assert "dossier_read" not in events


def test_the_banner_is_left_to_an_ehr_that_shows_its_own(tmp_path: Path) -> None:
    """standards: 13"""
    with a_site(tmp_path) as (ehr, web):
        page = web.browser().launched(ehr, PATIENT, need_patient_banner=False)
        assert "1961-04-12" not in page.text
        assert f"Patient/{PATIENT}" in page.text


def test_two_launches_in_one_browser_never_show_each_others_patient(tmp_path: Path) -> None:
    with a_site(tmp_path, SAMPLE, SAMPLES / "deceased.json") as (ehr, web):
        browser = web.browser()
        first = browser.launched(ehr, PATIENT)
        second = browser.launched(ehr, "deceased-patient")
        again = browser.ended(first.request.url.path)
        assert "Deceased; no recommendations" in second.text
        assert "Diabetes-Kidney" in again.text
        assert "Deceased; no recommendations" not in again.text


def test_another_browser_sees_nothing_of_it(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        path = web.browser().launched(ehr, PATIENT).request.url.path
        answer = web.browser().get(path)
        assert answer.status_code == 404
        assert "Diabetes" not in answer.text


def test_a_stolen_session_cookie_opens_nothing_in_another_browser(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        victim = web.browser()
        path = victim.launched(ehr, PATIENT).request.url.path
        thief = web.browser()
        keys = {cookie.name: cookie.value for cookie in victim.client.cookies.jar if cookie.path == path}
        assert keys
        answer = httpx.get(web.url + path, cookies={name: value or "" for name, value in keys.items()}, trust_env=False)
        assert answer.status_code == 404
        assert thief.get(path).status_code == 404


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        callback = browser.authorized(ehr, ehr.launch(PATIENT))
        answer = browser.client.get(callback)
        (session,) = answer.headers.get_list("set-cookie")
        assert "HttpOnly" in session
        assert "SameSite=lax" in session
        assert f"Path={answer.headers['location']}" in session


def test_behind_https_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    with a_site(tmp_path, public_url="https://medagent.example") as (ehr, web):
        answer = web.browser().get("/launch", iss=ehr.url, launch="any")
        (cookie,) = answer.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-medagent-browser=")
        assert "Secure" in cookie
        assert "strict-transport-security" in answer.headers


def test_no_address_and_no_log_holds_anything_of_patient_or_launch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """standards: 15"""
    caplog.set_level("DEBUG")
    with a_site(tmp_path) as (ehr, web):
        launch = ehr.launch(PATIENT)
        browser = web.browser()
        path = browser.called_back(browser.authorized(ehr, launch))
        browser.ended(path)
        cookies = [cookie.value or "" for cookie in browser.client.cookies.jar]
        secrets = [*ehr.secrets, *cookies, launch]
    clients = ("httpx", "httpcore")  # of the browser, which is this test
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith(clients))
    said = "".join(capfd.readouterr()) + ours
    assert PATIENT not in path
    assert [secret for secret in (*secrets, "Diabetes-Kidney") if secret in said] == []


def test_a_launch_of_a_server_that_nobody_knows_asks_nobody(tmp_path: Path) -> None:
    """standards: 1"""
    with a_site(tmp_path) as (_, web), hospital() as stranger:
        page = web.browser().get("/launch", iss=stranger.url, launch="x")
        assert page.status_code == 400
        assert "MedAgent was not opened" in page.text
        program = httpx.get(f"{web.url}/launch", params={"iss": stranger.url}, trust_env=False)
        assert program.headers["content-type"] == "application/problem+json"
        assert program.json()["status"] == 400
        assert stranger.requests == []
        assert stranger.strayed == []


WRONG_LAUNCHES = {
    "no iss": "/launch?launch=x",
    "two issuers": "/launch?iss=a&iss=b",
    "a callback that nobody began": "/callback?code=x&state=y",
    "a callback without anything": "/callback",
    "a parameter twice": "/callback?state=a&state=a&code=b",
}


@pytest.mark.parametrize("path", WRONG_LAUNCHES.values(), ids=list(WRONG_LAUNCHES))
def test_a_launch_that_cannot_be_meant_is_a_bad_request(tmp_path: Path, path: str) -> None:
    """standards: 4"""
    with a_site(tmp_path) as (ehr, web):
        assert web.browser().get(path).status_code == 400
        assert ehr.requests == []


def test_a_callback_holds_once(tmp_path: Path) -> None:
    """standards: 4"""
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        callback = browser.authorized(ehr, ehr.launch(PATIENT))
        browser.ended(browser.called_back(callback))
        before = len(ehr.requests)
        assert browser.client.get(callback).status_code == 400
        assert len(ehr.requests) == before


def test_the_callback_of_another_browser_gives_nothing(tmp_path: Path) -> None:
    """standards: 4"""
    with a_site(tmp_path) as (ehr, web):
        callback = web.browser().authorized(ehr, ehr.launch(PATIENT))
        assert web.browser().client.get(callback).status_code == 400


def test_what_was_not_granted_is_said_and_never_asked_for(tmp_path: Path) -> None:
    """clinical: 5; standards: 11"""
    granted = ("launch", "openid", "fhirUser", "patient/Patient.rs", "patient/Condition.rs")
    with a_site(tmp_path, smart={"granted": granted}) as (ehr, web):
        page = web.browser().launched(ehr, PATIENT)
        assert page.status_code == 200
        assert re.search(r"Observation[^<]*not granted", page.text)
        asked = {request.path.split("/")[2] for request in ehr.requests if request.path.startswith("/fhir/")}
        assert asked & {"Observation", "Encounter", "MedicationRequest"} == set()


FAILURES: dict[str, tuple[str | None, dict[str, Any], str]] = {
    "a launch without a patient": (None, {}, "named no patient"),
    "a patient who does not exist": ("nobody", {}, "Patient"),
}


@pytest.mark.parametrize("case", FAILURES, ids=list(FAILURES))
def test_a_run_that_gives_nothing_says_so_and_is_no_all_clear(tmp_path: Path, case: str) -> None:
    patient, context, words = FAILURES[case]
    with a_site(tmp_path) as (ehr, web):
        page = web.browser().launched(ehr, patient, **context)
        assert "Not available" in page.text
        assert words in page.text
        assert "This says nothing about the patient" in page.text


def test_a_run_can_be_tried_again_once_the_ehr_is_back(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        ehr.on(f"Patient/{PATIENT}", status(404), times=1)
        browser = web.browser()
        page = browser.launched(ehr, PATIENT)
        assert "Not available" in page.text
        path = page.request.url.path
        assert browser.post(f"{path}/again").headers["location"] == path
        assert "metformin" in browser.ended(path).text


def test_a_form_of_another_site_does_nothing(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        path = browser.launched(ehr, PATIENT).request.url.path
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}, {"Origin": "null"}):
            assert browser.client.post(f"{web.url}{path}/end", headers=headers).status_code == 403
        assert browser.get(path).status_code == 200


def test_closing_forgets_the_session_and_its_tokens(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        path = browser.launched(ehr, PATIENT).request.url.path
        kept = {cookie.name: cookie.value or "" for cookie in browser.client.cookies.jar}
        assert "Closed" in browser.post(f"{path}/end").text
        assert httpx.get(web.url + path, cookies=kept, trust_env=False).status_code == 404


def test_chart_text_is_text_and_never_markup(tmp_path: Path) -> None:
    record: Any = parse_json(SAMPLE.read_bytes())
    for entry in record["entry"]:
        if entry["resource"]["resourceType"] == "Patient":
            entry["resource"]["name"] = [{"text": "<script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}x"}]
    with a_site(tmp_path, record) as (ehr, web):
        page = web.browser().launched(ehr, PATIENT)
        assert "<script" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page.text


def test_every_answer_forbids_scripts_frames_and_caches(tmp_path: Path) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        path = browser.launched(ehr, PATIENT).request.url.path
        for answer in (browser.get("/"), browser.get(path), browser.get("/nowhere"), browser.get("/launch")):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
        assert "<script" not in browser.get(path).text


def test_the_public_keys_are_public_and_nothing_else(tmp_path: Path) -> None:
    """standards: 8"""
    with a_site(tmp_path) as (_, web):
        answer = httpx.get(f"{web.url}/.well-known/jwks.json", trust_env=False)
        keys = answer.json()["keys"]
        assert {key["alg"] for key in keys} == {"RS384", "ES384"}
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & {member for key in keys for member in key}
        assert "max-age" in answer.headers["cache-control"]


def test_health_is_told_to_anybody_and_the_start_page_names_the_ehrs(tmp_path: Path) -> None:
    with a_site(tmp_path) as (_, web):
        browser = web.browser()
        assert browser.get("/healthz").json() == {"status": "ok"}
        assert "north" in browser.get("/").text


def test_a_launch_of_our_own_lets_the_ehr_choose_the_patient(tmp_path: Path) -> None:
    """standards: 5"""
    with a_site(tmp_path, smart={"picks": PATIENT}) as (ehr, web):
        browser = web.browser()
        page = browser.ended(browser.called_back(browser.authorized(ehr, None)))
        assert "metformin" in page.text


def test_every_call_stands_in_the_log_on_behalf_of_who_launched(tmp_path: Path) -> None:
    """standards: 46"""
    with a_site(tmp_path) as (ehr, web):
        web.browser().launched(ehr, PATIENT)
        events = web.services.store.audit_events("local", limit=10_000)
        calls = [event for event in events if event.header.type.startswith("fhir_")]
        assert {event.header.actor for event in calls} == {"smart:north:Practitioner/practitioner-1"}
        asked = [
            request
            for request in ehr.requests
            if request.path.startswith("/fhir/") and "well-known" not in request.path
        ]
        assert len(calls) == len(asked)


def test_the_log_is_sealed_again_once_the_database_takes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """standards: 52"""
    with a_site(tmp_path, seal_interval_seconds=0.05) as (_, web):
        before = web.services.store.newest_note("local")
        with Records(tmp_path / "records").refusing("checkpoints", "away"):
            request(web.services.store)
            wait(lambda: "log_not_sealed" in caplog.text)
        wait(lambda: web.services.store.newest_note("local") not in (None, before))
        assert web.services.store.verify("local").ok


def test_a_page_that_is_not_there_leads_nowhere_else(tmp_path: Path) -> None:
    with a_site(tmp_path) as (_, web):
        answer = httpx.get(f"{web.url}/launch/", headers={"Host": "elsewhere.example"}, trust_env=False)
        assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_serve_says_what_to_register_answers_and_ends_in_order(tmp_path: Path) -> None:
    program = Program(tmp_path / "home")
    with listening() as listener, hospital(SAMPLE, smart=smart_for(listener)) as ehr:
        file = tmp_path / "ehrs.toml"
        file.write_text(ehr_toml(ehr), "utf-8")
        process = program.start("serve", "--port", "0", MEDAGENT_EHRS_FILE=str(file))
        assert process.stderr is not None
        first, second = (process.stderr.readline().decode() for _ in range(2))
        url = first.split()[3]
        assert f"redirect {url}/callback" in second
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).json() == {"status": "ok"}
        begun = httpx.get(f"{url}/launch", params={"iss": ehr.url, "launch": "canary"}, trust_env=False, timeout=60)
        assert begun.status_code == 303
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"")
        assert err == b""


def test_serve_without_an_ehr_says_what_is_missing(tmp_path: Path) -> None:
    ended = Program(tmp_path / "home").run("serve")
    assert ended.returncode == 1
    assert "MEDAGENT_EHRS_FILE" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_serve_beyond_this_machine_needs_a_public_url(tmp_path: Path) -> None:
    with hospital() as ehr:
        file = tmp_path / "ehrs.toml"
        file.write_text(ehr_toml(ehr), "utf-8")
        ended = Program(tmp_path / "home").run("serve", "--host", "::", "--port", "0", MEDAGENT_EHRS_FILE=str(file))
    assert ended.returncode == 1
    assert "MEDAGENT_PUBLIC_URL" in ended.stderr
