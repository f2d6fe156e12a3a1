# SPDX-License-Identifier: Apache-2.0
"""A FHIR server is asked as R4 has it: read, search, history, operations, batches, exports, under what it can do."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from builders import fhir
from builders.fhir_client import QUICK, Recording, Tokens, all_of, asked, entries
from builders.hospital import Hospital, Smart, hospital
from builders.hospital_faults import changed, instead, slow, status
from pydantic import SecretStr

from medagent.clock import SystemClock
from medagent.errors import FhirError, FhirFailure, SettingsError, UsageError
from medagent_fhir.authorization import Open
from medagent_fhir.client import ExportLevel, FhirClient, Received

PATIENT = "patient-1"


def observations(count: int) -> list[fhir.Json]:
    return [fhir.observation("4548-4", f"{number}.5", "%", id=f"o{number}") for number in range(count)]


def paths(ehr: Hospital) -> list[str]:
    """Method and address of each request, without what every client asks first."""
    return [f"{one.method} {one.target}" for one in ehr.requests if one.path != "/fhir/metadata"]


def raises(failure: FhirFailure, match: str | None = None) -> pytest.RaisesExc[FhirError]:
    return pytest.raises(FhirError, match=match, check=lambda error: error.failure == failure)


class TestRead:
    def test_a_resource_comes_as_the_bytes_that_were_sent(self) -> None:  # standards: 37
        raw = b'{"resourceType":"Patient",  "id":"patient-1", "x": 1.10 }'
        recording = Recording()
        with hospital(raw) as ehr:
            received = asked(ehr.url, lambda client: client.read("Patient", PATIENT), recording=recording)

        assert received.body == raw
        assert received.sha256 == sha256(raw).hexdigest()
        assert received.name == "Patient/patient-1"
        assert received.content_type == "application/fhir+json"
        assert received.call == recording.calls[-1]
        assert received.call.response_sha256 == received.sha256
        assert received.call.resource == "Patient/patient-1"
        assert received.call.failure is None

    def test_a_version_is_read_by_its_number(self) -> None:
        with hospital(fhir.observation("1", 1, id="o"), stamps=True) as ehr:
            ehr.load(fhir.observation("1", 2, id="o"))
            first = asked(ehr.url, lambda client: client.read("Observation", "o", version="1"))

        assert b'"value":1' in first.body.replace(b" ", b"")
        assert paths(ehr) == ["GET /fhir/Observation/o/_history/1"]

    def test_what_has_not_changed_is_not_sent_again(self) -> None:
        recording = Recording()

        async def use(client: FhirClient) -> tuple[Received, Received, Received]:
            first = await client.read("Observation", "o")
            again = await client.read("Observation", "o", known=first)
            ehr.load(fhir.observation("1", 2, id="o"))
            return first, again, await client.read("Observation", "o", known=first)

        with hospital(fhir.observation("1", 1, id="o"), stamps=True) as ehr:
            first, again, newer = asked(ehr.url, use, recording=recording)

        assert again is first
        assert newer.sha256 != first.sha256
        assert [outcome[1] for outcome in recording.outcomes] == [200, 304, 200]

    def test_an_attachment_comes_as_a_resource_or_as_its_content(self) -> None:
        with hospital(fhir.binary("aGVsbG8=", id="b")) as ehr:
            as_resource = asked(ehr.url, lambda client: client.binary("b"))
            ehr.on("Binary", instead(b"hello", content_type="text/plain; charset=utf-8"))
            content = asked(ehr.url, lambda client: client.binary("b", accept="text/plain"))

        assert json.loads(as_resource.body)["data"] == "aGVsbG8="
        assert (content.body, content.content_type) == (b"hello", "text/plain")
        assert ehr.requests[-1].headers["accept"] == "text/plain"

    def test_an_attachment_of_another_media_type_is_invalid(self) -> None:
        with hospital(fhir.binary("aGVsbG8=", id="b")) as ehr, raises("invalid", "media type"):
            ehr.on("Binary", instead(b"<html>", content_type="text/html"))
            asked(ehr.url, lambda client: client.binary("b", accept="text/plain"))

    def test_each_call_has_a_number_of_its_own(self) -> None:
        recording = Recording()
        with hospital(*observations(3), page=1) as ehr:
            asked(ehr.url, lambda client: all_of(client.search("Observation")), recording=recording)

        sent = [one.headers["x-request-id"] for one in ehr.requests]
        assert sent == [call.request_id for call in recording.calls]
        assert sent == [f"retrieval.{number}" for number in range(1, 5)]


class TestSearch:
    def test_no_address_tells_whom_a_search_is_about(self) -> None:  # standards: 46
        recording = Recording()
        with hospital(fhir.patient(), *observations(2)) as ehr:
            found = asked(
                ehr.url,
                lambda client: all_of(client.search("Observation", [("patient", PATIENT)], count=7)),
                recording=recording,
                patient=f"Patient/{PATIENT}",
            )

        assert paths(ehr) == ["POST /fhir/Observation/_search"]
        assert ehr.requests[-1].form == (("patient", PATIENT), ("_count", "7"))
        assert '"o0"' in entries(page.body for page in found)
        assert recording.calls[-1].body == "patient=patient-1&_count=7"
        assert recording.calls[-1].patient == "Patient/patient-1"
        assert "patient-1" not in recording.calls[-1].url
        assert [page.name for page in found] == ["Observation page 1"]

    def test_a_server_that_takes_no_posts_is_asked_by_get_from_then_on(self) -> None:
        async def use(client: FhirClient) -> list[bool]:
            before = (await client.capabilities()).posts_searches
            await all_of(client.search("Observation", [("code", "4548-4")]))
            await all_of(client.search("Observation", [("code", "4548-4")]))
            return [before, (await client.capabilities()).posts_searches]

        with hospital(*observations(2), lacks={"post_search"}) as ehr:
            posts = asked(ehr.url, use)

        assert posts == [True, False]
        assert [path.split("?")[0] for path in paths(ehr)] == [
            "POST /fhir/Observation/_search",
            "GET /fhir/Observation",
            "GET /fhir/Observation",
        ]

    @pytest.mark.parametrize("code", [404, 405, 501])
    def test_every_way_to_say_that_post_is_unknown_is_understood(self, code: int) -> None:
        with hospital(*observations(2)) as ehr:
            ehr.on("_search", status(code))
            found = asked(ehr.url, lambda client: all_of(client.search("Observation")))

        assert '"o1"' in entries(page.body for page in found)

    @pytest.mark.parametrize("code", [400, 403, 500])
    def test_other_refusals_of_a_post_are_no_reason_to_show_a_patient_in_an_address(self, code: int) -> None:
        with hospital(*observations(2)) as ehr:
            ehr.on("_search", status(code))
            with pytest.raises(FhirError):
                asked(ehr.url, lambda client: all_of(client.search("Observation", [("patient", PATIENT)])))

        assert not [path for path in paths(ehr) if PATIENT in path]

    def test_a_type_that_is_not_there_at_all_is_no_server_without_posts(self) -> None:
        async def use(client: FhirClient) -> bool:
            with pytest.raises(FhirError):
                await all_of(client.search("Basic"))
            return (await client.capabilities()).posts_searches

        with hospital(*observations(1), lacks={"metadata"}) as ehr:
            ehr.on("Basic", status(404))
            assert asked(ehr.url, use)

    def test_a_server_is_asked_to_refuse_what_it_does_not_know(self) -> None:
        with hospital(*observations(1)) as ehr:
            asked(ehr.url, lambda client: all_of(client.search("Observation")))

        assert ehr.requests[-1].headers["prefer"] == "handling=strict"

    def test_what_is_referred_to_comes_along(self) -> None:
        drug = fhir.medication("860975", id="metformin")
        order = fhir.medication_request(None, medicationReference={"reference": "Medication/metformin"})
        with hospital(drug, order) as ehr:
            include = [("_include", "MedicationRequest:medication")]
            found = asked(ehr.url, lambda client: all_of(client.search("MedicationRequest", include)))

        assert '"metformin"' in entries(page.body for page in found)

    def test_a_search_may_ask_for_what_others_say(self) -> None:
        with hospital(fhir.patient(), fhir.patient(id="patient-2"), *observations(1)) as ehr:
            having = [("_has:Observation:patient:code", "4548-4")]
            found = asked(ehr.url, lambda client: all_of(client.search("Patient", having)))

        assert '"patient-1"' in entries(page.body for page in found)
        assert '"patient-2"' not in entries(page.body for page in found)

    def test_who_sees_a_page_first_may_have_it_refused(self) -> None:
        def judge(page: Received) -> None:
            raise FhirError("foreign", "Observation: belongs to another patient")

        recording = Recording()
        with hospital(*observations(1)) as ehr, raises("foreign"):
            asked(ehr.url, lambda client: all_of(client.search("Observation", judge=judge)), recording=recording)

        assert recording.outcomes == [("search-type", 200, "foreign")]

    def test_what_its_reader_refuses_goes_on_record(self) -> None:
        async def use(client: FhirClient) -> None:
            received = await client.read("Observation", "o0")
            await client.refuse(received, "foreign", "Observation/o0: is another patient's")

        recording = Recording()
        with hospital(*observations(1)) as ehr:
            asked(ehr.url, use, recording=recording)

        assert recording.outcomes == [("read", 200, None), ("read", 200, "foreign")]
        assert recording.calls[-1].detail == "Observation/o0: is another patient's"


class TestOtherInteractions:
    def test_every_version_comes_newest_first(self) -> None:
        with hospital(fhir.observation("1", 1, id="o"), stamps=True) as ehr:
            ehr.load(fhir.observation("1", 2, id="o"))
            history = asked(ehr.url, lambda client: all_of(client.history("Observation", "o")))

        versions = [one["resource"]["meta"]["versionId"] for one in json.loads(history[0].body)["entry"]]
        assert versions == ["2", "1"]
        assert paths(ehr)[0].startswith("GET /fhir/Observation/o/_history")

    def test_everything_of_a_patient_comes_in_pages(self) -> None:
        recording = Recording()
        with hospital(fhir.patient(), fhir.condition("1"), *observations(4), page=2) as ehr:
            pages = asked(
                ehr.url,
                lambda client: all_of(client.everything(f"Patient/{PATIENT}", types=["Observation", "Patient"])),
                recording=recording,
            )

        assert len(pages) > 1
        assert '"o3"' in entries(page.body for page in pages)
        assert "Condition" not in entries(page.body for page in pages)
        assert recording.calls[-1].interaction == "operation"

    def test_several_requests_go_in_one(self) -> None:
        with hospital(fhir.patient(), *observations(2)) as ehr:
            received = asked(
                ehr.url, lambda client: client.batch([f"Patient/{PATIENT}", "Observation/o1", "Observation/none"])
            )

        answers = json.loads(received.body)["entry"]
        assert [one["response"]["status"][:3] for one in answers] == ["200", "200", "404"]
        assert answers[1]["resource"]["id"] == "o1"

    def test_an_answer_to_fewer_requests_than_were_asked_is_invalid(self) -> None:
        with hospital(*observations(2)) as ehr:
            ehr.on(lambda one: one.path == "/fhir", changed(lambda bundle: bundle["entry"].pop()))
            with raises("invalid", "each request"):
                asked(ehr.url, lambda client: client.batch(["Observation/o0", "Observation/o1"]))

    @pytest.mark.parametrize("request_", ["https://other.example/fhir/Patient/1", "../Patient", "/admin"])
    def test_a_batch_asks_for_nothing_outside_the_base(self, request_: str) -> None:  # standards: 16
        with hospital(*observations(1)) as ehr, pytest.raises(FhirError):
            asked(ehr.url, lambda client: client.batch([request_]))

        assert paths(ehr) == []


class TestCapabilities:
    def test_a_server_is_asked_once_what_it_can_do(self) -> None:
        async def use(client: FhirClient) -> None:
            await asyncio.gather(*(client.read("Observation", f"o{number}") for number in range(3)))
            assert (await client.capabilities()).stated

        recording = Recording()
        with hospital(*observations(3)) as ehr:
            asked(ehr.url, use, recording=recording, patient="Patient/patient-1")

        assert [one.path for one in ehr.requests].count("/fhir/metadata") == 1
        assert recording.calls[0].interaction == "capabilities"
        assert recording.calls[0].patient is None

    @pytest.mark.parametrize(
        ("lacks", "use"),
        [
            pytest.param("vread", lambda client: client.read("Observation", "o0", version="1"), id="versions"),
            pytest.param("Condition", lambda client: client.read("Condition", "c"), id="a type"),
            pytest.param("search", lambda client: all_of(client.search("Observation")), id="searches"),
            pytest.param("history", lambda client: all_of(client.history("Observation", "o0")), id="histories"),
            pytest.param("everything", lambda client: all_of(client.everything("Patient/1")), id="everything"),
            pytest.param("export", lambda client: client.export(), id="exports"),
        ],
    )
    def test_what_a_server_says_it_cannot_do_is_not_asked(self, lacks: str, use: object) -> None:
        recording = Recording()
        with hospital(*observations(1), lacks={lacks}) as ehr, raises("refused", "nothing was asked"):
            asked(ehr.url, use, recording=recording)  # type: ignore[arg-type]  # each gives something else

        assert paths(ehr) == []
        assert [outcome[1:] for outcome in recording.outcomes] == [(None, "refused")]

    @pytest.mark.parametrize(
        "parameter",
        [
            pytest.param(("performer", "1"), id="a parameter"),
            pytest.param(("_include", "Observation:performer"), id="an include"),
            pytest.param(("_revinclude", "Basic:subject"), id="a reverse include"),
        ],
    )
    def test_a_search_by_what_a_server_does_not_list_is_not_sent(self, parameter: tuple[str, str]) -> None:
        with hospital(*observations(1)) as ehr, raises("refused", "nothing was asked"):
            asked(ehr.url, lambda client: all_of(client.search("Observation", [parameter])))

        assert paths(ehr) == []

    @pytest.mark.parametrize("code", [401, 403, 404, 500])
    def test_a_server_that_does_not_say_is_tried(self, code: int) -> None:
        with hospital(*observations(1)) as ehr:
            ehr.on("metadata", status(code))
            if code == 401:
                with raises("unauthorized"):
                    asked(ehr.url, lambda client: client.read("Observation", "o0"))
                return
            received = asked(ehr.url, lambda client: client.read("Observation", "o0"))

        assert b"o0" in received.body

    def test_a_server_of_another_fhir_is_not_asked_anything(self) -> None:
        with hospital(*observations(1)) as ehr:
            ehr.on("metadata", changed(lambda body: body.update(fhirVersion="5.0.0")))
            with raises("refused", "R4"):
                asked(ehr.url, lambda client: client.read("Observation", "o0"))

        assert paths(ehr) == []


class TestSharing:
    def test_clients_of_one_base_share_connections_and_the_limit_of_calls_at_once(self) -> None:
        limits = replace(QUICK, concurrency=3)

        async def one(url: str) -> None:
            async with FhirClient(Open(url), Recording(), clock=SystemClock(), limits=limits) as client:
                await asyncio.gather(*(client.read("Observation", f"o{number}") for number in range(4)))

        async def many(url: str) -> None:
            await asyncio.gather(*(one(url) for _ in range(5)))

        with hospital(*observations(4)) as ehr:
            ehr.on("Observation", slow(0.02))
            asyncio.run(many(ehr.url))

        assert ehr.at_once <= 3
        assert ehr.connections <= 3
        assert len(paths(ehr)) == 20
        assert [request.path for request in ehr.requests].count("/fhir/metadata") == 1

    def test_no_patients_session_goes_along_with_anothers_calls(self) -> None:
        with hospital(*observations(1)) as ehr:
            honest = status(404)
            ehr.on("Observation/none", lambda asked_, do: replace(honest(asked_, do), headers={"Set-Cookie": "s=1"}))

            async def use(client: FhirClient) -> None:
                with pytest.raises(FhirError):
                    await client.read("Observation", "none")
                await client.read("Observation", "o0")

            asked(ehr.url, use)

        assert "cookie" not in ehr.requests[-1].headers

    def test_no_proxy_of_the_environment_sees_what_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with hospital(*observations(1)) as ehr:
            monkeypatch.setenv("HTTP_PROXY", ehr.elsewhere)
            monkeypatch.setenv("ALL_PROXY", ehr.elsewhere)
            asked(ehr.url, lambda client: client.read("Observation", "o0"))

            assert ehr.strayed == []

    def test_a_client_is_used_while_it_is_open(self) -> None:
        client = FhirClient(Open("http://127.0.0.1:9/fhir"), Recording(), clock=SystemClock())

        with pytest.raises(UsageError, match="async with"):
            asyncio.run(client.read("Patient", "1"))

    def test_a_file_of_authorities_that_is_none_is_told_at_once(self, tmp_path: Path) -> None:
        wrong = tmp_path / "authority.pem"
        wrong.write_text("no certificate")

        with pytest.raises(SettingsError, match=r"authority\.pem"):
            asked("https://127.0.0.1:9/fhir", lambda client: client.capabilities(), ca_file=wrong)


class TestOnePatient:
    def test_another_patient_is_not_asked_for(self) -> None:
        recording = Recording()
        with hospital(fhir.patient(), fhir.patient(id="patient-2")) as ehr, raises("foreign", "another patient"):
            asked(
                ehr.url,
                lambda client: client.read("Patient", "patient-2"),
                patient=f"Patient/{PATIENT}",
                recording=recording,
            )

        assert paths(ehr) == []
        assert recording.outcomes == [("read", None, "foreign")]

    def test_nor_everything_of_another_patient(self) -> None:
        with hospital(fhir.patient(), fhir.patient(id="patient-2")) as ehr, raises("foreign", "another patient"):
            asked(
                ehr.url,
                lambda client: all_of(client.everything("Patient/patient-2")),
                patient=f"Patient/{PATIENT}",
            )

        assert paths(ehr) == []

    def test_a_client_stays_with_the_patient_of_the_launch(self) -> None:
        launched = Tokens("http://127.0.0.1:9/fhir", "token", patient="Patient/1")

        with raises("forbidden"):
            FhirClient(launched, Recording(), clock=SystemClock(), patient="Patient/2")
        client = FhirClient(launched, Recording(), clock=SystemClock())
        assert client.patient == "Patient/1"
        client.bound_to("Patient/1")


class TestExport:
    @pytest.mark.parametrize(("level", "path"), [("system", "/fhir/$export"), ("Patient", "/fhir/Patient/$export")])
    def test_an_export_is_started_awaited_read_line_by_line_and_deleted(self, level: ExportLevel, path: str) -> None:
        async def use(client: FhirClient) -> list[bytes]:
            async with await client.export(level, types=["Observation"]) as export:
                manifest = await export.manifest()
                assert {file.type for file in manifest.output} == {"Observation"}
                return [line for file in manifest.output for line in await all_of(export.lines(file))]

        recording = Recording()
        with hospital(fhir.patient(), *observations(250)) as ehr:
            ehr.exporting.polls = 2
            lines = asked(ehr.url, use, recording=recording)

        assert [json.loads(line)["id"] for line in lines] == [f"o{number}" for number in range(250)]
        assert paths(ehr)[0].startswith(f"GET {path}")
        assert ehr.requests[1].headers["prefer"] == "respond-async"
        assert len(ehr.cancelled) == 1
        assert {call.interaction for call in recording.calls[1:]} == {"export"}

    def test_an_export_that_is_left_early_is_cancelled(self) -> None:
        async def use(client: FhirClient) -> None:
            async with await client.export():
                raise KeyError("something else")

        with hospital(*observations(1)) as ehr:
            with pytest.raises(KeyError):
                asked(ehr.url, use)
            assert len(ehr.cancelled) == 1

    def test_an_export_that_takes_too_long_ends(self) -> None:
        async def use(client: FhirClient) -> None:
            async with await client.export() as export:
                await export.manifest()

        with hospital(*observations(1)) as ehr:
            ehr.exporting.polls, ehr.exporting.retry_after = 1_000, 1
            with raises("deadline", "did not finish"):
                asked(ehr.url, use, limits=replace(QUICK, export_seconds=0.2))
            assert len(ehr.cancelled) == 1

    def test_a_token_goes_along_to_the_files_of_the_server_itself(self) -> None:
        async def use(client: FhirClient) -> int:
            async with await client.export(types=["Observation"]) as export:
                manifest = await export.manifest()
                return sum([len(await all_of(export.lines(file))) for file in manifest.output])

        with hospital(fhir.patient(), *observations(3), smart=Smart()) as ehr:
            token = ehr.access_token("system/*.rs")
            assert asked(Tokens(ehr.url, token), use) == 3

    @pytest.mark.parametrize(
        ("requires_token", "allowed"),
        [
            pytest.param(True, True, id="that need a token"),
            pytest.param(False, False, id="of an origin that was not named"),
        ],
    )
    def test_files_elsewhere_are_not_fetched(self, requires_token: bool, allowed: bool) -> None:  # standards: 16
        async def use(client: FhirClient) -> None:
            elsewhere = [ehr.elsewhere] if allowed else []
            async with await client.export(elsewhere=elsewhere) as export:
                await export.manifest()

        with hospital(*observations(1)) as ehr:
            ehr.exporting.elsewhere, ehr.exporting.requires_token = True, requires_token
            with raises("foreign", "another server"):
                asked(Tokens(ehr.url, "a-token"), use)

        assert ehr.strayed == []

    def test_progress_elsewhere_is_not_asked_for(self) -> None:  # standards: 16
        recording = Recording()
        with hospital(*observations(1)) as ehr:
            away = {"Content-Location": f"{ehr.elsewhere}/fhir/_export/1"}
            ehr.on("$export", lambda one, honest: replace(honest(), headers=away))
            with raises("foreign", "another server"):
                asked(Tokens(ehr.url, "a-token"), lambda client: client.export(), recording=recording)

        assert ehr.strayed == []
        assert recording.outcomes == [("export", 202, "foreign")]

    def test_files_elsewhere_come_without_a_token_where_their_origin_was_named(self) -> None:  # standards: 16
        async def use(client: FhirClient) -> int:
            async with await client.export(types=["Observation"], elsewhere=[ehr.elsewhere]) as export:
                manifest = await export.manifest()
                return sum([len(await all_of(export.lines(file))) for file in manifest.output])

        recording = Recording()
        with hospital(fhir.patient(), *observations(3)) as ehr:
            ehr.exporting.elsewhere = True
            assert asked(Tokens(ehr.url, "a-token"), use, recording=recording) == 3

        assert [one.bearer for one in ehr.strayed] == [None]
        assert [call.token_id for call in recording.calls if call.url.startswith(ehr.elsewhere)] == [None]

    def test_a_line_that_is_too_long_ends_the_file(self) -> None:
        async def use(client: FhirClient) -> None:
            async with await client.export(types=["Observation"]) as export:
                manifest = await export.manifest()
                await all_of(export.lines(manifest.output[0]))

        with (
            hospital(fhir.patient(), fhir.observation("1", "x" * 300_000)) as ehr,
            raises("invalid", "a line is longer"),
        ):
            asked(ehr.url, use, limits=replace(QUICK, body_bytes=100_000))

    def test_a_file_may_be_left_in_the_middle(self) -> None:
        async def use(client: FhirClient) -> bytes:
            async with await client.export(types=["Observation"]) as export:
                manifest = await export.manifest()
                async with aclosing(export.lines(manifest.output[0])) as lines:
                    return await anext(lines)

        with hospital(fhir.patient(), *observations(90)) as ehr:
            assert b'"o0"' in asked(ehr.url, use)

    @pytest.mark.parametrize("level", ["Group", "Patient/1", "Observation", "group/1"])
    def test_an_export_is_of_the_system_patients_or_a_group(self, level: str) -> None:
        with hospital(*observations(1)) as ehr, pytest.raises(UsageError, match="Group/id"):
            asked(ehr.url, lambda client: client.export(level))


def test_a_deadline_holds_for_all_calls_together_and_keeps_what_came_before() -> None:
    async def use(client: FhirClient) -> tuple[list[str], list[str]]:
        came: list[str] = []
        late: list[str] = []
        await client.capabilities()
        with client.within(1):
            for number in range(3):
                try:
                    came.append((await client.read("Observation", f"o{number}")).name)
                except FhirError as error:
                    late.append(f"{error.failure}: {error}")
        came.append((await client.read("Observation", "o0")).name)
        return came, late

    with hospital(*observations(3)) as ehr:
        ehr.on("Observation/o1", slow(60))
        came, late = asked(ehr.url, use, limits=replace(QUICK, attempt_seconds=50))

    assert came == ["Observation/o0", "Observation/o0"]
    assert late == [
        "deadline: Observation/o1: the server did not answer in time",
        "deadline: Observation/o2: time ran out before the server was asked",
    ]


def test_a_slot_is_waited_for_no_longer_than_there_is_time() -> None:
    async def use(client: FhirClient) -> list[object]:
        await client.capabilities()
        with client.within(0.5):
            reads = (client.read("Observation", f"o{number}") for number in range(2))
            return list(await asyncio.gather(*reads, return_exceptions=True))

    with hospital(*observations(2)) as ehr:
        ehr.on("Observation", slow(60))
        ended = asked(ehr.url, use, limits=replace(QUICK, concurrency=1, attempt_seconds=50))

    assert [str(error).partition(": ")[2] for error in ended] == [
        "the server did not answer in time",
        "time ran out before the server was asked",
    ]


def test_since_is_an_instant_with_an_offset() -> None:
    with hospital(fhir.patient(), *observations(1)) as ehr:
        since = datetime(2026, 1, 5, tzinfo=UTC)
        asked(ehr.url, lambda client: all_of(client.everything(f"Patient/{PATIENT}", since=since)))

    assert ("_since", "2026-01-05T00:00:00.000000Z") in ehr.requests[-1].query


def test_a_token_goes_along_with_every_call() -> None:
    with hospital(fhir.patient(), *observations(1), smart=Smart()) as ehr:
        token = ehr.access_token("patient/*.rs", patient=PATIENT)
        authorization = Tokens(ehr.url, token, patient=f"Patient/{PATIENT}")
        found = asked(authorization, lambda client: all_of(client.search("Observation", [("patient", PATIENT)])))

    assert '"o0"' in entries(page.body for page in found)
    assert {one.bearer for one in ehr.requests} == {token}
    assert SecretStr(token).get_secret_value() not in repr(found)
