# SPDX-License-Identifier: Apache-2.0
"""In which stage the charts of a launch are screened."""

from pathlib import Path

import pytest
from builders.runs import runner

from medagent_workflows.web.runs import staged

HERE, ELSEWHERE = "http://127.0.0.1:8080/fhir", "https://ehr.example/fhir"


@pytest.mark.parametrize(
    ("stage", "issuer", "screened_in"),
    [
        pytest.param("demo", HERE, "demo", id="a demonstration with an EHR on this machine shows what it found"),
        pytest.param("demo", "http://localhost/fhir", "demo", id="a demonstration with this machine by name, too"),
        pytest.param("demo", ELSEWHERE, "shadow", id="a real EHR's clinicians are shown nothing that nobody approved"),
        pytest.param("shadow", HERE, "shadow", id="shadow stays shadow"),
        pytest.param("care", ELSEWHERE, "shadow", id="care without an approval is shadow"),
    ],
)
def test_only_a_demonstration_on_this_machine_shows_what_nobody_approved(
    tmp_path: Path, stage: str, issuer: str, screened_in: str
) -> None:
    """clinical: 14"""
    with runner(tmp_path / "home", stage=stage) as made:
        assert staged(made.services, issuer).stage == screened_in
