# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in the simulated hospital where a test wants so, its exports, and its certificates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_alone import hospital_alone
from builders.hospital_faults import broken, changed, content_type, instead, padded, slow, status, stranger
from builders.hospital_record import PATIENT, RECORD, get, ids, next_link, observation
from builders.hospital_tls import Certificate


@pytest.fixture
def ehr() -> Iterator[Hospital]:
    """A hospital that is open to all."""
    with hospital(*RECORD, page=3) as running:
        yield running


def test_an_export_is_polled_read_line_by_line_and_cancelled(ehr: Hospital) -> None:
    started = get(ehr, "Patient/$export?_type=Observation,Patient", headers={"Prefer": "respond-async"})
    place = started.headers["Content-Location"]
    assert (started.status_code, get(ehr, place).status_code) == (202, 202)
    manifest = get(ehr, place).json()
    assert [(file["type"], file["count"]) for file in manifest["output"]] == [("Observation", 9), ("Patient", 2)]
    lines = get(ehr, manifest["output"][1]["url"]).content.splitlines()
    assert lines[0] == PATIENT
    assert get(ehr, place, "DELETE").status_code == 202
    assert get(ehr, place).status_code == 404
    assert ehr.cancelled == [place]


def test_faults_play_as_often_as_they_are_told_and_nowhere_else(ehr: Hospital) -> None:
    ehr.on("Observation", status(429, retry_after=2), times=2, after=1)
    ehr.on("page", status(410), times=1)
    first = get(ehr, "Observation")
    assert [get(ehr, "Observation").status_code for _ in range(3)] == [429, 429, 200]
    assert get(ehr, "Patient/one").status_code == 200
    assert [get(ehr, next_link(first) or "").status_code for _ in range(2)] == [410, 200]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (broken("half"), httpx.RemoteProtocolError),
        (broken("reset"), httpx.ReadError),
        (broken("hang"), httpx.ReadTimeout),
    ],
    ids=["half", "reset", "hang"],
)
def test_a_broken_answer_breaks_the_connection(ehr: Hospital, fault: Any, error: type[Exception]) -> None:
    ehr.on("Observation", fault, times=1)
    with pytest.raises(error):
        get(ehr, "Observation", timeout=0.3, headers={"Accept-Encoding": "identity"})
    assert get(ehr, "Observation").status_code == 200


def test_answers_are_wrong_as_a_test_wants_them(ehr: Hospital) -> None:
    faults = (
        stranger(observation("strange", patient="two")),
        changed(lambda bundle: bundle.update(total=99)),
        content_type("text/html"),
        instead(b'{"resourceType": "Bun'),
        padded(100_000),
        slow(0.05),
    )
    for fault in faults:
        ehr.on("Observation", fault, times=1)
    answers = [get(ehr, "Observation?patient=one") for _ in faults]
    assert ids(answers[0])[-1] == "strange"
    assert answers[1].json()["total"] == 99
    assert answers[2].headers["Content-Type"] == "text/html"
    with pytest.raises(json.JSONDecodeError):
        answers[3].json()
    assert len(answers[4].content) > 100_000 > 10 * int(answers[4].headers["Content-Length"])
    assert answers[5].elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize("certificate", ["own", "expired", "another host"])
def test_https_needs_the_hospitals_own_authority_and_a_right_certificate(certificate: Certificate) -> None:
    with hospital(*RECORD, tls=certificate) as ehr:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{ehr.url}/metadata", trust_env=False)
        if certificate == "own":
            assert get(ehr, "Patient/one").content == PATIENT
        else:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                get(ehr, "Patient/one")


def test_a_hospital_of_its_own_process_serves_files(tmp_path: Path) -> None:
    (tmp_path / "record.ndjson").write_bytes(PATIENT + b"\n")
    with hospital_alone(tmp_path) as url:
        assert httpx.get(f"{url}/Patient/one", trust_env=False).content == PATIENT
