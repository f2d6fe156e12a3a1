# SPDX-License-Identifier: Apache-2.0
"""The runs of launched sessions: each goes on beside the requests, and its page asks how far it is.

What a run found is in the store alone; here it is known by id, for as long as the session lasts.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from medagent.errors import AuthorizationError, ChartError, MedAgentError
from medagent.records import Dossier
from medagent_fhir.smart import EhrRegistry, Launcher, SmartSession
from medagent_fhir.smart.addresses import is_loopback
from medagent_workflows.ehrs import Entrance, open_launched
from medagent_workflows.reasoning.services import Models
from medagent_workflows.recommending import recommend
from medagent_workflows.web.faults import place_of
from medagent_workflows.wiring import Services

_AT_ONCE = 4  # runs side by side: each holds a chart in memory, and screens it on the one event loop
_KNOWN_MAX = 1_000  # runs that are remembered; who comes back to an older one reads the chart again

UNABLE = "MedAgent cannot do this at present."
"""Where records, keys or settings fail: what people are told of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that came to its outcome."""

    dossier: str
    patient_sha256: str | None
    """Of the Patient resource as it was read. None: it was not."""
    stage: str
    """In which the run was made; `shadow` shows nothing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that gave nothing."""

    why: str
    """Our own words, without anything of the patient."""


def actor_of(session: SmartSession) -> str:
    """On whose behalf a launched run works, as every record of it says."""
    return f"smart:{session.ehr}:{session.user or 'unnamed'}"


class Runs:
    """Those of this process. Belongs to one event loop."""

    def __init__(self, services: Services, launcher: Launcher, ehrs: EhrRegistry, models: Models | None) -> None:
        self._services = services
        self._launcher = launcher
        self._ehrs = ehrs
        self._models = models
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, asyncio.Task[Ended | Failed]] = {}

    def begin(self, session: SmartSession) -> None:
        """Begins a run, unless one of this session is under way."""
        name = _name(session)
        present = self._known.pop(name, None)
        if present is not None and not present.done():
            self._known[name] = present
            return
        while len(self._known) >= _KNOWN_MAX:
            self._known.pop(next(iter(self._known))).cancel()
        task = asyncio.get_running_loop().create_task(self._run(session))
        task.add_done_callback(_noticed)
        self._known[name] = task

    def forget(self, session: SmartSession) -> None:
        """Ends what is under way for a session; what was recorded of it stays on record."""
        if (task := self._known.pop(_name(session), None)) is not None:
            task.cancel()

    def state(self, session: SmartSession) -> Ended | Failed | str:
        """How far it is: what came of it, `preparing`, or `unknown`."""
        task = self._known.get(_name(session))
        if task is None or task.cancelled():
            return "unknown"
        if not task.done():
            return "preparing"
        if task.exception() is not None:
            return Failed("Something went wrong within MedAgent. Whoever runs it finds it in its log.")
        return task.result()

    async def aclose(self) -> None:
        """Ends all of them. A request that is on record stays open."""
        for task in self._known.values():
            task.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)

    async def _run(self, session: SmartSession) -> Ended | Failed:
        try:
            async with self._turns:
                return await self._recommended(session)
        except ChartError as error:
            return Failed(str(error))
        except MedAgentError as error:  # its words are for whoever runs MedAgent
            _log.error("run_failed error=%s: %s", type(error).__name__, error)
            return Failed(f"{UNABLE} Its log says why.")

    async def _recommended(self, session: SmartSession) -> Ended:
        patient, ehr = session.context.patient, self._ehrs.named(session.ehr)
        if patient is None:
            raise AuthorizationError("The EHR named no patient: choose one there, then launch again")
        if ehr is None:
            raise AuthorizationError(f"EHR {session.ehr}: the site does no longer work with it")
        entrance = Entrance(actor=actor_of(session), patient=patient, has_model=self._models is not None)
        services = staged(self._services, ehr.issuer)
        async with open_launched(services, self._launcher, ehr, session, entrance) as source:
            recorded = await recommend(
                services,
                source,
                patient=patient,
                as_of=services.clock.now(),
                actor=entrance.actor,
                models=self._models,
            )
        return Ended(recorded.dossier.id, _patient_sha256(recorded.dossier), recorded.dossier.mode.stage)


def staged(services: Services, issuer: str) -> Services:
    """With the stage in which the charts of an EHR are screened. A demonstration shows clinicians what nobody approved:
    that is for an EHR on this machine, and real patients are in others (clinical: 14)."""
    if services.stage != "demo" or is_loopback(urlsplit(issuer).hostname):
        return services
    return replace(services, settings=services.settings.model_copy(update={"stage": "shadow"}))


def _name(session: SmartSession) -> str:
    """The key opens the session, so it is not kept here either."""
    return hashlib.sha256(session.key.encode()).hexdigest()


def _patient_sha256(dossier: Dossier) -> str | None:
    found = (one for one in dossier.evidence if one.kind == "fact" and one.resource_type == "Patient")
    return next((one.source.sha256 for one in found), None)


def _noticed(task: "asyncio.Task[Ended | Failed]") -> None:
    """A fault of ours goes to the log by its type and place; its words may hold what a chart says."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("run_failed error=%s at=%s", type(error).__name__, place_of(error))
