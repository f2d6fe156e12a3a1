# SPDX-License-Identifier: Apache-2.0
"""Calls to EHRs as a reviewer reads them: dozens that succeeded on one line, each that failed on its own."""

from datetime import timedelta

import pytest
from builders.calls import BASE, PARTIES, failed, read, search
from builders.store import ACTOR, NOON, PATIENT, TENANT

from medagent.clock import instant_text
from medagent.log.leaf import EventHeader
from medagent.store import AuditedEvent
from medagent_fhir.balp import audit_event
from medagent_fhir.calls import Call
from medagent_workflows.rendering.accesses import gathered, told, types


def event(number: int, kind: str, *, actor: str = ACTOR, request: str | None = "request-1") -> AuditedEvent:
    """An event as a listing gets it."""
    header = EventHeader(
        tenant=TENANT,
        id=f"event-{number}",
        occurred_at=instant_text(NOON + timedelta(seconds=number)),
        type=kind,
        actor=actor,
        request=request,
        dossier=None,
        patient_index=None,
        commitment="",
    )
    return AuditedEvent(header, number)


@pytest.mark.parametrize(
    ("kinds", "lines"),
    [
        pytest.param(
            ["outcome_recorded", "fhir_search", "fhir_read", "fhir_search", "request_recorded"],
            ["outcome_recorded", "fhir_search ×2, fhir_read ×1", "request_recorded"],
            id="calls in a row stand together",
        ),
        pytest.param(
            ["fhir_search", "fhir_search_failed", "scope_refused", "fhir_search"],
            ["fhir_search", "fhir_search_failed", "scope_refused", "fhir_search"],
            id="what failed or was refused stands alone",
        ),
        pytest.param(["dossier_read", "dossier_read"], ["dossier_read", "dossier_read"], id="other events do not"),
        pytest.param([], [], id="nothing is nothing"),
    ],
)
def test_a_listing(kinds: list[str], lines: list[str]) -> None:
    events = [event(number, kind) for number, kind in enumerate(kinds)]
    rows = list(gathered(events))
    assert [types(row) for row in rows] == lines
    assert [one for row in rows for one in row] == events


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(event(2, "fhir_read", actor="user/another"), id="somebody else"),
        pytest.param(event(2, "fhir_read", request="request-2"), id="another request"),
    ],
)
def test_calls_do_not_stand_together_with_those_of(other: AuditedEvent) -> None:
    assert len(list(gathered([event(1, "fhir_read"), other]))) == 2


# standards: 46
@pytest.mark.parametrize(
    ("call", "name", "said"),
    [
        pytest.param(search(), "call", f"POST {BASE}/Observation/_search\n\n{search().body}", id="the search as sent"),
        pytest.param(read(), "call", f"{BASE}/Observation/o1", id="the resource that was read"),
        pytest.param(search(), "patient", f"{BASE}/{PATIENT}", id="the patient"),
        pytest.param(search(), "outcome", "succeeded", id="that it succeeded"),
        pytest.param(
            failed(search(), "forbidden", status=403, detail="no scope"),
            "outcome",
            "serious failure; forbidden: no scope",
            id="how it failed",
        ),
        pytest.param(search(), "answer", f"200, sha256 {'ab' * 32}", id="which answer it was"),
        pytest.param(search(), "took", "120 ms", id="how long it took"),
        pytest.param(search(), "user", f"{BASE}/Practitioner/12", id="who asked"),
        pytest.param(search(), "token", "token-name-1", id="the name of the token"),
        pytest.param(search(), "exchange", "retrieval-1.1", id="the id of the exchange"),
    ],
)
def test_a_call_in_words_says(call: Call, name: str, said: str) -> None:
    words = told({"patient": call.patient, "audit_event": audit_event(call, PARTIES, ACTOR)})
    assert words is not None
    assert words[name] == said


def test_what_is_not_there_is_not_said() -> None:
    call = failed(search(patient=None, token_id=None), "unavailable", status=None)
    words = told({"audit_event": audit_event(call, PARTIES, ACTOR)})
    assert words is not None
    assert words.keys() == {"call", "outcome", "took", "user", "exchange"}


def test_other_events_hold_no_call() -> None:
    assert told({"patient": PATIENT, "request": "request-1"}) is None
