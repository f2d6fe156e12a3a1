# SPDX-License-Identifier: Apache-2.0
"""Who may see what in the simulated hospital."""

from collections.abc import Sequence

from builders.hospital_records import Stored


class Access:
    """Of somebody who needs no authorization: everything."""

    def require(self, type: str, letter: str) -> None:
        """Raises Refused where nothing of a type may be read (`r`) or searched for (`s`)."""

    def require_patient(self, type: str, parameters: Sequence[tuple[str, str]]) -> None:
        """Raises Refused where a search names a patient who may not be asked about."""

    def require_resource(self, stored: Stored, letter: str) -> None:
        """Raises Refused where this resource may not be seen."""

    def shows(self, stored: Stored, letter: str) -> bool:
        """Whether this resource may be among what was found."""
        return True
