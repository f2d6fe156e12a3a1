# SPDX-License-Identifier: Apache-2.0
"""The retrieval plan: which resource types of a chart are fetched before anything asks for them (minimum necessary).

Nobody lists them. What the engine asks for is found out by letting it ask: every criterion of the pack is evaluated
over a chart that holds nothing and notes the questions. What a model is told of at first, its tools declare. Whatever
else is asked for later, the chart fetches then (`Chart.provide`).
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, NoReturn

from medagent.errors import ChartError
from medagent.evidence import Element, Fact, Query, Reading, Role, SourceRef, Status
from medagent.intervals import Interval
from medagent.records import Skipped
from medagent.rules import Criterion
from medagent.value_sets import ValueSet
from medagent_tools.guidelines.collector import Collector
from medagent_tools.guidelines.criteria import evaluate
from medagent_tools.guidelines.pack import Pack
from medagent_workflows.reasoning.overview import OVERVIEW_TYPES

NEWEST = ("Encounter",)
"""Where the newest clinical entry of a chart stands, as a rule (clinical: 4)."""

_NOW = datetime(2000, 1, 1, tzinfo=UTC)  # the questions do not depend on it
_NOTHING = "0" * 64


def engine_types(pack: Pack) -> tuple[str, ...]:
    """What screening by this pack may ask a chart for, in the order of asking."""
    asked: dict[str, None] = {}
    for sex in ("female", "male"):
        chart = _Empty(sex)
        collector = Collector(chart, pack, "UTC")
        for criterion in _criteria(pack):
            evaluate(criterion, collector)
        asked |= chart.asked
    return tuple(asked)


def plan(pack: Pack, *, has_model: bool) -> tuple[str, ...]:
    """The types to fetch side by side."""
    told = OVERVIEW_TYPES if has_model else ()
    return tuple(dict.fromkeys((*engine_types(pack), *NEWEST, *told)))


def _criteria(pack: Pack) -> Iterator[Criterion]:
    for rule in pack.rules:
        parts = (rule.population, rule.criteria, rule.contraindications, rule.already)
        yield from (part for part in parts if part is not None)
    for gate in pack.gates.values():
        yield from gate.refuse_if.values()


class _Empty:
    """A chart of somebody of childbearing age of whom nothing is recorded, which notes what it is asked for."""

    patient = "Patient/nobody"
    patient_names: tuple[str, ...] = ()
    as_of = _NOW
    past = False
    newest: Interval | None = None
    skipped: tuple[Skipped, ...] = ()

    def __init__(self, sex: Literal["female", "male"] | str) -> None:
        self.asked: dict[str, None] = {}
        self._fact = Fact(
            id="fact-nobody",
            source=SourceRef(
                uri=self.patient, sha256=_NOTHING, container_sha256=_NOTHING, pointer="", retrieved_at=_NOW
            ),
            resource_type="Patient",
            subject=self.patient,
            status=Status.UNKNOWN,
            elements=(
                Element(Role.BIRTH_DATE, "/birthDate", "1970-01-01"),
                Element(Role.GENDER, "/gender", sex),
            ),
        )

    def patient_fact(self) -> Fact:
        return self._fact

    async def provide(self, resource_types: Collection[str]) -> None:
        """There is nothing."""

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        self.asked |= dict.fromkeys(query.resource_types)
        return Reading(
            id="reading-nothing",
            patient=self.patient,
            as_of=self.as_of,
            query=query,
            examined=0,
            listing=_NOTHING,
            pages=(),
            members=(),
            complete=True,
        )

    def fact(self, evidence_id: str) -> Fact:
        self._none(evidence_id)

    def texts(self, evidence_id: str) -> NoReturn:
        self._none(evidence_id)

    def slice_of(self, sha256: str) -> bytes:
        return b""

    def consulted(self, sha256: str) -> tuple[str, ...]:
        return ()

    def listing(self, digest: str) -> tuple[str, ...]:
        return ()

    @staticmethod
    def _none(what: str) -> NoReturn:
        raise ChartError(f"{what}: an empty chart gave nothing out")
