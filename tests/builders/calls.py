# SPDX-License-Identifier: Apache-2.0
"""Calls to a FHIR server for tests of their audit. Server, patient and people are made up."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from builders.store import NOON, PATIENT
from medagent.errors import FhirFailure
from medagent_fhir.balp import Parties
from medagent_fhir.calls import Call

BASE = "https://ehr.example/fhir"
PARTIES = Parties(server=BASE, client="medagent-at-example", user="Practitioner/12", host="ward-3.example")

_SEARCH = Call(
    interaction="search-type",
    method="POST",
    url=f"{BASE}/Observation/_search",
    body="subject=Patient%2Fsample-ada-9471&_count=250",
    patient=PATIENT,
    resource=None,
    status=200,
    failure=None,
    detail="",
    request_id="retrieval-1.1",
    token_id="token-name-1",  # noqa: S106 - what names a token
    started_at=NOON,
    ended_at=NOON + timedelta(milliseconds=120),
    response_sha256="ab" * 32,
)


def search(**changes: Any) -> Call:
    """A search for a patient's observations that gave what it should."""
    return replace(_SEARCH, **changes)


def read(**changes: Any) -> Call:
    """A read of one observation of a patient that gave what it should."""
    resource = "Observation/o1"
    whole = {"interaction": "read", "method": "GET", "url": f"{BASE}/{resource}", "body": None, "resource": resource}
    return replace(_SEARCH, **(whole | changes))


def failed(call: Call, failure: FhirFailure, *, status: int | None, detail: str = "why") -> Call:
    """A call that ended so."""
    return replace(call, failure=failure, status=status, detail=detail, response_sha256=None)
