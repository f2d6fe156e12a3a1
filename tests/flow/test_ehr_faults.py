# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong at an EHR, the run of a whole product ends in time: with one clear error, or with an outcome that
says in text and JSON what was not read, and concludes nothing from it."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.ehr_runs import Site, at_most, on_screen, site
from builders.hospital import Hospital
from builders.hospital_faults import (
    Fault,
    broken,
    changed,
    content_type,
    instead,
    meanwhile,
    redirect,
    slow,
    status,
    stranger,
)
from builders.model_server import Asked, Turn, calls, model_server, say
from builders.program import AS_OF, SAMPLES, Program
from builders.reasoning_scripts import answer, document

from medagent.errors import AuditError, AuthorizationError, FhirError

Json = dict[str, Any]

KIDNEY = SAMPLES / "diabetes-kidney.json"
PATIENT = "diabetes-kidney-patient"
QUICK: Json = {"fhir_attempts_max": 2}
SLOW: Json = {"fhir_seconds": 3.0}
"""Where nothing comes: seconds in which a server on a busy machine has answered everything else."""
BOUND = 30.0  # seconds of a run on a busy machine; the least that a site would wait by default for a single call

FOREIGN = fhir.observation("4548-4", "17.3", "%", id="of-somebody-else", patient="somebody-else")


def absences(node: object) -> Iterator[Json]:
    """Every statement that something is not there, wherever it stands."""
    if isinstance(node, dict):
        if node.get("kind") == "absence" and "reading" in node:
            yield node
        for member in node.values():
            yield from absences(member)
    elif isinstance(node, list):
        for member in node:
            yield from absences(member)


def offered(said: Json) -> set[tuple[str, str]]:
    """What is put forward, but for what is undecided and says so."""
    return {(one["rule"]["id"], one["stance"]) for one in said["recommendations"] if one["stance"] != "obtain"}


def check_nothing_false(said: Json, honest: Json, unread: str) -> None:
    """No reading of what was not read is complete, nothing shown states an absence in one that is not, and a fault
    brings no recommendation that the whole chart would not have brought."""
    readings = {one["id"]: one for one in said["evidence"] if one["kind"] == "reading"}
    of_unread = [one for one in readings.values() if unread in one["query"]["resource_types"]]
    assert of_unread
    assert [one for one in of_unread if one["complete"]] == []
    assert all(one["incomplete_because"] for one in of_unread)
    stated = [readings[one["reading"]] for one in absences(said["recommendations"]) if one["reading"] in readings]
    assert [one for one in stated if not one["complete"]] == []
    assert said["outcome"] != "nothing_due"
    assert offered(said) <= offered(honest)


def check_said(recorded: Any, said: Json, unread: str, *words: str) -> None:
    """In JSON and in text, first of all."""
    reasons = [one["reason"] for one in said["skipped"] if one["where"] == unread]
    assert reasons
    for word in words:
        assert any(word in reason for reason in reasons), reasons
    assert not any(reason.startswith(f"{unread}:") for reason in reasons)  # it stands there once
    assert any(one.startswith("Not read completely:") and unread in one for one in said["banners"])
    assert any("could not be read completely" in one["why"] for one in said["missing"])
    text = on_screen(recorded)
    assert text.index("Not read completely") < text.index("rules")
    assert f"{unread}: " in text
    for word in words:
        assert word in text


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """What is said of the whole chart."""
    with site(tmp_path_factory.mktemp("honest"), KIDNEY, page=5) as at:
        said = document(at.run(PATIENT))
        assert said["skipped"] == []
        return said


@dataclass(frozen=True, slots=True)
class Degrading:
    """A fault of searches for Observations, which is told and survived."""

    fault: Fault
    words: tuple[str, ...]
    failure: str
    """As the audit log has it."""
    more: Mapping[str, Any] = field(default_factory=dict)


DEGRADING = {
    "a right that is missing": Degrading(status(403), ("status 403",), "forbidden"),
    "a token that no one takes": Degrading(status(401), ("does not take our token",), "unauthorized"),
    "a server that is slow": Degrading(slow(60), ("did not answer in time",), "deadline", SLOW),
    "a server that never answers": Degrading(broken("hang"), ("did not answer in time",), "deadline", SLOW),
    "a server that answers byte by byte": Degrading(broken("trickle"), ("did not answer in time",), "deadline", SLOW),
    "half a page": Degrading(broken("half"), ("the connection broke",), "unavailable"),
    "a connection that breaks": Degrading(broken("reset"), ("the connection broke",), "unavailable"),
    "a server that is overloaded": Degrading(status(429, retry_after=3_600), ("overloaded", "429"), "busy"),
    "a server that asks to wait too long": Degrading(
        status(429, retry_after=30), ("overloaded", "429"), "busy", {"fhir_chart_seconds": 20.0}
    ),
    "a server that fails": Degrading(status(500), ("status 500",), "unavailable"),
    "a server that stays away": Degrading(status(503), ("status 503",), "busy"),
    "a gateway without a server": Degrading(status(502), ("status 502",), "unavailable"),
    "half a document": Degrading(instead(b'{"resourceType": "Bundle", "ent'), ("is no JSON",), "invalid"),
    "a page for people": Degrading(content_type("text/html"), ("something else than FHIR JSON",), "invalid"),
    "another resource than a Bundle": Degrading(instead(b'{"resourceType": "Basic"}'), ("Bundle",), "invalid"),
    "a redirect": Degrading(redirect("https://elsewhere.example/"), ("points elsewhere",), "foreign"),
    "another patient's resource": Degrading(stranger(FOREIGN), ("another patient's data",), "foreign"),
}


@pytest.mark.parametrize("case", DEGRADING)
def test_a_type_that_cannot_be_read_is_told_and_nothing_is_concluded_from_it(
    tmp_path: Path, honest: Json, case: str
) -> None:
    """clinical: 5; standards: 37, 47"""
    one = DEGRADING[case]
    with site(tmp_path, KIDNEY, page=5, **{**QUICK, **one.more}) as at:
        at.ehr.on("Observation", one.fault)
        with at_most(BOUND):
            recorded = at.run(PATIENT)
        said = document(recorded)
        check_said(recorded, said, "Observation", *one.words)
        check_nothing_false(said, honest, "Observation")
        told = [event["audit_event"]["outcomeDesc"] for event in at.events("fhir_search_failed")]
        assert any(text.startswith(f"{one.failure}:") for text in told)
        assert b"of-somebody-else" not in recorded.stored
        assert at.services.store.verify("local").ok


@pytest.mark.parametrize("case", ["half a page", "a right that is missing", "half a document", "a server that fails"])
def test_what_breaks_off_on_a_later_page_counts_as_far_as_it_came(tmp_path: Path, honest: Json, case: str) -> None:
    """clinical: 5"""
    with site(tmp_path, KIDNEY, page=5, **QUICK) as at:
        at.ehr.on("page", DEGRADING[case].fault)
        with at_most(BOUND):
            recorded = at.run(PATIENT)
    said = document(recorded)
    check_said(recorded, said, "Observation", "page 2", *DEGRADING[case].words)
    check_nothing_false(said, honest, "Observation")
    assert any(one["kind"] == "fact" and one["resource_type"] == "Observation" for one in said["evidence"])


def test_each_type_of_the_chart_may_be_the_one_that_fails(tmp_path: Path, honest: Json) -> None:
    """clinical: 5"""
    for unread in ("Condition", "AllergyIntolerance", "MedicationRequest", "Procedure", "Encounter"):
        home = tmp_path / unread
        home.mkdir()
        with site(home, KIDNEY, **QUICK) as at:
            at.ehr.on(unread, status(403))
            said = document(at.run(PATIENT))
        assert {"where": unread, "reason": said["skipped"][0]["reason"]} in said["skipped"]
        check_nothing_false(said, honest, unread)


def test_a_server_that_is_slow_throughout_holds_nobody_up_for_longer_than_a_chart_may_take(tmp_path: Path) -> None:
    with site(tmp_path, KIDNEY, fhir_seconds=30.0, fhir_chart_seconds=1.5) as at:
        at.ehr.on(lambda asked: asked.path.endswith("/_search"), slow(60))
        with at_most(BOUND):
            recorded = at.run(PATIENT)
        said = document(recorded)
    assert {one["where"] for one in said["skipped"]} >= {"Condition", "Observation", "MedicationRequest"}
    assert said["recommendations"] == []
    assert said["outcome"] != "nothing_due"
    assert not any(one.startswith("The chart holds no dated") for one in said["banners"])
    check_said(recorded, said, "Observation", "in time")


def test_a_page_that_changes_underfoot_is_asked_for_again(tmp_path: Path, honest: Json) -> None:
    with site(tmp_path, KIDNEY, page=5) as at:
        at.ehr.on("Observation", changed(lambda page: page.update(total=99)), times=1)
        said = document(at.run(PATIENT))
    assert said["skipped"] == []
    assert offered(said) == offered(honest)


def test_pages_that_change_each_time_are_told(tmp_path: Path, honest: Json) -> None:
    """clinical: 5"""
    with site(tmp_path, KIDNEY, page=5) as at:
        at.ehr.on("Observation", changed(lambda page: page.update(total=99)))
        recorded = at.run(PATIENT)
    said = document(recorded)
    check_said(recorded, said, "Observation", "changed while it was read")
    check_nothing_false(said, honest, "Observation")


def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path, honest: Json) -> None:
    with site(tmp_path, KIDNEY, page=5) as at:
        at.ehr.on("Observation", status(429, retry_after=1), times=1)
        began = time.monotonic()
        said = document(at.run(PATIENT))
        assert time.monotonic() - began >= 1
        assert len(at.events("fhir_search_failed")) == 1
    assert said["skipped"] == []
    assert offered(said) == offered(honest)


# Rights that end during a run.


@pytest.mark.parametrize("by", ["backend service", "launch"])
def test_a_token_that_ends_during_a_run_is_renewed_exactly_once(tmp_path: Path, honest: Json, by: str) -> None:
    """standards: 14; twelve searches side by side are refused, and one of them renews the token for all."""
    with site(tmp_path, KIDNEY, page=5) as at:
        session = at.launched(PATIENT) if by == "launch" else None
        at.ehr.on(lambda one: one.path.endswith("/_search"), meanwhile(at.ehr.end_access_tokens), times=1)
        said = document(at.run(PATIENT, session=session))
        renewal = "refresh_token" if by == "launch" else "client_credentials"
        first = "authorization_code" if by == "launch" else "client_credentials"
        assert at.asked_for_tokens == [first, renewal]
    assert said["skipped"] == []
    assert offered(said) == offered(honest)


def test_a_type_whose_token_nobody_takes_costs_one_renewal(tmp_path: Path) -> None:
    with site(tmp_path, KIDNEY, page=5) as at:
        at.ehr.on("Observation", status(401))
        at.run(PATIENT)
        assert at.asked_for_tokens == ["client_credentials"] * 2
        assert len(at.asked("Observation")) == 2


def test_a_renewal_that_is_refused_ends_what_was_not_read_yet_and_says_what_to_do(tmp_path: Path, honest: Json) -> None:
    """clinical: 5; standards: 14"""
    with site(tmp_path, KIDNEY, page=5) as at:
        session = at.launched(PATIENT)

        def over() -> None:
            at.ehr.end_access_tokens()
            at.ehr.end_refresh_tokens()

        at.ehr.on(lambda one: one.path.endswith("/_search"), meanwhile(over), times=1)
        recorded = at.run(PATIENT, session=session)
        said = document(recorded)
        check_said(recorded, said, "Observation", "invalid_grant", "launch again")
        check_nothing_false(said, honest, "Observation")
        assert said["recommendations"] == []
        assert at.asked_for_tokens == ["authorization_code", "refresh_token"]
        with pytest.raises(AuthorizationError, match="over; launch again"):
            at.run(PATIENT, session=session)
        assert at.asked_for_tokens == ["authorization_code", "refresh_token"]


# What is read on demand, while a model reasons.


ON_DEMAND = {"Immunization", "FamilyMemberHistory", "CarePlan"}
"""What no plan fetches, and the tool reads."""


def asks_for_vaccinations(before: Callable[[], object]) -> Callable[[Asked], Turn]:
    """A model that asks once for what no plan fetches, after something has happened, and adds nothing."""

    def script(asked: Asked) -> Turn:
        if asked.schema is not None:
            return answer(abstain="nothing_to_add")
        if asked.step:
            return say("That is enough.")
        before()
        return calls(("search_chart", {"kind": "immunization"}))

    return script


def told_to_the_model(server: Any) -> str:
    (told,) = [one["content"] for one in server.bodies[-1]["messages"] if one["role"] == "tool"]
    return str(told)


def _end_tokens(ehr: Hospital) -> None:
    ehr.end_access_tokens()
    ehr.on("token", status(500))


GONE: dict[str, Callable[[Hospital], object]] = {
    "a server that is gone": Hospital.stop,
    "a server that breaks every connection": lambda ehr: ehr.on("*", broken("reset")),
    "a right that is missing": lambda ehr: ehr.on("Immunization", status(403)),
    "a token that ended, and no other": lambda ehr: _end_tokens(ehr),
}


@pytest.mark.parametrize("case", GONE)
def test_what_cannot_be_read_on_demand_is_unknown_to_the_model_and_told_to_the_reader(
    tmp_path: Path, honest: Json, case: str
) -> None:
    """clinical: 5"""
    at: Site
    with (
        model_server(asks_for_vaccinations(lambda: GONE[case](at.ehr))) as server,
        site(tmp_path, KIDNEY, model=server, **QUICK) as at,
    ):
        with at_most(BOUND):
            recorded = at.run(PATIENT)
        told = told_to_the_model(server)
        events = [one.header.type for one in at.services.store.audit_events("local", limit=10_000)]
    said = document(recorded)
    assert "Immunization" in told
    assert "not read completely" in told or "incomplete" in told, told
    unread = {one["where"] for one in said["skipped"]}
    assert unread == ({"Immunization"} if case == "a right that is missing" else ON_DEMAND)
    assert "fhir_search_failed" in events or "token that ended" in case
    assert offered(said) == offered(honest)
    assert recorded.dossier.reasoning is not None
    assert recorded.dossier.reasoning.ended == "abstained"


def test_a_server_that_becomes_slow_holds_up_what_is_read_on_demand_no_longer_than_a_chart(tmp_path: Path) -> None:
    at: Site
    with (
        model_server(asks_for_vaccinations(lambda: at.ehr.on("*", slow(100)))) as server,
        site(tmp_path, KIDNEY, model=server, fhir_seconds=100.0, fhir_chart_seconds=5.0) as at,
        at_most(BOUND),
    ):
        said = document(at.run(PATIENT))
    assert {one["where"] for one in said["skipped"]} == ON_DEMAND


# Records that cannot be kept.


def refuse_records(home: Path) -> None:
    """From now on the audit log takes no call, as in a database that became read-only."""
    with closing(sqlite3.connect(home / "medagent.db")) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit_events "
            "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        )


@pytest.mark.parametrize("where", ["metadata", f"Patient/{PATIENT}", "Condition", "page"])
def test_a_call_that_cannot_be_put_on_record_ends_the_run(tmp_path: Path, where: str) -> None:
    """standards: 48"""
    with site(tmp_path, KIDNEY, page=5) as at:
        home = at.services.settings.home
        at.ehr.on(where, meanwhile(lambda: refuse_records(home)), times=1)
        with at_most(BOUND), pytest.raises(AuditError, match=r"refused the event fhir_.*readonly database"):
            at.run(PATIENT)
        with closing(sqlite3.connect(home / "medagent.db")) as connection:
            tables = ("requests", "dossiers")
            kept = [connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables]  # noqa: S608 - ours
        assert kept == [(0,)] * 2


def test_neither_is_anything_read_on_demand_that_cannot_be_put_on_record(tmp_path: Path) -> None:
    """standards: 48"""
    at: Site
    with (
        model_server(asks_for_vaccinations(lambda: refuse_records(at.services.settings.home))) as server,
        site(tmp_path, KIDNEY, model=server, **QUICK) as at,
        pytest.raises(AuditError, match="readonly database"),
    ):
        at.run(PATIENT)
    assert len(server.requests) == 1


# What ends a run before it began.

NOTHING: dict[str, tuple[Callable[[Hospital], object], type[Exception], str]] = {
    "the patient is refused": (lambda ehr: ehr.on("Patient", status(403)), FhirError, "right to it was not granted"),
    "the patient is another": (
        lambda ehr: ehr.on("Patient", stranger(fhir.patient(id="somebody-else"))), FhirError, "another resource",
    ),
    "no token is given": (lambda ehr: ehr.on("token", status(503)), AuthorizationError, "503 without a token"),
    "the client is refused": (
        lambda ehr: ehr.on("token", instead(b'{"error": "invalid_client"}', status=401)),
        AuthorizationError, "refuses: invalid_client",
    ),
    "the token is half an answer": (lambda ehr: ehr.on("token", broken("half")), AuthorizationError, "broke off"),
    "the token is a page for people": (
        lambda ehr: ehr.on("token", instead(b"<html>")), AuthorizationError, "without a token",
    ),
    "no configuration is given": (
        lambda ehr: ehr.on("smart-configuration", status(404)), AuthorizationError, "404",
    ),
    "the server is gone": (Hospital.stop, AuthorizationError, "cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTHING)
def test_without_a_patient_or_a_right_there_is_one_clear_error_and_no_record_of_a_request(
    tmp_path: Path, case: str
) -> None:
    happens, kind, words = NOTHING[case]
    with site(tmp_path, KIDNEY, **QUICK) as at:
        happens(at.ehr)
        with at_most(BOUND), pytest.raises(kind, match=words):
            at.run(PATIENT)
        assert at.services.store.open_requests("local") == ()
        at.services.store.seal()
        assert at.services.store.verify("local").ok


# As people see it: the command.

COMMANDS: dict[str, tuple[Callable[[Hospital], object], tuple[str, ...]]] = {
    "a right that is missing": (lambda ehr: ehr.on("Observation", status(403)), ("status 403",)),
    "another patient's resource": (lambda ehr: ehr.on("Observation", stranger(FOREIGN)), ("another patient's data",)),
    "a server that is slow": (lambda ehr: ehr.on("Observation", slow(60)), ("in time",)),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_says_what_was_not_read_and_ends_well(tmp_path: Path, case: str) -> None:
    happens, words = COMMANDS[case]
    with site(tmp_path, KIDNEY, page=5) as at:
        happens(at.ehr)
        ended = _commanded(tmp_path, at, MEDAGENT_FHIR_SECONDS="4")
    text = " ".join(ended.stdout.split())
    assert (ended.returncode, ended.stderr) == (0, "") or "is there" in ended.stderr, ended.stderr
    assert text.index("Not read completely: Observation") < text.index("rules")
    for word in words:
        assert word in text


FATAL: dict[str, tuple[Callable[[Site, Path], object], tuple[str, ...]]] = {
    "an audit log that refuses": (
        lambda at, home: at.ehr.on("Condition", meanwhile(lambda: refuse_records(home))), ("readonly database",),
    ),
    "a token that is refused": (
        lambda at, home: at.ehr.on("token", instead(b'{"error": "invalid_client"}', status=401)), ("invalid_client",),
    ),
    "a server that is gone": (lambda at, home: at.ehr.stop(), ("cannot be reached",)),
}  # fmt: skip


@pytest.mark.parametrize("case", FATAL)
def test_the_command_ends_with_one_line_that_says_why(tmp_path: Path, case: str) -> None:
    happens, words = FATAL[case]
    with site(tmp_path, KIDNEY, page=5) as at:
        happens(at, tmp_path / "home")
        ended = _commanded(tmp_path, at)
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("medagent: ")]
    assert len(lines) == 1
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in lines[0]


def test_the_command_says_what_is_wrong_with_a_certificate_and_where_its_authority_is_named(tmp_path: Path) -> None:
    with site(tmp_path, KIDNEY, hospital_options={"tls": "own"}) as at:
        ended = _commanded(tmp_path, at)
        assert at.ehr.requests == []
        assert ended.returncode == 1
        assert "certificate that is not trusted" in ended.stderr
        assert "ca_file" in ended.stderr
        trusting = _commanded(tmp_path, at, MEDAGENT_FHIR_CA_FILE=str(at.ehr.ca_file))
        assert trusting.returncode == 0, trusting.stderr


def _commanded(folder: Path, at: Site, **variables: str) -> Any:
    settings = at.services.settings
    own = {"MEDAGENT_EHRS_FILE": str(settings.ehrs_file), "MEDAGENT_SMART_KEY_FOLDER": str(settings.smart_key_folder)}
    program = Program(folder / "home")
    named = ("--fhir", at.ehr.url, "--patient", PATIENT, "--as-of", AS_OF)
    return program.run("recommend", *named, **own, **variables)
