# SPDX-License-Identifier: Apache-2.0
"""Granular scopes, checked by us: whether a resource is part of what was granted.

`patient/Observation.rs?category=…` grants those results of a search that meet the query
(https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#finer-grained-resource-constraints-using-search-parameters).
A server may pass over it; what it gives beyond is refused here. Only what can be checked here counts as granted:
queries by a token (`system|code`, `code`, `|code`, `system|`, alternatives with commas) over the elements below.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from medagent.scopes import Narrowing

_ELEMENTS = {
    "category": "category",
    "class": "class",
    "clinical-status": "clinicalStatus",
    "code": "code",
    "intent": "intent",
    "status": "status",
    "type": "type",
    "vaccine-code": "vaccineCode",
    "verification-status": "verificationStatus",
}
"""Search parameters whose element has the same name in every type that has them."""


def checkable(narrowing: Narrowing) -> bool:
    """Whether it can be told of a resource that it meets all of a query. A backslash takes from a comma or bar what it
    means, which is not read here."""
    return all(name in _ELEMENTS and "\\" not in value for name, value in narrowing)


def granted(raw: bytes, narrowings: Iterable[Narrowing]) -> bool:
    """Whether a resource meets at least one of these."""
    try:
        resource = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(resource, dict) and any(
        all(_meets(resource.get(_ELEMENTS[name]), value) for name, value in narrowing) for narrowing in narrowings
    )


def _meets(element: Any, value: str) -> bool:
    tokens = list(_tokens(element))
    return any(_fits(wanted, *token) for wanted in value.split(",") for token in tokens)


def _tokens(element: Any) -> Iterator[tuple[str, str]]:
    """System and code of each code, Coding and CodeableConcept."""
    if isinstance(element, str):
        yield "", element
    elif isinstance(element, list):
        for one in element:
            yield from _tokens(one)
    elif isinstance(element, dict):
        if "coding" in element:
            yield from _tokens(element["coding"])
        elif isinstance(element.get("code"), str):
            yield str(element.get("system") or ""), element["code"]


def _fits(wanted: str, system: str, code: str) -> bool:
    said_system, bar, said_code = wanted.rpartition("|")
    if not bar:
        return code == said_code
    return system == said_system and said_code in ("", code)
