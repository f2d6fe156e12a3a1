# SPDX-License-Identifier: Apache-2.0
"""Tokens after the launch, and of backend services: renewed once for all, kept in the vault, shown to nobody."""

import asyncio
import io
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_clients import Client
from builders.hospital_faults import changed as changing
from builders.hospital_faults import status
from builders.hospital_grants import Smart, SmartBreak
from builders.smart import SYSTEM, Site, an_ehr, site, to_token
from builders.store import Records
from builders.vault import StandingClock
from pydantic import SecretStr

from medagent.errors import AuthorizationError
from medagent_fhir.authorization import Authorization
from medagent_fhir.smart import Ehr, SigningKeys, SmartSession

LIFE = 300  # seconds that an access token of the hospital holds
PROCESSES = 3


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys(tmp_path: Path, clock: StandingClock) -> SigningKeys:
    return SigningKeys(tmp_path / "keys", clock, ("ES384",))


@pytest.fixture
def ehr(clock: StandingClock, keys: SigningKeys) -> Iterator[Hospital]:
    """A strict EHR that knows us as a public client, and as a backend service."""
    backend = Client("medagent-backend", "asymmetric", jwks=keys.jwks, backend=True)
    with hospital(smart=Smart((Client(), backend), clock=clock)) as running:
        yield running


@pytest.fixture
def ours(ehr: Hospital, tmp_path: Path, keys: SigningKeys, clock: StandingClock) -> Iterator[Site]:
    """A site that works with that EHR."""
    with site(Records(tmp_path), [entry(ehr)], keys=keys, clock=clock) as configured:
        yield configured


def entry(ehr: Hospital) -> Ehr:
    return an_ehr(ehr.url, backend={"client_id": "medagent-backend", "scopes": SYSTEM})


def breaking(ehr: Hospital, *breaks: SmartBreak) -> None:
    """The EHR breaks these rules from now on."""
    ehr.smart.breaks = breaks


def secret(token: SecretStr | None) -> str:
    assert token is not None
    return token.get_secret_value()


async def got(authorization: Authorization, refused: str | None = None) -> str:
    return secret(await authorization.token(None if refused is None else SecretStr(refused)))


def refreshed_with(ehr: Hospital) -> list[str]:
    """The refresh tokens that were sent, in order."""
    forms = [dict(asked.form) for asked in to_token(ehr)]
    return [form["refresh_token"] for form in forms if form["grant_type"] == "refresh_token"]


class TestASession:
    def test_gives_the_token_of_the_launch_while_it_holds(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        right = ours.launcher.authorization(ours.launched(ehr))
        assert right.token_id is None
        clock.go_on(LIFE - 61)
        token = asyncio.run(got(right))
        assert token in ehr.secrets
        assert (right.base, right.patient) == (ehr.url, "Patient/patient-1")
        assert right.token_id is not None
        assert token not in right.token_id
        assert len(to_token(ehr)) == 1

    # standards: 14
    def test_renews_with_each_refresh_token_once(self, ehr: Hospital, ours: Site, clock: StandingClock) -> None:
        right = ours.launcher.authorization(ours.launched(ehr))
        tokens = []
        for _ in range(4):
            tokens.append(asyncio.run(got(right)))
            clock.go_on(LIFE)
        assert len(set(tokens)) == 4
        sent = refreshed_with(ehr)
        assert len(sent) == len(set(sent)) == 3

    # standards: 14
    def test_renews_once_for_all_who_are_refused(self, ehr: Hospital, ours: Site) -> None:
        session = ours.launched(ehr)
        rights = [ours.launcher.authorization(session) for _ in range(3)]

        async def story() -> set[str]:
            old = await got(rights[0])
            ehr.end_access_tokens()
            return set(await asyncio.gather(*(got(right, old) for right in rights * 4)))

        assert len(asyncio.run(story())) == 1
        assert len(refreshed_with(ehr)) == 1

    # standards: 14
    def test_renews_once_for_processes_that_race(self, ehr: Hospital, records: Records, clock: StandingClock) -> None:
        """Each process comes to the end of three tokens at about the same time as the others."""
        with site(records, [entry(ehr)], clock=clock) as ours:
            session = ours.launched(ehr)
        ends = []
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            for _ in range(3):
                clock.go_on(LIFE)
                one = (records, entry(ehr), session, clock.now())
                ends.append(set(pool.map(_in_a_process, *zip(*[one] * PROCESSES, strict=True))))
        assert [len(given) for given in ends] == [1, 1, 1]
        sent = refreshed_with(ehr)
        assert len(sent) == len(set(sent)) == 3

    # standards: 14
    def test_is_over_where_the_ehr_refuses_to_renew(self, ehr: Hospital, ours: Site, clock: StandingClock) -> None:
        session = ours.launched(ehr)
        clock.go_on(LIFE)
        ehr.end_refresh_tokens()
        with pytest.raises(AuthorizationError, match=r"invalid_grant.*launch again"):
            asyncio.run(got(ours.launcher.authorization(session)))
        assert asyncio.run(ours.launcher.session(session.key, "browser-of-the-user-4f1d2a")) is None
        with pytest.raises(AuthorizationError, match=r"session is over; launch again"):
            asyncio.run(got(ours.launcher.authorization(session)))
        assert len(refreshed_with(ehr)) == 1

    def test_outlives_an_authorization_server_that_fails(self, ehr: Hospital, ours: Site, clock: StandingClock) -> None:
        right = ours.launcher.authorization(ours.launched(ehr))
        clock.go_on(LIFE)
        ehr.on("token", status(503), times=1)
        with pytest.raises(AuthorizationError, match="answered 503"):
            asyncio.run(got(right))
        assert asyncio.run(got(right)) in ehr.secrets

    def test_keeps_its_refresh_token_where_the_ehr_gives_no_other(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        breaking(ehr, "refresh token kept")
        right = ours.launcher.authorization(ours.launched(ehr))
        for _ in range(2):
            clock.go_on(LIFE)
            asyncio.run(got(right))
        first, second = refreshed_with(ehr)
        assert first == second

    def test_without_refresh_token_ends_with_its_access_token(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        ehr.smart.granted = ("launch", "patient/Patient.rs")
        session = ours.launched(ehr)
        clock.go_on(LIFE - 1)
        assert asyncio.run(got(ours.launcher.authorization(session))) in ehr.secrets
        clock.go_on(1)
        with pytest.raises(AuthorizationError, match="used up and cannot be renewed; launch again"):
            asyncio.run(got(ours.launcher.authorization(session)))

    def test_whose_token_has_no_end_uses_it_until_it_is_refused(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        breaking(ehr, "expires_in absent")
        right = ours.launcher.authorization(ours.launched(ehr))
        first = asyncio.run(got(right))
        clock.go_on(3600)
        assert asyncio.run(got(right)) == first
        assert asyncio.run(got(right, first)) != first

    # standards: 11
    def test_has_the_scopes_that_were_granted_at_last(self, ehr: Hospital, ours: Site, clock: StandingClock) -> None:
        right = ours.launcher.authorization(ours.launched(ehr))
        assert right.granted is not None
        assert right.granted.reading("Condition") == ((),)
        ehr.on("token", changing(lambda body: body.update(scope="patient/Patient.rs system/*.rs")), times=1)
        clock.go_on(LIFE)
        asyncio.run(got(right))
        assert right.granted.reading("Condition") is None
        assert right.granted.reading("Patient") == ((),)

    @pytest.mark.parametrize("seconds", [LIFE - 1, LIFE], ids=["while its token holds", "once its token is over"])
    def test_is_of_one_patient_for_good(
        self, ehr: Hospital, ours: Site, clock: StandingClock, seconds: int
    ) -> None:  # standards: 14
        session = ours.launched(ehr)
        right = ours.launcher.authorization(session)
        clock.go_on(seconds)
        ehr.on("token", changing(lambda body: body.update(patient="somebody-else")), times=1)
        with pytest.raises(AuthorizationError, match="another patient"):
            asyncio.run(got(right))

        clock.go_on(LIFE)
        with pytest.raises(AuthorizationError, match="over; launch again"):
            asyncio.run(got(ours.launcher.authorization(session)))
        assert len(refreshed_with(ehr)) == 1, "a refresh token that was used is never sent again"


class TestABackendService:
    # standards: 18
    def test_is_granted_system_scopes_for_one_patient(self, ehr: Hospital, ours: Site) -> None:
        right = asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
        (asked,) = to_token(ehr)
        form = dict(asked.form)
        assert (form["grant_type"], form["scope"]) == ("client_credentials", " ".join(SYSTEM))
        assert (right.base, right.patient) == (ehr.url, "Patient/patient-1")
        assert right.granted is not None
        assert right.granted.reading("Observation") == ((),)
        assert right.granted.reading("Condition") is None

    # standards: 18
    def test_asks_again_before_its_token_ends_and_not_earlier(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        right = asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
        first = asyncio.run(got(right))
        clock.go_on(LIFE - 61)
        assert asyncio.run(got(right)) == first
        clock.go_on(1)
        assert asyncio.run(got(right)) != first
        assert len(to_token(ehr)) == 2

    # standards: 18
    def test_asks_again_within_minutes_where_no_end_is_said(
        self, ehr: Hospital, ours: Site, clock: StandingClock
    ) -> None:
        breaking(ehr, "expires_in absent")
        right = asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
        clock.go_on(300)
        asyncio.run(got(right))
        assert len(to_token(ehr)) == 2

    def test_has_one_token_for_all_patients_and_processes(
        self, ehr: Hospital, ours: Site, tmp_path: Path, keys: SigningKeys, clock: StandingClock
    ) -> None:
        with site(Records(tmp_path), [ours.ehr], keys=keys, clock=clock) as another:
            rights = [
                asyncio.run(one.launcher.backend(one.ehr, patient))
                for one, patient in ((ours, "Patient/a"), (ours, "Patient/b"), (another, "Patient/c"))
            ]
        assert len({right.token_id for right in rights}) == len(to_token(ehr)) == 1
        assert [right.patient for right in rights] == ["Patient/a", "Patient/b", "Patient/c"]

    # standards: 14
    def test_asks_once_for_many_runs_that_begin_at_once(self, ehr: Hospital, ours: Site) -> None:
        async def together() -> None:
            await asyncio.gather(*(ours.launcher.backend(ours.ehr, f"Patient/{number}") for number in range(20)))

        asyncio.run(together())
        assert len(to_token(ehr)) == 1

    def test_asks_again_where_its_token_is_refused(self, ehr: Hospital, ours: Site) -> None:
        right = asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
        first = asyncio.run(got(right))
        ehr.end_access_tokens()
        assert asyncio.run(got(right, first)) != first

    # standards: 18
    def test_has_nothing_of_what_is_no_system_scope(self, ehr: Hospital, ours: Site) -> None:
        ehr.smart.granted = ("patient/Condition.rs", "user/Condition.rs", "system/Patient.rs")
        right = asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
        assert right.granted is not None
        assert right.granted.reading("Condition") is None
        assert right.granted.reading("Patient") == ((),)

    @pytest.mark.parametrize(
        "patient", ["", "Patient/", "Patient/a/b", "Patient/a?x", "Observation/1", "a", "Patient/*"]
    )
    def test_works_for_one_patient_or_not_at_all(self, ehr: Hospital, ours: Site, patient: str) -> None:
        with pytest.raises(AuthorizationError, match="one patient"):
            asyncio.run(ours.launcher.backend(ours.ehr, patient))
        assert ehr.requests == []

    def test_there_is_none_where_the_registry_names_none(self, ehr: Hospital, ours: Site) -> None:
        with pytest.raises(AuthorizationError, match="no backend service"):
            asyncio.run(ours.launcher.backend(an_ehr(ehr.url), "Patient/patient-1"))

    def test_that_the_ehr_does_not_know_is_refused_by_name(self, ehr: Hospital, ours: Site) -> None:
        stranger = an_ehr(ehr.url, backend={"client_id": "stranger", "scopes": SYSTEM})
        with pytest.raises(AuthorizationError, match="invalid_client"):
            asyncio.run(ours.launcher.backend(stranger, "Patient/patient-1"))


# standards: 15
def test_no_secret_is_anywhere_but_on_its_way(ehr: Hospital, ours: Site, tmp_path: Path, clock: StandingClock) -> None:
    """A launch, renewals, a backend service and failures: nothing of it in logs, errors, representations or files."""
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        callback = ours.callback(ehr, None)
        session = ours.finished(callback)
        rights = [ours.launcher.authorization(session), asyncio.run(ours.launcher.backend(ours.ehr, "Patient/p"))]
        for right in rights:
            clock.go_on(LIFE)
            asyncio.run(got(right))
        ehr.on("token", status(500))
        clock.go_on(LIFE)
        for right in rights:
            with pytest.raises(AuthorizationError) as raised:
                asyncio.run(got(right))
            told.write("".join(traceback.format_exception(raised.value)))
        told.write(repr([session, rights, [vars(right) for right in rights], vars(ours.launcher), ours.registry]))
        told.write(repr([vars(right._token) for right in rights]))  # type: ignore[attr-defined]  # what a debugger shows
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    secrets = [secret.encode() for secret in (*ehr.secrets, dict(callback)["state"], session.key)]
    verifiers = [value.encode() for asked in to_token(ehr) for name, value in asked.form if name == "code_verifier"]
    assert len(secrets) >= 8
    assert len(verifiers) == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    places = {"what was told": told.getvalue().encode()} | {str(path): path.read_bytes() for path in files}
    assert any(name.endswith("medagent.db") for name in places)
    found = {name for name, text in places.items() for secret in secrets + verifiers if secret in text}
    assert not found


# standards: 16
def test_a_token_goes_to_nobody_but_the_ehr_that_gave_it(ehr: Hospital, ours: Site, clock: StandingClock) -> None:
    breaking(ehr, "foreign user")
    right = ours.launcher.authorization(ours.launched(ehr))
    clock.go_on(LIFE)
    asyncio.run(got(right))
    asyncio.run(ours.launcher.backend(ours.ehr, "Patient/patient-1"))
    assert ehr.strayed == []
    assert all(asked.bearer is None for asked in ehr.requests)  # what SMART itself asks needs none


def _in_a_process(records: Records, ehr: Ehr, session: SmartSession, now: datetime) -> str:
    """What another process has for a token."""
    with site(records, [ehr], clock=StandingClock(now)) as ours:
        return asyncio.run(got(ours.launcher.authorization(session)))
