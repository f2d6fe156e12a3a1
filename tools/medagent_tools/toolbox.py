# SPDX-License-Identifier: Apache-2.0
"""The tools that a run may offer, and whether a launch's scopes permit each.

Scopes are SMART's of version 2 (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html): context,
resource type, and letters of create, read, update, delete, search. Version 1's `.read` stands for `.rs` there.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from medagent.errors import UsageError
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

_SCOPE = re.compile(r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]+)\.(?P<may>[a-z]+|\*)")
_FIRST_VERSION = {"read": "rs", "write": "cud", "*": "cruds"}


def toolbox(names: Iterable[str] | None = None, granted: tuple[str, ...] = ()) -> Mapping[str, AnyTool]:
    """The tools of these names that the scopes permit, in the order of `ALL_TOOLS`. None: all of them.

    What is not permitted is not there, so it is neither offered nor found when it is called all the same.
    """
    wanted = frozenset(ALL_TOOLS if names is None else names)
    if unknown := sorted(wanted - ALL_TOOLS.keys()):
        raise UsageError(f"{', '.join(unknown)}: no such tool; the tools are {', '.join(ALL_TOOLS)}")
    return {name: tool for name, tool in ALL_TOOLS.items() if name in wanted and permitted(tool, granted)}


def permitted(tool: AnyTool, granted: tuple[str, ...]) -> bool:
    """Whether the scopes grant all that the tool needs. No scopes: the chart is of local files, which need none.

    A scope of a user or a system reaches further than one patient, and the run binds it to one. One that is narrowed by
    a query (`?category=…`) grants less than the whole type, so it does not count.
    """
    return not granted or all(_grants(granted, needed) for needed in tool.scopes)


def _grants(granted: tuple[str, ...], needed: str) -> bool:
    """Whether the scopes together allow every letter that one needs."""
    wanted = _SCOPE.fullmatch(needed)
    assert wanted is not None  # ours
    allowed: set[str] = set()
    for scope in granted:
        found = _SCOPE.fullmatch(scope)
        if found is not None and found["type"] in ("*", wanted["type"]):
            allowed.update(_letters(found["may"]))
    return allowed.issuperset(wanted["may"])


def _letters(may: str) -> str:
    """The letters of version 2; none for what is neither version's."""
    letters = _FIRST_VERSION.get(may, may)
    in_order = all(letter in "cruds" for letter in letters) and list(letters) == sorted(letters, key="cruds".index)
    return letters if in_order else ""
