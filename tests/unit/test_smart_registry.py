# SPDX-License-Identifier: Apache-2.0
"""The registry of EHRs: which issuers a site works with, and where a secret may go at all."""

import re
from pathlib import Path

import pytest
from builders.smart import SECRET, an_ehr, secret_file

from medagent.errors import SettingsError
from medagent_fhir.smart import EhrRegistry
from medagent_fhir.smart.addresses import safe_url
from medagent_fhir.smart.registry import Asymmetric, Ehr, Symmetric

NORTH = """
[[ehr]]
name = "north"
issuer = "https://north.example/fhir/"
client_id = "medagent-north"
authentication = { kind = "asymmetric", alg = "RS384" }
scopes = ["launch", "openid", "fhirUser", "patient/Observation.rs?category=laboratory", "user/Practitioner.r"]
backend = { scopes = ["system/Observation.rs"] }

[[ehr]]
name = "south"
issuer = "https://south.example/r4"
client_id = "medagent-south"
authentication = { kind = "symmetric", secret_file = "client.secret" }
scopes = ["patient/*.read"]
authorization_issuer = "https://login.south.example"
backend = { client_id = "medagent-backend", alg = "RS384", scopes = ["system/*.rs"] }
"""


def registry(folder: Path, text: str) -> EhrRegistry:
    path = folder / "ehrs.toml"
    path.write_text(text, "utf-8")
    return EhrRegistry.load(path)


def test_it_holds_a_client_for_each_issuer(tmp_path: Path) -> None:
    secret_file(tmp_path)
    north, south = registry(tmp_path, NORTH)
    assert north.authentication == Asymmetric(kind="asymmetric", alg="RS384")
    assert (north.base, north.backend_client_id, north.backend_alg) == (
        "https://north.example/fhir",
        "medagent-north",
        "RS384",
    )
    assert isinstance(south.authentication, Symmetric)
    assert south.authentication.secret().get_secret_value() == SECRET
    assert (south.backend_client_id, south.backend_alg) == ("medagent-backend", "RS384")


def test_what_a_launch_adds_to_the_scopes_depends_on_who_begins_it(tmp_path: Path) -> None:
    secret_file(tmp_path)
    north, south = registry(tmp_path, NORTH)
    assert north.asked_for(from_ehr=True)[:2] == ("launch", "openid")
    assert "launch" not in north.asked_for(from_ehr=False)
    assert south.asked_for(from_ehr=False) == ("launch/patient", "patient/*.read")


# standards: 1
@pytest.mark.parametrize(
    ("issuer", "known"),
    [
        pytest.param("https://north.example/fhir/", True, id="the issuer itself"),
        pytest.param("https://north.example/fhir", False, id="without its slash"),
        pytest.param("https://NORTH.example/fhir/", False, id="in capitals"),
        pytest.param("https://north.example:443/fhir/", False, id="with the port that it has anyway"),
        pytest.param("https://north.example/fhir/x", False, id="below it"),
        pytest.param("https://north.example.evil.example/fhir/", False, id="as the beginning of another host"),
        pytest.param("https://evil.example/https://north.example/fhir/", False, id="inside another URL"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_an_issuer_is_known_exactly(tmp_path: Path, issuer: str, known: bool) -> None:
    secret_file(tmp_path)
    found = registry(tmp_path, NORTH).of_issuer(issuer)
    assert (found is not None and found.name == "north") is known


def test_a_chart_is_found_by_its_base_with_and_without_the_slash(tmp_path: Path) -> None:
    secret_file(tmp_path)
    read = registry(tmp_path, NORTH)
    assert {read.of_base("https://north.example/fhir"), read.of_base("https://north.example/fhir/")} == {
        read.named("north")
    }
    assert read.of_base("https://north.example/other") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            '"https://north.example/fhir/"',
            '"http://north.example/fhir"',
            "ehr north: issuer: must be an",
            id="plain http",
        ),
        pytest.param(
            "https://north.example",
            "https://a:b@north.example",
            "ehr north: issuer: must be an",
            id="a password in the URL",
        ),
        pytest.param('fhir/"', 'fhir?x=1"', "ehr north: issuer: must be an", id="a query in the issuer"),
        pytest.param(
            '"RS384" }\nscopes',
            '"HS256" }\nscopes',
            "north: authentication.alg: write 'RS384'",
            id="a shared-key algorithm",
        ),
        pytest.param(
            '"asymmetric"',
            '"magic"',
            "kind is none of the three",
            id="a way that there is none of",
        ),
        pytest.param('name = "north"', 'name = "The North"', "name: write small letters", id="a name with a space"),
        pytest.param('"fhirUser"', '"fhirUsr"', "fhirUsr", id="a scope that there is none of"),
        pytest.param('"fhirUser"', '"patient/Observation.dus"', "dus", id="letters of a scope out of order"),
        pytest.param('"fhirUser"', '"system/Patient.rs"', "system/Patient.rs", id="a system scope in a launch"),
        pytest.param(
            '["system/Observation.rs"]', '["patient/Patient.rs"]', "north: backend: scopes", id="a patient scope"
        ),
        pytest.param('name = "south"', 'name = "north"', "name", id="two of one name"),
        pytest.param("https://south.example/r4", "https://north.example/fhir", "issuer", id="two of one base"),
        pytest.param('"client.secret"', '"absent.secret"', "absent.secret", id="a secret that is not there"),
        pytest.param("client_id =", "clientid =", "ehr north: client_id: is missing", id="a field of another name"),
        pytest.param("[[ehr]]", "[[ehr", "TOML", id="no TOML"),
        pytest.param('"https://login', '"login', "authorization_issuer: is no URL", id="an issuer that is no URL"),
        pytest.param('["patient/*.read"]', '"patient/*.read"', "ehr south: scopes: write a list", id="scopes as text"),
        pytest.param('["patient/*.read"]', "[]", "ehr south: scopes: is empty", id="no scope at all"),
        pytest.param("backend = {", "backend = true #", "backend: write a table", id="a backend that is none"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    secret_file(tmp_path)
    assert old in NORTH
    with pytest.raises(SettingsError) as raised:
        registry(tmp_path, NORTH.replace(old, new, 1))
    assert said in str(raised.value)
    assert "ehrs.toml" in str(raised.value)
    assert "Tuple" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[ehr]\nname = 'north'", "name = 'north'\nissuer = 'x'"])
def test_a_file_without_an_entry_is_told_how_one_begins(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"ehrs\.toml: ehr: write \[\[ehr\]\] in double brackets [^;]*$"):
        registry(tmp_path, text)


def test_an_entry_that_is_no_table_is_counted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ehr 1: write a table"):
        registry(tmp_path, "ehr = [7]")


@pytest.mark.parametrize("document", ["workflows/medagent_workflows/ehrs.example.toml", "README.md"])
def test_what_is_shown_as_an_example_is_a_registry(tmp_path: Path, document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text("utf-8")
    shown = re.findall(r"^```toml\n(\[\[ehr\]\].*?)^```$", text, re.MULTILINE | re.DOTALL) if "```" in text else [text]
    assert next(ehr.name for ehr in registry(tmp_path, "\n".join(shown))) == "north"


def test_every_field_stands_in_the_example() -> None:
    text = (Path(__file__).parents[2] / "workflows/medagent_workflows/ehrs.example.toml").read_text("utf-8")
    assert [field for field in Ehr.model_fields if f"{field} = " not in text] == []


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret_file(tmp_path).chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        registry(tmp_path, NORTH)


@pytest.mark.parametrize("text", ["", "two\nlines"], ids=["nothing", "two lines"])
def test_a_secret_is_one_line(tmp_path: Path, text: str) -> None:
    secret_file(tmp_path, text)
    with pytest.raises(SettingsError, match=r"client\.secret"):
        registry(tmp_path, NORTH)


def test_a_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ehrs\.toml"):
        EhrRegistry.load(tmp_path / "ehrs.toml")


def test_authorities_that_are_not_there_are_named(tmp_path: Path) -> None:
    secret_file(tmp_path)
    with pytest.raises(SettingsError, match=r"north: ca_file: .*hospital\.pem"):
        registry(tmp_path, NORTH.replace("client_id", 'ca_file = "hospital.pem"\nclient_id', 1))


# standards: 1
@pytest.mark.parametrize(
    ("url", "safe"),
    [
        pytest.param("https://ehr.example/fhir", True, id="https"),
        pytest.param("http://127.0.0.1:8080/fhir", True, id="http on loopback"),
        pytest.param("http://127.8.0.1/", True, id="another address of loopback"),
        pytest.param("http://[::1]:8080/fhir", True, id="IPv6 loopback"),
        pytest.param("http://localhost/fhir", True, id="localhost"),
        pytest.param("http://ehr.example/fhir", False, id="http elsewhere"),
        pytest.param("http://localhost.evil.example/", False, id="a host that begins like localhost"),
        pytest.param("http://127.0.0.1.evil.example/", False, id="a host that begins like loopback"),
        pytest.param("http://10.0.0.1/", False, id="http in a private network"),
        pytest.param("https://user@ehr.example/", False, id="a user"),
        pytest.param("https://ehr.example\\@evil.example/", False, id="a backslash"),
        pytest.param("https://ehr.example/#x", False, id="a fragment"),
        pytest.param("https://ehr.example/ x", False, id="a space"),
        pytest.param("https://ehr.example/\r\nHost: x", False, id="a line break"),
        pytest.param("https://ehr.example:port/", False, id="a port that is none"),
        pytest.param("https:///fhir", False, id="no host"),
        pytest.param("ftp://127.0.0.1/", False, id="another scheme"),
        pytest.param("javascript:alert(1)", False, id="a script"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_a_secret_goes_to_https_and_loopback_alone(url: str, safe: bool) -> None:
    assert (safe_url(url) is not None) is safe


def test_an_entry_says_nothing_of_its_secret(tmp_path: Path) -> None:
    ehr = an_ehr(authentication={"kind": "symmetric", "secret_file": secret_file(tmp_path)})
    assert isinstance(ehr.authentication, Symmetric)
    assert SECRET not in repr(ehr) + repr(ehr.authentication.secret())
