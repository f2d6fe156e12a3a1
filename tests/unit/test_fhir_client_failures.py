# SPDX-License-Identifier: Apache-2.0
"""What a status, or a broken connection, is told as."""

import ssl

import httpx
import pytest

from medagent.errors import FhirFailure
from medagent_fhir.client.bodies import Said
from medagent_fhir.client.failures import Transient, connection_problem, refusal


@pytest.mark.parametrize(
    ("status", "failure", "again"),
    [
        (302, "foreign", False),
        (400, "refused", False),
        (401, "unauthorized", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (410, "gone", False),
        (422, "refused", False),
        (429, "busy", True),
        (500, "unavailable", False),
        (501, "refused", False),
        (502, "unavailable", True),
        (503, "busy", True),
        (504, "unavailable", True),
        (204, "invalid", False),
    ],
)
def test_each_status_stands_for_one_failure(status: int, failure: FhirFailure, again: bool) -> None:
    error = refusal(status, Said(("forbidden",), "In the server's words"), 0, "Observation")

    assert (error.failure, error.status) == (failure, status)
    assert isinstance(error, Transient) == again
    assert f"status {status}; forbidden" in str(error)
    assert str(error).startswith("Observation: ")
    assert error.outcome == "In the server's words"
    assert "In the server's words" not in str(error)


def test_who_is_told_to_wait_for_too_long_does_not_ask_again() -> None:
    assert isinstance(refusal(429, Said(), 60, "Observation"), Transient)
    assert not isinstance(refusal(429, Said(), 61, "Observation"), Transient)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectTimeout("x"), "did not take a connection in time"),
        (httpx.ConnectError("x"), "cannot be reached"),
        (httpx.RemoteProtocolError("x"), "broke before"),
        (httpx.ReadError("x"), "broke before"),
    ],
)
def test_a_broken_connection_is_tried_again(error: httpx.RequestError, said: str) -> None:
    told = connection_problem(error, "Observation")

    assert isinstance(told, Transient)
    assert told.failure == "unavailable"
    assert said in str(told)


def test_a_certificate_that_is_not_trusted_is_told_as_that_and_not_tried_again() -> None:
    error = httpx.ConnectError("x")
    error.__cause__ = ssl.SSLCertVerificationError("y")

    told = connection_problem(error, "Observation")

    assert not isinstance(told, Transient)
    assert "MEDAGENT_FHIR_CA_FILE" in str(told)
