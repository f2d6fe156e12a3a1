# SPDX-License-Identifier: Apache-2.0
"""What a FHIR server gave: bytes as they were received, and what is needed to cite them."""

from dataclasses import dataclass, field
from datetime import datetime

from medagent_fhir.calls import Call


@dataclass(frozen=True, slots=True)
class Received:
    """One answer whose call is on record. Its repr shows nothing of what it holds."""

    body: bytes = field(repr=False)
    """After content decoding."""
    sha256: str
    """Of the body."""
    status: int
    etag: str | None = field(repr=False)
    """As it was sent, for If-None-Match."""
    last_modified: str | None = field(repr=False)
    content_type: str
    """Media type in lower case, without parameters."""
    retrieved_at: datetime
    """When it was there in full, by our clock, UTC."""
    name: str
    """For messages, without patient data: `Observation page 2`."""
    next: str | None = field(repr=False, default=None)
    """Absolute address of the page that follows, as the server gave it. It may tell whom it is about."""
    call: Call | None = field(repr=False, default=None, compare=False)
    """As it went on record."""
