# SPDX-License-Identifier: Apache-2.0
"""What the simulated hospital does beside read and search: `$everything`, history and batches."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from builders.hospital_access import Access
from builders.hospital_outcomes import Refused
from builders.hospital_records import Records, Stored
from builders.hospital_wire import FHIR_JSON, Asked, Reply

_MAX_IN_BATCH = 50
_EVERYTHING = {"_count", "_type", "_since", "start", "end", "_format"}


def everything(records: Records, id: str, parameters: Sequence[tuple[str, str]], access: Access) -> list[Stored]:
    """The patient, all that is theirs, and what that refers to. Raises Refused."""
    unknown = sorted({name for name, _ in parameters} - _EVERYTHING)
    if unknown:
        raise Refused(400, "not-supported", f"Unknown parameter {unknown[0]} of $everything")
    patient = records.get("Patient", id)
    if patient is None:
        raise Refused(404, "not-found", "This patient is not known")
    access.require("Patient", "r")
    access.require_resource(patient, "r")
    types = {type for name, value in parameters if name == "_type" for type in value.split(",")}
    theirs = [one for type in records.types for one in records.of(type, id) if type != "Patient"]
    around = [other for one in (patient, *theirs) for other in _referred(records, one) if not other.patients]
    found = {one.name: one for one in (patient, *theirs, *around)}
    return [one for one in found.values() if (not types or one.type in types) and access.shows(one, "r")]


def history(records: Records, type: str, id: str, access: Access) -> list[Stored]:
    """Every version, newest first. Raises Refused."""
    versions = records.versions(type, id)
    if not versions:
        raise Refused(404, "not-found", f"{type}/{id} is not known")
    access.require(type, "r")
    access.require_resource(versions[-1], "r")
    return versions[::-1]


def batch(asked: Asked, base_path: str, answer: Callable[[Asked], Reply]) -> Reply:
    """Answers each entry as if it had come alone. Raises Refused."""
    if asked.headers.get("content-type", "").split(";")[0] not in ("application/fhir+json", "application/json"):
        raise Refused(415, "not-supported", f"A batch is {FHIR_JSON}")
    bundle = _bundle(asked.body)
    entries = bundle.get("entry", [])
    if bundle["type"] != "batch":
        raise Refused(422, "not-supported", "Only batches are taken, no transactions")
    if len(entries) > _MAX_IN_BATCH:
        raise Refused(413, "too-costly", f"A batch has at most {_MAX_IN_BATCH} entries")
    answers = b",".join(_answered(asked, base_path, entry, answer) for entry in entries)
    head = b'{"resourceType":"Bundle","type":"batch-response","entry":['
    return Reply(200, head + answers + b"]}")


def _answered(asked: Asked, base_path: str, entry: Mapping[str, Any], answer: Callable[[Asked], Reply]) -> bytes:
    request = entry.get("request", {})
    if request.get("method") != "GET" or str(request.get("url", "/")).startswith(("/", "http")):
        raise Refused(400, "invalid", "Each entry of a batch is a GET of an address below the base")
    headers = {name: value for name, value in asked.headers.items() if not name.startswith(("content-", "if-"))}
    if "ifNoneMatch" in request:
        headers["if-none-match"] = request["ifNoneMatch"]
    try:
        reply = answer(Asked("GET", f"{base_path}/{request['url']}", headers, b""))
    except Refused as refused:
        reply = refused.reply
    response = {"status": f"{reply.status} {HTTPStatus(reply.status).phrase}"}
    if "ETag" in reply.headers:
        response["etag"] = reply.headers["ETag"]
    if reply.status >= 400:
        response["outcome"] = json.loads(reply.body)
        return json.dumps({"response": response}).encode()
    resource = b'"resource":' + reply.body + b"," if reply.body else b""
    return b"{" + resource + b'"response":' + json.dumps(response).encode() + b"}"


def _bundle(body: bytes) -> dict[str, Any]:
    try:
        bundle = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Refused(400, "structure", "This is no JSON") from error
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or "type" not in bundle:
        raise Refused(400, "structure", "This is no Bundle")
    return bundle


def _referred(records: Records, stored: Stored) -> list[Stored]:
    """What a resource refers to, wherever in it."""
    found: list[Stored] = []

    def visit(said: Any) -> None:
        if isinstance(said, dict):
            text = said.get("reference")
            type, _, id = "/".join(text.split("/")[-2:]).partition("/") if isinstance(text, str) else ("", "", "")
            if id and (other := records.get(type, id)) is not None:
                found.append(other)
            for one in said.values():
                visit(one)
        elif isinstance(said, list):
            for one in said:
                visit(one)

    visit(stored.body)
    return found
