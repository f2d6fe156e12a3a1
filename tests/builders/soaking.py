# SPDX-License-Identifier: Apache-2.0
"""Many runs side by side with a served model, and what became of everything that it wrote.

    with desk(home, model_url=server.url, model=server.model, images=DrawnImages()) as at:
        tally = soaked(at, charts, drafts=1000)
    print(tally.report())

A model's words are counted by kind three times: as it wrote them, as what could be made of them, and as what the
verifier let stand. What stands is judged once more by `builders.reevaluation`.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import count
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw

from builders.fhir import Json
from builders.program import SAMPLES
from builders.reasoning_scripts import AS_OF, Desk, of_engine
from builders.reevaluation import Judged, basis_of_run, claims_of, reevaluated
from medagent.chart import AsOf
from medagent.evidence import ImageRef
from medagent.model.exchange import ModelReply, ModelRequest, Served
from medagent.model.seam import Model
from medagent.records import Claim
from medagent_workflows.recommending import Recorded, recommend
from medagent_workflows.wiring import chart_source, open_models

WIDTH = 8
"""Runs side by side, at most."""

_DRAFTS_OF_A_RUN = 3  # with repairs, as measured


@dataclass(frozen=True, slots=True)
class DrawnImages:
    """A picture for every image of every chart, another for each."""

    columns: int = 400
    rows: int = 300

    def pixels(self, image: ImageRef) -> bytes:
        """A slope of greys with a rounded spot, whose place follows from what the image is called."""
        picture = Image.linear_gradient("L").resize((self.columns, self.rows))
        place = sum(image.instance.encode()) * 7 + image.frame
        left, top = place % (self.columns - 60), place % (self.rows - 60)
        ImageDraw.Draw(picture).ellipse((left, top, left + 50, top + 50), fill=230)
        out = BytesIO()
        picture.save(out, "PNG")
        return out.getvalue()


@dataclass(frozen=True, slots=True)
class ChartAsked:
    """A chart, and the instant that it is asked about."""

    path: Path
    as_of: AsOf = AS_OF
    patient: str | None = None
    """None: the only one of the file."""


def sample_charts() -> list[ChartAsked]:
    """The charts that come with MedAgent."""
    return [ChartAsked(path) for path in sorted(SAMPLES.glob("*.json"))]


def real_charts(shared_data: Path) -> list[ChartAsked]:
    """Charts that nobody of this project wrote, a folder of them with notes. As of their newest entry, or of a month
    before the patient died."""
    folder = shared_data / "fhir-synthea-r4"
    paths = [path for path in sorted(folder.glob("*.json")) if path.name != "manifest.json"]
    notes = shared_data / "fhir-synthea-bulk-notes"
    patients = [json.loads(line)["id"] for line in (notes / "Patient.000.ndjson").read_bytes().splitlines()]
    alone = [ChartAsked(path, _before_death(path) or "latest") for path in paths]
    return [*alone, *(ChartAsked(notes, "latest", patient) for patient in patients)]


def _before_death(path: Path) -> datetime | None:
    entries = json.loads(path.read_bytes())["entry"]
    (person,) = (one["resource"] for one in entries if one["resource"]["resourceType"] == "Patient")
    died = person.get("deceasedDateTime")
    return None if died is None else datetime.fromisoformat(died) - timedelta(days=30)


# One run after the other, so many at once.


@dataclass(frozen=True, slots=True)
class Talkative:
    """A served model that has to say something when it is asked for a draft. Left alone, random ones mostly abstain."""

    model: Model
    least: int = 4
    """Propositions."""

    async def served(self) -> Served:
        """The same."""
        return await self.model.served()

    async def tokens(self, request: ModelRequest) -> int:
        """The same."""
        return await self.model.tokens(request)

    async def text_tokens(self, text: str) -> int:
        """The same."""
        return await self.model.text_tokens(text)

    async def answer(self, request: ModelRequest, *, seconds: float) -> ModelReply:
        """Bound to the same schema but for what would let it be silent."""
        if request.answer_schema is not None:
            schema: Json = deepcopy(request.answer_schema)
            schema["properties"]["abstain"] = {"type": "null"}
            schema["properties"]["propositions"]["minItems"] = self.least
            request = request.model_copy(update={"answer_schema": schema})
        return await self.model.answer(request, seconds=seconds)


async def run_once(
    at: Desk, chart: ChartAsked, number: int, *, seed: int, question: str | None = None, talkative: bool = False
) -> Recorded:
    """One request to its outcome. `number` tells it from others of the same instant."""
    services = at.services
    async with open_models(services, at.images) as models:
        seeded = None if models is None else replace(models, bounds=replace(models.bounds, seed=seed))
        if seeded is not None and talkative:
            seeded = replace(seeded, model=Talkative(seeded.model))
        return await recommend(
            services,
            chart_source(str(chart.path), services.settings, services.clock),
            patient=chart.patient,
            as_of=chart.as_of,
            actor=f"test {number}",
            question=question,
            models=seeded,
        )


def side_by_side(
    at: Desk, chart: ChartAsked, seeds: Sequence[int], *, question: str | None = None, talkative: bool = False
) -> list[Recorded]:
    """Runs over one chart that all begin at once, one for each seed."""

    async def all_of_them() -> list[Recorded]:
        runs = (
            run_once(at, chart, number, seed=seed, question=question, talkative=talkative)
            for number, seed in enumerate(seeds)
        )
        return await asyncio.gather(*runs)

    return asyncio.run(all_of_them())


# What became of them.


@dataclass(slots=True)
class Tally:
    """What became of many runs."""

    runs: int = 0
    requests: int = 0
    """Requests for a draft that the model answered, repairs among them."""
    outcomes: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Of the model's part."""
    tools: Counter[str] = field(default_factory=Counter)
    """Calls by outcome."""
    unread: int = 0
    """Answers that are no JSON object: cut off, mostly."""
    written: Counter[str] = field(default_factory=Counter)
    compiled: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    """Claims that were shown, by the verdict of the second look."""
    unsupported: list[str] = field(default_factory=list)
    """Claims that were shown and are not true, and why."""
    undecided: Counter[str] = field(default_factory=Counter)
    """Why the second look could not tell."""
    harmed: list[str] = field(default_factory=list)
    """Runs in which what the engine says is not what it says alone."""

    def add(self, at: Desk, recorded: Recorded, alone: bytes, name: str) -> None:
        """Counts one run. `alone`: what the engine says of this chart without a model.

        Steps: (1) how it ended; (2) what was written; (3) what became of it; (4) what is shown is looked at again.
        """
        dossier = recorded.dossier
        # (1)
        self.runs += 1
        self.outcomes[dossier.outcome.value + (f" ({dossier.reason.value})" if dossier.reason else "")] += 1
        if of_engine(recorded) != alone:
            self.harmed.append(f"{dossier.request.id}, {name}")
        if dossier.reasoning is None:
            self.ends["not asked"] += 1
            return
        self.ends[dossier.reasoning.ended] += 1
        self.tools.update(call.outcome for call in dossier.reasoning.tool_calls)
        # (2)
        for text in drafts_written(at, recorded):
            self._read(text)
        # (3)
        drafted = [one for part in dossier.considerations for one in part.propositions]
        self.compiled.update(one.kind for one in drafted)
        self.compiled["proposal"] += len(dossier.reasoning.proposed)
        claims, own = noted(recorded), {one.id for one in drafted}
        self.shown.update(claim.kind for claim in claims if claim.proposition.id in own)
        # (4)
        for one in second_look(at, recorded):
            self.judged[one.verdict] += 1
            if one.verdict == "fails":
                self.unsupported.append(f"{one.kind} {one.claim} of {dossier.request.id}, {name}: {one.why}")
            elif one.verdict == "open":
                self.undecided[f"{one.kind}: {one.why}"] += 1

    def _read(self, text: str) -> None:
        self.requests += 1
        try:
            draft = json.loads(text)
            self.written.update(str(one["kind"]) for one in draft["propositions"])
        except (ValueError, TypeError, KeyError):
            self.unread += 1

    def report(self) -> str:
        """Everything, for people."""
        kinds = sorted(self.written | self.compiled | self.shown)
        rows = [
            f"  {kind:14}{self.written[kind]:>9}{self.compiled[kind]:>10}{self.shown[kind]:>8}"
            f"{self.shown[kind] / self.written[kind] if self.written[kind] else 0:>8.1%}"
            for kind in kinds
        ]
        return "\n".join(
            (
                f"{self.runs} runs, {self.requests} drafts ({self.unread} of them not JSON)",
                f"outcomes: {_listed(self.outcomes)}",
                f"the model's part: {_listed(self.ends)}; tool calls: {_listed(self.tools) or 'none'}",
                f"  {'kind':14}{'written':>9}{'compiled':>10}{'shown':>8}{'share':>8}",
                *rows,
                f"shown claims, looked at again: {_listed(self.judged) or 'none'}",
                *(f"  undecided {number} times: {why}" for why, number in self.undecided.most_common()),
                f"unsupported: {len(self.unsupported)}; runs in which the engine was harmed: {len(self.harmed)}",
                *(f"  {line}" for line in (*self.unsupported, *self.harmed)),
            )
        )


def soaked(at: Desk, charts: Sequence[ChartAsked], drafts: int, tally: Tally | None = None) -> Tally:
    """Runs over the charts in turn, each with a seed of its own, until so many drafts were written, or the server is
    gone. In two of three the model has to say something."""
    tally = tally or Tally()
    alone = {chart: _alone(at, chart) for chart in set(charts)}
    numbers = count()

    async def worker() -> None:
        while tally.requests < drafts and not tally.ends["unavailable"]:
            number = next(numbers)
            chart = charts[number % len(charts)]
            recorded = await run_once(at, chart, number, seed=number, talkative=number % 3 > 0)
            tally.add(at, recorded, alone[chart], chart.path.name)

    async def all_of_them() -> None:
        at_once = min(WIDTH, ceil(drafts / _DRAFTS_OF_A_RUN))  # else a few drafts would be asked for in many runs
        await asyncio.gather(*(worker() for _ in range(at_once)))

    asyncio.run(all_of_them())
    return tally


def _alone(at: Desk, chart: ChartAsked) -> bytes:
    """What the engine says of a chart where no model takes part."""
    services = at.services
    source = chart_source(str(chart.path), services.settings, services.clock)
    run = recommend(services, source, patient=chart.patient, as_of=chart.as_of, actor="test")
    return of_engine(asyncio.run(run))


# What one run holds.


def noted(recorded: Recorded) -> list[Claim]:
    """The claims of the model's own recommendation; none, where it has none."""
    return [claim for one in recorded.dossier.recommendations if one.author == "model" for claim in one.claims]


def drafts_written(at: Desk, recorded: Recorded) -> Iterator[str]:
    """What the model answered when it was asked for a draft, word for word."""
    request = recorded.dossier.request
    for entry in at.services.store.journal(request.tenant).entries(request.id):
        if entry.key.startswith("draft/") and entry.result is not None:
            reply = json.loads(entry.result)["reply"]
            if reply is not None:
                yield str(reply["text"])


def second_look(at: Desk, recorded: Recorded) -> list[Judged]:
    """Each claim that the model brought in, judged by a second reading of the bytes."""
    cards = [one for one in recorded.dossier.recommendations if one.author == "model"]
    if not cards:
        return []
    tenant = recorded.dossier.request.tenant
    stored: Json = json.loads(recorded.stored, parse_float=Decimal)
    texts: Mapping[str, str] = at.services.pack.texts
    basis = basis_of_run(stored, lambda digest: at.services.store.evidence(digest, tenant), texts)
    return [one for card in cards for one in reevaluated(claims_of(card), basis)]


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counted.most_common())
