# SPDX-License-Identifier: Apache-2.0
"""What an AuditEvent says of a call: who asked whom, as which user, about whom and what, and how it ended.

That HL7's schema accepts every one of them is shown in tests/services/test_audit_event_schema.py.
"""

import base64
from dataclasses import replace
from typing import Any, get_args

import pytest
from builders.calls import BASE, PARTIES, failed, read, search
from fhir.resources.R4B.auditevent import AuditEvent

from medagent.errors import FhirFailure
from medagent_fhir.balp import Parties, access_type, audit_event
from medagent_fhir.calls import Call, Interaction

ACTOR = "user/reviewer-1"
SOURCE_ROLE, DESTINATION_ROLE = "110153", "110152"
PERSON, SYSTEM_OBJECT = "1", "2"


def told(call: Call, parties: Parties = PARTIES) -> dict[str, Any]:
    """The AuditEvent, once a model of it has passed."""
    event = audit_event(call, parties, ACTOR)
    AuditEvent.model_validate(event)
    return event


def machines(event: dict[str, Any]) -> dict[str, str]:
    """The address of each machine by its role code."""
    found = [agent for agent in event["agent"] if "network" in agent]
    return {agent["type"]["coding"][0]["code"]: agent["network"]["address"] for agent in found}


def user(event: dict[str, Any]) -> dict[str, Any]:
    """The one agent who is no machine."""
    (found,) = [agent for agent in event["agent"] if agent["requestor"]]
    assert isinstance(found, dict)
    return found


def entities(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entities by type and role; the transaction by its type alone."""
    return {
        "/".join(filter(None, (one["type"]["code"], one.get("role", {}).get("code")))): one for one in event["entity"]
    }


# standards: 46
@pytest.mark.parametrize(
    ("call", "action", "subtype"),
    [
        pytest.param(read(), "R", "read", id="a read"),
        pytest.param(read(interaction="vread"), "R", "vread", id="a read of one version"),
        pytest.param(search(), "E", "search-type", id="a search"),
        pytest.param(search(interaction="operation"), "E", "operation", id="an operation"),
        pytest.param(search(interaction="export"), "E", "operation", id="a step of a bulk export"),
        pytest.param(search(interaction="batch"), "E", "batch", id="a batch"),
        pytest.param(read(interaction="history-instance"), "R", "history-instance", id="a history"),
        pytest.param(read(interaction="create", method="POST"), "C", "create", id="a creation"),
        pytest.param(read(interaction="update", method="PUT"), "U", "update", id="an update"),
        pytest.param(read(interaction="delete", method="DELETE"), "D", "delete", id="a deletion"),
    ],
)
def test_what_was_done(call: Call, action: str, subtype: str) -> None:
    event = told(call)
    assert event["type"]["code"] == "rest"
    assert [coding["code"] for coding in event["subtype"]] == [subtype]
    assert (event["action"], event["outcome"]) == (action, "0")
    assert event["period"] == {"start": "2024-03-01T12:00:00.000000Z", "end": "2024-03-01T12:00:00.120000Z"}
    assert event["recorded"] == event["period"]["end"]


# standards: 46
@pytest.mark.parametrize(
    ("call", "profile"),
    [
        pytest.param(read(), "PatientRead", id="a read about a patient"),
        pytest.param(read(patient=None), "Read", id="a read about nobody"),
        pytest.param(read(interaction="vread"), "PatientRead", id="a read of one version"),
        pytest.param(search(), "PatientQuery", id="a search about a patient"),
        pytest.param(search(patient=None), "Query", id="a search about nobody"),
        pytest.param(read(interaction="create"), "PatientCreate", id="a creation"),
        pytest.param(read(interaction="update"), "PatientUpdate", id="an update"),
        pytest.param(search(interaction="operation"), None, id="an operation, for which there is no pattern"),
        pytest.param(failed(search(), "forbidden", status=403), None, id="a failure, which no pattern covers"),
    ],
)
def test_the_pattern_that_it_follows(call: Call, profile: str | None) -> None:
    named = [f"https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.{profile}"] if profile else None
    assert told(call).get("meta", {}).get("profile") == named


# standards: 46
@pytest.mark.parametrize(
    ("call", "client", "server"),
    [
        pytest.param(search(), SOURCE_ROLE, DESTINATION_ROLE, id="of a query we are the source"),
        pytest.param(read(interaction="create"), SOURCE_ROLE, DESTINATION_ROLE, id="of a creation we are the source"),
        pytest.param(read(interaction="update"), SOURCE_ROLE, DESTINATION_ROLE, id="of an update we are the source"),
        pytest.param(read(), DESTINATION_ROLE, SOURCE_ROLE, id="of what is read the server is the source"),
        pytest.param(read(interaction="vread"), DESTINATION_ROLE, SOURCE_ROLE, id="and of an old version, too"),
    ],
)
def test_the_machines_have_their_roles(call: Call, client: str, server: str) -> None:
    assert machines(told(call)) == {client: "ward-3.example", server: BASE}


# standards: 46
def test_we_are_the_one_who_observed_it() -> None:
    event = told(search())
    client = next(agent for agent in event["agent"] if agent.get("network", {}).get("address") == "ward-3.example")
    assert event["source"]["observer"] == client["who"]
    assert client["who"]["identifier"] == {"value": "medagent-at-example"}


# standards: 46
@pytest.mark.parametrize(
    ("fhir_user", "who"),
    [
        pytest.param(
            "Practitioner/12",
            {"reference": f"{BASE}/Practitioner/12", "type": "Practitioner"},
            id="somebody of this server",
        ),
        pytest.param(
            "https://staff.example/r4/PractitionerRole/7",
            {"reference": "https://staff.example/r4/PractitionerRole/7", "type": "PractitionerRole"},
            id="somebody of another server",
        ),
        pytest.param(
            "Person/3",
            {"identifier": {"system": "urn:ietf:rfc:3986", "value": f"{BASE}/Person/3"}},
            id="a Person, to whom no agent may refer",
        ),
        pytest.param(None, {"identifier": {"value": ACTOR}}, id="nobody whom the server knows"),
    ],
)
def test_the_user_asked_and_has_no_network(fhir_user: str | None, who: dict[str, Any]) -> None:
    found = user(told(search(), replace(PARTIES, user=fhir_user)))
    assert found["who"] == who
    assert "network" not in found


@pytest.mark.parametrize(
    ("interaction", "part"),
    [("read", "IRCP"), ("search-type", "IRCP"), ("create", "AUT"), ("update", "AUT")],
)
def test_a_user_is_informed_or_writes(interaction: Interaction, part: str) -> None:
    assert user(told(read(interaction=interaction)))["type"]["coding"][0]["code"] == part


# standards: 46
@pytest.mark.parametrize(
    ("token_id", "policy"),
    [
        pytest.param("a1b2", "urn:ietf:params:oauth:jti:a1b2", id="by its id"),
        pytest.param(
            "two words\ud800", "urn:ietf:params:oauth:jti:two%20words%5Cud800", id="escaped, where it is none"
        ),
    ],
)
def test_the_token_is_named(token_id: str, policy: str) -> None:
    found = user(told(search(token_id=token_id)))
    assert found["policy"] == [policy]
    assert [coding["code"] for coding in found["type"]["coding"]] == ["IRCP", "UserOauthAgent"]


def test_without_a_token_none_is_named() -> None:
    found = user(told(search(token_id=None)))
    assert "policy" not in found
    assert [coding["code"] for coding in found["type"]["coding"]] == ["IRCP"]


# standards: 46
def test_of_a_query_the_request_stands_there_as_it_was_sent() -> None:
    found = entities(told(search()))
    assert found.keys() == {f"{PERSON}/1", f"{SYSTEM_OBJECT}/24", "XrequestId"}
    query = found[f"{SYSTEM_OBJECT}/24"]
    assert "what" not in query
    assert base64.b64decode(query["query"]).decode() == (
        f"POST {BASE}/Observation/_search\n\nsubject=Patient%2Fsample-ada-9471&_count=250"
    )


# standards: 46
def test_of_a_read_the_resource_is_named() -> None:
    found = entities(told(read()))
    assert found.keys() == {f"{PERSON}/1", f"{SYSTEM_OBJECT}/4", "XrequestId"}
    assert found[f"{SYSTEM_OBJECT}/4"]["what"] == {"reference": f"{BASE}/Observation/o1", "type": "Observation"}


# standards: 46
def test_the_patient_is_named_with_the_server_whose_it_is() -> None:
    patient = entities(told(search()))[f"{PERSON}/1"]["what"]
    assert patient == {"reference": f"{BASE}/Patient/sample-ada-9471", "type": "Patient"}


def test_where_a_call_is_about_nobody_nobody_is_named() -> None:
    capabilities = search(interaction="capabilities", method="GET", url=f"{BASE}/metadata", body=None, patient=None)
    found = entities(told(capabilities))
    assert found.keys() == {f"{SYSTEM_OBJECT}/24", "XrequestId"}
    assert base64.b64decode(found[f"{SYSTEM_OBJECT}/24"]["query"]).decode() == f"GET {BASE}/metadata"


# standards: 46
def test_the_exchange_has_the_id_that_both_sides_have_and_says_which_answer_it_was() -> None:
    transaction = entities(told(search()))["XrequestId"]
    assert transaction["what"] == {"identifier": {"value": "retrieval-1.1"}}
    assert {one["type"]: one["valueString"] for one in transaction["detail"]} == {
        "http-status": "200",
        "response-sha256": "ab" * 32,
    }
    assert "detail" not in entities(told(search(status=None, response_sha256=None)))["XrequestId"]


# standards: 47
@pytest.mark.parametrize("failure", get_args(FhirFailure))
def test_what_failed_says_how(failure: FhirFailure) -> None:
    event = told(failed(search(), failure, status=400, detail="the server's words"))
    assert event["outcome"] in {"4", "8", "12"}
    assert event["outcomeDesc"] == f"{failure}: the server's words"


# standards: 47
@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        pytest.param("not_found", "4", id="minor where there is nothing"),
        pytest.param("busy", "4", id="minor where the server is overloaded"),
        pytest.param("forbidden", "8", id="serious where the right is missing"),
        pytest.param("unauthorized", "8", id="serious where the token is refused"),
        pytest.param("foreign", "8", id="serious where somebody else's data came"),
        pytest.param("unavailable", "12", id="major where the server is not there"),
    ],
)
def test_a_failure_is(failure: FhirFailure, outcome: str) -> None:
    assert told(failed(read(), failure, status=None))["outcome"] == outcome


@pytest.mark.parametrize(
    "detail",
    [
        pytest.param("half a pair: \ud800", id="half a surrogate pair"),
        pytest.param(" \n ", id="nothing but blanks"),
        pytest.param("a" * 100_000, id="more than anybody reads"),
    ],
)
def test_whatever_a_server_says_can_be_recorded(detail: str) -> None:
    said = told(failed(search(url=f"{BASE}/Observation?code=\ud800"), "invalid", status=200, detail=detail))[
        "outcomeDesc"
    ]
    assert said.encode().decode() == said
    assert len(said) <= 2_000


# standards: 11
@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param(read(), "fhir_read", id="a read"),
        pytest.param(search(), "fhir_search", id="a search"),
        pytest.param(read(interaction="history-type"), "fhir_history", id="a history"),
        pytest.param(failed(search(), "forbidden", status=403), "fhir_search_failed", id="what the server refused"),
        pytest.param(failed(search(), "deadline", status=None), "fhir_search_failed", id="what took too long"),
        pytest.param(failed(search(), "forbidden", status=None), "scope_refused", id="what we refused"),
    ],
)
def test_the_log_tells_apart(call: Call, name: str) -> None:
    assert access_type(call) == name
