# SPDX-License-Identifier: Apache-2.0
"""What is wrong with bytes that are no FHIR, in words without anything that stands in them."""

import re

import msgspec

NOT_UTF8 = "holds bytes that are not UTF-8"
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


def complaint(error: msgspec.ValidationError) -> str:
    """msgspec's message the other way round, without values: `code.coding[0].code: expected str, got int`."""
    match = _AT.match(str(error))
    if match is None or not match["what"].startswith(("Expected", "Object missing", "Object contains")):
        return "has an element of the wrong type"
    what = match["what"].replace("`", "").replace(" | null", "")
    what = what[0].lower() + what[1:]
    return f"{match['path']}: {what}" if match["path"] else what


def malformed(error: Exception) -> str:
    """Why bytes are not JSON, without quoting them."""
    if isinstance(error, RecursionError):
        return "nests too deeply"
    if isinstance(error, UnicodeDecodeError):
        return NOT_UTF8
    position = re.search(r"\(byte (\d+)\)", str(error))
    if "truncated" in str(error):
        return "is not whole JSON: it ends in the middle"
    return f"is not JSON: malformed at byte {position[1]}" if position else "is not JSON"
