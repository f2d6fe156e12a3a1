# SPDX-License-Identifier: Apache-2.0
"""SMART App Launch 2.2: how a launch begins, how it is finished, and what may be done with it."""

from collections.abc import Iterable

from medagent.clock import Clock
from medagent.vault import Vault
from medagent_fhir.authorization import Authorization
from medagent_fhir.smart.registry import Ehr, EhrRegistry
from medagent_fhir.smart.sessions import SmartSession
from medagent_fhir.smart.signing_keys import SigningKeys


class Launcher:
    """Launches from, and backend services at, the EHRs of a registry. Any thread, event loop or process may finish
    what another began: what is between lies in the vault."""

    def __init__(
        self, registry: EhrRegistry, keys: SigningKeys, vault: Vault, clock: Clock, redirect_uri: str | None
    ) -> None:
        """`redirect_uri`: None where nothing is launched, such as on the command line."""

    async def begin(self, iss: str, launch: str | None, browser: str) -> str:
        """The URL of the authorization server to send the browser to. `launch`: as the EHR gave it; None: a launch of
        our own. `browser`: the value of a random cookie (122 bits or more). LaunchError: answer with 400.
        AuthorizationError: the EHR cannot be reached or trusted; answer with 502."""
        raise NotImplementedError

    async def finish(self, parameters: Iterable[tuple[str, str]], browser: str) -> SmartSession:
        """The session that the callback's parameters (all pairs of the query) open. Errors as of `begin`."""
        raise NotImplementedError

    async def session(self, key: str, browser: str) -> SmartSession | None:
        """The session of this key, for the browser that it was opened by. None: there is none, or no longer."""
        raise NotImplementedError

    async def end(self, session: SmartSession) -> None:
        """Forgets the session and its tokens."""
        raise NotImplementedError

    def authorization(self, session: SmartSession) -> Authorization:
        """The right to read the chart of the launch. AuthorizationError where it named no patient."""
        raise NotImplementedError

    async def backend(self, ehr: Ehr, patient: str) -> Authorization:
        """The right of the backend service, for the chart of one patient (`Patient/id`). Raises AuthorizationError."""
        raise NotImplementedError
