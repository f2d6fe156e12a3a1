# SPDX-License-Identifier: Apache-2.0
"""What a CapabilityStatement says is believed where it speaks, and nowhere else."""

import json
from typing import Any

import pytest

from medagent.errors import FhirError
from medagent_fhir.client.capabilities import Capabilities, stated_in

OBSERVATION = {
    "type": "Observation",
    "interaction": [{"code": "read"}, {"code": "search-type"}],
    "searchParam": [{"name": "_id"}, {"name": "code"}, {"name": "patient"}],
    "searchInclude": ["Observation:subject"],
    "searchRevInclude": ["Provenance:*"],
}


def statement(*resources: object, **elements: Any) -> bytes:
    rest = {"mode": "server", "resource": list(resources)} | elements.pop("rest", {})
    body = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"mode": "client"}, rest]}
    return json.dumps(body | elements).encode()


def test_a_server_can_what_it_lists_and_nothing_else_of_that_kind() -> None:
    can = stated_in(statement(OBSERVATION))

    assert can.stated
    assert can.supports("Observation", "read")
    assert not can.supports("Observation", "vread")
    assert not can.supports("Condition", "read")
    assert can.search_parameters("Observation") == frozenset({"code", "patient"})
    assert can.includes("Observation", "Observation:subject")
    assert not can.includes("Observation", "Observation:encounter")
    assert can.reverse_includes("Observation", "Provenance:target")
    assert not can.reverse_includes("Observation", "Condition:subject")


@pytest.mark.parametrize(
    ("parameter", "able"),
    [
        ("code", True),
        ("code:in", True),
        ("patient.name", True),
        ("patient:Patient.name", True),
        ("_lastUpdated", True),
        ("_has:Provenance:target:agent", True),
        ("subject", False),
        ("subject:Patient", False),
    ],
)
def test_a_parameter_that_is_not_listed_is_not_used(parameter: str, able: bool) -> None:
    assert stated_in(statement(OBSERVATION)).searches("Observation", parameter) == able


def test_where_a_statement_is_silent_all_is_tried() -> None:
    can = stated_in(statement({"type": "Condition"}))

    assert can.supports("Condition", "vread")
    assert can.search_parameters("Condition") is None
    assert can.searches("Condition", "patient")
    assert can.includes("Condition", "Condition:encounter")
    assert can.operates("Patient/everything")
    assert can.batches()


def test_without_a_statement_all_is_tried() -> None:
    can = Capabilities()

    assert not can.stated
    assert can.supports("Observation", "read")
    assert can.operates("export")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        pytest.param({"name": "everything"}, "everything", id="its name"),
        pytest.param({"name": "$everything"}, "everything", id="its name with a sign"),
        pytest.param(
            {"name": "patient-all", "definition": "http://hl7.org/fhir/OperationDefinition/Patient-everything|4.0.1"},
            "everything",
            id="its definition",
        ),
    ],
)
def test_an_operation_goes_by_each_of_its_names(operation: dict[str, str], name: str) -> None:
    of_type = stated_in(statement({"type": "Patient", "operation": [operation]}))
    of_system = stated_in(statement(rest={"operation": [operation]}))

    assert of_type.operates(f"Patient/{name}")
    assert of_system.operates(f"Patient/{name}")
    assert not of_type.operates("Patient/export")
    assert not of_type.operates("export")


def test_a_server_that_lists_interactions_of_the_system_without_batch_takes_none() -> None:
    assert not stated_in(statement(rest={"interaction": [{"code": "transaction"}]})).batches()


def test_the_software_is_named() -> None:
    assert stated_in(statement(software={"name": "EHR", "version": "7"})).software == "EHR 7"


@pytest.mark.parametrize("version", ["3.0.2", "5.0.0"])
def test_another_fhir_than_r4_is_refused_before_it_is_misread(version: str) -> None:
    with pytest.raises(FhirError, match="another FHIR than R4") as caught:
        stated_in(statement(fhirVersion=version))

    assert caught.value.failure == "refused"


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"resourceType":"Patient"}', b'{"resourceType":"CapabilityStatement","rest":1}']
)
def test_what_is_no_statement_is_invalid(body: bytes) -> None:
    with pytest.raises(FhirError) as caught:
        stated_in(body)

    assert caught.value.failure == "invalid"
