# SPDX-License-Identifier: Apache-2.0
"""A call to an EHR in the form of IHE's Basic Audit Log Patterns (https://profiles.ihe.net/ITI/BALP).

Who asked whom as which user, for which resource or with which query, about which patient. Patterns are for what
succeeded; a failed call has the same parts and an outcome that says so, and claims no profile.
"""

import base64
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from medagent.clock import instant_text
from medagent.errors import FhirFailure
from medagent_fhir.calls import Call, Interaction

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_BALP = "https://profiles.ihe.net/ITI/BALP"
_SOURCE_ROLE, _DESTINATION_ROLE = "110153", "110152"
_MACHINE, _URI = "1", "5"
_APPLICATION_SERVER = "4"
_DESCRIPTION_MAX = 2_000  # characters of what a server says of its failure

_ACTIONS: dict[Interaction, str] = {
    "read": "R",
    "vread": "R",
    "history-instance": "R",
    "history-type": "R",
    "capabilities": "R",
    "create": "C",
    "update": "U",
    "delete": "D",
}
"""AuditEvent.action of an interaction; whatever is not named executes something, such as a search."""

_PROFILES: dict[Interaction, str] = {
    "read": "Read",
    "vread": "Read",
    "search-type": "Query",
    "create": "Create",
    "update": "Update",
}
"""The patterns that IHE describes and we follow; about a patient, `Patient` stands before it."""

_NAMES: dict[Interaction, str] = {"search-type": "search", "history-instance": "history", "history-type": "history"}
"""Of an interaction in the type of the audit log's event, where it is shorter."""

_OUTCOMES: dict[FhirFailure, str] = {
    "not_found": "4",
    "gone": "4",
    "busy": "4",
    "refused": "4",
    "unauthorized": "8",
    "forbidden": "8",
    "foreign": "8",
    "invalid": "8",
    "deadline": "8",
    "unavailable": "12",
}
"""Minor: it could not be had. Serious: the right was missing, or what came back cannot be trusted. Major: the server is
not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who takes part in a call."""

    server: str
    """FHIR base URL, without a slash at its end."""
    client: str
    """Under which the server knows us: the client id of the registration."""
    user: str | None = None
    """`fhirUser` of the launch. None: the server knows of no person, and the actor is named as we know it."""
    host: str = field(default_factory=socket.gethostname)
    """Name of this machine in its network."""


def audit_event(call: Call, parties: Parties, actor: str) -> dict[str, Any]:
    """The AuditEvent of a call, as JSON.

    Steps: (1) what was done, when, and how it ended; (2) by whom: the machine that asks, the one that answers, the
    person; (3) we observed it, as the one that asks; (4) about what: the patient, the resource or else the request as
    it was sent, and the id that both sides have of it.
    """
    succeeded = call.failure is None
    event: dict[str, Any] = {"resourceType": "AuditEvent"}
    if succeeded and (profile := _PROFILES.get(call.interaction)) is not None:
        about = "Patient" if call.patient is not None else ""
        event["meta"] = {"profile": [f"{_BALP}/StructureDefinition/IHE.BasicAudit.{about}{profile}"]}
    event |= {  # (1)
        "type": _coding(f"{_TERMINOLOGY}/audit-event-type", "rest"),
        "subtype": [_coding("http://hl7.org/fhir/restful-interaction", _interaction(call))],
        "action": _action(call),
        "period": {"start": instant_text(call.started_at), "end": instant_text(call.ended_at)},
        "recorded": instant_text(call.ended_at),
        "outcome": "0" if call.failure is None else _OUTCOMES[call.failure],
    }
    if not succeeded:
        event["outcomeDesc"] = _text(f"{call.failure}: {call.detail}"[:_DESCRIPTION_MAX])
    return event | {
        "agent": [*_machines(call, parties), _person(call, parties, actor)],  # (2)
        "source": {  # (3)
            "observer": _client(parties),
            "type": [_coding(f"{_TERMINOLOGY}/security-source-type", _APPLICATION_SERVER)],
        },
        "entity": _entities(call, parties),  # (4)
    }


def access_type(call: Call) -> str:
    """The type of a call in the audit log. A call that we ourselves refused for want of a scope was never made."""
    if call.failure == "forbidden" and call.status is None:
        return "scope_refused"
    name = f"fhir_{_NAMES.get(call.interaction, call.interaction)}"
    return name if call.failure is None else f"{name}_failed"


def _interaction(call: Call) -> str:
    """As FHIR's code system of interactions names it, in which Bulk Data is an operation."""
    return "operation" if call.interaction == "export" else call.interaction


def _action(call: Call) -> str:
    return _ACTIONS.get(call.interaction, "E")


def _machines(call: Call, parties: Parties) -> tuple[dict[str, Any], dict[str, Any]]:
    """Client and server. IHE takes the side that sends what matters for the source: of a query the parameters."""
    asking, answering = _SOURCE_ROLE, _DESTINATION_ROLE
    if _action(call) == "R":
        asking, answering = answering, asking
    server = {"identifier": {"system": "urn:ietf:rfc:3986", "value": parties.server}, "display": "FHIR server"}
    return (
        {
            "type": _concept(_DICOM, asking),
            "who": _client(parties),
            "requestor": False,
            "network": {"address": parties.host, "type": _MACHINE},
        },
        {
            "type": _concept(_DICOM, answering),
            "who": server,
            "requestor": False,
            "network": {"address": parties.server, "type": _URI},
        },
    )


def _client(parties: Parties) -> dict[str, Any]:
    return {"type": "Device", "identifier": {"value": parties.client}, "display": "MedAgent"}


def _person(call: Call, parties: Parties, actor: str) -> dict[str, Any]:
    """Who asked, and the token that spoke for them: its name, never the token."""
    part = "AUT" if _action(call) in "CU" else "IRCP"  # writes something; is informed
    types = [_coding(f"{_TERMINOLOGY}/v3-ParticipationType", part)]
    agent: dict[str, Any] = {"type": {"coding": types}, "who": _who(parties, actor), "requestor": True}
    if call.token_id is not None:
        types.append(_coding(f"{_BALP}/CodeSystem/UserAgentTypes", "UserOauthAgent"))
        agent["policy"] = [f"urn:ietf:params:oauth:jti:{quote(call.token_id, errors='backslashreplace')}"]
    return agent


def _who(parties: Parties, actor: str) -> dict[str, Any]:
    if parties.user is None:
        return {"identifier": {"value": _text(actor)}}
    reference = _absolute(parties.user, parties)
    kind = reference.rsplit("/", 2)[-2]
    if kind == "Person":  # no agent of an AuditEvent may be one
        return {"identifier": {"system": "urn:ietf:rfc:3986", "value": reference}}
    return {"reference": reference, "type": kind}


def _entities(call: Call, parties: Parties) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if call.patient is not None:
        patient = {"reference": _absolute(call.patient, parties), "type": "Patient"}
        entities.append({"what": patient, "type": _object_type("1"), "role": _object_role("1")})
    if call.resource is not None and call.interaction != "search-type":
        resource = {"reference": _absolute(call.resource, parties), "type": call.resource.partition("/")[0]}
        entities.append({"what": resource, "type": _object_type("2"), "role": _object_role("4")})
    else:
        sent = f"{call.method} {call.url}" + (f"\n\n{call.body}" if call.body is not None else "")
        raw = base64.b64encode(sent.encode(errors="backslashreplace")).decode()
        entities.append({"type": _object_type("2"), "role": _object_role("24"), "query": raw})
    entities.append(_transaction(call))
    return entities


def _transaction(call: Call) -> dict[str, Any]:
    """The id of the exchange, and what tells which answer it was."""
    answer = {
        "http-status": str(call.status) if call.status is not None else None,
        "response-sha256": call.response_sha256,
    }
    entity: dict[str, Any] = {
        "what": {"identifier": {"value": _text(call.request_id)}},
        "type": _coding(f"{_BALP}/CodeSystem/BasicAuditEntityType", "XrequestId"),
    }
    detail = [{"type": name, "valueString": value} for name, value in answer.items() if value is not None]
    return entity | ({"detail": detail} if detail else {})


def _absolute(reference: str, parties: Parties) -> str:
    """Several EHRs stand in one log, so a reference says whose it is."""
    return _text(reference if "://" in reference else f"{parties.server}/{reference}")


def _coding(system: str, code: str) -> dict[str, str]:
    return {"system": system, "code": code}


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [_coding(system, code)]}


def _object_type(code: str) -> dict[str, str]:
    return _coding(f"{_TERMINOLOGY}/audit-entity-type", code)


def _object_role(code: str) -> dict[str, str]:
    return _coding(f"{_TERMINOLOGY}/object-role", code)


def _text(said: str) -> str:
    """What a server said may hold half a surrogate pair, and FHIR knows no blank text."""
    return said.encode(errors="backslashreplace").decode().strip() or "?"
