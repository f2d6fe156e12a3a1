# SPDX-License-Identifier: Apache-2.0
"""Calls to EHRs as a reviewer reads them: many as one line of the listing, one in words.

A chart takes dozens of calls. Those that gave what they should stand together; what failed, or was refused, stands by
itself, because that is what a reviewer looks for.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from medagent.store import AuditedEvent

_OUTCOMES = {"0": "succeeded", "4": "minor failure", "8": "serious failure", "12": "the server was not there"}
_PERSON, _QUERY, _DATA = "1", "24", "4"


def gathered(events: Iterable[AuditedEvent]) -> Iterator[tuple[AuditedEvent, ...]]:
    """The events, in their order: calls in a row by one actor for one request together, any other event alone."""
    for _, row in groupby(enumerate(events), lambda numbered: _together(*numbered)):
        yield tuple(event for _, event in row)


def _together(number: int, event: AuditedEvent) -> object:
    """What events that stand together have in common; for one that stands alone something that no other has."""
    header = event.header
    is_call = header.type.startswith("fhir_") and not header.type.endswith("_failed")
    return (header.actor, header.request) if is_call else number


def types(events: tuple[AuditedEvent, ...]) -> str:
    """What kinds of events these are, and how many of each where there are several."""
    counts = Counter(event.header.type for event in events)
    return ", ".join(name if len(events) == 1 else f"{name} ×{count}" for name, count in counts.most_common())


def told(body: Mapping[str, Any]) -> dict[str, str] | None:
    """What the AuditEvent in an event's payload says. None: there is none in it."""
    event = body.get("audit_event")
    if not isinstance(event, Mapping):
        return None
    by_role = {one.get("role", {}).get("code"): one for one in event["entity"]}
    transaction = by_role.get(None, {})
    answer = {one["type"]: one["valueString"] for one in transaction.get("detail", ())}
    parts = {
        "call": _call(by_role),
        "patient": _reference(by_role.get(_PERSON, {}).get("what", {})),
        "outcome": _outcome(event),
        "answer": ", sha256 ".join(filter(None, (answer.get("http-status"), answer.get("response-sha256")))),
        "took": _took(event["period"]),
        "user": next((_reference(one["who"]) for one in event["agent"] if one["requestor"]), ""),
        "token": next((unquote(one["policy"][0].rpartition(":")[2]) for one in event["agent"] if "policy" in one), ""),
        "exchange": transaction.get("what", {}).get("identifier", {}).get("value", ""),
    }
    return {name: said for name, said in parts.items() if said}


def _call(by_role: Mapping[str | None, Mapping[str, Any]]) -> str:
    """The request as it was sent, or the resource that was read."""
    if (query := by_role.get(_QUERY)) is not None:
        return base64.b64decode(query["query"]).decode(errors="replace")
    return _reference(by_role.get(_DATA, {}).get("what", {}))


def _reference(who: Mapping[str, Any]) -> str:
    return str(who.get("reference") or who.get("identifier", {}).get("value") or "")


def _outcome(event: Mapping[str, Any]) -> str:
    said = _OUTCOMES.get(event["outcome"], event["outcome"])
    return f"{said}; {event['outcomeDesc']}" if "outcomeDesc" in event else said


def _took(period: Mapping[str, str]) -> str:
    seconds = (datetime.fromisoformat(period["end"]) - datetime.fromisoformat(period["start"])).total_seconds()
    return f"{seconds * 1_000:,.0f} ms"
