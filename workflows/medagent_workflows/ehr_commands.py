# SPDX-License-Identifier: Apache-2.0
"""Commands of `medagent ehr`: which EHRs the site works with, whether one will do, and new keys to sign with."""

import asyncio
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medagent.canonical import public_json
from medagent.clock import SystemClock, instant_text
from medagent.errors import UsageError
from medagent.settings import Settings
from medagent_fhir.smart import Ehr, EhrRegistry, SigningKeys
from medagent_fhir.smart.addresses import safe_url
from medagent_workflows.ehr_checks import Examination
from medagent_workflows.ehrs import checked_patient, is_url, registry
from medagent_workflows.findings import Finding, hold, show
from medagent_workflows.streams import emit, terminal
from medagent_workflows.wiring import open_services

_EMPTY = "No EHR: describe the site's in a TOML file and name that in MEDAGENT_EHRS_FILE.\n"


def list_ehrs(*, as_json: bool) -> None:
    """Writes the registry."""
    ehrs = registry(Settings.load())
    if as_json:
        emit(public_json({"ehrs": [_listed(ehr) for ehr in ehrs]}, indent=True) + b"\n")
        return
    if not len(ehrs):
        sys.stderr.write(_EMPTY)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "FHIR base URL", "client", "shown by", "without a launch"):
        table.add_column(heading, overflow="fold")
    for ehr in ehrs:
        backend = "no" if ehr.backend is None else f"{ehr.backend_client_id} ({ehr.backend_alg})"
        table.add_row(*map(Text, (ehr.name, ehr.issuer, ehr.client_id, ehr.authentication.kind, backend)))
    with terminal() as console:
        console.print(table)
        console.print(Text("\nNext: medagent ehr check NAME"))


def _listed(ehr: Ehr) -> dict[str, Any]:
    """As the file has it. A secret is named by its file alone."""
    return ehr.model_dump(mode="json", exclude_none=True)


def check(named: str, *, patient: str | None, as_json: bool) -> bool:
    """Examines an EHR by its name or FHIR base URL and writes each finding; whether all that is needed holds."""
    settings = Settings.load()
    ehrs = registry(settings)
    ehr, url = _chosen(named, ehrs)
    asked = None if patient is None else checked_patient(patient)
    with open_services(settings, SystemClock()) as services:
        examination = Examination(services, ehrs, ehr, url, asked)
        if as_json:
            findings = asyncio.run(_examined(examination, None))
            emit(public_json(_report(examination, findings), indent=True) + b"\n")
        else:
            with terminal() as console:
                findings = asyncio.run(_examined(examination, console))
                _conclude(console, findings)
    return hold(findings)


def _chosen(named: str, ehrs: EhrRegistry) -> tuple[Ehr | None, str]:
    """The entry, if there is one, and the FHIR base URL."""
    ehr = ehrs.of_base(named) if is_url(named) else ehrs.named(named)
    if ehr is not None:
        return ehr, ehr.base
    if not is_url(named):
        known = ", ".join(one.name for one in ehrs) or "none"
        raise UsageError(f"{named}: is none of the site's EHRs (MEDAGENT_EHRS_FILE), which are: {known}")
    if safe_url(named) is None:
        raise UsageError(
            "Give the FHIR base URL as https://host/path, without user, query or fragment; http is for this machine"
        )
    return None, named.rstrip("/")


async def _examined(examination: Examination, console: Console | None) -> list[Finding]:
    findings = []
    async for finding in examination.findings():
        findings.append(finding)
        if console is not None:
            show(console, finding)
    return findings


def _conclude(console: Console, findings: list[Finding]) -> None:
    failing = sum(finding.status == "fails" for finding in findings)
    if failing:
        console.print(Text(f"\nNot ready: of what MedAgent needs of this EHR, {failing} did not hold.", "bold red"))
    else:
        console.print("\nAll that MedAgent needs of this EHR holds.")


def _report(examination: Examination, findings: list[Finding]) -> dict[str, Any]:
    return {
        "ehr": None if examination.ehr is None else examination.ehr.name,
        "url": examination.url,
        "ok": hold(findings),
        "checks": [finding.model_dump() for finding in findings],
    }


def rotate_keys(*, as_json: bool) -> None:
    """Adds new keys and says what happens next."""
    settings = Settings.load()
    keys = SigningKeys(settings.smart_key_folder, SystemClock())
    signs_from = keys.rotate()
    published = keys.jwks()
    if as_json:
        emit(public_json({"signs_from": instant_text(signs_from), "jwks": published}, indent=True) + b"\n")
        return
    where = "by medagent serve" if settings.public_url is None else f"at {settings.public_url}"
    lines = [
        *(f"{key['alg']} {key['kid']}" for key in published["keys"]),
        "",
        f"These are published {where} (/.well-known/jwks.json): of each algorithm the new key, then the present one.",
        f"The new ones sign from {signs_from:%Y-%m-%d %H:%M} UTC on; the present ones stay until the next rotation.",
        "An EHR that does not fetch them itself has to be given them before: --format json writes them.",
        "Next, after that time: medagent ehr check NAME",
    ]
    emit(("\n".join(lines) + "\n").encode())
