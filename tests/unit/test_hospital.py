# SPDX-License-Identifier: Apache-2.0
"""The simulated hospital is as strict as a real one: what it takes and what it refuses, asked by plain HTTP."""

from collections.abc import Iterator

import httpx
import pytest
from builders.hospital import Hospital, hospital
from builders.hospital_capabilities import Ability
from builders.hospital_faults import meanwhile
from builders.hospital_paging import LinkStyle
from builders.hospital_record import LOINC, PATIENT, RECORD, SEVEN, Json, get, ids, next_link, observation


@pytest.fixture
def ehr() -> Iterator[Hospital]:
    """A hospital that is open to all."""
    with hospital(*RECORD, page=3) as running:
        yield running


def all_pages(ehr: Hospital, path: str) -> list[str]:
    """Ids of every page."""
    answer = get(ehr, path)
    found = ids(answer)
    while (url := next_link(answer)) is not None:
        answer = get(ehr, str(httpx.URL(str(answer.url)).join(url)))
        found += ids(answer)
    return found


def test_a_resource_goes_out_as_the_bytes_that_came_in(ehr: Hospital) -> None:
    assert get(ehr, "Patient/one").content == PATIENT
    assert PATIENT in get(ehr, "Patient?_id=one").content


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Observation?patient=two", ["theirs"]),
        ("Observation?patient=Patient/two", ["theirs"]),
        ("Observation?subject:Patient=two", ["theirs"]),
        ("Observation?subject=Patient/one,Patient/two&_id=o1,theirs", ["o1", "theirs"]),
        (f"Observation?code={LOINC}|2345-7", ["glucose"]),
        ("Observation?code=http://snomed.info/sct|2345-7", []),
        ("Observation?code=2345-7,9999-9", ["glucose"]),
        ("Observation?code:not=4548-4", ["glucose"]),
        ("Observation?category=http://example.org/category|laboratory&patient=two", ["theirs"]),
        ("Observation?date=2024-03-02", ["o2"]),
        ("Observation?date=2023", ["glucose"]),
        ("Observation?date=gt2024-03-05&date=lt2024-03-07", ["o6"]),
        ("Observation?date=le2023-12-31", ["glucose"]),
        ("Observation?_lastUpdated=gt2030", []),
        ("Observation?_sort=-date&_count=2", ["o7", "o6"]),
        ("Patient?_has:Observation:patient:code=2345-7", ["one"]),
        ("Medication?code:missing=true", ["m"]),
        ("MedicationRequest?_include=MedicationRequest:medication", ["r", "m"]),
        ("Medication?_revinclude=MedicationRequest:medication", ["m", "r"]),
        ("Patient/one/$everything?_type=Patient,Medication,MedicationRequest", ["one", "r", "m"]),
    ],
)
def test_a_search_finds_what_fits_and_no_more(ehr: Hospital, query: str, expected: list[str]) -> None:
    assert ids(get(ehr, query)) == expected
    if "$" not in query:
        kind, _, parameters = query.partition("?")
        form = dict(httpx.QueryParams(parameters)) if parameters.count("date=") < 2 else None
        assert form is None or ids(get(ehr, f"{kind}/_search", "POST", data=form)) == expected


@pytest.mark.parametrize(
    ("method", "path", "more", "expected"),
    [
        ("GET", "Observation?bogus=1", {}, 400),
        ("GET", "Observation?code:near=1", {}, 400),
        ("GET", "Observation?date=soon", {}, 400),
        ("GET", "Observation?_count=many", {}, 400),
        ("GET", "Observation?_include=Condition:subject", {}, 400),
        ("GET", "Nonsense", {}, 404),
        ("GET", "Patient/three", {}, 404),
        ("GET", "Observation/gone", {}, 410),
        ("GET", "elsewhere", {}, 404),
        ("PUT", "Patient/one", {"json": {}}, 405),
        ("POST", "Observation", {"json": {}}, 405),
        ("GET", "Observation/_search", {}, 405),
        ("POST", "Observation/_search", {"json": {"patient": "one"}}, 415),
        ("GET", "Patient/one", {"headers": {"Accept": "application/fhir+xml"}}, 406),
        ("GET", "?_getpages=nobody", {}, 410),
        ("POST", "", {"json": {"resourceType": "Bundle", "type": "transaction"}}, 422),
        ("POST", "", {"content": b"{", "headers": {"Content-Type": "application/fhir+json"}}, 400),
        ("GET", "$export", {}, 400),
        ("GET", "$export?_typeFilter2=1", {"headers": {"Prefer": "respond-async"}}, 400),
    ],
)
def test_what_is_wrong_is_refused_with_an_outcome(
    ehr: Hospital, method: str, path: str, more: Json, expected: int
) -> None:
    ehr.load(observation("gone"))
    ehr.remove("Observation/gone")
    answer = get(ehr, path, method, **more)
    assert answer.status_code == expected
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("style", ["opaque", "relative", "below"])
@pytest.mark.parametrize("live", [False, True], ids=["of the search", "of now"])
def test_following_next_links_gives_each_match_once(style: LinkStyle, live: bool) -> None:
    with hospital(*RECORD, page=3, links=style, live=live) as ehr:
        assert all_pages(ehr, "Observation?patient=one") == [*(one["id"] for one in SEVEN), "glucose"]


def test_wrong_links_are_wrong() -> None:
    def link(style: LinkStyle) -> tuple[Hospital, httpx.Response, str]:
        with hospital(*RECORD, page=3, links=style) as ehr:
            url = next_link(get(ehr, "Observation")) or ""
            return ehr, get(ehr, url) if "@" not in url else get(ehr, "metadata"), url

    ehr, _, url = link("cross-origin")
    assert url.startswith(f"{ehr.elsewhere}/")
    assert len(ehr.strayed) == 1
    ehr, answer, url = link("outside")
    assert (answer.status_code, url.startswith(f"{ehr.root}/other")) == (404, True)
    ehr, _, url = link("userinfo")
    assert httpx.URL(url).port == httpx.URL(ehr.elsewhere).port
    _, answer, url = link("looping")
    assert next_link(answer) == url
    _, answer, _ = link("expiring")
    assert answer.status_code == 410


def test_pages_without_end_go_on_without_entries() -> None:
    with hospital(*RECORD, page=50, links="endless") as ehr:
        answer = get(ehr, "Observation")
        for _ in range(3):
            answer = get(ehr, next_link(answer) or "")
            assert ids(answer) == []


def test_a_live_page_shows_what_changed_meanwhile() -> None:
    with hospital(*RECORD, page=3, live=True) as ehr:
        ehr.on("page", meanwhile(lambda: ehr.remove("Observation/o1")), times=1)
        assert "o4" not in all_pages(ehr, "Observation?patient=one")


def test_versions_have_tags_and_a_history() -> None:
    with hospital(*RECORD) as ehr:
        first = get(ehr, "Observation/o1")
        assert get(ehr, "Observation/o1", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
        ehr.load(observation("o1", code="2345-7"))
        second = get(ehr, "Observation/o1", headers={"If-None-Match": first.headers["ETag"]})
        assert (second.status_code, second.headers["ETag"]) == (200, 'W/"2"')
        assert get(ehr, "Observation/o1/_history/1").content == first.content
        history = get(ehr, "Observation/o1/_history").json()
        assert (history["type"], [entry["response"]["etag"] for entry in history["entry"]]) == (
            "history",
            ['W/"2"', 'W/"1"'],
        )


def test_stamps_stand_in_the_resource_and_keep_its_digits() -> None:
    with hospital(*RECORD, stamps=True) as ehr:
        answer = get(ehr, "Patient/one")
        assert answer.json()["meta"]["versionId"] == "1"
        assert b"1.10" in answer.content


def test_a_bundle_is_taken_as_a_server_takes_it() -> None:
    entries = [
        {"fullUrl": "urn:uuid:p", "resource": {"resourceType": "Patient", "id": "p"}},
        {"fullUrl": "urn:uuid:o", "resource": observation("o") | {"subject": {"reference": "urn:uuid:p"}}},
    ]
    with hospital({"resourceType": "Bundle", "type": "transaction", "entry": entries}) as ehr:
        assert ids(get(ehr, "Observation?patient=p")) == ["o"]


def test_a_batch_answers_each_entry_for_itself(ehr: Hospital) -> None:
    asked = ["Patient/one", "Patient/three", "Observation?patient=two"]
    entries = [{"request": {"method": "GET", "url": url}} for url in asked]
    answer = get(ehr, "", "POST", json={"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert [entry["response"]["status"][:3] for entry in answer.json()["entry"]] == ["200", "404", "200"]
    assert PATIENT in answer.content


def test_a_binary_comes_as_itself_or_as_fhir(ehr: Hospital) -> None:
    assert get(ehr, "Binary/b").content == b"Hello"
    assert get(ehr, "Binary/b", headers={"Accept": "application/fhir+json"}).json()["data"] == "SGVsbG8="


@pytest.mark.parametrize("packs", [True, False])
def test_gzip_is_for_who_accepts_it(ehr: Hospital, packs: bool) -> None:
    answer = get(ehr, "Observation", headers={"Accept-Encoding": "gzip" if packs else "identity"})
    assert ("content-encoding" in answer.headers) == packs
    assert len(ids(answer)) == 3


@pytest.mark.parametrize(
    ("ability", "method", "path", "told"),
    [
        ("post_search", "POST", "Observation/_search", None),
        ("search", "GET", "Observation", "search-type"),
        ("include", "GET", "MedicationRequest?_include=MedicationRequest:medication", "searchInclude"),
        ("vread", "GET", "Patient/one/_history/1", "vread"),
        ("history", "GET", "Patient/one/_history", "history-instance"),
        ("everything", "GET", "Patient/one/$everything", "Patient-everything"),
        ("batch", "POST", "", '"batch"'),
        ("export", "GET", "$export", "/export"),
        ("metadata", "GET", "metadata", None),
        ("Observation", "GET", "Observation", '"type": "Observation"'),
    ],
)
def test_what_is_taken_away_is_neither_told_nor_done(
    ability: Ability | str, method: str, path: str, told: str | None
) -> None:
    with hospital(*RECORD) as whole, hospital(*RECORD, lacks={ability}) as ehr:
        assert get(ehr, path, method).status_code in (400, 404, 405)
        assert told is None or told not in get(ehr, "metadata").text
        assert told is None or told in get(whole, "metadata").text
