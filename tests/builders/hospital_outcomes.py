# SPDX-License-Identifier: Apache-2.0
"""What the simulated hospital says where it does not do what was asked."""

import json
from collections.abc import Mapping

from builders.hospital_wire import Reply


class Refused(Exception):
    """Ends the answering of a request: an OperationOutcome goes out."""

    def __init__(self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.reply = outcome(status, code, text, headers)


def outcome(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An OperationOutcome of one issue."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
    return Reply(status, body, headers or {})
