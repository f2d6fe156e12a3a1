# SPDX-License-Identifier: Apache-2.0
"""The tools that a run may offer, and whether a launch's scopes permit each."""

from collections.abc import Iterable, Mapping
from typing import Any

from medagent.errors import UsageError
from medagent.scopes import Grant
from medagent_tools.arguments import evidence_fields
from medagent_tools.charts.allergies import ListAllergies
from medagent_tools.charts.calculator import Calculate
from medagent_tools.charts.check import CheckMedication
from medagent_tools.charts.labs import ListLabs
from medagent_tools.charts.medications import ListMedications
from medagent_tools.charts.notes import ReadNote, SearchNotes
from medagent_tools.charts.problems import ListProblems
from medagent_tools.charts.search import SearchChart
from medagent_tools.charts.timeline import Timeline
from medagent_tools.gate import may_answer
from medagent_tools.guidelines.search import SearchGuidelines
from medagent_tools.imaging.tools import ListImages, ViewImage
from medagent_tools.seam import Tool

__all__ = ["ALL_TOOLS", "evidence_fields", "permitted", "toolbox"]

AnyTool = Tool[Any]

_TOOLS: tuple[AnyTool, ...] = (
    ListProblems(),
    ListMedications(),
    ListAllergies(),
    ListLabs(),
    SearchChart(),
    Timeline(),
    SearchNotes(),
    ReadNote(),
    ListImages(),
    ViewImage(),
    Calculate(),
    CheckMedication(),
    SearchGuidelines(),
)

ALL_TOOLS: Mapping[str, AnyTool] = {tool.name: tool for tool in _TOOLS}
"""By name, in the order in which a model is told of them."""


def toolbox(names: Iterable[str] | None = None, granted: Iterable[str] | None = None) -> Mapping[str, AnyTool]:
    """The tools of these names that the scopes permit, in the order of `ALL_TOOLS`. None: all of them.

    What is not permitted is not there, so it is neither offered nor found when it is called all the same.
    """
    wanted = frozenset(ALL_TOOLS if names is None else names)
    scopes = None if granted is None else tuple(granted)
    if unknown := sorted(wanted - ALL_TOOLS.keys()):
        raise UsageError(f"{', '.join(unknown)}: no such tool; the tools are {', '.join(ALL_TOOLS)}")
    return {name: tool for name, tool in ALL_TOOLS.items() if name in wanted and permitted(tool, scopes)}


def permitted(tool: AnyTool, granted: Iterable[str] | None) -> bool:
    """Whether a tool can answer anything under these scopes: all that it needs was granted, or a part of it, of which
    it says then what is missing. None: the chart is of a source that asks for none, as local files do; no scopes: none
    was granted.

    A scope of a user or a system reaches further than one patient, and the run binds it to one.
    """
    return may_answer(None if granted is None else Grant.of(granted), tool.scopes)
