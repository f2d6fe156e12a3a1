# SPDX-License-Identifier: Apache-2.0
"""What happened when: encounters and procedures, newest first."""

from dataclasses import dataclass
from typing import ClassVar

from medagent.evidence import Fact
from medagent_tools.arguments import Window
from medagent_tools.charts.lines import label, lasted, status_words
from medagent_tools.charts.reading import ChartReader, newest_first, page, read_scopes
from medagent_tools.seam import Line, ToolContext, ToolResult

_HAPPENED = ("Encounter", "Procedure")


class TimelineArguments(Window):
    """Which part of the time."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Encounters and procedures of a window, newest first."""

    name: ClassVar[str] = "timeline"
    arguments: ClassVar[type[TimelineArguments]] = TimelineArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_HAPPENED)

    def run(self, arguments: TimelineArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        reader = ChartReader(context)
        window = arguments.bounds(reader.collector.zone, context.chart.as_of)
        facts = reader.read(_HAPPENED).facts
        inside = newest_first(filter(window.holds, facts))
        encounters = sum(fact.resource_type == "Encounter" for fact in inside)
        heading = (
            f"Timeline, newest first: {encounters} encounters and {len(inside) - encounters} procedures."
            f"{window.left_out(facts)}"
        )
        return page(reader, heading, inside, _tell, arguments)


def _tell(fact: Fact) -> Line:
    classes = {coding.code for coding in fact.codings}
    kind = next((words for code, words in _CLASSES.items() if code in classes), "")
    named = " ".join(part for part in (fact.resource_type.lower(), f"({kind})" if kind else "", label(fact)) if part)
    parts = [lasted(fact), named, status_words(fact)]
    return Line(text=", ".join(part for part in parts if part), evidence=(fact.id,))


_CLASSES = {"IMP": "inpatient", "EMER": "emergency", "AMB": "outpatient", "HH": "at home", "VR": "virtual"}
"""Encounter classes of ActCode that are common; others stand as the chart has them."""
