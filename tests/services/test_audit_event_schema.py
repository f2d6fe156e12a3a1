# SPDX-License-Identifier: Apache-2.0
"""Every AuditEvent that we write passes what others wrote to judge it: HL7's JSON schema of R4 (codes, patterns,
unknown fields), Medplum's validator (cardinalities, invariants), and the R4B model of fhir.resources."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest
from builders import counterparts
from fhir.resources.R4B.auditevent import AuditEvent

from medagent.errors import FhirFailure
from medagent_fhir.balp import Parties, audit_event
from medagent_fhir.calls import Call, Interaction

pytestmark = pytest.mark.services

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
BASE = "https://ehr.example.org/fhir"
CALL = Call(
    interaction="search-type",
    method="POST",
    url=f"{BASE}/Observation/_search",
    body="patient=Patient%2F1&_count=50",
    patient="Patient/1",
    resource=None,
    status=200,
    failure=None,
    detail="",
    request_id="retrieval-1.7",
    token_id="jti-1",  # noqa: S106 - the name of a token
    started_at=NOW,
    ended_at=NOW + timedelta(milliseconds=40),
    response_sha256="0" * 64,
)
PARTIES = Parties(server=BASE, client="medagent", user="Practitioner/7", host="ward-3")


@pytest.fixture(autouse=True)
def validator() -> None:
    """Skips where the validators are absent."""
    if (obstacle := counterparts.obstacle()) is not None:
        pytest.skip(obstacle)


def calls() -> Iterator[Call]:
    """Every interaction with every way to end; then what a call may lack, or hold that is no FHIR."""
    for interaction, failure in product(get_args(Interaction), (None, *get_args(FhirFailure))):
        one = interaction in ("read", "vread", "history-instance", "create", "update", "delete")
        resource = "Observation/9" if one else None
        yield replace(CALL, interaction=interaction, failure=failure, resource=resource, detail="said so")
    yield replace(CALL, patient=None, status=None, response_sha256=None, token_id=None, failure="unavailable")
    yield replace(CALL, method="GET", body=None, interaction="capabilities", url=f"{BASE}/metadata", patient=None)
    yield replace(CALL, failure="refused", detail=" ")
    yield replace(CALL, failure="refused", detail="half a character \ud800, two\nlines\t" + "x" * 5_000)
    yield replace(CALL, token_id="two words/é", request_id="é")  # noqa: S106 - the name of a token


def parties() -> Iterator[Parties]:
    """Who may be behind a call: a person of the EHR, one of elsewhere, one who is only known to us, nobody."""
    for user in (
        "Practitioner/7",
        f"{BASE}/PractitionerRole/7",
        "https://elsewhere.example.org/r4/RelatedPerson/7",
        "Patient/1",
        f"{BASE}/Person/7",
        None,
    ):
        yield replace(PARTIES, user=user)


# standards: 36, 46, 47
def test_every_event_passes_the_r4_schema_and_the_r4b_model() -> None:
    events = [audit_event(call, PARTIES, "clinician:7") for call in calls()]
    events += [audit_event(CALL, each, " ") for each in parties()]
    for event, faults in zip(events, counterparts.r4_faults(events), strict=True):
        assert faults == [], event
        AuditEvent.model_validate(event)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a code that is none": ({"outcome": "5"}, "/outcome must be equal to one of the allowed values"),
    "an element that is none": ({"results": "0"}, "/ must NOT have additional properties"),
    "nobody who did it": ({"agent": []}, "AuditEvent.agent"),
    "an instant that is none": ({"recorded": "today"}, "/recorded must match pattern"),
}


def test_the_judges_see_what_is_wrong_with_an_event() -> None:
    events = [audit_event(CALL, PARTIES, "clinician:7") | change for change, _ in WRONG.values()]
    for (what, (_, fault)), faults in zip(WRONG.items(), counterparts.r4_faults(events), strict=True):
        assert any(found.startswith(fault) for found in faults), (what, faults)
