# SPDX-License-Identifier: Apache-2.0
"""Pages: opaque links are followed as they were given, within the base, and never in circles."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.fhir_client import QUICK, Recording, Tokens, all_of, asked
from builders.hospital import LinkStyle, hospital
from builders.hospital_faults import changed, instead, status

from medagent.errors import FhirError, FhirFailure
from medagent_fhir.authorization import Authorization
from medagent_fhir.client import FhirClient, Received

TOKEN = "a-token-for-the-ehr-alone"  # noqa: S105  # of nobody


def observations(count: int) -> list[fhir.Json]:
    return [fhir.observation("4548-4", f"{number}.5", "%", id=f"o{number}") for number in range(count)]


def ids(pages: list[Received]) -> list[str]:
    return [one["resource"]["id"] for page in pages for one in json.loads(page.body).get("entry", [])]


def found(whom: str | Authorization, **options: Any) -> list[Received]:
    return asked(whom, lambda client: all_of(client.search("Observation", [("code", "4548-4")])), **options)


def next_link(write: Callable[[str], str]) -> Any:
    """Rewrites the link to the next page."""

    def change(bundle: dict[str, Any]) -> None:
        for link in bundle["link"]:
            if link["relation"] == "next":
                link["url"] = write(link["url"])

    return changed(change)


@pytest.mark.parametrize("links", ["opaque", "relative", "below"])
def test_links_are_followed_to_the_end(links: LinkStyle) -> None:
    with hospital(*observations(7), page=3, links=links) as ehr:
        pages = found(ehr.url)

    assert ids(pages) == [f"o{number}" for number in range(7)]
    assert [page.name for page in pages] == [f"Observation page {number}" for number in (1, 2, 3)]
    assert [page.next is None for page in pages] == [False, False, True]


def test_a_link_is_sent_back_byte_for_byte() -> None:
    """httpx by itself would escape the quotes and the brackets."""
    odd = '&x={a|b}^%7e+%2B"<c>`*'
    with hospital(*observations(4), page=3) as ehr:
        ehr.on("_search", next_link(lambda url: url + odd))
        found(ehr.url)

    assert ehr.requests[-1].target.endswith(odd)


@pytest.mark.parametrize("links", ["cross-origin", "outside", "userinfo"])
def test_a_link_that_leads_elsewhere_is_not_followed(links: LinkStyle) -> None:  # standards: 16
    recording = Recording()
    with hospital(*observations(7), page=3, links=links) as ehr:
        with pytest.raises(FhirError) as caught:
            found(Tokens(ehr.url, TOKEN), recording=recording)

        assert caught.value.failure == "foreign"
        assert ehr.strayed == []
        assert [one.path for one in ehr.requests] == ["/fhir/metadata", "/fhir/Observation/_search"]
    assert recording.outcomes == [("search-type", 200, None), ("search-type", None, "foreign")]


def test_what_came_before_a_wrong_link_can_be_used() -> None:
    async def use(client: FhirClient) -> list[str]:
        walk = client.search("Observation")
        came = [(await anext(walk)).name]
        with pytest.raises(FhirError):
            await anext(walk)
        return came

    with hospital(*observations(7), page=3, links="cross-origin") as ehr:
        assert asked(ehr.url, use) == ["Observation page 1"]


@pytest.mark.parametrize(
    ("links", "failure", "said"),
    [
        pytest.param("looping", "invalid", "in a circle", id="pages that name an earlier one"),
        pytest.param("endless", "invalid", "more than 5 pages", id="pages without end"),
        pytest.param("expiring", "gone", "search again", id="a link that expired"),
    ],
)
def test_a_walk_that_leads_nowhere_ends(links: LinkStyle, failure: FhirFailure, said: str) -> None:
    with hospital(*observations(10), page=3, links=links) as ehr:
        with pytest.raises(FhirError, match=said) as caught:
            found(ehr.url, limits=replace(QUICK, pages=5))

        assert caught.value.failure == failure
        assert len(ehr.requests) <= 7


def test_a_page_that_names_itself_is_a_circle() -> None:
    with hospital(*observations(4), page=3) as ehr:
        link = f"{ehr.url}?_getpages=same"
        ehr.on(
            lambda one: "same" in one.target,
            instead(json.dumps(bundle(link)).encode()),
        )
        ehr.on("_search", next_link(lambda url: link))
        with pytest.raises(FhirError, match="in a circle"):
            found(ehr.url)

        assert len([one for one in ehr.requests if "same" in one.target]) == 1


def test_a_page_that_names_the_first_one_again_is_a_circle() -> None:
    async def use(client: FhirClient) -> None:
        await all_of(client.history("Observation", "o0"))

    with hospital(*observations(1)) as ehr:
        link = f"{ehr.url}/Observation/o0/_history"
        ehr.on(lambda one: one.path.endswith("_history"), instead(json.dumps(bundle(link, "history")).encode()))
        with pytest.raises(FhirError, match="in a circle"):
            asked(ehr.url, use)

        assert len(ehr.requests) == 2


def bundle(following: str, type: str = "searchset") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "link": [{"relation": "next", "url": following}]}


@pytest.mark.parametrize("code", [404, 410])
def test_a_page_that_is_gone_is_told_apart_from_a_search_that_finds_nothing_there(code: int) -> None:
    with hospital(*observations(4), page=3) as ehr:
        ehr.on("page", status(code))
        with pytest.raises(FhirError, match="page 2: the server keeps this page no longer") as caught:
            found(ehr.url)

    assert (caught.value.failure, caught.value.status) == ("gone", code)


@pytest.mark.data
def test_a_page_of_a_real_server_names_the_one_that_follows(shared_data: Path) -> None:
    """HAPI's, which writes its own address."""
    real = (shared_data / "medagentbench" / "raw_hapi_searchset_500_patients_with_next_link.json").read_bytes()
    with hospital(fhir.patient()) as ehr:
        ehr.on("_search", instead(real))

        async def use(client: FhirClient) -> Received:
            return await anext(client.search("Patient"))

        page = asked(ehr.url, use)
        with pytest.raises(FhirError) as caught:
            asked(ehr.url, lambda client: all_of(client.search("Patient")))

    assert page.next is not None
    assert "_getpages=" in page.next
    assert len(ids([page])) == 500
    assert caught.value.failure == "foreign"


@pytest.mark.data
def test_a_search_of_a_real_server_that_finds_nothing_is_one_page(shared_data: Path) -> None:
    real = json.loads((shared_data / "medagentbench" / "raw_hapi_searchset_single_and_empty.json").read_bytes())
    bundles = [one for one in _bundles(real) if not one.get("entry")]
    with hospital(fhir.patient()) as ehr:
        ehr.on("_search", instead(json.dumps(bundles[0]).encode()))
        pages = asked(ehr.url, lambda client: all_of(client.search("Patient")))

    assert [page.next for page in pages] == [None]


def _bundles(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, dict) and body.get("resourceType") == "Bundle":
        return [body]
    children = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [bundle for child in children for bundle in _bundles(child)]
