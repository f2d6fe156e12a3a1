# SPDX-License-Identifier: Apache-2.0
"""Whole runs with a scripted model behind a socket: what it does with what it was told is a function of the test's.

    def draft_of(told: Told) -> list[Json]:
        return [value(told.name("f", "HbA1c", "7.6 %"), Decimal("7.6"), "%")]

    with model_server(model(("list_labs", {}), drafts=draft_of)) as server, desk(home, server) as at:
        recorded = at.run(chart_in(folder))

A model knows evidence only by the short names that it reads in its conversation, so a script looks them up there, too.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from builders import fhir
from builders.fhir import Json
from builders.model_server import Asked, ModelServer, Script, Turn, calls, say, status
from builders.program import SAMPLES
from builders.reasoning import drafted
from builders.tools import IMAGE_UID, note, png, study
from medagent.canonical import public_json, sha256_hex
from medagent.clock import Clock
from medagent.images import ImageSource
from medagent.journal import Journal, JournalEntry
from medagent.records import Request
from medagent.settings import Settings
from medagent_tools.guidelines.pack import Pack, shipped_pack
from medagent_tools.imaging.rendered import RenderedImages
from medagent_workflows.recommending import Recorded, recommend, resume
from medagent_workflows.rendering.document import document_json
from medagent_workflows.rendering.terminal import write_dossier
from medagent_workflows.wiring import Services, chart_source, open_models, open_services

PATIENT = "person-of-this-chart"
FAMILY, GIVEN, BORN = "Quastenflosser", "Xanthippe", "1961-04-12"
NOTE = "Walks with Heimweh along the Nebelhornweg."
SECRETS = (FAMILY, GIVEN, BORN, "Heimweh", "Nebelhornweg", "type 2 diabetes with kidney disease", "2.61", PATIENT)
"""Of the person and of the chart: in no checkpoint, no log line and no error."""

AS_OF = datetime(2026, 6, 30, 23, 59, tzinfo=UTC)
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)

QUOTE = "Where kidney function falls, benefit and harm of metformin are weighed anew, for the risk of lactic acidosis."
KEPT = f"Introduction.\n\n# Reduced kidney function\n\n{QUOTE} Nothing more.\n"
"""A publisher's text of our own."""


class StandingClock:
    """It is always the same instant: two runs of it differ only where they do differ."""

    def now(self) -> datetime:
        """That instant."""
        return NOW


# What a model is told, and how it answers.


@dataclass(frozen=True, slots=True)
class Told:
    """A conversation as a model reads it."""

    text: str

    def name(self, letter: str, *words: str) -> str:
        """The first short name of that letter on the first line that holds all the words."""
        for line in self.text.splitlines():
            names = re.match(r"\[([a-z0-9 ]+)\]", line)
            if names is None or not all(word in line for word in words):
                continue
            found = next((one for one in names.group(1).split() if one.startswith(letter)), None)
            if found is not None:
                return found
        raise AssertionError(f"no line told of {' '.join(words)} under a name with {letter}")


Drafts = Callable[[Told], Sequence[Json]]


def answer(*propositions: Json, abstain: str | None = None, notes: str = "") -> Turn:
    """A draft with these propositions, as a model under a schema writes it."""
    return say(public_json(drafted(*propositions, abstain=abstain, notes=notes)).decode())


def model(*turns: Turn | Sequence[tuple[str, Mapping[str, Any]]], drafts: Drafts | None = None) -> Script:
    """Plays its turns (an answer, or the tools that it asks for), says that it has seen enough, and drafts.

    Without `drafts` it has nothing to add. A function of what it is asked alone, so it says the same to the same.
    """
    played = [one if isinstance(one, Turn) else calls(*one) for one in turns]

    def script(asked: Asked) -> Turn:
        if asked.schema is not None:
            return answer(abstain="nothing_to_add") if drafts is None else answer(*drafts(Told(asked.text)))
        return played[asked.step] if asked.step < len(played) else say("That is enough.")

    return script


def drafting(*answers: Turn) -> Script:
    """Calls no tool, and gives these answers to the requests for a draft, in order."""
    left = iter(answers)

    def script(asked: Asked) -> Turn:
        enough, none_left = say("That is enough."), status(400, "The script has no draft left")
        return next(left, none_left) if asked.schema is not None else enough

    return script


# The chart, and where the run takes place.


def chart_in(folder: Path, *further: Json, patient: str = PATIENT) -> Path:
    """A sample, said of a person with a name, with a note and an image."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (SAMPLES / "diabetes-kidney.json").read_text().replace("diabetes-kidney-patient", patient)
    bundle: Json = json.loads(text, parse_float=Decimal)
    (person,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Patient")
    person |= {"name": [{"family": FAMILY, "given": [GIVEN]}], "birthDate": BORN}
    added = (note(NOTE, patient=patient, at="2026-05-19T10:00:00Z"), study(patient=patient, at="2026-05-19T09:00:00Z"))
    bundle["entry"] += [{"resource": one} for one in (*added, *further)]
    path = folder / "chart.json"
    path.write_bytes(fhir.to_json(bundle))
    return path


def images_in(folder: Path, *uids: str) -> RenderedImages:
    """A folder with a picture for each of these images."""
    folder.mkdir(parents=True, exist_ok=True)
    for uid in uids or (IMAGE_UID,):
        (folder / f"{uid}.png").write_bytes(png(400, 300))
    return RenderedImages(folder)


def pack_that_keeps(text: str = KEPT, guideline: str = "fda-metformin-2016") -> Pack:
    """The shipped pack, one of whose editions keeps a text."""
    pack = shipped_pack()
    digest = sha256_hex(text.encode())
    rules = tuple(
        rule.model_copy(update={"guideline": rule.guideline.model_copy(update={"texts": (digest,)})})
        if rule.guideline.id == guideline
        else rule
        for rule in pack.rules
    )
    return replace(pack, rules=rules, texts={digest: text})


@dataclass(frozen=True, slots=True)
class _OwnPack(Services):
    """Services with another pack than the shipped one."""

    own: Pack

    @property
    def pack(self) -> Pack:
        return self.own


Wrap = Callable[[Journal], Journal]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where runs take place: records of their own, and the model of the settings."""

    services: Services
    images: ImageSource | None = None
    wrap: Wrap = field(default=lambda journal: journal)
    """Puts something between the runs and their journal."""

    def run(self, chart: Path, *, question: str | None = None, patient: str | None = None) -> Recorded:
        """One request to its outcome. `patient` None: the only one of the chart."""

        async def whole() -> Recorded:
            async with open_models(self.services, self.images) as models:
                wrapped = None if models is None else replace(models, journal=self.wrap(models.journal))
                return await recommend(
                    self.services,
                    self._source(chart),
                    patient=patient,
                    as_of=AS_OF,
                    actor="test",
                    question=question,
                    models=wrapped,
                )

        return asyncio.run(whole())

    def go_on(self, chart: Path, request: str) -> Recorded:
        """A recorded request to its outcome: one that was cut off, or that an entrance has recorded."""

        async def rest() -> Recorded:
            async with open_models(self.services, self.images) as models:
                wrapped = None if models is None else replace(models, journal=self.wrap(models.journal))
                return await resume(self.services, self._source(chart), request, models=wrapped)

        return asyncio.run(rest())

    def request(self, *, scopes: tuple[str, ...] = ()) -> str:
        """Records a request as a launch with these scopes would, and returns its id."""
        request = Request(
            id="request-of-a-launch", actor="test", patient=f"Patient/{PATIENT}", scopes=scopes, as_of=AS_OF,
            created_at=NOW,
        )  # fmt: skip
        self.services.store.record_request(
            request_id=request.id, body=public_json(request), patient=request.patient, actor=request.actor,
            tenant=request.tenant,
        )  # fmt: skip
        return request.id

    def _source(self, chart: Path) -> Any:
        return chart_source(str(chart), self.services.settings, self.services.clock)


@contextmanager
def desk(
    home: Path,
    server: ModelServer | None = None,
    *,
    pack: Pack | None = None,
    images: ImageSource | None = None,
    clock: Clock | None = None,
    wrap: Wrap | None = None,
    **settings: Any,
) -> Iterator[Desk]:
    """A desk whose records lie in `home`. Without a server there is no model."""
    named = {} if server is None else {"model_url": server.url, "model": server.name}
    shown = {} if images is None else {"model_images_max": 4}
    with open_services(Settings.load(home=home, **(named | shown | settings)), clock) as services:
        if pack is not None:
            services = _OwnPack(services.settings, services.clock, services.store, pack)
        at = Desk(services, images)
        yield at if wrap is None else replace(at, wrap=wrap)


def document(recorded: Recorded) -> Json:
    """The public JSON of a run, as a stranger parses it."""
    parsed: Json = json.loads(document_json(recorded.dossier, recorded.stored))
    return parsed


def of_engine(recorded: Recorded) -> bytes:
    """What the engine has to say in the public JSON, byte for byte."""
    run = document(recorded)
    mine = [one for one in run["recommendations"] if one["author"] == "engine"]
    return json.dumps([mine, run["suppressed"], run["counts"], run["missing"]]).encode()


def on_screen(recorded: Recorded) -> str:
    """What a terminal shows of a run."""
    out = StringIO()
    write_dossier(Console(file=out, width=120), recorded.dossier)
    return out.getvalue()


def reached(recorded: Recorded) -> set[str]:
    """The bounds that something was given up for."""
    assert recorded.dossier.reasoning is not None
    return {limit.name for limit in recorded.dossier.reasoning.limits if limit.reached}


# A process that dies.


class Cut(Exception):
    """Stands for the end of a process."""


@dataclass(slots=True)
class Dying:
    """A journal that takes so many writes; the process dies before the next one."""

    journal: Journal
    writes: int

    def intend(self, run: str, key: str, request: bytes) -> JournalEntry:
        """Writes, or dies."""
        self._spend()
        return self.journal.intend(run, key, request)

    def conclude(self, run: str, key: str, result: bytes) -> None:
        """Writes, or dies."""
        self._spend()
        self.journal.conclude(run, key, result)

    def entries(self, run: str) -> tuple[JournalEntry, ...]:
        """As they are."""
        return self.journal.entries(run)

    def _spend(self) -> None:
        if self.writes == 0:
            raise Cut
        self.writes -= 1
