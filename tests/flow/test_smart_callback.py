# SPDX-License-Identifier: Apache-2.0
"""The callback of a SMART launch: when it is refused, and what its session knows of user, rights and context."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_clients import REDIRECT
from builders.hospital_faults import changed as changing
from builders.hospital_grants import Smart, SmartBreak
from builders.smart import BROWSER, READING, Site, an_ehr, changed, pairs, site, to_token
from builders.store import Records
from builders.vault import StandingClock

from medagent.errors import AuthorizationError, LaunchError
from medagent_fhir.smart.sessions import LaunchContext, launch_context


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


class TestTheCallback:
    # standards: 4
    @pytest.mark.parametrize(
        ("change", "browser"),
        [
            pytest.param({"state": "A" * 43}, BROWSER, id="of another state"),
            pytest.param({"state": None}, BROWSER, id="without state"),
            pytest.param({"state": ""}, BROWSER, id="with an empty state"),
            pytest.param({}, BROWSER + "-of-another", id="of another browser"),
            pytest.param({}, "", id="of a browser without cookie"),
        ],
    )
    def test_is_refused_before_any_token_call(
        self, ehr: Hospital, ours: Site, change: dict[str, str | None], browser: str
    ) -> None:
        callback = ours.callback(ehr, None)
        with pytest.raises(LaunchError, match=r"^state: "):
            ours.finished(changed(callback, **change), browser)
        assert to_token(ehr) == []

    # standards: 4
    def test_counts_once(self, ehr: Hospital, ours: Site) -> None:
        callback = ours.callback(ehr, None)
        ours.finished(callback)
        with pytest.raises(LaunchError, match=r"^state: "):
            ours.finished(callback)
        assert len(to_token(ehr)) == 1

    # standards: 4
    def test_counts_once_though_it_came_many_times_at_once(self, ehr: Hospital, ours: Site) -> None:
        callback = ours.callback(ehr, None)

        async def together() -> list[object]:
            return await asyncio.gather(
                *(ours.launcher.finish(callback, BROWSER) for _ in range(5)), return_exceptions=True
            )

        ends = asyncio.run(together())
        assert sum(isinstance(end, LaunchError) for end in ends) == 4
        assert len(to_token(ehr)) == 1

    # standards: 4
    def test_counts_for_ten_minutes(self, ehr: Hospital, ours: Site, clock: StandingClock) -> None:
        callback = ours.callback(ehr, None)
        clock.go_on(600)
        with pytest.raises(LaunchError, match=r"^state: "):
            ours.finished(callback)
        assert to_token(ehr) == []

    # standards: 4
    def test_may_not_say_anything_twice(self, ehr: Hospital, ours: Site) -> None:
        with pytest.raises(LaunchError, match="twice"):
            ours.finished([*ours.callback(ehr, None), ("code", "another")])
        assert to_token(ehr) == []

    # standards: 6
    def test_leads_nowhere_but_to_what_is_configured(self, ehr: Hospital, ours: Site) -> None:
        callback = changed(ours.callback(ehr, None), redirect_uri="https://evil.example", token_endpoint=ehr.elsewhere)
        ours.finished(callback)
        assert dict(to_token(ehr)[0].form)["redirect_uri"] == REDIRECT
        assert ehr.strayed == []

    # standards: 17
    @pytest.mark.parametrize(
        "iss",
        [
            pytest.param("https://evil.example", id="another server"),
            pytest.param("", id="nobody"),
            pytest.param(None, id="nobody, where the EHR says that it names itself"),
        ],
    )
    def test_must_come_from_the_authorization_server_of_the_launch(
        self, ehr: Hospital, ours: Site, iss: str | None
    ) -> None:
        with pytest.raises(LaunchError, match=r"^iss: "):
            ours.finished(changed(ours.callback(ehr, None), iss=iss))
        assert to_token(ehr) == []

    # standards: 17
    def test_may_leave_iss_out_where_the_ehr_never_says_it(self, ehr: Hospital, ours: Site) -> None:
        breaking(ehr, "iss absent")
        assert ours.launched(ehr).base == ehr.url

    # standards: 17
    def test_names_no_ehr_by_its_iss(self, ehr: Hospital, tmp_path: Path, clock: StandingClock) -> None:
        """Two EHRs of one site: what the one answers is not taken to the other, whatever it calls itself."""
        with hospital(smart=Smart(clock=clock)) as other:
            ehrs = [an_ehr(ehr.url), an_ehr(other.url, name="south")]
            with site(Records(tmp_path), ehrs, clock=clock) as ours:
                for iss in (other.url, f"{other.root}/oauth", ehr.url):
                    with pytest.raises(LaunchError, match=r"^iss: "):
                        ours.finished(changed(ours.callback(ehr, None), iss=iss))
                assert ours.launched(other).base == other.url
                assert to_token(ehr) == []

    # standards: 17
    def test_is_of_the_ehr_of_its_state_though_its_iss_is_the_address_of_another(
        self, ehr: Hospital, tmp_path: Path, clock: StandingClock
    ) -> None:
        """One authorization server for two EHRs, which calls itself by the address of the second."""
        with hospital(smart=Smart(clock=clock)) as other:
            ehr.on("smart-configuration", changing(lambda body: body.update(issuer=other.url)))
            ehrs = [an_ehr(ehr.url, scopes=READING), an_ehr(other.url, name="south")]
            with site(Records(tmp_path), ehrs, clock=clock) as ours:
                session = ours.finished(changed(ours.callback(ehr, None), iss=other.url))
        assert (session.ehr, session.base) == ("north", ehr.url)
        assert other.requests == []

    def test_that_brings_an_error_tells_its_code_alone(self, ehr: Hospital, ours: Site) -> None:
        breaking(ehr, "denied")
        with pytest.raises(LaunchError, match="access_denied") as raised:
            ours.finished(changed(ours.callback(ehr, None), error_description="x" * 9999))
        assert len(str(raised.value)) < 200
        assert to_token(ehr) == []

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"code": None}, id="without code"),
            pytest.param({"code": ""}, id="with an empty code"),
            pytest.param({"code": "x" * 5000}, id="with a code without end"),
            pytest.param({"error": "<script>" * 500}, id="with an error of no known kind"),
        ],
    )
    def test_without_a_code_is_refused(self, ehr: Hospital, ours: Site, change: dict[str, str | None]) -> None:
        with pytest.raises(LaunchError) as raised:
            ours.finished(changed(ours.callback(ehr, None), **change))
        assert len(str(raised.value)) < 200
        assert to_token(ehr) == []

    def test_with_a_code_that_is_none_tells_that_the_ehr_refuses_it(self, ehr: Hospital, ours: Site) -> None:
        with pytest.raises(LaunchError, match="invalid_grant; launch again"):
            ours.finished(changed(ours.callback(ehr, None), code="made-up"))

    @pytest.mark.parametrize("broken", ["token type", "scope absent"])
    def test_opens_nothing_where_the_answer_cannot_be_meant(
        self, ehr: Hospital, ours: Site, broken: SmartBreak
    ) -> None:
        breaking(ehr, broken)
        with pytest.raises((LaunchError, AuthorizationError), match="EHR north"):
            ours.launched(ehr)


class TestTheUser:
    # standards: 9
    @pytest.mark.parametrize(
        "breaks",
        [
            ("id_token audience",),
            ("id_token issuer",),
            ("id_token expired",),
            ("id_token signature",),
            ("id_token unsigned",),
            ("id_token symmetric",),
            ("id_token nonce",),
            ("id_token kid unknown",),
            ("id_token kid absent", "two keys"),
            ("id_token garbage",),
            ("id_token absent",),
        ],
        ids=lambda breaks: ", ".join(breaks),
    )
    def test_is_not_believed_of_a_token_that_does_not_hold(
        self, ehr: Hospital, ours: Site, breaks: tuple[SmartBreak, ...]
    ) -> None:
        breaking(ehr, *breaks)
        with pytest.raises(LaunchError, match=r"EHR north: .*id_token"):
            ours.launched(ehr)

    # standards: 9
    def test_is_believed_without_kid_where_there_is_one_key(self, ehr: Hospital, ours: Site) -> None:
        breaking(ehr, "id_token kid absent")
        assert ours.launched(ehr).user == "Practitioner/practitioner-1"

    # standards: 10
    @pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
    def test_is_named_by_fhir_user(self, ehr: Hospital, ours: Site, absolute: bool) -> None:
        ehr.smart.absolute_user, ehr.smart.user = absolute, "PractitionerRole/r1"
        assert ours.launched(ehr).user == "PractitionerRole/r1"

    # standards: 10
    # standards: 16
    def test_may_be_known_to_another_server_which_is_never_asked(self, ehr: Hospital, ours: Site) -> None:
        breaking(ehr, "foreign user")
        assert ours.launched(ehr).user == "https://elsewhere.example/fhir/Practitioner/p1"

    # standards: 10
    def test_is_of_a_type_that_can_be_one(self, ehr: Hospital, ours: Site) -> None:
        breaking(ehr, "user of another type")
        with pytest.raises(LaunchError, match="fhirUser"):
            ours.launched(ehr)

    def test_is_nobody_where_nobody_was_asked_for(self, ehr: Hospital, tmp_path: Path, clock: StandingClock) -> None:
        entry = an_ehr(ehr.url, scopes=("patient/Patient.rs",))
        with site(Records(tmp_path), [entry], clock=clock) as ours:
            assert "nonce" not in dict(pairs(ours.begun(ehr, None)))
            assert ours.launched(ehr).user is None
        assert "jwks" not in paths(ehr)


class TestWhatIsGranted:
    # standards: 11
    @pytest.mark.parametrize(
        "granted",
        [
            pytest.param((), id="none"),
            pytest.param(("patient/Observation.rs?category=laboratory",), id="a part of one"),
            pytest.param(("launch", "openid", "fhirUser", "patient/Patient.rs"), id="fewer"),
        ],
    )
    def test_may_be_less_than_was_asked_for(self, ehr: Hospital, ours: Site, granted: tuple[str, ...]) -> None:
        ehr.smart.granted = granted
        session = ours.launched(ehr)
        assert session.scopes == granted
        right = ours.launcher.authorization(session).granted
        assert right is not None
        assert right.reading("Condition") is None
        assert (right.reading("Patient") == ((),)) is ("patient/Patient.rs" in granted)

    # standards: 12
    def test_may_lack_scopes_of_version_1_without_a_word(
        self, ehr: Hospital, tmp_path: Path, clock: StandingClock
    ) -> None:
        ehr.smart.first_version = False
        entry = an_ehr(ehr.url, scopes=("patient/Patient.read", "patient/Observation.rs"))
        with site(Records(tmp_path), [entry], clock=clock) as ours:
            right = ours.launcher.authorization(ours.launched(ehr)).granted
        assert right is not None
        assert right.reading("Patient") is None
        assert right.reading("Observation") == ((),)


class TestTheContext:
    # standards: 13
    def test_is_kept_whole(self, ehr: Hospital, ours: Site) -> None:
        further = [
            {"reference": "ImagingStudy/i1", "role": "https://example.org/role"},
            {"canonical": "urn:x", "type": "Q"},
        ]
        session = ours.launched(
            ehr,
            "patient-7",
            encounter="encounter-1",
            fhirContext=further,
            intent="reconcile-medications",
            tenant="org-9",
            need_patient_banner=False,
            appContext="opaque-1",
        )
        expected = LaunchContext(
            patient="Patient/patient-7",
            encounter="Encounter/encounter-1",
            fhir_context=tuple(further),
            intent="reconcile-medications",
            tenant="org-9",
            need_patient_banner=False,
            app_context="opaque-1",
        )
        assert session.context == expected
        found = asyncio.run(ours.launcher.session(session.key, BROWSER))
        assert found is not None
        assert found.context == expected

    def test_without_a_patient_gives_no_right_to_any_chart(self, ehr: Hospital, ours: Site) -> None:
        session = ours.launched(ehr, None)
        assert session.context.patient is None
        with pytest.raises(AuthorizationError, match="named no patient"):
            ours.launcher.authorization(session)

    # standards: 13
    def test_asks_for_the_banner_unless_the_ehr_says_that_it_shows_it(self) -> None:
        assert launch_context({}).need_patient_banner
        assert launch_context({"need_patient_banner": "false"}).need_patient_banner
        assert not launch_context({"need_patient_banner": False}).need_patient_banner

    # standards: 13
    @pytest.mark.parametrize(
        "given",
        [
            pytest.param({"patient": "Patient/1"}, id="a reference as patient"),
            pytest.param({"patient": "1/../2"}, id="a path as patient"),
            pytest.param({"patient": ""}, id="an empty patient"),
            pytest.param({"patient": 1}, id="a number as patient"),
            pytest.param({"patient": ["1", "2"]}, id="two patients"),
            pytest.param({"encounter": {"id": "1"}}, id="an object as encounter"),
            pytest.param({"fhirContext": {"reference": "X/1"}}, id="a fhirContext that is no list"),
            pytest.param({"fhirContext": ["X/1"]}, id="a fhirContext of texts"),
            pytest.param({"intent": 5}, id="a number as intent"),
        ],
    )
    def test_that_cannot_be_meant_is_refused(self, given: dict[str, object]) -> None:
        with pytest.raises(LaunchError, match=f"^{next(iter(given))}: "):
            launch_context(given)

    def test_of_the_application_is_kept_as_text(self) -> None:
        context = launch_context({"appContext": {"card": "1"}})
        assert context.app_context is not None
        assert json.loads(context.app_context) == {"card": "1"}
