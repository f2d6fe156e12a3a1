# SPDX-License-Identifier: Apache-2.0
"""An EHR, or what somebody wrote into its charts, that tries to get more than it should: every call stays on record,
and nothing is taken for the patient's that is not."""

import asyncio
import gzip
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.answering import answering
from builders.fhir_client import Recording, asked
from builders.hospital import Hospital, hospital
from builders.hospital_faults import Fault, changed, status
from builders.hospital_tls import server_context, write_authority
from builders.hospital_wire import Reply
from builders.server_chart import Served, reading

from medagent.errors import AuthorizationError, FhirError
from medagent_fhir.client import FhirClient
from medagent_fhir.server import ServerChart
from medagent_fhir.smart.exchange import Peer
from medagent_fhir.smart.limits import SmartLimits

RESULT = fhir.observation("4548-4", "6.5", "%", id="o")


def subject(reference: str) -> Fault:
    """Rewrites what the first result says of whom it is."""
    return changed(lambda bundle: bundle["entry"][0]["resource"].update(subject={"reference": reference}))


@contextmanager
def broken_after_the_handshake(folder: Path) -> Iterator[str]:
    """An origin that is trusted, and then sends a record that nobody can decrypt."""
    context = server_context(folder, "own")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = context.wrap_bio(incoming, outgoing, server_side=True)
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65_536))
            connection.sendall(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"?" * 32)
            while connection.recv(65_536):  # until the client goes, so that it reads all of this
                pass

    server = threading.Thread(target=serve, daemon=True)
    with listener:
        server.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/fhir"
        server.join(5)


class TestEveryCallIsOnRecord:
    """standards: 46"""

    @pytest.mark.parametrize("reference", ["identifier|", "identifier|urn:numbers", "identifier|||"], ids=repr)
    def test_whatever_a_resource_says_of_whom_it_is(self, reference: str) -> None:
        with hospital(fhir.patient(identifier=[{"system": "urn:numbers"}]), RESULT) as ehr:
            ehr.on("Observation", subject(reference))
            served = Served(ehr.url, plan=("Observation",))
            chart = served.read()

            assert len(served.calls) == len(ehr.requests)
        assert reading(chart, "Observation").examined == 0

    def test_whenever_the_server_wants_to_be_asked_again(self) -> None:
        with hospital(fhir.patient(), RESULT) as ehr:
            ehr.on("Observation", status(503, retry_after="Mon, 01 Jan 2024 00:00:00 +99999999999999"))
            served = Served(ehr.url, plan=("Observation",))
            chart = served.read()

            assert len(served.calls) == len(ehr.requests)
        assert not reading(chart, "Observation").complete

    def test_where_tls_breaks_after_the_handshake(self, tmp_path: Path) -> None:
        recording = Recording()
        ca_file = write_authority(tmp_path)

        async def read(client: FhirClient) -> None:
            await client.read("Patient", "patient-1")

        with broken_after_the_handshake(tmp_path) as base, pytest.raises(FhirError, match="TLS") as told:
            asked(base, read, recording=recording, ca_file=ca_file)

        assert told.value.failure == "unavailable"
        assert [call.failure for call in recording.calls] == ["unavailable"]

    def test_where_a_fault_of_ours_ends_it(self) -> None:
        recording = Recording()

        async def search(client: FhirClient) -> None:
            def judge(_: object) -> None:
                raise ZeroDivisionError

            async for _ in client.search("Observation", [("patient", "patient-1")], judge=judge):
                pytest.fail("nothing is handed out")

        with hospital(fhir.patient(), RESULT) as ehr, pytest.raises(ZeroDivisionError):
            asked(ehr.url, search, recording=recording)

        assert recording.outcomes == [("search-type", 200, "invalid")]


NOTE = fhir.document_reference({"contentType": "text/plain", "url": "Binary/b"}, id="d")


def note_text(ehr: Hospital) -> tuple[list[str], list[str], Served]:
    """The texts behind the notes, why the rest is missing, and what went on record."""

    async def read(chart: ServerChart) -> tuple[list[str], list[str]]:
        await chart.provide(("DocumentReference", "Binary"))
        texts = [text.text for id in reading(chart, "DocumentReference").members for text in chart.texts(id)]
        return texts, [one.reason for one in chart.skipped]

    served = Served(ehr.url, plan=())
    return *served.use(read), served


class TestNothingOfOthers:
    @pytest.mark.parametrize(
        ("owner", "is_ours"),
        [
            (None, True),
            ("Patient/patient-1", True),
            ("Patient/patient-1/_history/1", True),
            ("DocumentReference/d", True),
            ("Patient/somebody-else", False),
            ("https://elsewhere.example/fhir/Patient/patient-1", False),
        ],
        ids=repr,
    )
    def test_a_text_under_another_patients_access_rules_is_refused(self, owner: str | None, is_ours: bool) -> None:
        context = {"securityContext": {"reference": owner}} if owner is not None else {}
        with hospital(fhir.patient(), NOTE, fhir.binary("bm90ZQ==", id="b") | context) as ehr:
            texts, skipped, served = note_text(ehr)

        failures = [call.failure for call in served.calls if call.resource == "Binary/b"]
        assert texts == (["note"] if is_ours else [])
        assert failures == ([None] if is_ours else [None, "foreign"])
        assert skipped == ([] if is_ours else ["belongs to another patient; nothing of it is used"])

    @pytest.mark.parametrize("resource", [RESULT, fhir.condition("44054006", id="c")], ids=["a result", "a problem"])
    def test_what_names_two_patients_is_nobodys(self, resource: fhir.Json) -> None:
        kind = resource["resourceType"]
        with hospital(fhir.patient(), resource | {"patient": fhir.reference("Patient/somebody-else")}) as ehr:
            chart = Served(ehr.url, plan=(kind,)).read()

        assert reading(chart, kind).examined == 0
        assert not reading(chart, kind).complete

    def test_a_drug_that_comes_along_ungranted_is_not_used(self) -> None:  # standards: 11
        drug = fhir.medication("6809", id="m")
        order = fhir.medication_request(None, means={"reference": "Medication/m"})
        along = changed(lambda bundle: bundle["entry"].append({"resource": drug, "search": {"mode": "include"}}))
        scopes = ("patient/Patient.rs", "patient/MedicationRequest.rs")
        with hospital(fhir.patient(), order) as ehr:
            ehr.on("MedicationRequest", along)
            chart = Served(ehr.url, plan=("MedicationRequest",), scopes=scopes).read()

        assert [chart.fact(id).codings for id in reading(chart, "MedicationRequest").members] == [()]


class TestNothingBreaksTheChart:
    def test_a_version_of_more_digits_than_any_number_has(self) -> None:
        def twice(bundle: dict[str, Any]) -> None:
            [entry] = bundle["entry"]
            versions = [{"meta": {"versionId": "9" * 5_000 + last}} for last in "12"]
            bundle["entry"] = [entry | {"resource": entry["resource"] | version} for version in versions]

        with hospital(fhir.patient(), RESULT) as ehr:
            ehr.on("Observation", changed(twice))
            chart = Served(ehr.url, plan=("Observation",)).read()

        assert not reading(chart, "Observation").complete


class TestItsAuthorizationServer:
    def configuration(self, packed_body: bytes) -> Mapping[str, Any]:
        packed = Reply(200, packed_body, {"Content-Encoding": "gzip"}, "application/json")
        with answering(lambda asked: packed) as root:
            return asyncio.run(Peer("EHR north", None, SmartLimits()).get(f"{root}/configuration"))

    def test_may_pack_its_answer_though_nobody_asked_for_that(self) -> None:
        assert self.configuration(gzip.compress(b'{"issuer": "north"}')) == {"issuer": "north"}

    def test_cannot_fill_our_memory_with_what_it_packed(self) -> None:
        spaces = gzip.compress(b" " * 60_000_000)
        tracemalloc.start()
        try:
            with pytest.raises(AuthorizationError, match="256 KiB"):
                self.configuration(spaces)
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert held < 20_000_000
