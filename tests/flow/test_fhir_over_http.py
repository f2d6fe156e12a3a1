# SPDX-License-Identifier: Apache-2.0
"""The whole product over HTTP: what it says of a chart is what it says of the same chart from a file, and what goes
wrong on the way is told in one line."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.hospital import Client, Hospital, Loadable, Smart, hospital
from builders.hospital_faults import instead, status, stranger
from builders.launching import SYSTEM, ehr_toml
from builders.over_http import AS_OF, at_work, document, over_http, told
from builders.program import SAMPLES
from builders.runs import Runner, instant_of

from medagent.canonical import parse_json
from medagent.clock import SystemClock
from medagent.errors import JournalError, UsageError
from medagent.records import Request
from medagent_fhir.smart import SigningKeys
from medagent_workflows.command_line import main
from medagent_workflows.ehrs import Entrance, open_server
from medagent_workflows.recommending import recommend, resume

KIDNEY = SAMPLES / "diabetes-kidney.json"
PATIENT = "diabetes-kidney-patient"
BEFORE = instant_of("2025-12-31T23:59:59+00:00")
"""The simulated hospital stores everything after this."""
DAY = ("--as-of", "2026-06-30")


@pytest.mark.parametrize("sample", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_a_chart_over_http_gives_what_its_file_gives(tmp_path: Path, sample: str) -> None:
    file = SAMPLES / f"{sample}.json"
    with at_work(tmp_path) as made, hospital(file, page=3) as ehr:
        from_file = made.run(file, as_of=AS_OF)
        over_wire = document(over_http(made, ehr.url, from_file["patient"].removeprefix("Patient/")))
        assert told(over_wire) == told(from_file)


def test_when_a_server_stored_a_chart_changes_nothing(tmp_path: Path) -> None:
    """The patient, and what has a clinical time, were known before `meta.lastUpdated`."""
    with at_work(tmp_path) as made, hospital(KIDNEY, stamps=True) as ehr:
        assert all(one.updated > BEFORE for one in ehr.records.of("Patient"))
        from_file = made.run(KIDNEY, as_of=BEFORE)
        assert from_file["recommendations"]
        assert told(document(over_http(made, ehr.url, PATIENT, as_of=BEFORE))) == told(from_file)


@pytest.mark.data
@pytest.mark.slow
def test_each_real_chart_over_http_gives_what_its_file_gives(tmp_path: Path, shared_data: Path) -> None:
    files = [path for path in sorted((shared_data / "fhir-synthea-r4").glob("*.json")) if path.name != "manifest.json"]
    assert files
    different = []
    with at_work(tmp_path) as made:
        for file in files:
            with hospital(file, page=200) as ehr:
                from_file = made.run(file, as_of="latest")
                patient = from_file["patient"].removeprefix("Patient/")
                over_wire = document(over_http(made, ehr.url, patient, as_of="latest"))
            if told(over_wire) != told(from_file):
                different.append(file.name)
    assert different == []


def test_citations_of_a_chart_over_http_stand_in_the_bytes_that_were_read(tmp_path: Path) -> None:
    """standards: 37"""
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        recorded = over_http(made, ehr.url, PATIENT)
        facts = [one for one in document(recorded)["evidence"] if one["kind"] == "fact"]
        assert facts
        sent = {sha256(one.raw).hexdigest() for name in ehr.records.types for one in ehr.records.of(name)}
        for one in facts:
            assert one["source"]["sha256"] in sent
            stored = made.services.store.evidence(one["source"]["sha256"], "local")
            assert sha256(stored).hexdigest() == one["source"]["sha256"]


def test_the_request_names_the_retrieval_and_every_call_is_on_record(tmp_path: Path) -> None:
    """standards: 46"""
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        recorded = over_http(made, ehr.url, PATIENT)
        request = recorded.dossier.request
        assert request.scopes is None
        assert request.retrieval is not None
        events = made.services.store.audit_events("local", limit=10_000)
        calls = [one for one in events if one.header.type.startswith("fhir_")]
        assert len(calls) == len(ehr.requests)
        ids = {asked.headers["x-request-id"] for asked in ehr.requests}
        assert {one.rpartition(".")[0] for one in ids} == {request.retrieval}


def test_what_a_server_refuses_is_told_and_is_not_absent(tmp_path: Path) -> None:
    """clinical: 5; standards: 47"""
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        ehr.on("Observation", status(403))
        said = document(over_http(made, ehr.url, PATIENT))
    assert any(one["where"] == "Observation" and "403" in one["reason"] for one in said["skipped"])
    assert any(banner.startswith("Not read completely: Observation") for banner in said["banners"])
    assert any("could not be read completely" in one["why"] for one in said["missing"])
    assert said["outcome"] != "nothing_due"


def test_a_deceased_patient_ends_the_run_at_once(tmp_path: Path) -> None:
    """clinical: 1"""
    with at_work(tmp_path) as made, hospital(SAMPLES / "deceased.json") as ehr:
        said = document(over_http(made, ehr.url, "deceased-patient"))
        assert (said["outcome"], said["reason"], said["recommendations"]) == ("abstained", "deceased", [])


def test_another_patients_resource_never_reaches_the_run(tmp_path: Path) -> None:
    foreign = fhir.condition("44054006", id="foreign-canary", patient="somebody-else")
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        ehr.on("Condition", stranger(foreign))
        recorded = over_http(made, ehr.url, PATIENT)
        assert b"foreign-canary" not in recorded.stored.replace(b"Condition/foreign-canary", b"")
        said = document(recorded)
        assert any(one["where"] == "Condition" for one in said["skipped"])


def test_what_is_old_is_said_only_after_every_type_was_asked_for(tmp_path: Path) -> None:
    """clinical: 4"""
    record = (
        fhir.patient(birth_date="1960-05-05", gender="male"),
        fhir.observation("4548-4", "6.5", "%", at="2020-01-01"),
        fhir.immunization("140", at="2026-05-01"),
    )
    with at_work(tmp_path) as made, hospital(*record) as ehr:
        said = document(over_http(made, ehr.url, fhir.SUBJECT))
    assert [banner for banner in said["banners"] if "newest clinical entry" in banner] == []


@contextmanager
def backend(home: Path, *record: Loadable, scopes: tuple[str, ...] = SYSTEM) -> Iterator[tuple[Hospital, Path, Path]]:
    """An EHR that knows our backend service, with the registry and the keys of the site."""
    keys = SigningKeys(home / "smart", SystemClock())
    client = Client(kind="asymmetric", jwks=keys.jwks, backend=True)
    with hospital(*record, smart=Smart((client,))) as ehr:
        file = home / "ehrs.toml"
        file.write_text(ehr_toml(ehr, backend=scopes), "utf-8")
        yield ehr, file, home / "smart"


def test_an_ehr_of_the_registry_is_read_by_its_backend_service(tmp_path: Path) -> None:
    """standards: 18"""
    with (
        backend(tmp_path, KIDNEY) as (ehr, file, keys),
        at_work(tmp_path, ehrs_file=file, smart_key_folder=keys) as made,
    ):
        over_wire = over_http(made, ehr.url, PATIENT)
        assert over_wire.dossier.request.scopes == ("system/*.rs",)
        assert told(document(over_wire)) == told(made.run(KIDNEY, as_of=AS_OF))


def test_a_backend_service_that_was_granted_less_says_what_it_did_not_read(tmp_path: Path) -> None:
    """standards: 11"""
    granted = ("system/Patient.rs", "system/Condition.rs")
    with (
        backend(tmp_path, KIDNEY, scopes=granted) as (ehr, file, keys),
        at_work(tmp_path, ehrs_file=file, smart_key_folder=keys) as made,
    ):
        said = document(over_http(made, ehr.url, PATIENT))
        assert {"where": "Observation", "reason": "not granted"} in said["skipped"]
        asked = {one.path.split("/")[2] for one in ehr.requests if one.path.startswith("/fhir/")}
        assert "Observation" not in asked


def interrupted(made: Runner, url: str) -> Request:
    """A request on record that came to no outcome, as a process leaves it that died."""

    class Died(Exception):
        pass

    def dies(_: str) -> None:
        raise Died

    async def run() -> None:
        entrance = Entrance(actor="test", patient=f"Patient/{PATIENT}", has_model=False)
        async with open_server(made.services, url, entrance) as source:
            await recommend(made.services, source, patient=PATIENT, as_of=AS_OF, actor="test", begun=dies)

    with pytest.raises(Died):
        asyncio.run(run())
    (name,) = made.services.store.open_requests("local")
    return Request.model_validate(parse_json(made.services.store.request(name, "local")))


def test_a_run_over_http_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        request = interrupted(made, ehr.url)
        recorded = over_http(made, ehr.url, PATIENT, resumed=request.id)
        assert recorded.dossier.request == request
        assert told(document(recorded)) == told(made.run(KIDNEY, as_of=AS_OF))


def test_a_run_over_http_goes_on_under_the_same_right_alone(tmp_path: Path) -> None:
    with (
        backend(tmp_path, KIDNEY) as (ehr, file, keys),
        at_work(tmp_path, ehrs_file=file, smart_key_folder=keys) as made,
    ):
        request = interrupted(made, ehr.url)
        assert request.scopes is not None
        narrowed = tmp_path / "narrowed"
        narrowed.mkdir()
        fewer = ehr_toml(ehr, backend=("system/Patient.rs", "system/Condition.rs"))
        (narrowed / "ehrs.toml").write_text(fewer, "utf-8")
        own = made.services.settings.model_copy(update={"ehrs_file": narrowed / "ehrs.toml"})
        with pytest.raises(JournalError, match="does not grant now"):
            over_http(Runner(_with(made, own)), ehr.url, PATIENT, resumed=request.id)


def _with(made: Runner, settings: Any) -> Any:
    return type(made.services)(settings=settings, clock=made.services.clock, store=made.services.store)


def test_a_run_of_a_server_does_not_go_on_with_a_file(tmp_path: Path) -> None:
    with at_work(tmp_path) as made, hospital(KIDNEY) as ehr:
        request = interrupted(made, ehr.url)
        with pytest.raises(UsageError, match="the chart of a server"):
            asyncio.run(resume(made.services, made.source(KIDNEY), request.id))


Medagent = Callable[..., tuple[int, str, str]]


@pytest.fixture
def medagent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Medagent:
    """The command line in this process: its exit status, output and messages."""
    monkeypatch.setenv("MEDAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDAGENT_FHIR_CHART_SECONDS", "3")

    def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_the_command_reads_a_server_as_it_reads_a_file(medagent: Medagent) -> None:
    with hospital(KIDNEY) as ehr:
        code, out, err = medagent("recommend", "--fhir", ehr.url, "--patient", PATIENT, *DAY, "--format", "json")
        assert (code, err) == (0, "")
        assert json.loads(out)["outcome"] == "offered"
        by_setting = medagent("recommend", "--patient", PATIENT, *DAY, MEDAGENT_FHIR_URL=f"{ehr.url}/")
        assert by_setting[0] == 0
        assert "medagent show" in by_setting[1]


def test_text_says_first_what_was_not_read(medagent: Medagent) -> None:
    with hospital(KIDNEY) as ehr:
        ehr.on("Observation", status(403))
        code, out, _ = medagent("recommend", "--fhir", ehr.url, "--patient", PATIENT, *DAY)
    text = " ".join(out.split())
    assert code == 0
    assert text.index("Not read completely: Observation") < text.index("rules")
    assert "403" in text


FAILURES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "a patient whom the server does not know": ("nobody", None, ("--patient",)),
    "a server that asks for a right": (PATIENT, status(401), ("MEDAGENT_EHRS_FILE",)),
    "a server that refuses the patient": (PATIENT, status(403), ("403", "MEDAGENT_EHRS_FILE")),
    "a server that is overloaded": (PATIENT, status(503), ("503",)),
    "an answer that is no FHIR": (PATIENT, instead(b"<html>", content_type="text/html"), ("FHIR",)),
    "an answer that is no JSON": (PATIENT, instead(b"{"), ("JSON",)),
}


@pytest.mark.parametrize("case", FAILURES, ids=list(FAILURES))
def test_a_server_that_gives_no_chart_is_told_in_one_line(medagent: Medagent, case: str) -> None:
    patient, fault, words = FAILURES[case]
    with hospital(KIDNEY) as ehr:
        if fault is not None:
            ehr.on(f"Patient/{patient}", fault)
        code, out, err = medagent("recommend", "--fhir", ehr.url, "--patient", patient, *DAY)
    _one_line(code, out, err, *words)


def test_a_server_that_is_down_is_told_in_one_line(medagent: Medagent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _one_line(*medagent("recommend", "--fhir", f"http://127.0.0.1:{port}/fhir", "--patient", PATIENT), str(port))


def test_a_server_whose_certificate_nobody_vouches_for_is_told_in_one_line(medagent: Medagent) -> None:
    with hospital(KIDNEY, tls="own") as ehr:
        _one_line(*medagent("recommend", "--fhir", ehr.url, "--patient", PATIENT), "certificate")
        code, _, err = medagent(
            "recommend", "--fhir", ehr.url, "--patient", PATIENT, *DAY, MEDAGENT_FHIR_CA_FILE=str(ehr.ca_file)
        )
        assert (code, err) == (0, "")


def test_an_ehr_without_a_backend_service_says_how_to_get_one(medagent: Medagent, tmp_path: Path) -> None:
    with hospital(KIDNEY) as ehr:
        file = tmp_path / "ehrs.toml"
        file.write_text(ehr_toml(ehr), "utf-8")
        ended = medagent("recommend", "--fhir", ehr.url, "--patient", PATIENT, MEDAGENT_EHRS_FILE=str(file))
        _one_line(*ended, "backend", "medagent serve")
        assert ehr.requests == []


def _one_line(code: int, out: str, err: str, *words: str) -> None:
    assert (code, out) == (1, "")
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
