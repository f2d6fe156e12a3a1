# SPDX-License-Identifier: Apache-2.0
"""A small record for tests of the simulated hospital itself, and plain requests for it."""

import ssl
from typing import Any

import httpx

from builders.hospital import Hospital, Loadable

Json = dict[str, Any]

LOINC = "http://loinc.org"
PATIENT = b'{ "resourceType":"Patient", "id":"one", "birthDate":"1960-05-01", "multipleBirthInteger":1.10 }'


def observation(id: str, patient: str = "one", code: str = "4548-4", at: str = "2024-03-01", **more: Any) -> Json:
    """A small one: the hospital looks at no more."""
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "category": [{"coding": [{"system": "http://example.org/category", "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": at,
        **more,
    }


MEDICATION = {"resourceType": "Medication", "id": "m"}
REQUEST = {
    "resourceType": "MedicationRequest",
    "id": "r",
    "subject": {"reference": "Patient/one"},
    "medicationReference": {"reference": "Medication/m"},
}
SEVEN = [observation(f"o{number}", at=f"2024-03-0{number}") for number in range(1, 8)]
RECORD: tuple[Loadable, ...] = (
    PATIENT,
    {"resourceType": "Patient", "id": "two"},
    *SEVEN,
    observation("glucose", code="2345-7", at="2023-05"),
    observation("theirs", patient="two"),
    MEDICATION,
    REQUEST,
    {"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "SGVsbG8="},
)


def get(ehr: Hospital, path: str, method: str = "GET", timeout: float = 5, **more: Any) -> httpx.Response:
    """The answer to one request below the base."""
    verify = ssl.create_default_context(cafile=ehr.ca_file) if ehr.ca_file is not None else False
    with httpx.Client(trust_env=False, verify=verify, timeout=timeout) as client:
        url = path if path.startswith("http") else f"{ehr.url}/{path}"
        return client.request(method, url, **more)


def ids(answer: httpx.Response) -> list[str]:
    """Of the entries of a Bundle."""
    return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]


def next_link(answer: httpx.Response) -> str | None:
    """As the Bundle has it."""
    return next((link["url"] for link in answer.json()["link"] if link["relation"] == "next"), None)
