# SPDX-License-Identifier: Apache-2.0
"""The CapabilityStatement of the simulated hospital: what it can, less what a test took away."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from builders.hospital_search import PARAMETERS

Ability = Literal[
    "metadata", "post_search", "search", "include", "vread", "history", "everything", "batch", "export", "etag", "gzip",
    "total",
]  # fmt: skip
"""What can be taken away from the hospital. `total`: that it says how many match."""

_OPERATIONS = "http://hl7.org/fhir/OperationDefinition"
_BULK = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"
_SECURITY = "http://terminology.hl7.org/CodeSystem/restful-security-service"


def capability_statement(
    base: str, types: Iterable[str], lacks: frozenset[str], oauth: Mapping[str, str] | None
) -> dict[str, Any]:
    """`oauth`: addresses of the authorization server by their names. None: anybody may call."""
    rest: dict[str, Any] = {"mode": "server", "resource": [_resource(type, lacks) for type in types]}
    if oauth is not None:
        extension = [{"url": name, "valueUri": address} for name, address in oauth.items()]
        uris = {"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": extension}
        service = {"coding": [{"system": _SECURITY, "code": "SMART-on-FHIR"}]}
        rest["security"] = {"extension": [uris], "service": [service]}
    if "batch" not in lacks:
        rest["interaction"] = [{"code": "batch"}]
    if "export" not in lacks:
        rest["operation"] = [{"name": "export", "definition": f"{_BULK}/export"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "implementation": {"description": "A simulated hospital", "url": base},
        "rest": [rest],
    }


def _resource(type: str, lacks: frozenset[str]) -> dict[str, Any]:
    known = PARAMETERS.get(type, {})
    codes = {
        "read": True,
        "vread": "vread" not in lacks,
        "history-instance": "history" not in lacks,
        "search-type": "search" not in lacks and type != "Binary",
    }
    resource: dict[str, Any] = {
        "type": type,
        "versioning": "no-version" if "vread" in lacks else "versioned",
        "interaction": [{"code": code} for code, able in codes.items() if able],
    }
    if codes["search-type"]:
        resource["searchParam"] = [
            {"name": "_id", "type": "token"},
            {"name": "_lastUpdated", "type": "date"},
            *({"name": name, "type": one.kind} for name, one in known.items()),
        ]
        if "include" not in lacks:
            resource["searchInclude"] = [f"{type}:{name}" for name, one in known.items() if one.kind == "reference"]
            resource["searchRevInclude"] = [
                f"{other}:{name}"
                for other, theirs in PARAMETERS.items()
                for name, one in theirs.items()
                if one.kind == "reference" and (type == "Patient") == (name in ("patient", "subject", "beneficiary"))
            ]
    operations = []
    if type == "Patient" and "everything" not in lacks:
        operations.append({"name": "everything", "definition": f"{_OPERATIONS}/Patient-everything"})
    if type in ("Patient", "Group") and "export" not in lacks:
        operations.append({"name": "export", "definition": f"{_BULK}/{type.lower()}-export"})
    return resource | ({"operation": operations} if operations else {})
