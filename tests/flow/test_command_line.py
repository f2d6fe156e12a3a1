# SPDX-License-Identifier: Apache-2.0
"""The command line as a person or a script uses it, in a process of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from builders.citation_checker import complaints, containers
from rich.console import Console

from medagent.log.verify import LogFinding, LogReport, Tampering
from medagent_workflows.commands import write_report

PROGRAM = Path(sys.executable).with_name("medagent")
SAMPLES = Path(str(files("medagent_workflows") / "samples"))
AS_OF = "2026-06-30"

Medagent = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def medagent(tmp_path: Path) -> Medagent:
    """Runs the program with records of its own."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MEDAGENT_")}
    environment |= {"MEDAGENT_HOME": str(tmp_path / "home"), "COLUMNS": "100", "NO_COLOR": "1"}

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program, arguments of our own tests
            [PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**environment, **variables},
            check=False,
        )

    return run


def sample(word: str) -> Path:
    (found,) = (path for path in SAMPLES.glob("*.json") if word in path.stem)
    return found


def recommend(medagent: Medagent, word: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return medagent("recommend", "--fhir", sample(word), "--as-of", AS_OF, *more)


def test_json_is_one_document_on_standard_output_whose_citations_resolve(medagent: Medagent) -> None:
    ended = recommend(medagent, "kidney", "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    run = json.loads(ended.stdout)
    assert run["outcome"] == "offered"
    assert list(complaints(run, containers([sample("kidney")]))) == []
    assert run["mode"] == {"stage": "demo", "model": None, "images": False}


def test_text_names_mode_review_status_sources_and_what_to_do_next(medagent: Medagent) -> None:
    """clinical: 14"""
    ended = recommend(medagent, "kidney")
    assert ended.returncode == 0
    for part in ("no model configured", "Not clinically reviewed", "stage demo", "Observation/", "medagent show"):
        assert part in ended.stdout, part


@pytest.mark.parametrize(("word", "reason"), [("deceased", "deceased"), ("child", "out_of_scope")])
def test_an_abstention_is_no_failure_unless_a_script_asks(medagent: Medagent, word: str, reason: str) -> None:
    """clinical: 1, 2"""
    assert recommend(medagent, word).returncode == 0
    ended = recommend(medagent, word, "--format", "json", "--fail-on-abstain")
    assert ended.returncode == 3
    run = json.loads(ended.stdout)
    assert (run["outcome"], run["reason"], run["recommendations"]) == ("abstained", reason, [])


def test_show_gives_the_same_document_and_its_looking_is_audited(medagent: Medagent) -> None:
    """standards: 48"""
    first = recommend(medagent, "kidney", "--format", "json")
    again = medagent("show", json.loads(first.stdout)["id"], "--format", "json")
    assert again.stdout == first.stdout
    events = json.loads(medagent("audit", "list", "--format", "json").stdout)
    assert [event["type"] for event in events][:3] == ["dossier_read", "outcome_recorded", "request_recorded"]
    shown = json.loads(medagent("audit", "show", events[0]["id"], "--format", "json").stdout)
    assert shown["body"]["dossier"] == json.loads(first.stdout)["id"]


def test_audit_verify_passes_on_what_was_recorded(medagent: Medagent) -> None:
    """standards: 54"""
    recommend(medagent, "kidney")
    ended = medagent("audit", "verify")
    assert ended.returncode == 0
    assert "agree" in ended.stdout


def test_audit_verify_looks_before_anything_is_put_right(medagent: Medagent, tmp_path: Path) -> None:
    """standards: 54"""
    recommend(medagent, "kidney")
    recommend(medagent, "healthy")
    note = tmp_path / "home" / "checkpoints" / "local.note"
    note.unlink()
    ended = medagent("audit", "verify")
    assert ended.returncode == 1
    assert "kept checkpoint" in ended.stdout
    assert not note.exists()
    assert "medagent audit keep" in recommend(medagent, "kidney").stderr
    assert medagent("audit", "keep").returncode == 0
    assert medagent("audit", "verify").returncode == 0


def test_audit_verify_of_nothing_is_no_pass(medagent: Medagent) -> None:
    ended = medagent("audit", "verify")
    assert ended.returncode == 1
    assert "Nothing is sealed yet" in ended.stdout


def test_out_writes_the_file_and_nothing_to_standard_output(medagent: Medagent, tmp_path: Path) -> None:
    ended = recommend(medagent, "kidney", "--format", "json", "--out", tmp_path / "run.json")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert json.loads((tmp_path / "run.json").read_text())["outcome"] == "offered"


WRONG = {
    "a source that is not there": (["recommend", "--fhir", "nowhere.json"], 2, "no file or folder"),
    "a day that is none": (["recommend", "--fhir", "KIDNEY", "--as-of", "June"], 2, "YYYY-MM-DD"),
    "neither a server nor a file": (["recommend"], 2, "MEDAGENT_FHIR_URL"),
    "a server without a patient": (["recommend", "--fhir", "https://ehr.invalid/fhir"], 2, "--patient 123"),
    "a patient that is no FHIR id": (
        ["recommend", "--fhir", "https://ehr.invalid/fhir", "--patient", "1/../2"],
        2,
        "is no FHIR id",
    ),
    "a server that is reached in the clear": (
        ["recommend", "--fhir", "http://ehr.invalid/fhir", "--patient", "1"],
        2,
        "http is for this machine alone",
    ),
    "a password within the address": (
        ["recommend", "--fhir", "https://me:secret@ehr.invalid/fhir", "--patient", "1"],
        2,
        "without user",
    ),
    "a server that is declared partial": (
        ["recommend", "--fhir", "https://ehr.invalid/fhir", "--patient", "1", "--partial"],
        2,
        "--partial: is for files",
    ),
    "a patient who is not in the source": (["recommend", "--fhir", "KIDNEY", "--patient", "nobody"], 1, "--patient"),
    "a chart that lies wholly later": (["recommend", "--fhir", "KIDNEY", "--as-of", "1920-01-01"], 1, "--as-of latest"),
    "a run that was never made": (["show", "dossier-none"], 1, "dossier-none"),
    "an option that does not exist": (["recommend", "--fihr", "x"], 2, "--fihr"),
    "a command that does not exist": (["prescribe"], 2, "prescribe"),
}


@pytest.mark.parametrize("case", WRONG, ids=list(WRONG))
def test_wrong_use_is_named_on_standard_error_and_nothing_is_recorded(medagent: Medagent, case: str) -> None:
    arguments, status, words = WRONG[case]
    ended = medagent(*(sample("kidney") if argument == "KIDNEY" else argument for argument in arguments))
    assert ended.returncode == status, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    events = json.loads(medagent("audit", "list", "--format", "json").stdout)
    assert {event["type"] for event in events} <= {"key_registered"}


def test_the_list_of_events_is_whole_at_eighty_columns(medagent: Medagent) -> None:
    recommend(medagent, "deceased")
    events = json.loads(medagent("audit", "list", "--format", "json").stdout)
    text = medagent("audit", "list", COLUMNS="80").stdout
    for event in events:
        for part in (event["type"], event["id"], event.get("dossier") or event.get("request") or ""):
            assert part in text
    assert "…" not in text


def test_a_record_that_stops_the_verification_is_named_all_the_same() -> None:
    finding = LogFinding(Tampering.EDITED, "journal", "request-1/1", "its column sealed holds no blob")
    console = Console(file=io.StringIO(), width=100)
    write_report(console, LogReport("a-site/local", 0, None, (finding,)))
    assert isinstance(console.file, io.StringIO)
    assert "journal request-1/1: edited: its column sealed holds no blob" in console.file.getvalue()
    assert "Nothing is sealed yet" not in console.file.getvalue()


def test_a_question_that_a_model_would_be_shown_in_part_is_refused(medagent: Medagent) -> None:
    ended = recommend(medagent, "healthy", "--question", "why " * 501)
    assert ended.returncode == 2
    assert ended.stderr == "medagent: --question: has 2,004 characters; write at most 2,000\n"
    assert recommend(medagent, "healthy", "--question", "why " * 500).returncode == 0


def test_a_folder_of_several_patients_asks_which_one(medagent: Medagent) -> None:
    ended = medagent("recommend", "--fhir", SAMPLES)
    assert ended.returncode == 1
    assert "--patient" in ended.stderr


def test_an_output_that_cannot_be_written_is_a_clear_failure(medagent: Medagent, tmp_path: Path) -> None:
    ended = recommend(medagent, "kidney", "--format", "json", "--out", tmp_path / "no-folder" / "run.json")
    assert ended.returncode == 2
    assert "--out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_setting_for_a_part_that_is_not_there_is_named(medagent: Medagent) -> None:
    ended = medagent(
        "recommend", "--fhir", sample("healthy"), "--as-of", AS_OF, MEDAGENT_DICOMWEB_URL="http://127.0.0.1:9/dicom"
    )
    assert ended.returncode == 0
    assert "MEDAGENT_DICOMWEB_URL is set, and this version does not use it" in ended.stderr
    assert "no model configured" in " ".join(ended.stdout.split())


def test_a_site_that_sets_care_without_approval_runs_in_shadow(medagent: Medagent) -> None:
    """clinical: 14"""
    ended = medagent(
        "recommend", "--fhir", sample("kidney"), "--as-of", AS_OF, "--format", "json", MEDAGENT_STAGE="care"
    )
    assert json.loads(ended.stdout)["mode"]["stage"] == "shadow"


def test_the_demonstration_fits_one_screen_and_shows_what_it_promises(medagent: Medagent) -> None:
    ended = medagent("demo")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) <= 50
    for part in ("Not clinically reviewed", "Withheld for", "Deceased; no recommendations", "dossier-", "edited"):
        assert part in ended.stdout, part
    command = next(line for line in lines if "recommend --fhir" in line)
    assert f"--as-of {AS_OF} --format json" in command


def test_the_demonstration_keeps_its_records_where_it_is_told(medagent: Medagent, tmp_path: Path) -> None:
    assert medagent("demo", "--out", tmp_path / "kept").returncode == 0
    ended = medagent("audit", "verify", MEDAGENT_HOME=str(tmp_path / "kept"))
    assert ended.returncode == 0, ended.stdout
