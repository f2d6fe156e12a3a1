# SPDX-License-Identifier: Apache-2.0
"""The FHIR client against a server that was not written to agree with us: Medplum's router, search and memory."""

import asyncio
from typing import Any

import pytest
from builders import fhir
from builders.counterparts import Counterparts
from builders.fhir_client import Recording, all_of, asked

from medagent.canonical import parse_json
from medagent.errors import FhirError
from medagent_fhir.client import FhirClient, Received

pytestmark = pytest.mark.services

ADA, BEN = "canary-ada", "canary-ben"
VALUES = tuple(str(5 + number / 10) for number in range(25))
RESOURCES = (
    fhir.patient(ADA),
    fhir.patient(BEN),
    *(
        fhir.observation("4548-4", value, "%", at=f"2024-01-{day:02}", patient=ADA, id=f"hba1c-{day}")
        for day, value in enumerate(VALUES, 1)
    ),
    fhir.observation("4548-4", "9.9", "%", at="2024-01-01", patient=BEN, id="of-ben"),
    fhir.medication("860975", id="metformin"),
    fhir.medication_request(None, patient=ADA, id="by-reference", means=fhir.reference("Medication/metformin")),
)


@pytest.fixture(scope="module")
def base(counterpart_servers: Counterparts) -> str:
    """A repository with two patients."""
    return counterpart_servers.load("two-patients", fhir.bundle(*RESOURCES))


def ids(*pages: Received) -> list[str]:
    """Ids of all entries, in order."""
    bundles: list[Any] = [parse_json(page.body) for page in pages]
    return [entry["resource"]["id"] for bundle in bundles for entry in bundle.get("entry", ())]


def test_the_server_says_what_it_can_do(base: str) -> None:
    can = asked(base, lambda client: client.capabilities())
    assert can.fhir_version == "4.0.1"
    assert can.supports("Observation", "search-type")
    assert not can.supports("Observation", "history-type")
    assert not can.supports("NoSuchType", "read")
    assert can.searches("Observation", "patient")
    assert can.includes("MedicationRequest", "MedicationRequest:medication")


def test_a_search_goes_by_post_and_follows_opaque_links_to_its_end(base: str) -> None:
    async def search(client: FhirClient) -> list[Received]:
        return await all_of(client.search("Observation", (("patient", f"Patient/{ADA}"),), count=10))

    recording = Recording()
    pages = asked(base, search, recording=recording, patient=f"Patient/{ADA}")
    assert [len(ids(page)) for page in pages] == [10, 10, 5]
    assert sorted(ids(*pages)) == sorted(f"hba1c-{day}" for day in range(1, 26))
    assert pages[-1].next is None
    assert [call.method for call in recording.calls if call.interaction == "search-type"] == ["POST", "GET", "GET"]
    assert not any(ADA in call.url for call in recording.calls)


def test_what_a_request_refers_to_comes_with_it(base: str) -> None:
    parameters = (("patient", f"Patient/{ADA}"), ("_include", "MedicationRequest:medication"))
    (page,) = asked(base, lambda client: all_of(client.search("MedicationRequest", parameters)))
    assert ids(page) == ["by-reference", "metformin"]


def test_a_resource_is_read_once_and_confirmed_from_then_on(base: str) -> None:
    async def story(client: FhirClient) -> tuple[Received, Received, Received]:
        first = await client.read("Observation", "hba1c-1")
        again = await client.read("Observation", "hba1c-1", known=first)
        assert first.etag is not None
        version = await client.read("Observation", "hba1c-1", version=first.etag[3:-1])
        return first, again, version

    recording = Recording()
    first, again, version = asked(base, story, recording=recording)
    assert again is first
    assert version.body == first.body
    assert recording.outcomes == [("read", 200, None), ("read", 304, None), ("vread", 200, None)]


def test_versions_of_a_resource_are_listed(base: str) -> None:
    (page,) = asked(base, lambda client: all_of(client.history("Patient", BEN)))
    assert ids(page) == [BEN]


def test_several_requests_go_in_one(base: str) -> None:
    answered = asked(base, lambda client: client.batch([f"Patient/{ADA}", "Patient/nobody"]))
    read: Any = parse_json(answered.body)
    assert [entry["response"]["status"] for entry in read["entry"]] == ["200", "404"]


def test_what_is_not_there_is_told_in_the_words_of_the_server(base: str) -> None:
    recording = Recording()
    with pytest.raises(FhirError, match=r"Patient/nobody.*not-found") as told:
        asked(base, lambda client: client.read("Patient", "nobody"), recording=recording)
    assert (told.value.failure, told.value.status, told.value.outcome) == ("not_found", 404, "Not found")
    assert recording.outcomes == [("read", 404, "not_found")]


def test_a_server_that_asks_for_a_token_is_told_apart(base: str) -> None:
    with pytest.raises(FhirError) as told:
        asked(base.replace("/open/", "/smart/"), lambda client: client.read("Patient", ADA))
    assert told.value.failure == "unauthorized"


def test_fifty_reads_at_once_are_all_answered(base: str) -> None:
    async def story(client: FhirClient) -> list[Received]:
        return await asyncio.gather(*(client.read("Observation", f"hba1c-{1 + n % 25}") for n in range(50)))

    assert len({received.sha256 for received in asked(base, story)}) == 25
