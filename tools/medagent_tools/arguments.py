# SPDX-License-Identifier: Apache-2.0
"""Arguments that several tools share: pages, time windows, ids of evidence, words.

They are plain types with bounds. None can name a patient, an address or a file: the run binds those. An optional
argument that is null or empty has not been given, since models write either.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, model_validator

from medagent.errors import TimeError, ToolRefused
from medagent.evidence import Fact
from medagent.intervals import Interval, Period, overlaps, parse
from medagent.kleene import Truth
from medagent_tools.seam import Arguments


@dataclass(frozen=True, slots=True)
class NamesEvidence:
    """Marks an argument whose value is the id of a piece of evidence, or the short name that stands for it."""


EvidenceId = Annotated[str, NamesEvidence(), Field(min_length=1, max_length=120)]
SomeEvidenceId = Annotated[str | None, NamesEvidence(), Field(max_length=120)]

Words = Annotated[str, Field(min_length=1, max_length=80)]
SomeWords = Annotated[str | None, Field(max_length=80)]
SomeDate = Annotated[str | None, Field(pattern=r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$")]
SomePeriod = Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,3} (year|month|week|day)s?$")]


class ToolArguments(Arguments):
    """Base of the arguments of the tools of this package."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        empty = {name for name in cls.model_fields if given.get(name) is None or given.get(name) == ""}
        return {name: value for name, value in given.items() if name not in empty}


def evidence_fields(arguments: type[Arguments]) -> frozenset[str]:
    """The arguments that name evidence."""
    return frozenset(
        name
        for name, field in arguments.model_fields.items()
        if any(isinstance(mark, NamesEvidence) for mark in field.metadata)
    )


class Page(ToolArguments):
    """Which of the lines: some from an offset on."""

    offset: int = Field(default=0, ge=0, le=100_000)
    limit: int = Field(default=20, ge=1, le=50)  # lines; what a model can weigh at once


class Window(Page):
    """Which part of the time: from one day to another, both included."""

    since: SomeDate = None
    until: SomeDate = None

    def bounds(self, zone: ZoneInfo, as_of: datetime) -> "TimeWindow":
        """The window on the site's calendar. Raises ToolRefused for one that cannot be meant."""
        if self.since is None and self.until is None:
            return TimeWindow(None)
        try:
            first = parse(self.since, zone) if self.since else None
            last = parse(self.until, zone) if self.until else None
            window = Interval.from_period(first, last)
        except TimeError as error:
            raise ToolRefused("since, until: no such day, or the window ends before it starts") from error
        if window.earliest > as_of:
            raise ToolRefused("since: lies after the date that is asked about; nothing of that time is known")
        return TimeWindow(window)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Entries of a time. None: of any time."""

    span: Interval | None

    def holds(self, fact: Fact) -> bool:
        """Whether the entry may lie in the window, or last into it: not one that certainly lies outside, nor an undated
        one."""
        if self.span is None:
            return True
        if fact.time is None:
            return False
        lasting = fact.time if fact.end is None else Period(fact.time, fact.end)
        return overlaps(lasting, self.span) is not Truth.NOT_MET

    def left_out(self, facts: tuple[Fact, ...]) -> str:
        """What is said of undated entries that a window leaves out."""
        undated = 0 if self.span is None else sum(fact.time is None for fact in facts)
        return f" {undated} undated entries are left out." if undated else ""
