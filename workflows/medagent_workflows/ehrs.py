# SPDX-License-Identifier: Apache-2.0
"""EHRs as runs read them: by which right, under which retrieval, and what a site says of each in its registry.

A server of the registry is read by the right of a launch, or else of its backend service, narrowed to the one patient.
Any other server is read only if it asks for no right at all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from medagent.chart import AsOf, Chart, ChartSource
from medagent.errors import AuthorizationError, FhirError, UsageError
from medagent.settings import Settings
from medagent_fhir.audit_events import Auditor, Parties
from medagent_fhir.authorization import Authorization, Open
from medagent_fhir.client import ClientLimits, FhirClient
from medagent_fhir.clinical import READERS
from medagent_fhir.refusals import Refusals
from medagent_fhir.server import ServerChartSource
from medagent_fhir.smart import Ehr, EhrRegistry, Launcher, SigningKeys, SmartLimits, SmartSession
from medagent_fhir.smart.addresses import FHIR_ID, safe_url
from medagent_workflows.gathering import threshold
from medagent_workflows.retrieval import plan
from medagent_workflows.wiring import Services, sensitivity

UNREGISTERED = "medagent"
"""As what we stand in audit events of a server that knows no client of ours."""
_NO_RIGHT = ("unauthorized", "forbidden")


@dataclass(frozen=True, slots=True)
class EhrSource:
    """One patient's chart at one EHR, with what a request records of how it was read."""

    client: FhirClient
    planned: ChartSource
    """Reads what the run needs at first."""
    whole: ChartSource
    """Reads every type that facts are taken from."""
    authorization: Authorization
    auditor: Auditor
    refused: Refusals
    """Puts on record what tools of the run were refused."""

    seconds: float
    """For all calls until the chart is handed out."""
    time_zone: str

    async def chart(self, patient: str | None, as_of: AsOf) -> Chart:
        """Reads the chart: see ChartSource. Which entry is the newest, and that there was none for long (clinical: 3,
        4), rests on every type."""
        with self.client.within(self.seconds):
            if as_of == "latest":
                return await self.whole.chart(patient, as_of)
            chart = await self.planned.chart(patient, as_of)
            if threshold(chart, self.time_zone).old:
                await chart.provide(tuple(READERS))
            return chart

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """What was granted, known once something was read. None: the server asks for no right."""
        granted = self.authorization.granted
        return None if granted is None else tuple(scope.text for scope in granted.scopes)

    @property
    def retrieval(self) -> str:
        """What the calls of this run have in common."""
        return self.auditor.retrieval

    def belongs_to(self, request_id: str) -> None:
        """Later calls are recorded as of this request."""
        self.auditor.request = request_id


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who opens an EHR, and how the chart is to be read."""

    actor: str
    patient: str
    """`Patient/id`."""
    has_model: bool
    """A model is told more of a chart than the engine asks for."""
    request: str | None = None
    """Id of the recorded request that a run goes on with."""


def is_url(location: str) -> bool:
    """Whether a source is a server, not a file."""
    return location.lower().startswith(("http://", "https://"))


def checked_url(location: str) -> str:
    """The FHIR base URL. Raises UsageError for one that patient data may not travel to."""
    if safe_url(location) is None:
        if safe_url(f"https{location[4:]}") is not None:  # but for its beginning nothing is wrong
            raise UsageError("--fhir: http is for this machine alone, since it protects nothing on its way; use https")
        raise UsageError("--fhir: give the FHIR base URL as https://host/path, without user, query or fragment")
    return location.rstrip("/")


def checked_patient(patient: str | None) -> str:
    """`Patient/id` from what was given. Raises UsageError for what is no id: it becomes part of an address."""
    if patient is None:
        raise UsageError("--patient: a server holds many; give the id of one, such as --patient 123")
    found = patient.removeprefix("Patient/")
    if not FHIR_ID.fullmatch(found):
        raise UsageError("--patient: is no FHIR id; these have 1 to 64 letters, digits, dots and dashes")
    return f"Patient/{found}"


def registry(settings: Settings) -> EhrRegistry:
    """The EHRs of the site. Empty where it names none."""
    if settings.ehrs_file is None:
        return EhrRegistry()
    ehrs = EhrRegistry.load(settings.ehrs_file)
    if settings.fhir_ca_file is None:
        return ehrs
    own = {"ca_file": settings.fhir_ca_file}
    return EhrRegistry(tuple(ehr if ehr.ca_file is not None else ehr.model_copy(update=own) for ehr in ehrs))


def launcher(services: Services, ehrs: EhrRegistry, redirect_uri: str | None = None) -> Launcher:
    """Launches and backend services of this installation. `redirect_uri` None: nothing is launched."""
    settings = services.settings
    keys = SigningKeys(settings.smart_key_folder, services.clock)
    vault = services.store.vault(settings.tenant)
    return Launcher(ehrs, keys, vault, services.clock, redirect_uri, smart_limits(settings))


@asynccontextmanager
async def open_server(services: Services, url: str, entrance: Entrance) -> AsyncIterator[EhrSource]:
    """A server as the command line reads it: by its backend service where the registry has it, else as an open one."""
    ehrs = registry(services.settings)
    ehr = ehrs.of_base(url)
    authorization: Authorization
    if ehr is None:
        authorization = Open(url)
    elif ehr.backend is None:
        raise AuthorizationError(
            f"EHR {ehr.name}: has no backend service in {services.settings.ehrs_file}; add `backend` with the scopes "
            "that it was granted, or launch MedAgent from the EHR (medagent serve)"
        )
    else:
        authorization = await launcher(services, ehrs).backend(ehr, entrance.patient)
    client_id = UNREGISTERED if ehr is None else ehr.backend_client_id
    ca_file = services.settings.fhir_ca_file if ehr is None else ehr.ca_file
    parties = Parties(server=authorization.base, client=client_id)
    try:
        async with _opened(services, authorization, parties, ca_file, entrance) as source:
            yield source
    except FhirError as error:
        why = str(error).rstrip(".")
        if ehr is None and error.failure in _NO_RIGHT:
            why = f"asks for authorization (status {error.status}), and {_unknown(services.settings)}"
        message = f"{urlsplit(authorization.base).netloc}: {why}"
        raise FhirError(error.failure, message, status=error.status, outcome=error.outcome) from error


def _unknown(settings: Settings) -> str:
    """Why nothing can be shown to a server that asks for authorization."""
    if settings.ehrs_file is None:
        return "no EHR is known here: describe it in a file and name that in MEDAGENT_EHRS_FILE"
    return f"{settings.ehrs_file} has no entry whose issuer is this URL"


@asynccontextmanager
async def open_launched(
    services: Services, launcher: Launcher, ehr: Ehr, session: SmartSession, entrance: Entrance
) -> AsyncIterator[EhrSource]:
    """The chart of a launch, by the right of the person who launched."""
    parties = Parties(server=session.base, client=ehr.client_id, user=session.user)
    authorization = launcher.authorization(session)
    async with _opened(services, authorization, parties, ehr.ca_file, entrance) as source:
        yield source


@asynccontextmanager
async def _opened(
    services: Services, authorization: Authorization, parties: Parties, ca_file: Path | None, entrance: Entrance
) -> AsyncIterator[EhrSource]:
    settings = services.settings
    log = services.store.access_log(settings.tenant)
    async with (
        Auditor(log, parties, actor=entrance.actor, request=entrance.request) as auditor,
        FhirClient(
            authorization,
            auditor,
            clock=services.clock,
            limits=client_limits(settings),
            ca_file=ca_file,
            patient=entrance.patient,
        ) as client,
    ):
        of_types = partial(
            ServerChartSource,
            client,
            zone=ZoneInfo(settings.time_zone),
            clock=services.clock,
            sensitivity=sensitivity(settings),
            bytes_max=settings.input_bytes_max,
            attached_max=settings.fhir_attachment_bytes_max,
            count=settings.fhir_page,
            seconds=settings.fhir_chart_seconds,
        )
        yield EhrSource(
            client=client,
            planned=of_types(plan=plan(services.pack, has_model=entrance.has_model)),
            whole=of_types(plan=tuple(READERS)),
            authorization=authorization,
            auditor=auditor,
            refused=Refusals(auditor, base=authorization.base, patient=entrance.patient, clock=services.clock),
            seconds=settings.fhir_chart_seconds,
            time_zone=settings.time_zone,
        )


def client_limits(settings: Settings) -> ClientLimits:
    """Of FHIR servers, as the site sets them."""
    return ClientLimits(
        concurrency=settings.fhir_concurrency,
        connect_seconds=settings.fhir_connect_seconds,
        attempt_seconds=settings.fhir_seconds,
        body_bytes=settings.fhir_body_bytes_max,
        pages=settings.fhir_pages_max,
        attempts=settings.fhir_attempts_max,
    )


def smart_limits(settings: Settings) -> SmartLimits:
    """Of launches and authorization servers, as the site sets them."""
    return SmartLimits(
        connect_seconds=settings.fhir_connect_seconds,
        answer_seconds=settings.fhir_seconds,
        launch_seconds=settings.launch_seconds,
        session_seconds=settings.session_seconds,
    )
