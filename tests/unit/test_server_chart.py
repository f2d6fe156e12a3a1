# SPDX-License-Identifier: Apache-2.0
"""A chart over the wire: what is asked for, what is refused, and what is said not to be known."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from builders import fhir
from builders.fhir_client import Recording
from builders.hospital import Hospital, Smart, hospital
from builders.hospital_faults import changed, meanwhile, slow, status, stranger
from builders.server_chart import Served, members, reading

from medagent.errors import AuditError, ChartError
from medagent.evidence import Role, Status
from medagent_fhir.server import ServerChart

LABORATORY = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
AFTER = datetime(2026, 1, 1, tzinfo=UTC)
RESTRICTED = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}


def observations(count: int, **more: Any) -> list[fhir.Json]:
    return [fhir.observation("4548-4", f"{number}.5", "%", id=f"o{number}", **more) for number in range(count)]


def of(category: str, id: str) -> fhir.Json:
    concept = fhir.concept(category, "http://terminology.hl7.org/CodeSystem/observation-category")
    return fhir.observation("4548-4", "6.5", "%", id=id, category=[concept])


def somebody_else(id: str = "theirs") -> fhir.Json:
    return fhir.observation("4548-4", "12.0", "%", id=id, patient="somebody-else")


def asked(ehr: Hospital) -> list[str]:
    """Addresses below the base, without queries, in order."""
    paths = (one.path.removeprefix("/fhir").strip("/").removesuffix("/_search") for one in ehr.requests)
    return [path for path in paths if path != "metadata"]


def because(chart: ServerChart, *types: str) -> str:
    return "; ".join(reading(chart, *types).incomplete_because)


class TestPlan:
    def test_what_is_not_in_the_plan_is_not_asked_for_and_never_absent(self) -> None:
        with hospital(fhir.patient(), fhir.condition("1")) as ehr:
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert asked(ehr) == ["Patient/patient-1", "Observation"]
        assert reading(chart, "Observation").complete
        assert (reading(chart, "Condition").examined, because(chart, "Condition")) == (
            0,
            "Condition: was not asked for",
        )

    def test_types_are_fetched_side_by_side(self) -> None:
        with hospital(fhir.patient()) as ehr:
            ehr.on("*", slow(0.05))
            Served(ehr.url).read()

        assert ehr.at_once > 1

    def test_no_search_names_the_patient_in_an_address(self) -> None:
        with hospital(fhir.patient(), *observations(3), page=2) as ehr:
            Served(ehr.url, plan=("Observation",)).read()

        assert not [one.target for one in ehr.requests if "patient-1" in one.target.replace("/Patient/patient-1", "")]


class TestPatient:
    def test_without_a_patient_there_is_no_chart(self) -> None:
        with hospital() as ehr, pytest.raises(ChartError, match="--patient"):
            Served(ehr.url).read("nobody")

    @pytest.mark.parametrize("name", ["../Observation/o", "a b", "https://elsewhere.example/fhir/Patient/patient-1"])
    def test_what_is_no_id_of_a_patient_here_is_not_asked_for(self, name: str) -> None:
        with hospital(fhir.patient()) as ehr, pytest.raises(ChartError, match="--patient"):
            Served(ehr.url).read(name)

        assert asked(ehr) == []

    def test_none_is_the_patient_of_the_launch(self) -> None:
        with hospital(fhir.patient(), fhir.patient("two")) as ehr:
            assert Served(ehr.url, launched="Patient/two").read(None).patient == "Patient/two"

    def test_the_launch_of_another_patient_lets_nobody_else_be_read(self) -> None:
        with hospital(fhir.patient()) as ehr, pytest.raises(ChartError):
            Served(ehr.url, launched="Patient/two").read()

        assert asked(ehr) == []

    def test_another_patient_in_place_of_the_one_asked_for_is_refused(self) -> None:
        with hospital(fhir.patient()) as ehr:
            ehr.on("Patient/patient-1", stranger(fhir.patient("somebody-else")))
            served = Served(ehr.url)
            with pytest.raises(ChartError):
                served.read()

        assert [call.failure for call in served.calls if call.resource == "Patient/patient-1"] == ["foreign"]

    def test_a_refused_patient_is_told_from_an_absent_one(self) -> None:
        with hospital(fhir.patient()) as ehr:
            ehr.on("Patient/patient-1", status(403))
            with pytest.raises(ChartError, match="403"):
                Served(ehr.url).read()

    def test_a_replaced_record_says_so(self) -> None:
        link = [{"other": {"reference": "Patient/new"}, "type": "replaced-by"}]
        with hospital(fhir.patient(link=link)) as ehr:
            chart = Served(ehr.url).read()

        active = chart.patient_fact().element(Role.ACTIVE)
        assert (chart.patient_fact().status, active is not None) == (Status.INACTIVE, True)

    def test_a_sensitive_patient_is_not_shown_at_all(self) -> None:  # clinical: 19
        with hospital(fhir.patient(meta=RESTRICTED)) as ehr, pytest.raises(ChartError, match="policy"):
            Served(ehr.url).read()


class TestFailures:
    @pytest.mark.parametrize(
        ("code", "said"), [(403, "403"), (400, "400"), (404, "404"), (500, "500"), (429, "429")], ids=str
    )
    def test_a_type_that_failed_is_told_from_an_empty_one(self, code: int, said: str) -> None:
        with hospital(fhir.patient(), fhir.condition("1")) as ehr:
            ehr.on("Observation", status(code, retry_after=0 if code == 429 else None))
            chart = Served(ehr.url, plan=("Observation", "Condition")).read()

        assert reading(chart, "Condition").complete
        assert not reading(chart, "Observation").complete
        assert said in because(chart, "Observation")
        assert because(chart, "Observation").startswith("Observation: ")

    def test_a_type_that_the_server_does_not_have_is_not_asked_for(self) -> None:
        with hospital(fhir.patient(), lacks=("ImagingStudy",)) as ehr:
            chart = Served(ehr.url, plan=("ImagingStudy",)).read()

        assert asked(ehr) == ["Patient/patient-1"]
        assert because(chart, "ImagingStudy") == "ImagingStudy: the server says that it does not offer it"

    def test_pages_before_a_failure_count_and_are_said_not_to_be_all(self) -> None:
        with hospital(fhir.patient(), *observations(5), page=2) as ehr:
            ehr.on("page", status(500), after=1)
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert reading(chart, "Observation").examined == 4
        assert "page 3" in because(chart, "Observation")

    def test_a_chart_is_as_large_as_it_may_be_and_says_so(self) -> None:
        with hospital(fhir.patient(), *observations(50), page=5) as ehr:
            chart = Served(ehr.url, plan=("Observation",), bytes_max=10_000).read()

        assert 0 < reading(chart, "Observation").examined < 50
        assert "MEDAGENT_INPUT_BYTES_MAX" in because(chart, "Observation")

    def test_without_an_audit_event_nothing_is_given(self) -> None:
        with hospital(fhir.patient()) as ehr, pytest.raises(AuditError):
            Served(ehr.url, recording=Recording(full=4)).read()

    @pytest.mark.parametrize(("severity", "complete"), [("information", True), ("warning", False), ("error", False)])
    def test_a_warning_among_the_results_is_no_absence(self, severity: str, complete: bool) -> None:
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": "processing"}]}
        entry = {"resource": outcome, "search": {"mode": "outcome"}}
        with hospital(fhir.patient()) as ehr:
            ehr.on("Observation", changed(lambda bundle: bundle.setdefault("entry", []).append(entry)))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert reading(chart, "Observation").complete is complete


class TestStrangers:
    @pytest.mark.parametrize(
        "resource",
        [
            somebody_else(),
            fhir.patient("somebody-else"),
            fhir.observation("1", id="x", subject={"reference": "https://elsewhere.example/fhir/Patient/patient-1"}),
            fhir.condition("1", id="c", patient="somebody-else"),
            fhir.observation("1", id="x", subject={"reference": "Patient/somebody-else/_history/1"}),
        ],
        ids=["a result", "a Patient", "of another server", "of a type not asked for", "one version"],
    )
    def test_an_answer_with_another_patients_resource_is_refused(self, resource: fhir.Json) -> None:
        with hospital(fhir.patient(), *observations(1)) as ehr:
            ehr.on("Observation", stranger(resource))
            served = Served(ehr.url, plan=("Observation",))
            chart = served.read()

        assert reading(chart, "Observation").examined == 0
        assert "another patient" in because(chart, "Observation")
        assert [call.failure for call in served.calls if call.interaction == "search-type"] == ["foreign"]
        assert "somebody-else" not in because(chart, "Observation")

    @pytest.mark.parametrize(
        ("subject", "owned"),
        [
            ({"reference": "Patient/patient-1"}, True),
            ({"reference": "{base}/Patient/patient-1"}, True),
            ({"reference": "Patient/patient-1/_history/2"}, True),
            ({"identifier": {"system": "urn:numbers", "value": "7"}}, True),
            ({"identifier": {"system": "urn:numbers", "value": "8"}}, False),
            ({"reference": "#p"}, False),
            ({"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}, False),
            ({"reference": "Group/1"}, False),
            ({"display": "somebody"}, False),
        ],
        ids=lambda said: str(said)[:60],
    )
    def test_whose_it_is_must_be_certain(self, subject: fhir.Json, owned: bool) -> None:
        numbered = fhir.patient(identifier=[{"system": "urn:numbers", "value": "7"}])
        with hospital(numbered) as ehr:
            named = {key: said.format(base=ehr.url) if isinstance(said, str) else said for key, said in subject.items()}
            entry = {"fullUrl": f"{ehr.url}/Observation/x", "resource": fhir.observation("1", id="x", subject=named)}
            ehr.on("Observation", changed(lambda bundle: bundle.update(entry=[entry], total=1)))
            chart = Served(ehr.url, plan=("Observation",)).read()

        found = reading(chart, "Observation")
        assert (found.examined, found.complete) == (int(owned), owned)

    def test_a_merged_record_is_nobody_elses_and_is_not_used(self) -> None:
        link = [{"other": {"reference": "Patient/old"}, "type": "replaces"}]
        with hospital(fhir.patient(link=link)) as ehr:
            ehr.on("Observation", stranger(fhir.observation("1", id="x", patient="old")))
            served = Served(ehr.url, plan=("Observation",))
            chart = served.read()

        assert (reading(chart, "Observation").examined, reading(chart, "Observation").complete) == (0, False)
        assert [call.failure for call in served.calls] == [None] * len(served.calls)
        assert any("merged" in skipped.reason for skipped in chart.skipped)

    def test_a_server_behind_a_proxy_may_know_itself_by_another_name(self) -> None:
        inner = "http://inner.example:8080/fhir"

        def renamed(bundle: dict[str, Any]) -> None:
            bundle["link"] = [{"relation": "self", "url": f"{inner}/Observation?patient=x"}]
            bundle["entry"][0]["fullUrl"] = f"{inner}/Observation/o0"

        with hospital(fhir.patient(), *observations(1)) as ehr:
            ehr.on("Observation", changed(renamed))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert reading(chart, "Observation").complete
        assert set(chart.patient_names) == {f"{inner}/Patient/patient-1", f"{ehr.url}/Patient/patient-1"}


class TestPages:
    def test_a_search_that_changes_underfoot_is_asked_once_more(self) -> None:
        with hospital(fhir.patient(), *observations(6), page=2, live=True) as ehr:
            ehr.on("page", meanwhile(lambda: ehr.remove("Observation/o0")), times=1)
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert asked(ehr).count("Observation") == 2
        assert sorted(members(chart, "Observation")) == ["o1", "o2", "o3", "o4", "o5"]
        assert reading(chart, "Observation").complete

    def test_one_that_never_stands_still_is_said_to_change(self) -> None:
        with hospital(fhir.patient(), *observations(6), page=2, live=True) as ehr:
            ehr.on("Observation", changed(lambda bundle: bundle.update(total=99)))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert asked(ehr).count("Observation") == 2
        assert because(chart, "Observation") == "Observation: changed while it was read"
        assert reading(chart, "Observation").examined == 6

    def test_an_expired_page_starts_the_search_once_more(self) -> None:
        with hospital(fhir.patient(), *observations(6), page=2) as ehr:
            ehr.on("page", status(410), times=1)
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert reading(chart, "Observation").complete
        assert reading(chart, "Observation").examined == 6

    @pytest.mark.parametrize("links", ["cross-origin", "outside", "userinfo", "looping", "endless", "expiring"])
    def test_a_link_that_leads_astray_is_not_followed_and_said(self, links: Any) -> None:  # standards: 16
        with hospital(fhir.patient(), *observations(6), page=2, links=links) as ehr:
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert not reading(chart, "Observation").complete
        assert ehr.strayed == []

    def test_the_same_entry_twice_on_a_page_is_one(self) -> None:
        with hospital(fhir.patient(), *observations(2)) as ehr:
            ehr.on("Observation", changed(lambda bundle: bundle["entry"].append(bundle["entry"][0])))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert asked(ehr).count("Observation") == 1
        assert (reading(chart, "Observation").examined, reading(chart, "Observation").complete) == (2, True)

    def test_two_versions_on_a_page_are_asked_for_once_more_and_the_newer_one_counts(self) -> None:
        def doubled(bundle: dict[str, Any]) -> None:
            first = bundle["entry"][0]["resource"]
            bundle["entry"] = [
                {"resource": first | {"meta": {"versionId": "2", "lastUpdated": "2025-02-01T00:00:00Z"}}},
                {"resource": first | {"meta": {"versionId": "1", "lastUpdated": "2025-01-01T00:00:00Z"}}},
            ]
            bundle["total"] = 2

        with hospital(fhir.patient(), *observations(1)) as ehr:
            ehr.on("Observation", changed(doubled))
            chart = Served(ehr.url, plan=("Observation",)).read(as_of=AFTER)

        assert because(chart, "Observation") == "Observation: changed while it was read"
        [member] = reading(chart, "Observation").members
        assert chart.fact(member).source.version == "2"


class TestGrant:
    def served(self, ehr: Hospital, *scopes: str, **more: Any) -> Served:
        token = ehr.access_token(*scopes, patient="patient-1")
        return Served(ehr.url, scopes=scopes, bearer=token, **more)

    def test_a_type_that_was_not_granted_is_not_asked_for(self) -> None:  # standards: 11
        with hospital(fhir.patient(), fhir.condition("1"), smart=Smart()) as ehr:
            served = self.served(ehr, "patient/Patient.r", "patient/Observation.rs", plan=("Observation", "Condition"))
            chart = served.read()

        assert asked(ehr) == ["Patient/patient-1", "Observation"]
        assert because(chart, "Condition") == "Condition: not granted"
        assert reading(chart, "Observation").complete

    def test_without_a_right_to_the_patient_there_is_no_chart(self) -> None:
        with hospital(fhir.patient(), smart=Smart()) as ehr, pytest.raises(ChartError, match="granted"):
            self.served(ehr, "patient/Observation.rs").read()

    def test_a_part_of_a_type_is_searched_for_as_a_part(self) -> None:  # standards: 12
        with hospital(fhir.patient(), of("laboratory", "l"), of("vital-signs", "v"), smart=Smart()) as ehr:
            scope = f"patient/Observation.rs?category={LABORATORY}"
            chart = self.served(ehr, "patient/Patient.rs", scope, plan=("Observation",)).read()

        assert members(chart, "Observation") == ["l"]
        assert because(chart, "Observation") == "Observation: only a part of it was granted"

    def test_what_a_server_gives_beyond_the_grant_is_refused_and_on_record(self) -> None:  # standards: 11, 47
        scope = f"patient/Observation.rs?category={LABORATORY}"
        with hospital(fhir.patient(), of("laboratory", "l")) as ehr:
            ehr.on("Observation", stranger(of("vital-signs", "v")))
            served = Served(ehr.url, scopes=("patient/Patient.rs", scope), plan=("Observation",))
            chart = served.read()

        assert members(chart, "Observation") == ["l"]
        assert "beyond" in because(chart, "Observation")
        assert [call.failure for call in served.calls if call.interaction == "search-type"] == [None, "forbidden"]

    def test_several_parts_are_put_together(self) -> None:
        scopes = [f"patient/Observation.rs?category={code}" for code in ("laboratory", "vital-signs", "laboratory,x")]
        resources = of("laboratory", "l"), of("vital-signs", "v"), of("survey", "s")
        with hospital(fhir.patient(), *resources) as ehr:
            served = Served(ehr.url, scopes=("patient/Patient.rs", *scopes), plan=("Observation",))
            assert sorted(members(served.read(), "Observation")) == ["l", "v"]

    def test_a_part_that_cannot_be_checked_is_not_asked_for(self) -> None:
        scope = "patient/Observation.rs?value-quantity=gt5"
        with hospital(fhir.patient(), *observations(1)) as ehr:
            chart = Served(ehr.url, scopes=("patient/Patient.rs", scope), plan=("Observation",)).read()

        assert asked(ehr) == ["Patient/patient-1"]
        assert "cannot be checked" in because(chart, "Observation")


class TestSensitivity:
    def test_what_is_sensitive_is_withheld_and_counts_as_unknown(self) -> None:  # clinical: 19
        with hospital(fhir.patient(), *observations(2), fhir.observation("1", id="s", meta=RESTRICTED)) as ehr:
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert "s" not in members(chart, "Observation")
        assert because(chart, "Observation") == "Observation: 1 entry is not shown here by the site's policy"
        assert [(one.where, one.reason) for one in chart.skipped] == [
            ("Observation", "1 entry is not shown here by the site's policy")
        ]

    @pytest.mark.parametrize("lacks", [(), ("include",)], ids=["included", "read one by one"])
    def test_an_order_of_a_sensitive_drug_is_withheld_with_it(self, lacks: tuple[str, ...]) -> None:  # clinical: 19
        drug = fhir.medication("6813", id="m", meta=RESTRICTED)
        means = {"reference": "Medication/m", "display": "Methadone"}
        with hospital(fhir.patient(), drug, fhir.medication_request(None, means=means), lacks=lacks) as ehr:
            chart = Served(ehr.url, plan=("MedicationRequest",)).read()

        assert reading(chart, "MedicationRequest").examined == 0
        assert because(chart, "MedicationRequest").endswith("1 entry is not shown here by the site's policy")
        assert asked(ehr).count("Medication/m") == (1 if lacks else 0)


class TestDrugs:
    @pytest.mark.parametrize("lacks", [(), ("include",)], ids=["included", "read one by one"])
    def test_a_drug_behind_a_reference_has_its_codes(self, lacks: tuple[str, ...]) -> None:
        drug = fhir.medication("6809", id="m")
        requests = [
            fhir.medication_request(None, means=fhir.reference("Medication/m"), id=f"r{number}") for number in range(3)
        ]
        with hospital(fhir.patient(), drug, *requests, lacks=lacks) as ehr:
            chart = Served(ehr.url, plan=("MedicationRequest",)).read()

        assert reading(chart, "MedicationRequest").complete
        assert {chart.fact(one).codings[0].code for one in reading(chart, "MedicationRequest").members} == {"6809"}
        assert asked(ehr).count("Medication/m") == (1 if lacks else 0)

    def test_the_parts_of_a_mixture_are_read_too(self) -> None:
        mixture = fhir.medication("0", id="mix", ingredient=[{"itemReference": {"reference": "Medication/part"}}])
        means = fhir.medication_request(None, means=fhir.reference("Medication/mix"))
        with hospital(fhir.patient(), mixture, fhir.medication("6809", id="part"), means) as ehr:
            chart = Served(ehr.url, plan=("MedicationRequest",)).read()

        [member] = reading(chart, "MedicationRequest").members
        assert [coding.code for coding in chart.fact(member).codings] == ["0", "6809"]

    def test_a_drug_on_another_server_is_never_asked_for(self) -> None:  # standards: 16
        with hospital(fhir.patient()) as ehr:
            elsewhere = {"reference": f"{ehr.elsewhere}/fhir/Medication/m"}
            ehr.load(fhir.medication_request(None, means=elsewhere))
            chart = Served(ehr.url, plan=("MedicationRequest",)).read()

        assert ehr.strayed == []
        assert not reading(chart, "MedicationRequest").complete

    def test_a_server_that_refuses_to_include_is_asked_without(self) -> None:
        drug, means = (
            fhir.medication("6809", id="m"),
            fhir.medication_request(None, means=fhir.reference("Medication/m")),
        )
        with hospital(fhir.patient(), drug, means, lacks=("metadata", "include")) as ehr:
            chart = Served(ehr.url, plan=("MedicationRequest",)).read()

        assert reading(chart, "MedicationRequest").complete

    def test_a_server_that_knows_no_patient_parameter_is_asked_by_subject(self) -> None:
        with hospital(fhir.patient(), *observations(1), lacks=("metadata",)) as ehr:
            ehr.on(lambda one: b"patient=" in one.body, status(400))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert (reading(chart, "Observation").examined, reading(chart, "Observation").complete) == (1, True)


class TestOnDemand:
    def test_a_type_is_read_once_when_it_is_asked_for(self) -> None:
        async def use(chart: ServerChart) -> tuple[bool, bool]:
            before = reading(chart, "Condition").complete
            await asyncio.gather(chart.provide(("Condition",)), chart.provide(("Condition", "Observation")))
            await chart.provide(("Condition",))
            return before, reading(chart, "Condition").complete

        with hospital(fhir.patient(), fhir.condition("1")) as ehr:
            assert Served(ehr.url, plan=("Observation",)).use(use) == (False, True)

        assert asked(ehr) == ["Patient/patient-1", "Observation", "Condition"]

    def test_readings_that_were_given_stay_as_they_were(self) -> None:
        async def use(chart: ServerChart) -> None:
            types = ("Observation", "Condition")
            given, observed = reading(chart, *types), reading(chart, "Observation")
            newest = chart.newest
            await chart.provide(("Condition",))
            assert given.incomplete_because == ("Condition: was not asked for",)
            assert chart.listing(given.listing) == chart.listing(observed.listing)
            assert reading(chart, "Observation") is observed
            assert (reading(chart, *types).examined, given.examined) == (3, 2)
            assert (chart.newest, chart.past) == (newest, False)

        with hospital(fhir.patient(), *observations(2), fhir.condition("1", onset="2025-01-01")) as ehr:
            Served(ehr.url, plan=("Observation",)).use(use, as_of=AFTER)

    def test_what_cannot_be_read_raises_nothing(self) -> None:
        async def use(chart: ServerChart) -> str:
            ehr.on("Condition", status(503))
            await chart.provide(("Condition", "Claim", "Patient"))
            return because(chart, "Condition")

        with hospital(fhir.patient()) as ehr:
            assert "503" in Served(ehr.url, plan=()).use(use)

    def test_without_an_audit_event_nothing_more_is_given(self) -> None:
        recording = Recording(full=4)  # after the capabilities, the Patient and Observation

        async def use(chart: ServerChart) -> None:
            await chart.provide(("Condition",))

        with hospital(fhir.patient()) as ehr, pytest.raises(AuditError):
            Served(ehr.url, plan=("Observation",), recording=recording).use(use)


class TestAttachments:
    def texts(self, chart: ServerChart) -> list[str]:
        found = reading(chart, "DocumentReference").members
        return [text.text for member in found for text in chart.texts(member)]

    def provided(
        self, *resources: fhir.Json, prepare: Callable[[Hospital], object] = id
    ) -> tuple[ServerChart, Hospital]:
        async def use(chart: ServerChart) -> ServerChart:
            await chart.provide(("DocumentReference", "Binary"))
            return chart

        with hospital(fhir.patient(), *resources) as ehr:
            prepare(ehr)
            return Served(ehr.url, plan=()).use(use), ehr

    def test_the_text_behind_a_document_is_read_on_demand(self) -> None:
        note = fhir.document_reference({"contentType": "text/plain", "url": "Binary/b"})
        chart, ehr = self.provided(note, fhir.binary("bm90ZQ==", id="b"))
        assert self.texts(chart) == ["note"]
        assert chart.skipped == ()
        assert asked(ehr)[-1] == "Binary/b"

    def test_what_is_no_text_is_not_fetched(self) -> None:
        scan = fhir.document_reference({"contentType": "application/pdf", "url": "Binary/b"})
        chart, ehr = self.provided(scan, fhir.binary("bm90ZQ==", id="b"))
        assert "Binary/b" not in asked(ehr)
        assert self.texts(chart) == []

    def test_a_sensitive_attachment_is_not_shown_and_that_is_said(self) -> None:  # clinical: 19
        note = fhir.document_reference({"contentType": "text/plain", "url": "Binary/b"})
        chart, _ = self.provided(note, fhir.binary("bm90ZQ==", id="b", meta=RESTRICTED))
        assert self.texts(chart) == []
        assert [(one.where, one.reason) for one in chart.skipped] == [
            ("Binary/b", "1 entry is not shown here by the site's policy")
        ]

    def test_an_attachment_elsewhere_is_never_asked_for(self) -> None:  # standards: 16
        def prepare(ehr: Hospital) -> None:
            ehr.load(fhir.document_reference({"contentType": "text/plain", "url": f"{ehr.elsewhere}/fhir/Binary/b"}))

        chart, ehr = self.provided(prepare=prepare)
        assert ehr.strayed == []
        assert ["another server" in one.reason for one in chart.skipped] == [True]

    def test_an_attachment_that_cannot_be_read_is_said(self) -> None:
        note = fhir.document_reference({"contentType": "text/plain", "url": "Binary/absent"})
        chart, _ = self.provided(note)
        assert [(one.where, "404" in one.reason) for one in chart.skipped] == [("Binary/absent", True)]

    def test_the_newest_are_read_first(self) -> None:
        years = (2012, *range(2020, 2012, -1))
        notes = [
            fhir.document_reference(
                {"contentType": "text/plain", "url": f"Binary/b{year}"}, id=f"d{year}", at=f"{year}-01-01"
            )
            for year in years
        ]
        chart, ehr = self.provided(*notes, *(fhir.binary("bm90ZQ==", id=f"b{year}") for year in years))
        assert asked(ehr)[-1] == "Binary/b2012"
        assert len(self.texts(chart)) == 9

    @pytest.mark.parametrize(
        ("sizes", "bound", "read"),
        [
            pytest.param((400, 400), 800, 1, id="which the second would exceed by what stands around it"),
            pytest.param((900,) * 8, 2_000, 2, id="which each may use up, though side by side none may"),
            pytest.param((900, 100, 100), 1_000, 1, id="which the newest uses up, though older ones would fit"),
            pytest.param((2_000, 100, 100), 1_000, 0, id="which the newest exceeds: none is read in its place"),
        ],
    )
    def test_attachments_are_read_up_to_a_bound(self, sizes: tuple[int, ...], bound: int, read: int) -> None:
        notes = [
            fhir.document_reference(
                {"contentType": "text/plain", "url": f"Binary/b{place}"}, id=f"d{place}", at=f"{2024 - place}-01-01"
            )
            for place in range(len(sizes))
        ]
        texts = [fhir.binary("A" * size, id=f"b{place}") for place, size in enumerate(sizes)]

        async def use(chart: ServerChart) -> ServerChart:
            await chart.provide(("DocumentReference", "Binary"))
            return chart

        with hospital(fhir.patient(), *notes, *texts) as ehr:
            served = Served(ehr.url, plan=(), attached_max=bound)
            chart = served.use(use)

        taken = [body for body in served.bodies.values() if b'"Binary"' in body]
        assert len(self.texts(chart)) == read
        assert sum(map(len, taken)) <= 2 * bound
        assert [(one.where, "left for attachments" in one.reason) for one in chart.skipped] == [
            (f"Binary/b{place}", True) for place in range(read, len(sizes))
        ]


class TestVersions:
    def test_a_citation_pins_the_version(self) -> None:  # standards: 37
        with hospital(fhir.patient(), *observations(1), stamps=True) as ehr:
            ehr.load(*observations(1))
            chart = Served(ehr.url, plan=("Observation",)).read()

        [member] = reading(chart, "Observation").members
        assert chart.fact(member).source.version == "2"
        assert chart.patient_fact().source.version == "1"

    def test_an_etag_is_a_version_where_the_resource_names_none(self) -> None:
        with hospital(fhir.patient()) as ehr:
            assert Served(ehr.url, plan=()).read().patient_fact().source.version == "1"
