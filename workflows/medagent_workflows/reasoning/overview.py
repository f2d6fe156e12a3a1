# SPDX-License-Identifier: Apache-2.0
"""The overview of a chart: what a model is told before it asks for anything. Compact, cited, the same in each run.

It is made of what the engine found and of what the tools answer, in the order of importance, and cut to a number of
tokens: first a few lines of every section, then the rest section by section. What is left out is reached by the tools
and stated in the dossier. So a chart of any size has an overview of bounded size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medagent.errors import ToolRefused
from medagent.evidence_set import AnyEvidence
from medagent.scopes import Grant
from medagent_tools.charts.allergies import ListAllergies, ListAllergiesArguments
from medagent_tools.charts.medications import ListMedications, ListMedicationsArguments
from medagent_tools.charts.problems import ListProblems, ListProblemsArguments
from medagent_tools.charts.timeline import Timeline, TimelineArguments
from medagent_tools.gate import GatedChart, not_granted, types_of
from medagent_tools.guidelines.engine import Screening
from medagent_tools.imaging.tools import ListImages, ListImagesArguments
from medagent_tools.seam import Tool, ToolContext, ToolResult
from medagent_workflows.gathering import Threshold
from medagent_workflows.reasoning.compiling import evidence_of
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.sections import LatestValues, NoArguments, Notes, engine_section, patient_section
from medagent_workflows.reasoning.telling import Count, as_data, fit, told_line

_FIRST_LINES = 4  # of each section, before any section gets more
_FIRST_OF_ENGINE = 12  # lines; what is due comes before what stands in the chart
_LINES_MAX = 40  # of one section; a tool pages through the rest
_ENGINE = "guideline engine"
_LINES_OF_EVENTS = 12  # of images and of the timeline, which grow with every visit


_SECTIONS: tuple[tuple[str, Tool[Any], Any], ...] = (
    ("problems", ListProblems(), ListProblemsArguments(limit=_LINES_MAX)),
    ("medications", ListMedications(), ListMedicationsArguments(limit=_LINES_MAX)),
    ("allergies", ListAllergies(), ListAllergiesArguments(limit=_LINES_MAX)),
    ("latest values", LatestValues(), NoArguments()),
    ("notes", Notes(), NoArguments()),
    ("images", ListImages(), ListImagesArguments(limit=_LINES_OF_EVENTS)),
    ("timeline", Timeline(), TimelineArguments(limit=_LINES_OF_EVENTS)),
)
"""What each is called, and which tool answers it."""

OVERVIEW_TYPES = tuple(dict.fromkeys(name for _, tool, _ in _SECTIONS for name in types_of(tool.scopes)))
"""Resource types that the sections read."""


@dataclass(frozen=True, slots=True)
class ToldOverview:
    """The overview as the model is told it."""

    text: str
    tokens: int
    shown: int
    total: int
    left_out: tuple[str, ...]
    """What did not fit, in words without anything of the patient."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Sections in the order of importance."""

    sections: tuple[tuple[str, ToolResult], ...]
    """What each is called, and what it holds."""
    evidence: dict[str, AnyEvidence]
    """What lines name, by id, but for facts, which the chart gives by theirs."""

    async def told(self, handles: Handles, count: Count, tokens_max: int) -> ToldOverview:
        """As much of it as fits. Names are given only to what is told."""
        order = tuple(self._by_priority())

        def text(lines: int) -> str:
            return self._text(order[:lines], handles.copy())

        fitted = await fit(text, len(order), count, tokens_max)
        shown = order[: fitted.parts]
        self._text(shown, handles)
        return ToldOverview(fitted.text, fitted.tokens, len(shown), self._total, self._left_out(shown))

    def told_again(self, shown: int, handles: Handles) -> str:
        """The words of an earlier telling of so many lines; names in them are given as they were then."""
        return self._text(tuple(self._by_priority())[:shown], handles)

    @property
    def _total(self) -> int:
        return sum(result.total for _, result in self.sections)

    def _by_priority(self) -> Iterator[int]:
        """Sections by their place, once for each line that they get: a few for every one, then the rest in order."""
        sizes = [len(result.lines) for _, result in self.sections]
        first = [_FIRST_OF_ENGINE if name == _ENGINE else _FIRST_LINES for name, _ in self.sections]
        for place, size in enumerate(sizes):
            yield from [place] * min(size, first[place])
        for place, size in enumerate(sizes):
            yield from [place] * max(size - first[place], 0)

    def _text(self, shown: Sequence[int], handles: Handles) -> str:
        lines: list[str] = []
        for place, (_, result) in enumerate(self.sections):
            number = shown.count(place)
            if number == 0 and result.total:
                continue
            rest = f" ({number} of {result.total} lines)" if number < result.total else ""
            lines += (f"# {result.heading}{rest}", *(told_line(line, handles) for line in result.lines[:number]))
        left_out = self._left_out(shown)
        return as_data("overview", (*lines, *([f"Not told here: {'; '.join(left_out)}."] if left_out else [])))

    def _left_out(self, shown: Sequence[int]) -> tuple[str, ...]:
        return tuple(
            f"{name}: {result.total - number} of {result.total} lines"
            for place, (name, result) in enumerate(self.sections)
            if (number := shown.count(place)) < result.total
        )


def overview(context: ToolContext, screening: Screening, entry: Threshold, grant: Grant | None = None) -> Overview:
    """The overview of a chart that may be screened. Reads the chart anew, so that a resumed run knows its facts.

    A section holds what a tool would, through the same gate. `grant`: None where the source asks for none.
    """
    made: list[tuple[str, ToolResult]] = [
        ("patient", patient_section(context, screening, entry)),
        (_ENGINE, engine_section(context, screening)),
    ]
    for name, tool, arguments in _SECTIONS:
        made.append((name, _section(name, tool, arguments, context, grant)))
    evidence = {name: item for _, result in made for name, item in evidence_of(result, context).items()}
    return Overview(tuple(made), evidence)


def _section(name: str, tool: Tool[Any], arguments: Any, context: ToolContext, grant: Grant | None) -> ToolResult:
    """What a tool answers. What was not granted is said to be unknown; nobody asked for it, so nothing is on record."""
    gated = GatedChart(context.chart, tool, grant)
    try:
        result: ToolResult = tool.run(arguments, replace(context, chart=gated))
    except ToolRefused:
        missing = "; ".join(map(not_granted, gated.refused))
    else:
        return result
    return ToolResult(heading=f"{name.capitalize()}: unknown; {missing}")
