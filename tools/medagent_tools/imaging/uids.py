# SPDX-License-Identifier: Apache-2.0
"""DICOM unique identifiers: digits and dots, at most 64 of them (DICOM PS3.5, chapter 9)."""

import re

_UID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_LONGEST = 64  # signs


def is_uid(text: object) -> bool:
    """Whether this can be the identifier of a study, series or instance. Only then it names a file."""
    return isinstance(text, str) and len(text) <= _LONGEST and _UID.fullmatch(text) is not None
