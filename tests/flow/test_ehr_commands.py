# SPDX-License-Identifier: Apache-2.0
"""The command `medagent ehr`: what the site works with, whether an EHR will do, and what to do where it will not."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.ehr_runs import Site, site
from builders.hospital import hospital
from builders.hospital_faults import changed, status
from builders.launching import ehr_toml
from builders.program import Program
from builders.vault import StandingClock

from medagent_fhir.smart import SigningKeys
from medagent_workflows.ehr_checks import Examination
from medagent_workflows.ehrs import registry
from medagent_workflows.findings import Finding, hold

CANARY = "Canaryperson"
RECORD = (fhir.patient(name=[{"family": CANARY}]), fhir.observation("4548-4", "6.5", "%"))
SERVED = [fhir.patient(id="other"), *RECORD]


def examined(at: Site, *, patient: str | None = "patient-1", url: str | None = None, **settings: Any) -> list[Finding]:
    """The findings, in order."""
    services = replace(at.services, settings=at.services.settings.model_copy(update=settings))
    ehrs = registry(services.settings)
    wanted = url or at.ehr.url
    asked = None if patient is None else f"Patient/{patient}"
    examination = Examination(services, ehrs, ehrs.of_base(wanted), wanted, asked)

    async def all_of_them() -> list[Finding]:
        return [finding async for finding in examination.findings()]

    return asyncio.run(all_of_them())


def statuses(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def of(findings: Sequence[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


EVERYTHING = [
    *("registry", "connection", "discovery", "pkce", "public_url", "launch_scopes", "keys"),
    *("token", "scopes", "metadata", "types", "post_search", "patient"),
]


def test_of_an_ehr_that_will_do_everything_holds(tmp_path: Path) -> None:
    with site(tmp_path, *RECORD, public_url="https://medagent.example") as at:
        findings = examined(at)
        secrets = at.ehr.secrets
    found = statuses(findings)
    assert list(found) == EVERYTHING
    assert set(found.values()) == {"holds"}
    assert hold(findings)
    told = " ".join(finding.model_dump_json() for finding in findings)
    assert secrets
    assert [one for one in (*secrets, CANARY, "patient-1") if one in told] == []


def test_what_it_asks_is_on_record_and_its_token_is_not_kept(tmp_path: Path) -> None:
    """standards: 46"""
    with site(tmp_path, *RECORD) as at:
        for _ in range(2):
            examined(at)
        calls = [event.header for event in at.services.store.audit_events("local", limit=100)]
        assert {call.actor for call in calls if call.type.startswith("fhir_")} == {"medagent ehr check"}
        assert sum(call.type == "fhir_read" for call in calls) == 2
        assert at.asked_for_tokens == ["client_credentials"] * 2


def without_keys(at: Site) -> None:
    """The EHR was never given ours."""
    at.ehr.smart.clients = [replace(client, jwks={"keys": []}) for client in at.ehr.smart.clients]


def granting(*scopes: str) -> Callable[[Site], None]:
    def change(at: Site) -> None:
        at.ehr.smart.granted = scopes

    return change


def breaking(rule: Any) -> Callable[[Site], None]:
    def change(at: Site) -> None:
        at.ehr.smart.breaks = (rule,)

    return change


@pytest.mark.parametrize(
    ("spoil", "check", "said", "advice"),
    [
        pytest.param(breaking("S256 absent"), "pkce", "S256", "refused until", id="no S256"),
        pytest.param(breaking("PKCE absent"), "pkce", "S256", "refused until", id="no PKCE at all"),
        pytest.param(breaking("discovery garbage"), "discovery", "JSON", "issuer", id="no SMART configuration"),
        pytest.param(without_keys, "token", "invalid_client", "register", id="keys that it does not know"),
        pytest.param(breaking("scope absent"), "token", "scopes", "register", id="no word of what it granted"),
        pytest.param(
            granting("system/Patient.rs", "system/Condition.rs"),
            "scopes",
            "Observation",
            "grant them",
            id="less granted",
        ),
        pytest.param(
            lambda at: at.ehr.on("metadata", changed(lambda said: said.update(fhirVersion="5.0.0"))),
            "metadata",
            "another FHIR",
            "R4",
            id="another FHIR",
        ),
        pytest.param(
            lambda at: at.ehr.on("Patient", status(403)),
            "post_search",
            "403",
            "search Patient",
            id="no right to search",
        ),
        pytest.param(
            lambda at: at.ehr.on("Patient", status(403)), "patient", "403", "may read", id="no right to the patient"
        ),
        pytest.param(
            lambda at: at.ehr.remove("Patient/patient-1"), "patient", "", "id of a patient", id="no such patient"
        ),
    ],
)
def test_what_does_not_hold_is_named_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Site], Any], check: str, said: str, advice: str
) -> None:
    with site(tmp_path, *SERVED) as at:
        spoil(at)
        findings = examined(at)
        secrets = at.ehr.secrets
    finding = of(findings, check)
    assert (finding.status, hold(findings)) == ("fails", False)
    assert said in finding.detail
    assert advice in (finding.remedy or "")
    assert [one for one in (*secrets, CANARY, "patient-1") if one in str(findings)] == []


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        pytest.param("own", "not trusted", id="of an authority that nobody named"),
        pytest.param("expired", "expired", id="that has expired"),
        pytest.param("another host", "not valid for", id="of another host"),
    ],
)
def test_a_certificate_is_told_before_all_else(tmp_path: Path, certificate: Any, said: str) -> None:
    with site(tmp_path, *RECORD, hospital_options={"tls": certificate}) as at:
        trusting: dict[str, Any] = {} if certificate == "own" else {"fhir_ca_file": at.ehr.ca_file}
        findings = examined(at, **trusting)
        asked = at.ehr.requests
    assert of(findings, "connection").status == "fails"
    assert said in of(findings, "connection").detail
    assert "ca_file" in (of(findings, "connection").remedy or "")
    assert {finding.status for finding in findings[2:]} == {"untried"}
    assert asked == []


def test_a_certificate_of_the_sites_own_authority_holds(tmp_path: Path) -> None:
    with site(tmp_path, *RECORD, hospital_options={"tls": "own"}) as at:
        findings = examined(at, fhir_ca_file=at.ehr.ca_file)
    assert "TLSv1.3" in of(findings, "connection").detail
    assert hold(findings)


def test_nobody_there_is_told_as_that(tmp_path: Path) -> None:
    with site(tmp_path, *RECORD) as at:
        url = at.ehr.url
        at.ehr.stop()
        findings = examined(at, url=url)
    assert of(findings, "connection").status == "fails"
    assert not hold(findings)


@pytest.mark.parametrize(
    ("options", "check", "said"),
    [
        pytest.param({"lacks": ("post_search",)}, "post_search", "GET alone", id="no search by POST"),
        pytest.param({"lacks": ("ImagingStudy",)}, "types", "ImagingStudy", id="a type that it does not have"),
        pytest.param({"lacks": ("metadata",)}, "metadata", "everything is tried", id="no statement"),
    ],
)
def test_what_runs_can_do_without_is_told_and_no_failure(
    tmp_path: Path, options: dict[str, Any], check: str, said: str
) -> None:
    with site(tmp_path, *RECORD, hospital_options=options) as at:
        findings = examined(at)
    assert of(findings, check).status == "lacks"
    assert said in of(findings, check).detail
    assert hold(findings)


def test_an_ehr_that_is_launched_alone_needs_no_token_of_its_own(tmp_path: Path) -> None:
    with site(tmp_path, *RECORD, backend=(), scopes=("openid", "patient/Patient.rs")) as at:
        findings = examined(at, patient=None)
        assert at.asked_for_tokens == []
    assert of(findings, "token").status == "lacks"
    assert "Observation" in of(findings, "launch_scopes").detail
    assert statuses(findings)["metadata"] == "holds"
    assert hold(findings)


@pytest.mark.parametrize("closed", [pytest.param(False, id="open to all"), pytest.param(True, id="asks for a right")])
def test_a_server_that_the_site_does_not_know(tmp_path: Path, closed: bool) -> None:
    with site(tmp_path, *RECORD) as at, hospital(*RECORD, smart=at.ehr.smart if closed else None) as other:
        findings = examined(at, url=other.url)
    assert of(findings, "registry").status == "lacks"
    assert hold(findings) is not closed
    assert statuses(findings)["patient"] == ("fails" if closed else "holds")


class TestTheCommandLine:
    def test_lists_what_is_registered_and_no_secret(self, tmp_path: Path) -> None:
        secret = tmp_path / "north.secret"
        secret.write_text("canary-of-a-secret")
        secret.chmod(0o600)
        file = tmp_path / "ehrs.toml"
        kind = '{ kind = "symmetric", secret_file = "north.secret" }'
        with hospital() as ehr:
            file.write_text(ehr_toml(ehr).replace('{ kind = "public" }', kind))
        program = Program(tmp_path / "home")
        table = program.run("ehr", "list", MEDAGENT_EHRS_FILE=str(file))
        document = program.run("ehr", "list", "--format", "json", MEDAGENT_EHRS_FILE=str(file))
        assert (table.returncode, document.returncode) == (0, 0)
        assert "north" in table.stdout
        [entry] = json.loads(document.stdout)["ehrs"]
        assert (entry["name"], entry["issuer"]) == ("north", ehr.url)
        assert "canary-of-a-secret" not in table.stdout + document.stdout

    def test_says_that_there_is_none(self, tmp_path: Path) -> None:
        ended = Program(tmp_path / "home").run("ehr", "list")
        assert (ended.returncode, ended.stdout) == (0, "")
        assert "MEDAGENT_EHRS_FILE" in ended.stderr

    def test_checks_by_name_and_fails_where_something_does_not_hold(self, tmp_path: Path) -> None:
        program = Program(tmp_path / "home")
        with hospital(*RECORD) as ehr:  # which knows nothing of SMART
            file = tmp_path / "ehrs.toml"
            file.write_text(ehr_toml(ehr))
            ended = program.run("ehr", "check", "north", MEDAGENT_EHRS_FILE=str(file))
            document = program.run("ehr", "check", ehr.url, "--format", "json", MEDAGENT_EHRS_FILE=str(file))
        assert (ended.returncode, document.returncode) == (1, 1)
        assert "SMART configuration" in ended.stdout
        assert "Not ready" in ended.stdout
        assert json.loads(document.stdout)["ok"] is False
        assert ended.stderr == ""

    @pytest.mark.parametrize(
        ("named", "said"),
        [
            pytest.param("south", "which are: none", id="a name that nobody has"),
            pytest.param("http://far.example/fhir", "https", id="plain HTTP to far away"),
        ],
    )
    def test_refuses_what_cannot_be_meant(self, tmp_path: Path, named: str, said: str) -> None:
        ended = Program(tmp_path / "home").run("ehr", "check", named)
        assert ended.returncode == 2
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1

    def test_rotates_keys_and_says_what_happens_next(self, tmp_path: Path) -> None:
        """standards: 8"""
        folder = tmp_path / "keys"
        before = SigningKeys(folder, StandingClock()).jwks()["keys"]  # made long ago
        program = Program(tmp_path / "home")
        ended = program.run("ehr", "rotate-keys", "--format", "json", MEDAGENT_SMART_KEY_FOLDER=str(folder))
        said = json.loads(ended.stdout)
        ids = [key["kid"] for key in said["jwks"]["keys"]]
        assert ended.returncode == 0
        assert {key["kid"] for key in before} < set(ids)
        assert len(ids) == 4
        assert not any("d" in key for key in said["jwks"]["keys"])
        at_once = program.run("ehr", "rotate-keys", MEDAGENT_SMART_KEY_FOLDER=str(folder))
        assert at_once.returncode == 1
        assert "rotate after that" in at_once.stderr

    def test_the_first_rotation_makes_the_first_keys(self, tmp_path: Path) -> None:
        ended = Program(tmp_path / "home").run("ehr", "rotate-keys")
        assert ended.returncode == 0
        assert ended.stdout.splitlines()[0].startswith("RS384 ")
        assert "--format json" in ended.stdout
