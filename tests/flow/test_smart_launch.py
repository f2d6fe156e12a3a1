# SPDX-License-Identifier: Apache-2.0
"""SMART App Launch against a strict EHR: what a launch gives, and everything upon which it is refused."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_clients import REDIRECT, Client
from builders.hospital_faults import instead, redirect, status
from builders.hospital_grants import Smart, SmartBreak
from builders.hospital_tls import Certificate
from builders.smart import BROWSER, SCOPES, SECRET, Site, an_ehr, pairs, secret_file, site, to_token
from builders.store import Records
from builders.vault import StandingClock

from medagent.errors import AuthorizationError, LaunchError, SettingsError
from medagent_fhir.smart import EhrRegistry, Launcher, SigningKeys, SmartLimits
from medagent_fhir.smart.discovery import checked


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def ehr(clock: StandingClock) -> Iterator[Hospital]:
    """A strict EHR that knows us as a public client."""
    with hospital(smart=Smart(clock=clock)) as running:
        yield running


@pytest.fixture
def ours(ehr: Hospital, tmp_path: Path, clock: StandingClock) -> Iterator[Site]:
    """A site that works with that EHR."""
    with site(Records(tmp_path), [an_ehr(ehr.url)], clock=clock) as configured:
        yield configured


def breaking(ehr: Hospital, *breaks: SmartBreak) -> None:
    """The EHR breaks these rules from now on."""
    ehr.smart.breaks = breaks


def paths(ehr: Hospital) -> list[str]:
    return [asked.path.rpartition("/")[2] for asked in ehr.requests]


class TestALaunch:
    @pytest.mark.parametrize("kind", ["public", "symmetric", "RS384", "ES384"])
    def test_opens_a_session_for_each_kind_of_client(self, tmp_path: Path, clock: StandingClock, kind: str) -> None:
        keys = SigningKeys(tmp_path / "keys", clock)
        match kind:
            case "public":
                authentication, client = {"kind": "public"}, Client()
            case "symmetric":
                path = secret_file(tmp_path)
                authentication = {"kind": "symmetric", "secret_file": str(path)}
                client = Client(kind="symmetric", secret=SECRET)
            case _:
                authentication = {"kind": "asymmetric", "alg": kind}
                client = Client(kind="asymmetric", jwks=keys.jwks)
        with hospital(smart=Smart((client,), clock=clock)) as ehr:
            entry = an_ehr(ehr.url, authentication=authentication)
            with site(Records(tmp_path), [entry], keys=keys, clock=clock) as ours:
                session = ours.launched(ehr)
        assert session.context.patient == "Patient/patient-1"
        assert (session.ehr, session.base, session.user) == ("north", ehr.url, "Practitioner/practitioner-1")
        assert set(session.scopes) == {"launch", *SCOPES}

    def test_is_found_again_by_its_key_and_browser_alone(self, ehr: Hospital, ours: Site) -> None:
        session = ours.launched(ehr)
        found = asyncio.run(ours.launcher.session(session.key, BROWSER))
        assert found == session
        assert asyncio.run(ours.launcher.session(session.key, BROWSER + "x")) is None
        assert asyncio.run(ours.launcher.session(session.key + "x", BROWSER)) is None

    def test_ends_by_itself_after_as_long_as_the_site_lets_it(
        self, ehr: Hospital, tmp_path: Path, clock: StandingClock
    ) -> None:
        limits = SmartLimits(session_seconds=1_000)
        with site(Records(tmp_path), [an_ehr(ehr.url)], clock=clock, limits=limits) as ours:
            session = ours.launched(ehr)
            clock.go_on(999)
            assert asyncio.run(ours.launcher.session(session.key, BROWSER)) is not None
            clock.go_on(1)
            assert asyncio.run(ours.launcher.session(session.key, BROWSER)) is None

    def test_ends_when_it_is_ended(self, ehr: Hospital, ours: Site) -> None:
        session = ours.launched(ehr)
        asyncio.run(ours.launcher.end(session))
        assert asyncio.run(ours.launcher.session(session.key, BROWSER)) is None

    def test_is_over_where_the_site_strikes_the_ehr_from_its_registry(
        self, ehr: Hospital, ours: Site, tmp_path: Path, clock: StandingClock
    ) -> None:
        session = ours.launched(ehr)
        callback = ours.callback(ehr, None)
        with site(Records(tmp_path), [an_ehr(), an_ehr("https://other.example", name="o")], clock=clock) as later:
            assert asyncio.run(later.launcher.session(session.key, BROWSER)) is None
            with pytest.raises(LaunchError, match="does no longer work"):
                later.finished(callback)
            with pytest.raises(AuthorizationError, match="does no longer work"):
                later.launcher.authorization(session)

    def test_is_not_opened_where_the_launch_took_longer_than_the_site_lets_it(
        self, ehr: Hospital, tmp_path: Path, clock: StandingClock
    ) -> None:
        with site(Records(tmp_path), [an_ehr(ehr.url)], clock=clock, limits=SmartLimits(launch_seconds=60)) as ours:
            in_time, too_late = (ours.callback(ehr, ehr.launch("patient-1")) for _ in range(2))
            clock.go_on(59)
            ours.finished(in_time)
            clock.go_on(1)
            with pytest.raises(LaunchError, match="launch again"):
                ours.finished(too_late)


class TestBeginning:
    # standards: 1
    @pytest.mark.parametrize(
        "iss",
        [
            pytest.param(lambda url: "http://127.0.0.1:9/fhir", id="another EHR"),
            pytest.param(lambda url: url + "/", id="the same with a slash"),
            pytest.param(lambda url: url.replace("127.0.0.1", "localhost"), id="the same by another name"),
            pytest.param(lambda url: url.upper(), id="the same in capitals"),
            pytest.param(lambda url: url + "/Patient", id="below it"),
            pytest.param(lambda url: "", id="nothing"),
        ],
    )
    def test_at_an_unknown_issuer_opens_no_socket(self, ehr: Hospital, ours: Site, iss: Callable[[str], str]) -> None:
        with pytest.raises(LaunchError, match="none of the EHRs"):
            asyncio.run(ours.launcher.begin(iss(ehr.url), "launch-1", BROWSER))
        assert ehr.connections == 0

    # standards: 2
    @pytest.mark.parametrize("broken", ["S256 absent", "PKCE absent"])
    def test_is_refused_where_s256_is_missing(self, ehr: Hospital, ours: Site, broken: SmartBreak) -> None:
        breaking(ehr, broken)
        with pytest.raises(AuthorizationError, match="S256"):
            ours.begun(ehr, None)
        assert paths(ehr) == ["smart-configuration"]

    # standards: 2
    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            pytest.param(instead(b"<html>"), "something else than a JSON object", id="no JSON"),
            pytest.param(instead(b"[]"), "something else than a JSON object", id="a list"),
            pytest.param(instead(b"{}"), "names no token_endpoint", id="nothing in it"),
            pytest.param(status(500), "answered 500", id="an error"),
            pytest.param(redirect("http://127.0.0.1:9/"), "answered 302", id="a redirect"),
        ],
    )
    def test_is_refused_where_discovery_says_nothing_usable(
        self, ehr: Hospital, ours: Site, fault: object, said: str
    ) -> None:
        assert callable(fault)
        ehr.on("smart-configuration", fault)
        with pytest.raises(AuthorizationError, match=f"EHR north.*{said}"):
            ours.begun(ehr, None)

    # standards: 3
    def test_sends_a_hash_of_a_fresh_verifier_that_the_token_call_reveals(self, ehr: Hospital, ours: Site) -> None:
        challenges, verifiers = [], []
        for _ in range(2):
            url = ours.begun(ehr, None)
            asked = dict(pairs(url))
            assert asked["code_challenge_method"] == "S256"
            challenges.append(asked["code_challenge"])
            ours.finished(pairs(ehr.approve(url)))
            verifiers.append(dict(to_token(ehr)[-1].form)["code_verifier"])
        assert len(set(verifiers)) == 2
        digests = [hashlib.sha256(verifier.encode()).digest() for verifier in verifiers]
        assert challenges == [base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for digest in digests]
        assert min(map(len, verifiers)) >= 43

    # standards: 4
    def test_makes_a_state_that_nobody_guesses(self, ehr: Hospital, ours: Site) -> None:
        states = {dict(pairs(ours.begun(ehr, None)))["state"] for _ in range(5)}
        assert len(states) == 5
        assert min(len(base64.urlsafe_b64decode(state + "===")) for state in states) * 8 >= 122

    # standards: 5
    def test_names_the_fhir_base_and_hands_the_launch_back(self, ehr: Hospital, ours: Site) -> None:
        launch = ehr.launch("patient-1")
        asked = dict(pairs(ours.begun(ehr, launch)))
        assert asked["aud"] == ehr.url
        assert asked["launch"] == launch
        assert "launch" in asked["scope"].split()

    # standards: 5
    def test_without_the_ehr_asks_for_a_patient_and_names_no_launch(self, ehr: Hospital, ours: Site) -> None:
        asked = dict(pairs(ours.begun(ehr, None)))
        assert asked["aud"] == ehr.url
        assert "launch" not in asked
        assert {"launch/patient"} == {scope for scope in asked["scope"].split() if scope.startswith("launch")}

    # standards: 6
    def test_comes_back_to_the_configured_address(self, ehr: Hospital, ours: Site) -> None:
        assert dict(pairs(ours.begun(ehr, None)))["redirect_uri"] == REDIRECT

    # standards: 6
    @pytest.mark.parametrize(
        "uri",
        ["http://app.example/callback", "https://app.example/callback?to=x", "https://app.example/#x", "callback"],
    )
    def test_never_to_one_that_is_not_safe(self, ours: Site, clock: StandingClock, tmp_path: Path, uri: str) -> None:
        keys = SigningKeys(tmp_path / "keys", clock)
        with pytest.raises(SettingsError, match="redirect_uri"):
            Launcher(ours.registry, keys, ours.vault, clock, uri)

    def test_needs_an_address_to_come_back_to(
        self, ehr: Hospital, ours: Site, clock: StandingClock, tmp_path: Path
    ) -> None:
        launcher = Launcher(ours.registry, SigningKeys(tmp_path / "keys", clock), ours.vault, clock, None)
        with pytest.raises(SettingsError, match="MEDAGENT_PUBLIC_URL"):
            asyncio.run(launcher.begin(ehr.url, None, BROWSER))

    @pytest.mark.parametrize("browser", ["", "short"])
    def test_needs_a_cookie_to_bind_it_to(self, ehr: Hospital, ours: Site, browser: str) -> None:
        with pytest.raises(LaunchError, match="cookie"):
            ours.begun(ehr, None, browser)
        assert ehr.connections == 0

    @pytest.mark.parametrize("launch", ["", "x\r\ny", "x" * 5000], ids=["nothing", "a line break", "without end"])
    def test_needs_a_launch_that_can_be_one(self, ehr: Hospital, ours: Site, launch: str) -> None:
        with pytest.raises(LaunchError, match="launch is not"):
            ours.begun(ehr, launch)
        assert ehr.connections == 0


GOOD = {
    "issuer": "https://login.example",
    "authorization_endpoint": "https://login.example/authorize?tenant=1",
    "token_endpoint": "https://login.example/token",
    "jwks_uri": "https://keys.example/jwks",
    "code_challenge_methods_supported": ["S256"],
}


class TestDiscovery:
    def test_takes_endpoints_wherever_https_leads(self) -> None:
        configuration = checked(an_ehr(), GOOD)
        assert configuration.token_endpoint == GOOD["token_endpoint"]
        assert configuration.offers_s256

    # standards: 2
    @pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("http://login.example/x", id="plain http"),
            pytest.param("http://127.0.0.1:8080/x", id="a service of this machine"),
            pytest.param("http://localhost/x", id="a service of this machine by name"),
            pytest.param("https://user:pass@login.example/x", id="a password"),
            pytest.param("javascript:alert(1)", id="a script"),
            pytest.param("/token", id="half a URL"),
            pytest.param(5, id="a number"),
        ],
    )
    def test_of_an_ehr_far_away_takes_nothing_but_https(self, name: str, url: object) -> None:
        with pytest.raises(AuthorizationError, match=f"EHR north: {name}"):
            checked(an_ehr(), GOOD | {name: url})

    # standards: 17
    def test_takes_no_other_issuer_than_the_site_named(self) -> None:
        ehr = an_ehr(authorization_issuer="https://named.example")
        assert checked(ehr, {**GOOD, "issuer": None}).issuer == "https://named.example"
        with pytest.raises(AuthorizationError, match="another issuer"):
            checked(ehr, GOOD)


@pytest.mark.parametrize(
    ("certificate", "known", "trusted"),
    [
        pytest.param("own", True, True, id="of an authority that the registry names"),
        pytest.param("own", False, False, id="of an authority that nobody named"),
        pytest.param("expired", True, False, id="that has expired"),
        pytest.param("another host", True, False, id="of another host"),
    ],
)
def test_an_ehr_shows_a_certificate(
    tmp_path: Path, clock: StandingClock, certificate: Certificate, known: bool, trusted: bool
) -> None:
    with hospital(smart=Smart(clock=clock), tls=certificate) as secure:
        entry = an_ehr(secure.url, ca_file=secure.ca_file if known else None)
        with site(Records(tmp_path), [entry], clock=clock) as ours:
            if trusted:
                assert ours.launched(secure).user == "Practitioner/practitioner-1"
                return
            with pytest.raises(AuthorizationError, match="a certificate that is not trusted; is ca_file"):
                ours.begun(secure, None)
        assert secure.requests == []


def test_authorities_that_are_none_are_named(tmp_path: Path, clock: StandingClock) -> None:
    (tmp_path / "authority.pem").write_text("nothing of the kind")
    entry = an_ehr("https://127.0.0.1:9/fhir", ca_file=tmp_path / "authority.pem")
    with site(Records(tmp_path), [entry], clock=clock) as ours, pytest.raises(AuthorizationError, match="authority"):
        asyncio.run(ours.launcher.begin(entry.issuer, None, BROWSER))


def test_two_ehrs_stand_side_by_side(ehr: Hospital, tmp_path: Path, clock: StandingClock) -> None:
    keys = SigningKeys(tmp_path / "keys", clock)
    client = Client("medagent-south", "asymmetric", jwks=keys.jwks)
    with hospital(smart=Smart((client,), clock=clock)) as other:
        south = an_ehr(
            other.url, name="south", client_id="medagent-south", authentication={"kind": "asymmetric", "alg": "ES384"}
        )
        with site(Records(tmp_path), [an_ehr(ehr.url), south], keys=keys, clock=clock) as ours:
            first = ours.callback(ehr, ehr.launch("patient-1"))
            second = ours.callback(other, other.launch("patient-2"))
            sessions = [ours.finished(second), ours.finished(first)]
    assert [(one.ehr, one.base, one.context.patient) for one in sessions] == [
        ("south", other.url, "Patient/patient-2"),
        ("north", ehr.url, "Patient/patient-1"),
    ]


def test_a_site_without_ehrs_launches_none(tmp_path: Path, clock: StandingClock) -> None:
    with site(Records(tmp_path), [], clock=clock) as ours:
        assert len(EhrRegistry()) == len(ours.registry) == 0
        with pytest.raises(LaunchError):
            asyncio.run(ours.launcher.begin("https://ehr.example.org/fhir", None, BROWSER))
