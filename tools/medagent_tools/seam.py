# SPDX-License-Identifier: Apache-2.0
"""The tool seam: a tool is data plus one method.

A tool answers with lines, each with the ids of the evidence that it rests on. How ids are shortened, how many lines fit
and how they are told is decided where the model is spoken to, alike for all tools. The patient is bound by the
context: no argument can name another.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from medagent.chart import Chart
from medagent.evidence import Calculation, ImageRef, Passage, Query, Record
from medagent.images import ImageSource
from medagent_tools.guidelines.pack import Pack


class Arguments(BaseModel):
    """Base of the arguments of tools. What the model adds beyond them is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


AnyArguments = TypeVar("AnyArguments", bound=Arguments, contravariant=True)


class Line(Record):
    """One statement with the evidence behind it."""

    text: str
    """Ours, but for chart text, which stands within « and » (`marked`)."""
    evidence: tuple[str, ...] = ()
    """Ids; the first is what the line is about."""


class ToolResult(Record):
    """What a tool found. Everything that a line names can be read again from what stands here."""

    heading: str
    """What was looked for, how much was examined, what is incomplete; ours, without chart text."""
    lines: tuple[Line, ...] = ()
    total: int = 0
    """How many lines there are in all, of which `lines` are those from `offset` on."""
    offset: int = 0
    queries: tuple[Query, ...] = ()
    """Readings behind it, by their query: what absence rests on. Reading them again gives all facts that lines name."""
    readings: tuple[str, ...] = ()
    """Ids of these readings, in the same order."""
    calculations: tuple[Calculation, ...] = ()
    passages: tuple[Passage, ...] = ()
    images: tuple[ImageRef, ...] = ()
    """Images that exist; those to look at are named by `pictures`."""
    pictures: tuple[str, ...] = ()
    """Ids of the images that the model asked to see."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a run binds for its tools."""

    chart: Chart
    pack: Pack
    time_zone: str
    """IANA name of the site's zone."""
    images: ImageSource | None = None
    """None: no pixels can be had; studies are listed all the same."""


class Tool(Protocol[AnyArguments]):
    """One thing that the model may ask for.

    `run` MUST be a function of arguments and context alone, so that it may run side by side with others, and MUST raise
    ToolRefused, with a reason that the model can act on, for what cannot be meant; anything else ends the run.
    """

    @property
    def name(self) -> str:
        """Snake case, as the model calls it."""
        ...

    @property
    def arguments(self) -> type[Any]:
        """The pydantic model of its arguments."""
        ...

    @property
    def scopes(self) -> tuple[str, ...]:
        """SMART scopes (v2) that a launch must have granted, for instance `patient/Observation.rs`."""
        ...

    def run(self, arguments: AnyArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        ...
