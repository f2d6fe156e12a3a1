# SPDX-License-Identifier: Apache-2.0
"""URLs that a secret may go to, and ids that stand in them."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_ID = r"[A-Za-z0-9.-]{1,64}"
FHIR_ID = re.compile(_ID)
"""As https://hl7.org/fhir/R4/datatypes.html#id has it."""
_UNSAFE = re.compile(r"[^!-~]|\\")
"""What no URL holds: beyond visible ASCII, and the backslash, which some parsers take for a slash."""


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def safe_url(text: str, *, query: bool = False) -> SplitResult | None:
    """The parts of a URL that a secret may go to: https, or http on loopback; no user, no fragment. None: it is none,
    or its query is not allowed here."""
    if _UNSAFE.search(text):
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port or an address in brackets that is none
        return None
    if not host or port == 0 or "@" in parts.netloc or parts.fragment or (parts.query and not query):
        return None
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return parts
    return None
