# SPDX-License-Identifier: Apache-2.0
"""The commands that run a request, go on with one, or show what one came to."""

import asyncio
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from medagent.canonical import parse_json
from medagent.chart import AsOf, ChartSource
from medagent.clock import Clock, SystemClock
from medagent.errors import JournalError, MedAgentError, UsageError
from medagent.images import ImageSource
from medagent.intervals import end_of_day
from medagent.records import Dossier, OutcomeKind
from medagent.settings import Settings
from medagent_workflows.commands import actor, progress
from medagent_workflows.ehrs import Entrance, checked_patient, checked_url, is_url, open_server
from medagent_workflows.prompts import QUESTION_MAX
from medagent_workflows.recommending import Recorded, recorded_patient
from medagent_workflows.recommending import recommend as run_request
from medagent_workflows.recommending import resume as resume_request
from medagent_workflows.rendering.document import document_json
from medagent_workflows.rendering.terminal import write_dossier
from medagent_workflows.streams import PlainConsole, emit, plain, terminal, written
from medagent_workflows.wiring import (
    Services,
    chart_source,
    image_source,
    open_models,
    open_services,
    unused_settings,
)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)  # Python also reads 20260630 and 2026-W27, which nobody means here
_FILE_WIDTH = 100  # columns of text that is written to a file


def recommend(
    *,
    fhir: str | None,
    patient: str | None,
    as_of: str | None,
    question: str | None,
    images: Path | None,
    adapter: str | None,
    resume: str | None,
    partial: bool,
    as_json: bool,
    out: Path | None,
) -> bool:
    """Runs one request, or goes on with one, and writes its outcome; whether it abstained."""
    settings = Settings.load()
    for name in unused_settings(settings):
        sys.stderr.write(f"medagent: {name} is set, and this version does not use it\n")
    clock = SystemClock()
    asked = _Asked(patient, _moment(as_of, settings) if as_of is not None else clock.now(), question, adapter, resume)
    asked.refuse_what_is_recorded(as_of)
    asked.refuse_a_document()
    pictures = image_source(images, settings)
    place = _place(fhir, asked, settings, clock, partial=partial)
    again = ["--fhir", place.location, *(["--partial"] if partial else [])]
    again += ["--images", str(images)] if images else []
    doing = _doing(settings, place)
    with open_services(settings, clock) as services, _resumable(again, resume) as begun, progress(doing):
        recorded = asyncio.run(_run(services, place, asked, pictures, begun))
    _write(recorded, as_json=as_json, out=out)
    return recorded.dossier.outcome is OutcomeKind.ABSTAINED


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the chart is."""

    location: str
    files: ChartSource | None
    """None: a server, which is opened once the records are."""


def _place(fhir: str | None, asked: "_Asked", settings: Settings, clock: Clock, *, partial: bool) -> _Place:
    """Where the chart is, as far as that can be told without asking anybody."""
    location = fhir if fhir is not None else settings.fhir_url
    if location is None:
        raise UsageError("--fhir: name a FHIR base URL, a file or a folder, or set MEDAGENT_FHIR_URL")
    if not is_url(location):
        return _Place(location, chart_source(location, settings, clock, partial=partial))
    if partial:
        raise UsageError("--partial: is for files; a server says itself what it does not give")
    if asked.resume is None:
        checked_patient(asked.patient)
    return _Place(checked_url(location), None)


def _doing(settings: Settings, place: _Place) -> str:
    """What goes on while the user waits, and for how long at most."""
    host = "" if place.files is not None else f" from {plain(urlsplit(place.location).netloc)}"
    if settings.model_url is None:
        return f"Reading the chart{host} and screening"
    return f"Reading the chart{host}, screening, reasoning (the model has {settings.model_seconds_max:.0f} s)"


@contextmanager
def _resumable(again: list[str], resumed: str | None) -> Iterator[Callable[[str], None]]:
    """Says how to go on with a recorded request that did not get to its outcome. Yields what is told its id."""
    open_requests = [resumed] if resumed is not None else []
    try:
        yield open_requests.append
    except JournalError:  # it cannot be resumed, and says so
        raise
    except KeyboardInterrupt:
        if open_requests:
            sys.stderr.write(
                f"\nmedagent: interrupted; what was done is on record. {_going_on(open_requests[-1], again)}\n"
            )
        raise
    except MedAgentError as error:
        if not open_requests or resumed is not None:
            raise
        raise MedAgentError(f"{str(error).rstrip('.')}. {_going_on(open_requests[-1], again)}") from error


def _going_on(request: str, again: list[str]) -> str:
    return plain(f"To go on: {shlex.join(['medagent', 'recommend', *again, '--resume', request])}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call of the command asks for."""

    patient: str | None
    as_of: AsOf
    question: str | None
    adapter: str | None
    resume: str | None

    def refuse_what_is_recorded(self, as_of: str | None) -> None:
        """A resumed request has its patient, instant, question and adapter already."""
        given = {"--patient": self.patient, "--as-of": as_of, "--question": self.question, "--adapter": self.adapter}
        if self.resume is not None and any(value is not None for value in given.values()):
            named = ", ".join(name for name, value in given.items() if value is not None)
            raise UsageError(f"--resume: the request says already what {named} would say; leave that out")

    def refuse_a_document(self) -> None:
        """A model is shown no more of a question; what it is not shown cannot be answered."""
        if self.question is not None and len(self.question) > QUESTION_MAX:
            raise UsageError(f"--question: has {len(self.question):,} characters; write at most {QUESTION_MAX:,}")


async def _run(
    services: Services,
    place: _Place,
    asked: _Asked,
    images: ImageSource | None,
    begun: Callable[[str], None],
) -> Recorded:
    who = actor()
    async with open_models(services, images) as models, _source(services, place, asked, who) as source:
        if asked.adapter is not None and models is None:
            raise UsageError("--adapter: no model is configured; set MEDAGENT_MODEL_URL and MEDAGENT_MODEL")
        if asked.resume is not None:
            return await resume_request(services, source, asked.resume, models)
        return await run_request(
            services,
            source,
            patient=asked.patient,
            as_of=asked.as_of,
            actor=who,
            question=asked.question,
            adapter=asked.adapter,
            models=models,
            begun=begun,
        )


@asynccontextmanager
async def _source(services: Services, place: _Place, asked: _Asked, who: str) -> AsyncIterator[ChartSource]:
    """The source; a server is asked about one patient only, a resumed run's by its record."""
    if place.files is not None:
        yield place.files
        return
    patient = checked_patient(asked.patient) if asked.resume is None else recorded_patient(services, asked.resume)
    has_model = services.settings.model_url is not None
    entrance = Entrance(actor=who, patient=patient, has_model=has_model, request=asked.resume)
    async with open_server(services, place.location, entrance) as source:
        yield source


def show(dossier_id: str, *, as_json: bool, out: Path | None) -> None:
    """Writes a stored run. That it was looked at is on record first."""
    with open_services() as services:
        stored = services.store.dossier(dossier_id, services.settings.tenant, actor())
        services.store.seal()
    _write(Recorded(Dossier.model_validate(parse_json(stored)), stored), as_json=as_json, out=out)


def _moment(text: str, settings: Settings) -> AsOf:
    if text == "latest":
        return "latest"
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return end_of_day(date.fromisoformat(text), ZoneInfo(settings.time_zone))
    except ValueError:
        raise UsageError("--as-of: write a day as YYYY-MM-DD, or latest") from None


def _write(recorded: Recorded, *, as_json: bool, out: Path | None) -> None:
    if as_json:
        emit(document_json(recorded.dossier, recorded.stored), out)
    elif out is not None:
        with written(out) as file:
            write_dossier(PlainConsole(file=file, width=_FILE_WIDTH), recorded.dossier)
    else:
        with terminal() as console:
            write_dossier(console, recorded.dossier)
