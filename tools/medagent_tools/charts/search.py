# SPDX-License-Identifier: Apache-2.0
"""Searching the chart by kind, code, words and time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from medagent.errors import RuleError, ToolRefused
from medagent.evidence import Coding, Fact
from medagent.value_sets import SYSTEMS, SetKind, ValueSet, single_code
from medagent_tools.arguments import SomeWords, Window
from medagent_tools.charts.lines import entry
from medagent_tools.charts.reading import ChartReader, WordSearch, newest_first, page, read_scopes
from medagent_tools.guidelines.leaves_records import MEDICATION_TYPES
from medagent_tools.seam import Line, ToolContext, ToolResult

Kind = Literal[
    "condition", "observation", "medication", "allergy", "procedure", "immunization", "encounter", "report",
    "document", "imaging", "family_history", "care_plan", "order",
]  # fmt: skip

TYPES: Mapping[Kind, tuple[str, ...]] = {
    "condition": ("Condition",),
    "observation": ("Observation",),
    "medication": MEDICATION_TYPES,
    "allergy": ("AllergyIntolerance",),
    "procedure": ("Procedure",),
    "immunization": ("Immunization",),
    "encounter": ("Encounter",),
    "report": ("DiagnosticReport",),
    "document": ("DocumentReference",),
    "imaging": ("ImagingStudy",),
    "family_history": ("FamilyMemberHistory",),
    "care_plan": ("CarePlan",),
    "order": ("ServiceRequest",),
}
_SET_KINDS: Mapping[str, SetKind] = {kind: kind for kind in get_args(SetKind)}
_FURTHER_SETS: Mapping[str, str] = {"report": "procedure", "imaging": "procedure", "order": "procedure"}
"""Kinds of entries that sets of another kind speak of, too."""

_LOINC = re.compile(r"\d{1,7}-\d")  # a form of its own: its system goes without saying

SomeCode = Annotated[str | None, Field(max_length=80)]
SomeSet = Annotated[str | None, Field(max_length=120)]


class SearchChartArguments(Window):
    """What to look for."""

    kind: Kind
    words: SomeWords = None
    code: SomeCode = None
    value_set: SomeSet = None


@dataclass(frozen=True, slots=True)
class SearchChart:
    """Entries of one kind, newest first, narrowed by code, value set, words and time."""

    name: ClassVar[str] = "search_chart"
    arguments: ClassVar[type[SearchChartArguments]] = SearchChartArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(
        (*(name for types in TYPES.values() for name in types), "Medication")
    )

    def run(self, arguments: SearchChartArguments, context: ToolContext) -> ToolResult:
        """Steps: (1) the narrowest query that holds every match; (2) what of it matches code, words and window."""
        reader = ChartReader(context)
        window = arguments.bounds(reader.collector.zone, context.chart.as_of)
        if arguments.code is not None and arguments.value_set is not None:
            raise ToolRefused("code, value_set: give one of them")
        # (1)
        code = None if arguments.code is None else WrittenCode(arguments.code)
        search = reader.read(TYPES[arguments.kind], _value_set(arguments, code, context))
        # (2)
        facts = search.facts
        if code is not None:
            facts = tuple(fact for fact in facts if code.stands_in(fact))
        if arguments.words is not None:
            facts = tuple(filter(WordSearch(arguments.words).finds, facts))
        matching = newest_first(filter(window.holds, facts))
        heading = (
            f"Search of the chart, kind {arguments.kind}, newest first: {len(matching)} statements match, in "
            f"{search.reading.examined} entries examined.{window.left_out(facts)}"
        )
        by_words = arguments.words is not None or code is not None
        return page(reader, heading, matching, tell, arguments, by_words=by_words)


def tell(fact: Fact) -> Line:
    """A line for an entry of any type."""
    return Line(text=f"{fact.resource_type}: {entry(fact)}", evidence=(fact.id,))


def most_specific(
    context: ToolContext, kind: str, codings: Sequence[Coding], text: str | None = None
) -> ValueSet | None:
    """The pack's set with the fewest codes that an entry with these codes, or this text, belongs to."""
    sets = (one for one in context.pack.value_sets.values() if one.kind == kind)
    fitting = [one for one in sets if one.matches(codings, text)]
    return min(fitting, key=lambda one: (sum(map(len, one.codes.values())), one.id), default=None)


class WrittenCode:
    """A code as a model writes it: `718-7`, `LOINC 718-7`, or with the system's URI."""

    def __init__(self, written: str) -> None:
        system, _, code = written.replace("|", " ").strip().rpartition(" ")
        self.code = code
        unsaid = SYSTEMS["LOINC"] if _LOINC.fullmatch(code) else None
        self.system = SYSTEMS.get(system.strip(), system.strip()) or unsaid

    def stands_in(self, fact: Fact) -> bool:
        """Whether the entry is coded so; in ICD, also by a code below it."""
        if self.system is not None:
            return _single("finding", Coding(self.system, self.code)).matches(fact.codings)
        wanted = self.code.casefold()
        return any(coding.code is not None and coding.code.casefold() == wanted for coding in fact.codings)


def _value_set(arguments: SearchChartArguments, code: WrittenCode | None, context: ToolContext) -> str | None:
    """The set to ask the chart for. None: all entries of the kind, of which codes and words choose."""
    if arguments.value_set is not None:
        value_set = context.pack.value_sets.get(arguments.value_set)
        if value_set is None:
            raise ToolRefused("value_set: the guideline pack has no value set of this id; search by code or words")
        if value_set.kind not in (arguments.kind, _FURTHER_SETS.get(arguments.kind)):
            raise ToolRefused(f"value_set: {value_set.id} is of kind {value_set.kind}, not {arguments.kind}")
        return value_set.id
    if code is None or code.system is None or arguments.kind not in _SET_KINDS:
        return None
    coding = Coding(code.system, code.code)
    return set_of_code(_SET_KINDS[arguments.kind], coding, context)


def set_of_code(kind: SetKind, coding: Coding, context: ToolContext) -> str:
    """The pack's set with the fewest codes that this code is in, since it knows limits, units and expiry; else that of
    the code alone."""
    known = most_specific(context, kind, (coding,))
    return known.id if known is not None else _single(kind, coding).id


def _single(kind: SetKind, coding: Coding) -> ValueSet:
    try:
        return single_code(kind, coding.system or "", coding.code or "")
    except RuleError as error:
        raise ToolRefused("this is no code of a system; write it as LOINC 718-7, or search by words") from error
