# SPDX-License-Identifier: Apache-2.0
"""Our keys of client assertions, and the public half of them that EHRs fetch (standards 7, 8)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medagent.clock import Clock
from medagent_fhir.smart.registry import ALGORITHMS, Algorithm

CACHE_CONTROL = "public, max-age=300"
"""With what the JWKS route answers: EHRs may keep the keys for this long."""


class SigningKeys:
    """A folder of private keys: for each algorithm the current one and, during rotation, another."""

    def __init__(self, folder: Path, clock: Clock, algorithms: Sequence[Algorithm] = ALGORITHMS) -> None: ...

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JWK Set; generates what is absent. Raises SettingsError."""
        raise NotImplementedError

    def signed(self, alg: Algorithm, claims: Mapping[str, Any]) -> str:
        """A JWT of these claims. Raises SettingsError."""
        raise NotImplementedError

    def rotate(self) -> None:
        """Publishes a new key per algorithm and drops the one before the current. It signs once EHRs had the time to
        fetch it. Raises SettingsError while an earlier rotation still waits for that."""
        raise NotImplementedError
