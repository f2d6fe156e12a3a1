# SPDX-License-Identifier: Apache-2.0
"""A token goes below the FHIR base and nowhere else: which links lead there, whatever they look like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.errors import FhirError, UsageError
from medagent_fhir.client.addresses import Base, segment, type_segment

BASE = Base.of("https://ehr.example.org/api/fhir")
PAGE = "https://ehr.example.org/api/fhir/Observation"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        pytest.param(
            "https://ehr.example.org/api/fhir?_getpages=a%2Fb", "/api/fhir?_getpages=a%2Fb", id="HAPI's token"
        ),
        pytest.param("https://EHR.example.org:443/api/fhir/p/1", "/api/fhir/p/1", id="the origin spelled otherwise"),
        pytest.param("?page=2", "/api/fhir/Observation?page=2", id="a query alone"),
        pytest.param("/api/fhir?x=1", "/api/fhir?x=1", id="an absolute path"),
        pytest.param("Observation?page=2", "/api/fhir/Observation?page=2", id="a relative path"),
        pytest.param("//ehr.example.org/api/fhir?x=1", "/api/fhir?x=1", id="without a scheme"),
        pytest.param("https://ehr.example.org/api/fhir?t={a|b}^'\"", "/api/fhir?t={a|b}^'\"", id="unusual signs"),
        pytest.param("https://ehr.example.org/api/fhir?t=a/../b", "/api/fhir?t=a/../b", id="dots in the query"),
        pytest.param("https://ehr.example.org/api/fhir?t=1#part", "/api/fhir?t=1", id="a fragment is never sent"),
        pytest.param("https://ehr.example.org/api/fhir/a%2Fb?c", "/api/fhir/a%2Fb?c", id="an escaped slash"),
    ],
)
def test_links_below_the_base_are_followed_byte_for_byte(link: str, target: str) -> None:
    address = BASE.linked(link, PAGE)

    assert (address.origin, address.target) == ("https://ehr.example.org", target)


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("https://other.example.org/api/fhir?x=1", id="another host"),
        pytest.param("https://ehr.example.org.evil.example/api/fhir", id="a host that begins like ours"),
        pytest.param("https://ehr.example.org@evil.example/api/fhir", id="our host as a user name"),
        pytest.param("https://user@ehr.example.org/api/fhir", id="a user name at our host"),
        pytest.param("//evil.example/api/fhir", id="another host without a scheme"),
        pytest.param("http://ehr.example.org/api/fhir", id="without TLS"),
        pytest.param("https://ehr.example.org:8443/api/fhir", id="another port"),
        pytest.param("https://ehr.example.org/api/other", id="another path"),
        pytest.param("https://ehr.example.org/api/fhir2/Observation", id="a path that begins like ours"),
        pytest.param("https://ehr.example.org/", id="the root"),
        pytest.param("https://ehr.example.org/api/fhir/../secret", id="dots that lead out"),
        pytest.param("https://ehr.example.org/api/fhir/%2e%2E/secret", id="escaped dots"),
        pytest.param("https://ehr.example.org/api/fhir/%252e%252e/secret", id="dots escaped twice"),
        pytest.param("https://ehr.example.org/api/fhir/..%2fsecret", id="dots before an escaped slash"),
        pytest.param("https://ehr.example.org/api/fhir/..;/secret", id="dots with a parameter"),
        pytest.param("https://ehr.example.org/api/fhir/..\\secret", id="dots before a backslash"),
        pytest.param("https://evil.example\\@ehr.example.org/api/fhir", id="a backslash in the host"),
        pytest.param("../../../secret", id="a relative path that leads out"),
    ],
)
def test_links_that_lead_elsewhere_are_not(link: str) -> None:  # standards: 16
    with pytest.raises(FhirError) as caught:
        BASE.linked(link, PAGE)

    assert caught.value.failure == "foreign"
    assert link not in str(caught.value)


@pytest.mark.parametrize(
    "link",
    ["ftp://ehr.example.org/api/fhir", "javascript:alert(1)", "https://", "https://ehr.example.org:x/", "a b", "ü", ""],
)
def test_what_is_no_http_url_is_not_followed(link: str) -> None:
    with pytest.raises(FhirError) as caught:
        BASE.linked(link, "https://" if not link else PAGE)

    assert caught.value.failure == "invalid"


@given(link=st.text(alphabet="htps:/.\\%2eE@?#;fir \tapx", max_size=40) | st.text(max_size=20))
@settings(max_examples=300)
def test_whatever_the_link_what_is_followed_lies_below_the_base(link: str) -> None:
    """As the strictest and the most lenient server would read it."""
    try:
        address = BASE.linked(link, PAGE)
    except FhirError:
        return
    path = address.target.partition("?")[0]
    assert address.origin == BASE.origin
    assert path == BASE.path or path.startswith(f"{BASE.path}/")
    assert ".." not in path.replace("%2e", ".").replace("%2E", ".").replace("\\", "/").split("/")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("ehr.example.org/fhir", id="no scheme"),
        pytest.param("ftp://ehr.example.org/fhir", id="another scheme"),
        pytest.param("https:///fhir", id="no host"),
        pytest.param("https://ehr.example.org/fhir?x=1", id="a query"),
        pytest.param("https://ehr.example.org/fhir#x", id="a fragment"),
        pytest.param("https://ehr.example.org/a/../fhir", id="dots"),
        pytest.param("https://ehr.example.org:99999/fhir", id="no port"),
        pytest.param("https://ehr example.org/fhir", id="a space"),
        pytest.param("https://who:secret@ehr.example.org/fhir", id="a password"),
    ],
)
def test_what_is_no_base_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Base.of(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://ehr.example.org/fhir/", "https://ehr.example.org/fhir"),
        ("HTTPS://EHR.example.org:443/Fhir", "https://ehr.example.org/Fhir"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_a_base_has_one_spelling(url: str, base: str) -> None:
    assert Base.of(url).url == base


@pytest.mark.parametrize(
    ("id", "written"),
    [("abc-1.2", "abc-1.2"), ("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("..a", "..a"), ("å", "%C3%A5")],
)
def test_an_id_is_one_segment_of_a_path_whatever_it_holds(id: str, written: str) -> None:
    assert segment(id, "The id") == written


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_would_lead_upwards_is_refused(id: str) -> None:
    with pytest.raises(FhirError, match="The id"):
        segment(id, "The id")


@pytest.mark.parametrize("text", ["", "patient", "Patient/1", "../Patient", "Patient?x", "$export"])
def test_a_resource_type_is_letters_only(text: str) -> None:
    with pytest.raises(FhirError):
        type_segment(text)


@pytest.mark.parametrize(
    ("origin", "encrypted"),
    [
        ("https://ehr.example.org", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
        ("http://ehr.example.org", False),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_plain_http_keeps_a_secret_on_this_machine_alone(origin: str, encrypted: bool) -> None:
    assert Base.of(origin).below("/Patient").encrypted == encrypted
