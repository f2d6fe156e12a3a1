# SPDX-License-Identifier: Apache-2.0
"""Charts that nobody of this project wrote, stored by a server that nobody of this project wrote, under tokens of an
authorization server that nobody of this project wrote: they say what the file says."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders import fhir
from builders.counterparts import Counterparts, launch
from builders.fhir_client import Recording
from builders.over_http import at_work, document, over_http
from builders.over_http import told as recommended
from builders.registered import COOKIE, Registered, browsed, registered

from medagent.canonical import parse_json
from medagent.chart import AsOf, Chart
from medagent.clock import SystemClock
from medagent.evidence import Fact, Query
from medagent_fhir.authorization import Authorization, Open
from medagent_fhir.client import FhirClient
from medagent_fhir.clinical import READERS
from medagent_fhir.sensitivity import Sensitivity
from medagent_fhir.server import ServerChartSource

pytestmark = [pytest.mark.services, pytest.mark.data, pytest.mark.xdist_group("charts of a real server")]

SAMPLE = "Josue_Sipes"
"""2.9 MB, 21 calls; contradictory values at one instant."""
Stored = dict[Path, tuple[str, str]]
LABORATORY = "category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory"


@pytest.fixture(scope="module")
def files(shared_data: Path) -> list[Path]:
    """Every chart of the folder."""
    return sorted((shared_data / "fhir-synthea-r4").glob("*_*.json"))


@pytest.fixture(scope="module")
def sample(counterpart_servers: Counterparts, files: list[Path]) -> Path:
    """One chart, stored in a repository of its own name."""
    (path,) = (path for path in files if path.name.startswith(SAMPLE))
    stored(counterpart_servers, SAMPLE, path)
    return path


@pytest.fixture(scope="module")
def every(counterpart_servers: Counterparts, files: list[Path]) -> Stored:
    """Where the server keeps each chart, and the id of its patient there."""
    names = {path: path.stem[-36:] for path in files}
    return {
        path: (counterpart_servers.base(name), stored(counterpart_servers, name, path)) for path, name in names.items()
    }


def stored(servers: Counterparts, name: str, path: Path) -> str:
    """Stores a file's chart. Gives the id of its patient."""
    bundle: Any = parse_json(path.read_bytes())
    servers.load(name, bundle)
    (patient,) = (
        entry["resource"]["id"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient"
    )
    return str(patient)


async def served(
    authorization: Authorization, patient: str | None, recording: Recording, as_of: AsOf = "latest"
) -> Chart:
    """The chart, whole, as the server gives it."""
    async with FhirClient(authorization, recording, clock=SystemClock()) as client:
        source = ServerChartSource(
            client,
            zone=ZoneInfo("UTC"),
            clock=SystemClock(),
            plan=tuple(READERS),
            sensitivity=Sensitivity.default(),
            bytes_max=100_000_000,
        )
        return await source.chart(patient, as_of)


def told(fact: Fact) -> dict[str, Any]:
    """All that a fact says and of which resource, but for the bytes: a server writes them anew."""
    said = fact.model_dump(exclude={"id": True, "source": True})
    return said | {"uri": fact.source.uri}


def facts(chart: Chart, kind: str, category: str | None = None) -> list[dict[str, Any]]:
    """What the facts of one type say; of one category, where it is named."""
    found = (chart.fact(member) for member in chart.read(Query(resource_types=(kind,)), {}).members)
    meant = (fact for fact in found if category is None or category in {coding.code for coding in fact.categories})
    return sorted((told(fact) for fact in meant), key=lambda said: (said["uri"], said["statement"]))


def counts(chart: Chart, kind: str) -> dict[str, Any]:
    """What absence in one type rests on, but for the pages: a server has others."""
    reading = chart.read(Query(resource_types=(kind,)), {})
    return reading.model_dump(exclude={"id", "listing", "pages", "members"})


def differences(chart: Chart, of_file: Chart) -> Iterator[str]:
    """Where two charts say something else."""
    if told(chart.patient_fact()) != told(of_file.patient_fact()):
        yield "Patient"
    for name in ("patient", "as_of", "past", "newest", "skipped"):
        if getattr(chart, name) != getattr(of_file, name):
            yield name
    for kind in READERS:
        if facts(chart, kind) != facts(of_file, kind):
            yield f"facts of {kind}"
        if counts(chart, kind) != counts(of_file, kind):
            yield f"readings of {kind}"


def test_every_chart_says_over_http_what_its_file_says(counterpart_servers: Counterparts, every: Stored) -> None:
    found: dict[str, list[str]] = {}
    for path, (base, patient) in every.items():
        chart = asyncio.run(served(Open(base), patient, Recording()))
        found[path.name] = list(differences(chart, fhir.read_chart(path)))
    assert len(found) >= 30
    assert {name: places for name, places in found.items() if places} == {}


def test_of_every_chart_the_whole_product_says_over_http_what_it_says_of_the_file(
    every: Stored, tmp_path: Path
) -> None:
    """Claim by claim, each with the resource and the element that it stands in."""
    with at_work(tmp_path) as made:
        different = [
            path.name
            for path, (base, patient) in every.items()
            if recommended(document(over_http(made, base, patient, as_of="latest")))
            != recommended(made.run(path, as_of="latest"))
        ]
    assert different == []


# standards: 18
def test_a_backend_service_reads_the_whole_chart(
    counterpart_servers: Counterparts, sample: Path, tmp_path: Path
) -> None:
    of_file = fhir.read_chart(sample)
    scopes = tuple(f"system/{kind}.rs" for kind in ("Patient", "Medication", *READERS))

    async def story(at: Registered) -> Chart:
        authorization = await at.launcher().backend(at.ehr, of_file.patient)
        return await served(authorization, of_file.patient, recording)

    recording = Recording()
    with registered(tmp_path, counterpart_servers, SAMPLE, asked=("openid",), allowed=scopes, backend=scopes) as at:
        assert list(differences(asyncio.run(story(at)), of_file)) == []
    searches = [call for call in recording.calls if call.interaction == "search-type"]
    assert {call.patient for call in searches} == {of_file.patient}
    assert all(call.token_id is not None for call in searches)


# standards: 11, 12, 13
def test_a_launch_reads_its_patient_as_far_as_it_was_granted(
    counterpart_servers: Counterparts, sample: Path, tmp_path: Path
) -> None:
    of_file = fhir.read_chart(sample)
    allowed = ("patient/Patient.rs", "patient/Condition.rs", f"patient/Observation.rs?{LABORATORY}")
    asked = ("openid", "fhirUser", *allowed, "patient/Immunization.rs")

    async def story(at: Registered) -> Chart:
        launcher = at.launcher()
        url = await launcher.begin(at.ehr.issuer, launch(patient=of_file.patient.removeprefix("Patient/")), COOKIE)
        session = await launcher.finish(await asyncio.to_thread(browsed, url), COOKIE)
        return await served(launcher.authorization(session), None, recording, of_file.as_of)

    recording = Recording()
    with registered(tmp_path, counterpart_servers, SAMPLE, asked=asked, allowed=allowed) as at:
        chart = asyncio.run(story(at))
    assert chart.patient == of_file.patient
    assert facts(chart, "Condition") == facts(of_file, "Condition")
    laboratory = facts(of_file, "Observation", "laboratory")
    assert 0 < len(laboratory) < len(facts(of_file, "Observation"))
    assert facts(chart, "Observation") == laboratory
    assert not counts(chart, "Observation")["complete"]
    assert facts(chart, "Immunization") == []
    assert counts(chart, "Immunization")["incomplete_because"] == ("Immunization: not granted",)
    assert not any("Immunization" in call.url for call in recording.calls)
    assert any("laboratory" in (call.body or "") for call in recording.calls)
