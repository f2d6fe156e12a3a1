# SPDX-License-Identifier: Apache-2.0
"""A FHIR R4 server as its clients read it. https://hl7.org/fhir/R4/http.html"""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from medagent.clock import Clock, instant_text
from medagent.errors import FhirError, FhirFailure, UsageError
from medagent_fhir.authorization import Authorization
from medagent_fhir.calls import Interaction, Recorder
from medagent_fhir.client.addresses import Base, segment, type_segment
from medagent_fhir.client.bodies import FHIR_JSON
from medagent_fhir.client.bulk import Export, ExportLevel
from medagent_fhir.client.capabilities import Capabilities, stated_in
from medagent_fhir.client.channel import Channel
from medagent_fhir.client.deadline import within
from medagent_fhir.client.exchange import Answer, Ask, recorded
from medagent_fhir.client.limits import ClientLimits
from medagent_fhir.client.paging import Walk, pages
from medagent_fhir.client.received import (
    Received,
    batch_response,
    content,
    json_of,
    named,
    received,
    resource,
    searchset,
    some_bundle,
)
from medagent_fhir.client.shared import Shared, shared

Parameters = Iterable[tuple[str, str]]
"""Search parameters in order; a name may occur again, which narrows further."""

Judge = Callable[[Received], None]
_FORM = "application/x-www-form-urlencoded"
_NO_POST = (404, 405, 501)  # how servers say that they know no POST to _search
_UNREADABLE = ("invalid", "not_found", "gone", "forbidden", "refused", "foreign")
_STRICT = (("Prefer", "handling=strict"),)  # a parameter that is passed over would give more than was asked for


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
        launch. Raises UsageError for a base that is none."""
        self.authorization = authorization
        self.recorder = recorder
        self._base = Base.of(authorization.base)
        self._clock = clock
        self._limits = limits
        self._ca_file = ca_file
        self._patient = authorization.patient
        self._open = AsyncExitStack()
        self._opened: tuple[Channel, Shared] | None = None
        if patient is not None:
            self.bound_to(patient)

    async def __aenter__(self) -> Self:
        server = await self._open.enter_async_context(shared(self._base, self._limits, self._ca_file))
        channel = Channel(self._base, self.authorization, self.recorder, server, clock=self._clock, limits=self._limits)
        self._opened = (channel, server)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened = None
        await self._open.aclose()

    @property
    def base(self) -> str:
        """The FHIR base URL, without a slash at its end."""
        return self._base.url

    @property
    def patient(self) -> str | None:
        """`Patient/id` that the calls are about."""
        return self._patient

    def bound_to(self, patient: str) -> None:
        """From here on all calls are about this patient. FhirError `forbidden` where the launch, or an earlier
        binding, is for another."""
        if self._patient not in (None, patient):
            raise FhirError("forbidden", "Patient: this connection was opened for another patient; open one for each")
        self._patient = patient

    @staticmethod
    def within(seconds: float) -> AbstractContextManager[None]:
        """What is called inside, also by tasks made there, ends by then together: calls past it fail with `deadline`
        one by one, so that what came before can be used."""
        return within(seconds)

    async def capabilities(self) -> Capabilities:
        """What the server can do; asked once. FhirError `refused` where it says that it does not speak R4."""
        server = self._server
        async with server.asking:
            if server.capabilities is None:
                server.capabilities = await self._stated()
        return replace(server.capabilities, posts_searches=server.posts_searches)

    async def read(
        self, resource_type: str, id: str, *, version: str | None = None, known: Received | None = None
    ) -> Received:
        """One resource, or one version of it. `known`: an earlier answer, which is given again where it still holds."""
        interaction: Interaction = "read" if version is None else "vread"
        ask = self._of_one(interaction, resource_type, id, version)
        await self._require(ask, lambda can: can.supports(resource_type, interaction))
        if resource_type == "Patient" and self._patient not in (None, ask.resource):
            error = FhirError("foreign", "Patient: another patient than the one whose chart is read; nothing was asked")
            await self._channel.refuse(ask, error)
        if known is not None and known.etag is not None:
            ask = replace(ask, headers=(("If-None-Match", known.etag),), expected=(200, 304))

        def take(answer: Answer) -> Received:
            if answer.status == 304 and known is not None:
                return known
            return received(answer, ask.name, resource(resource_type, id))

        return await self._received(ask, take)

    async def binary(self, id: str, *, accept: str = FHIR_JSON, bytes_max: int | None = None) -> Received:
        """A Binary: as a resource, or as the content itself where `accept` names another media type. Raises TooLong
        where it has more bytes than `bytes_max`."""
        ask = replace(self._of_one("read", "Binary", id, None), bytes_max=bytes_max)
        await self._require(ask, lambda can: can.supports("Binary", "read"))
        if accept == FHIR_JSON:
            return await self._received(ask, lambda answer: received(answer, ask.name, resource("Binary", id)))
        return await self._received(replace(ask, accept=accept), lambda answer: content(answer, ask.name, accept))

    async def search(
        self,
        resource_type: str,
        parameters: Parameters = (),
        *,
        count: int | None = None,
        judge: Judge | None = None,
    ) -> AsyncGenerator[Received, None]:
        """Pages, each a searchset Bundle. `count`: entries per page that we wish for. `judge` sees a page before its
        call goes on record and may raise FhirError (`foreign`): then the call is recorded as failed so."""
        asked = tuple(parameters)
        form = urlencode((*asked, *((("_count", str(count)),) if count is not None else ())))
        path = f"/{type_segment(resource_type)}"
        by_get = self._ask("search-type", resource_type, path, query=form, headers=_STRICT)
        by_post = replace(
            by_get, method="POST", address=self._base.below(f"{path}/_search"), body=form, media_type=_FORM
        )
        await self._require(by_post, lambda can: _can_search(can, resource_type, asked))
        walk = Walk(by_get, searchset, judge, self._base.below(path).url)

        async def first(take: Callable[[Answer], Received]) -> Received:
            return await self._searched(by_post, by_get, take)

        async for page in pages(self._channel, walk, first):
            yield page
            del page  # not held while the next is waited for

    async def history(
        self, resource_type: str, id: str | None = None, *, since: datetime | None = None, count: int | None = None
    ) -> AsyncGenerator[Received, None]:
        """Pages of the versions of one resource, or of all of a type."""
        interaction: Interaction = "history-type" if id is None else "history-instance"
        path = f"/{type_segment(resource_type)}" + (f"/{segment(id, 'The id')}" if id is not None else "")
        query = _query(since=since, count=count)
        name = f"{resource_type}/{id} history" if id is not None else f"{resource_type} history"
        whose = f"{resource_type}/{id}" if id is not None else None
        ask = self._ask(interaction, name, f"{path}/_history", query=query, resource=whose)
        await self._require(ask, lambda can: can.supports(resource_type, interaction))
        async for page in pages(self._channel, Walk(ask, some_bundle)):
            yield page

    async def everything(
        self,
        patient: str,
        *,
        types: Sequence[str] = (),
        since: datetime | None = None,
        count: int | None = None,
        judge: Judge | None = None,
    ) -> AsyncGenerator[Received, None]:
        """Pages of `Patient/id/$everything`. `patient`: `Patient/id`."""
        path = f"/Patient/{segment(patient.removeprefix('Patient/'), 'The id')}/$everything"
        query = _query(types=types, since=since, count=count)
        ask = self._ask("operation", "Patient $everything", path, query=query, resource=patient)
        await self._require(ask, lambda can: can.operates("Patient/everything"))
        if self._patient not in (None, patient):
            error = FhirError("foreign", "Patient: another patient than the one whose chart is read; nothing was asked")
            await self._channel.refuse(ask, error)
        async for page in pages(self._channel, Walk(ask, some_bundle, judge)):
            yield page

    async def batch(self, requests: Sequence[str]) -> Received:
        """Several GETs in one call: each as a path under the base (`Observation?patient=1`). A batch-response Bundle,
        whose entries stand in the order of the requests and each have a status of their own."""
        for request in requests:
            self._base.linked(request, f"{self.base}/")
        entries = [{"request": {"method": "GET", "url": request}} for request in requests]
        body = json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
        ask = replace(self._ask("batch", "Batch", ""), method="POST", body=body, media_type=FHIR_JSON, repeatable=False)
        await self._require(ask, Capabilities.batches)
        return await self._received(
            ask, lambda answer: received(answer, ask.name, batch_response(len(requests), ask.name))
        )

    async def export(
        self,
        level: ExportLevel = "system",
        *,
        types: Sequence[str] = (),
        since: datetime | None = None,
        parameters: Parameters = (),
        elsewhere: Iterable[str] = (),
    ) -> Export:
        """Starts a Bulk Data export; use it with `async with`. `level`: `system`, `Patient`, or `Group/id`.
        `elsewhere`: other origins (`https://files.example.org`) that files may be fetched from, without a token."""
        path, operation = _export_path(level)
        query = _query(types=types, since=since, parameters=parameters)
        ask = self._ask("export", "Export", path, query=query, headers=(("Prefer", "respond-async"),))
        ask = replace(ask, export=True, repeatable=False, expected=(202,))
        await self._require(ask, lambda can: can.operates(operation))
        return await Export.started(self._channel, ask, frozenset(elsewhere))

    async def refuse(self, received: Received, failure: FhirFailure, detail: str) -> None:
        """Puts on record that what a call gave was refused by its reader, such as another patient's resource."""
        if received.call is None:
            raise UsageError("Only what a client handed out can be refused")
        await self._channel.record(recorded(received.call, FhirError(failure, detail)))

    @property
    def _channel(self) -> Channel:
        return self._now_open[0]

    @property
    def _server(self) -> Shared:
        return self._now_open[1]

    @property
    def _now_open(self) -> tuple[Channel, Shared]:
        if self._opened is None:
            raise UsageError("A FhirClient is used inside `async with`")
        return self._opened

    async def _stated(self) -> Capabilities:
        ask = replace(self._ask("capabilities", "CapabilityStatement", "/metadata"), patient=None)
        try:
            answered = await self._received(ask, lambda answer: received(answer, ask.name, json_of(stated_in)))
        except FhirError as error:
            # A server that hides its statement, or fails over it, may serve all the same. One that is not there does
            # not, nor one whose statement could be read (200) and speaks of another FHIR.
            fails = error.failure == "unavailable" and error.status is not None
            if (error.failure, error.status) == ("refused", 200) or not (fails or error.failure in _UNREADABLE):
                raise
            return Capabilities()
        return stated_in(answered.body)

    async def _require(self, ask: Ask, able: Callable[[Capabilities], bool]) -> None:
        """What the server says it cannot do is not asked."""
        if not able(await self.capabilities()):
            what = f"{ask.name}: the server says that it offers no {ask.interaction} of this kind; nothing was asked"
            await self._channel.refuse(ask, FhirError("refused", what))

    async def _searched(self, by_post: Ask, by_get: Ask, take: Callable[[Answer], Received]) -> Received:
        """The first page: by POST, so that no address names a patient; by GET where the server knows no other way."""
        if self._server.posts_searches:
            try:
                return await self._received(by_post, take)
            except FhirError as error:
                if error.status not in _NO_POST:
                    raise
        page = await self._received(by_get, take)
        self._server.posts_searches = False
        return page

    async def _received(self, ask: Ask, take: Callable[[Answer], Received]) -> Received:
        return named(await self._channel.ask(ask, take))

    def _of_one(self, interaction: Interaction, kind: str, id: str, version: str | None) -> Ask:
        path = f"/{type_segment(kind)}/{segment(id, 'The id')}"
        if version is not None:
            path += f"/_history/{segment(version, 'The version')}"
        return self._ask(interaction, f"{kind}/{id}", path, resource=f"{kind}/{id}")

    def _ask(
        self,
        interaction: Interaction,
        name: str,
        path: str,
        *,
        query: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        resource: str | None = None,
    ) -> Ask:
        address = self._base.below(path, query)
        return Ask(interaction, name, address, self._patient, headers=headers, resource=resource)


def _can_search(can: Capabilities, kind: str, parameters: tuple[tuple[str, str], ...]) -> bool:
    if not can.supports(kind, "search-type"):
        return False
    for parameter, value in parameters:
        name = parameter.partition(":")[0]
        if name == "_include" and not can.includes(kind, value):
            return False
        if name == "_revinclude" and not can.reverse_includes(kind, value):
            return False
        if not can.searches(kind, parameter):
            return False
    return True


def _query(
    *,
    types: Sequence[str] = (),
    since: datetime | None = None,
    count: int | None = None,
    parameters: Parameters = (),
) -> str:
    named = [("_type", ",".join(map(type_segment, types)))] if types else []
    named += [("_since", instant_text(since))] if since is not None else []
    named += [("_count", str(count))] if count is not None else []
    return urlencode([*named, *parameters])


def _export_path(level: ExportLevel) -> tuple[str, str]:
    """Where an export starts, and which operation that is."""
    if level == "system":
        return "/$export", "export"
    kind, _, id = level.partition("/")
    if (kind, bool(id)) not in (("Patient", False), ("Group", True)):
        raise UsageError("An export is of the `system`, of `Patient`, or of one `Group/id`")
    return f"/{kind}" + (f"/{segment(id, 'The id')}" if id else "") + "/$export", f"{kind}/export"
