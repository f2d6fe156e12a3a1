# SPDX-License-Identifier: Apache-2.0
"""The patient banner: whose chart it is, from the Patient resource as it was read."""

import json
from typing import Any

import pytest

from medagent_workflows.web.banner import Banner, banner_of

_NUMBER = {"type": {"coding": [{"code": "MR"}]}, "value": "4711"}

CASES: dict[str, tuple[dict[str, Any], Banner]] = {
    "a name as the EHR writes it": (
        {"id": "p", "name": [{"text": "Ada Sample", "family": "Other"}], "birthDate": "1960-05-05", "gender": "female"},
        Banner("Ada Sample", "1960-05-05", "female", "p"),
    ),
    "a name put together, family first": (
        {"id": "p", "name": [{"family": "Sample", "given": ["Ada", "B."], "prefix": ["Dr."], "suffix": ["II"]}]},
        Banner("Sample, Dr. Ada B., II", None, None, "p"),
    ),
    "the official name, wherever it stands": (
        {"name": [{"use": "maiden", "text": "Old"}, {"use": "official", "text": "New"}]},
        Banner("New", None, None, None),
    ),
    "a name of a use that nobody knows comes last": (
        {"name": [{"use": "stage", "text": "Star"}, {"use": "old", "text": "Old"}]},
        Banner("Old", None, None, None),
    ),
    "the number that people know, before the id": (
        {"id": "p", "identifier": [{"value": "insurance"}, _NUMBER]},
        Banner(None, None, None, "4711"),
    ),
    "nothing": ({}, Banner(None, None, None, None)),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_banner_says(case: str) -> None:
    """standards: 13"""
    patient, banner = CASES[case]
    assert banner_of(json.dumps(patient).encode()) == banner


@pytest.mark.parametrize("raw", [b"{", b'{"name": "Ada"}', b"[]"], ids=["no JSON", "a name of no list", "no object"])
def test_what_cannot_be_read_is_no_banner(raw: bytes) -> None:
    assert banner_of(raw) is None
