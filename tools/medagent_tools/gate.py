# SPDX-License-Identifier: Apache-2.0
"""The one gate between tools and chart: a tool reads what it declares, as far as it was granted (standards: 11).

A tool is given a `GatedChart` in place of the chart. What it asks of it beyond that is refused, in words that the model
may read and act on, and noted under `refused`: the caller puts it on record before anybody hears of it. The chart
itself asks its server for nothing that was not granted; the gate holds for every chart, whatever it keeps in memory.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from medagent.chart import AttachedText, Chart
from medagent.errors import ToolRefused
from medagent.evidence import Fact, Query, Reading
from medagent.intervals import Interval
from medagent.records import Skipped
from medagent.scopes import BY_ID, READING, Grant, parsed
from medagent.value_sets import ValueSet
from medagent_tools.seam import Tool

_PATIENT = "Patient"
_BEHIND_OTHERS = frozenset({_PATIENT, "Medication", "Binary"})
"""Types that are reached from others, by their id. Alone they answer nothing, so a grant of them offers no tool."""


def types_of(scopes: Collection[str]) -> tuple[str, ...]:
    """The resource types that scopes of ours name, each once."""
    found = (parsed(text) for text in scopes)
    return tuple(dict.fromkeys(scope.type for scope in found if scope is not None))


def may_read(grant: Grant | None, resource_type: str) -> bool:
    """Whether a type may be read, if only in part. No grant: the source asks for none, as local files do."""
    needed = BY_ID if resource_type in _BEHIND_OTHERS else READING
    return grant is None or grant.reading(resource_type, needed) is not None


def may_answer(grant: Grant | None, scopes: Collection[str]) -> bool:
    """Whether a tool with these scopes can answer anything. One that is granted a part of them can, and says what was
    not granted; one that needs none can always."""
    types = types_of(scopes)
    deciding = [name for name in types if name not in _BEHIND_OTHERS] or types
    return not types or any(may_read(grant, name) for name in deciding)


def not_granted(resource_type: str) -> str:
    """What a model is told of a type that it may not have."""
    return (
        f"the scope patient/{resource_type}.rs was not granted: nothing of {resource_type} is known here, neither "
        "that there is any nor that there is none"
    )


class GatedChart:
    """The chart as one call of one tool may see it. For one thread."""

    def __init__(self, chart: Chart, tool: Tool[Any], grant: Grant | None) -> None:
        """`grant`: None where the source asks for none."""
        self._chart = chart
        self._name = tool.name
        self._declared = frozenset(types_of(tool.scopes))
        self._grant = grant
        self._given: set[str] = {chart.patient_fact().source.sha256}
        """Hashes of resources that the tool was given."""
        self._refused: dict[str, None] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """The resource types that were refused so far, each once."""
        return tuple(self._refused)

    @property
    def patient(self) -> str:
        """`Patient/id`."""
        return self._chart.patient

    @property
    def patient_names(self) -> tuple[str, ...]:
        """Absolute names of the Patient."""
        return self._chart.patient_names

    @property
    def as_of(self) -> datetime:
        """The instant whose knowledge the chart holds."""
        return self._chart.as_of

    @property
    def past(self) -> bool:
        """Whether later entries exist, which stay hidden."""
        return self._chart.past

    @property
    def newest(self) -> Interval | None:
        """The newest clinical time."""
        return self._chart.newest

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What of the source could not be used."""
        return self._chart.skipped

    def patient_fact(self) -> Fact:
        """The Patient resource, without which there is no chart."""
        return self._chart.patient_fact()

    async def provide(self, resource_types: Collection[str]) -> None:
        """Reads those of these types that the tool may see."""
        await self._chart.provide([name for name in resource_types if self._may(name)])

    def read(self, query: Query, value_sets: Mapping[str, ValueSet]) -> Reading:
        """The chart's reading. A type that was not granted is refused where nothing else is asked for; beside others it
        keeps the reading incomplete, and the chart MUST hold nothing of it."""
        closed = [name for name in dict.fromkeys(query.resource_types) if not self._may(name)]
        if not closed:
            return self._chart.read(query, value_sets)
        self._refused.update(dict.fromkeys(closed))
        if self._declared.issuperset(closed) and len(closed) < len(set(query.resource_types)):
            reading = self._chart.read(query, value_sets)
            held = {self._chart.fact(member).resource_type for member in reading.members}
            if not reading.complete and held.isdisjoint(closed):
                return reading
        raise ToolRefused(self._words(closed))

    def fact(self, evidence_id: str) -> Fact:
        """A fact by id, of a type that the tool may see."""
        fact = self._chart.fact(evidence_id)
        self._pass(fact.resource_type)
        self._given.add(fact.source.sha256)
        return fact

    def texts(self, evidence_id: str) -> Sequence[AttachedText]:
        """The texts of a document. Those behind a reference are left out where their type may not be seen."""
        own = self.fact(evidence_id).source
        texts = self._chart.texts(evidence_id)
        if not self._may("Binary") and any(text.source != own for text in texts):
            self._refused["Binary"] = None
            texts = [text for text in texts if text.source == own]
        self._given.update(text.source.sha256 for text in texts)
        return texts

    def slice_of(self, sha256: str) -> bytes:
        """The bytes of a resource that this chart gave a fact or a text of."""
        if sha256 not in self._given:
            raise ToolRefused("only the bytes of what was read in this call can be had")
        return self._chart.slice_of(sha256)

    def consulted(self, sha256: str) -> tuple[str, ...]:
        """Hashes of the Medications behind a resource, where these may be seen."""
        if sha256 not in self._given or not self._may("Medication"):
            return ()
        found = self._chart.consulted(sha256)
        self._given.update(found)
        return found

    def listing(self, digest: str) -> tuple[str, ...]:
        """The hashes behind a reading: of what was examined, without anything of it."""
        return self._chart.listing(digest)

    def _may(self, resource_type: str) -> bool:
        if resource_type == _PATIENT:
            return True
        return resource_type in self._declared and may_read(self._grant, resource_type)

    def _pass(self, resource_type: str) -> None:
        if not self._may(resource_type):
            self._refused[resource_type] = None
            raise ToolRefused(self._words([resource_type]))

    def _words(self, closed: Sequence[str]) -> str:
        undeclared = [name for name in closed if name not in self._declared]
        if undeclared:
            return f"{self._name} does not read {', '.join(undeclared)}"
        return "; ".join(map(not_granted, closed))
