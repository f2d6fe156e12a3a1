# SPDX-License-Identifier: Apache-2.0
"""The right to call one FHIR server: what its client needs to know of SMART."""

from typing import Protocol

from pydantic import SecretStr

from medagent.scopes import Grant


class Authorization(Protocol):
    """What a launch, or a backend service, was granted at one server."""

    @property
    def base(self) -> str:
        """The FHIR base URL, without a slash at its end: the one place where its token may go."""
        ...

    @property
    def granted(self) -> Grant | None:
        """The scopes as granted. None: the server asks for none."""
        ...

    @property
    def patient(self) -> str | None:
        """`Patient/id` of the launch, to which every call is bound. None: the caller chooses."""
        ...

    @property
    def token_id(self) -> str | None:
        """What names the token in audit events: its `jti`, else a hash. Never the token."""
        ...

    async def token(self, refused: SecretStr | None = None) -> SecretStr | None:
        """A token that holds for a while yet; None: the server asks for none. `refused`: the server answered 401 to
        this one, so another is needed. MUST ask for a new one only once, however many wait. Raises AuthorizationError.
        """
        ...


class Open:
    """A server that asks for no authorization, such as one on loopback."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self.granted = None
        self.patient = None
        self.token_id = None

    async def token(self, refused: SecretStr | None = None) -> SecretStr | None:
        """None: there is nothing to ask for."""
        return None
