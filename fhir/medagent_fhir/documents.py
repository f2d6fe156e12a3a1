# SPDX-License-Identifier: Apache-2.0
"""The texts that documents and reports carry: base64 in the resource, or in a Binary that it points to.

A quote from one is cited with the pointer of the base64 and `decode: base64`, in the resource whose bytes hold it.
"""

import binascii
from base64 import b64decode
from decimal import Decimal
from typing import Literal

import msgspec

from medagent.evidence import SourceRef
from medagent_fhir.references import References
from medagent_fhir.statements import ElementError, decode, source_ref
from medagent_fhir.wire import Attachment, Binary, DiagnosticReport, DocumentReference, Reference

_document = msgspec.json.Decoder(DocumentReference, float_hook=Decimal)
_report = msgspec.json.Decoder(DiagnosticReport, float_hook=Decimal)
_binary = msgspec.json.Decoder(Binary)

_PLAIN = ("text/", "application/xml", "application/json")


class AttachedText(msgspec.Struct, frozen=True):
    """A text, and where its base64 stands."""

    source: SourceRef
    """The resource that holds it: the document itself, or a Binary."""
    pointer: str
    """JSON Pointer of the base64 in that resource."""
    text: str
    content_type: str | None
    decode: Literal["base64"] = "base64"


class Attachments:
    """Reads the texts of a document on demand: they are the larger part of many charts and seldom looked at."""

    def __init__(self, references: References, patient: str) -> None:
        """`patient`: `Patient/id` whose texts they are."""
        self._references = references
        self._patient = patient

    def texts(self, source: SourceRef, data: bytes) -> list[tuple[AttachedText, bytes]]:
        """The texts of a document or report, each with the bytes of the resource that holds it."""
        found: list[tuple[AttachedText, bytes]] = []
        for pointer, attachment in _attachments(source.uri.split("/", 1)[0], data):
            if attachment.data is not None:
                text = _plain_text(attachment.data, attachment.content_type)
                if text is not None:
                    kind = attachment.content_type
                    found.append((AttachedText(source, f"{pointer}/data", text, kind), data))
            elif attachment.url is not None:
                found += self._behind(attachment.url)
        return found

    def _behind(self, url: str) -> list[tuple[AttachedText, bytes]]:
        resource = self._references.find(url, "Binary", None)
        if resource is None:
            return []
        data = bytes(resource.raw)
        try:
            said = decode(_binary, data)
        except ElementError:  # found out only now, since it is read on demand: it carries no text that can be read
            return []
        if said.data is None or self._is_anothers(said.security_context, resource.full_url):
            return []
        text = _plain_text(said.data, said.content_type)
        if text is None:
            return []
        source = source_ref(resource)
        return [(AttachedText(source, "/data", text, said.content_type), data)]

    def _is_anothers(self, context: Reference | None, origin: str | None) -> bool:
        """Whether another patient's access rules hold for a Binary, which has no subject (standards: 11)."""
        if context is None or not context.reference:
            return False
        named = self._references.find(context.reference, "Patient", origin)
        return named.uri != self._patient if named is not None else "Patient/" in context.reference


def _attachments(resource_type: str, data: bytes) -> list[tuple[str, Attachment]]:
    if resource_type == "DocumentReference":
        contents = decode(_document, data).content
        return [
            (f"/content/{place}/attachment", content.attachment)
            for place, content in enumerate(contents)
            if content.attachment is not None
        ]
    if resource_type == "DiagnosticReport":
        return [(f"/presentedForm/{place}", form) for place, form in enumerate(decode(_report, data).presented_form)]
    return []


def linked(resource_type: str, data: bytes) -> list[str]:
    """The URLs behind which texts of a document or report stand."""
    try:
        attachments = _attachments(resource_type, data)
    except ElementError:  # it is not used at all, then
        return []
    return [one.url for _, one in attachments if one.data is None and one.url and _is_plain(one.content_type)]


def _is_plain(content_type: str | None) -> bool:
    return content_type is None or content_type.startswith(_PLAIN)


def _plain_text(base64: str, content_type: str | None) -> str | None:
    """None: it is no text, or not readable as one."""
    if not _is_plain(content_type):
        return None
    try:
        return b64decode(base64).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
