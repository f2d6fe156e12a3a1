# SPDX-License-Identifier: Apache-2.0
"""A FHIR R4 server as its clients read it. https://hl7.org/fhir/R4/http.html"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Self

from medagent.clock import Clock
from medagent_fhir.authorization import Authorization
from medagent_fhir.calls import Recorder
from medagent_fhir.client.capabilities import Capabilities
from medagent_fhir.client.limits import ClientLimits
from medagent_fhir.client.received import Received

Parameters = Iterable[tuple[str, str]]
"""Search parameters in order; a name may occur again, which narrows further."""


class FhirClient:
    """The calls of one run to one server, about one patient's chart. Clients of one base in one event loop share
    connections, the limit of calls at once, and what the server is known to do.

    Every method raises FhirError, AuthorizationError where no token can be had, and AuditError where a call cannot be
    put on record; of an answer whose call is not on record nothing is handed out. Parameters and ids may tell whom
    they are about, so no message repeats them beyond `Type/id`.
    """

    def __init__(
        self,
        authorization: Authorization,
        recorder: Recorder,
        *,
        clock: Clock,
        limits: ClientLimits = ClientLimits(),  # noqa: B008  # frozen
        ca_file: Path | None = None,
        patient: str | None = None,
    ) -> None:
        """`ca_file`: whose certificates count, in place of the system's. `patient`: `Patient/id`; else that of the
        launch."""
        self.authorization = authorization
        self.recorder = recorder

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def base(self) -> str:
        """The FHIR base URL, without a slash at its end."""
        raise NotImplementedError

    @property
    def patient(self) -> str | None:
        """`Patient/id` that the calls are about."""
        raise NotImplementedError

    def bound_to(self, patient: str) -> None:
        """From here on all calls are about this patient. FhirError `forbidden` where the launch, or an earlier
        binding, is for another."""
        raise NotImplementedError

    @staticmethod
    def within(seconds: float) -> AbstractContextManager[None]:
        """What is called inside, also by tasks made there, ends by then together: calls past it fail with `deadline`
        one by one, so that what came before can be used."""
        raise NotImplementedError

    async def capabilities(self) -> Capabilities:
        """What the server can do; asked once. FhirError `refused` where it says that it does not speak R4."""
        raise NotImplementedError

    async def read(
        self, resource_type: str, id: str, *, version: str | None = None, known: Received | None = None
    ) -> Received:
        """One resource, or one version of it. `known`: an earlier answer, which is given again where it still holds."""
        raise NotImplementedError

    async def binary(self, id: str, *, accept: str = "application/fhir+json") -> Received:
        """A Binary: as a resource, or as the content itself where `accept` names another media type."""
        raise NotImplementedError

    def search(
        self,
        resource_type: str,
        parameters: Parameters = (),
        *,
        count: int | None = None,
        judge: Callable[[Received], None] | None = None,
    ) -> AsyncIterator[Received]:
        """Pages, each a searchset Bundle. `count`: entries per page that we wish for. `judge` sees a page before its
        call goes on record and may raise FhirError (`foreign`): then the call is recorded as failed so."""
        raise NotImplementedError

    def history(
        self, resource_type: str, id: str | None = None, *, since: datetime | None = None, count: int | None = None
    ) -> AsyncIterator[Received]:
        """Pages of the versions of one resource, or of all of a type."""
        raise NotImplementedError

    def everything(
        self,
        patient: str,
        *,
        types: Sequence[str] = (),
        since: datetime | None = None,
        count: int | None = None,
        judge: Callable[[Received], None] | None = None,
    ) -> AsyncIterator[Received]:
        """Pages of `Patient/id/$everything`. `patient`: `Patient/id`."""
        raise NotImplementedError

    async def batch(self, requests: Sequence[str]) -> Received:
        """Several GETs in one call: each as a path under the base (`Observation?patient=1`). A batch-response Bundle,
        whose entries stand in the order of the requests and each have a status of their own."""
        raise NotImplementedError

    async def refuse(self, received: Received, failure: str, detail: str) -> None:
        """Puts on record that what a call gave was refused by its reader, such as another patient's resource."""
        raise NotImplementedError
