# SPDX-License-Identifier: Apache-2.0
"""Measured values with their course: all of one analyte in a window, first against last, and what is doubtful."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field

from medagent.errors import RuleError
from medagent.evidence import Coding, Fact
from medagent.intervals import Interval
from medagent.kleene import Truth
from medagent.units import Amount, Quantity, amount, resolve_unit
from medagent.value_sets import SYSTEMS, ValueSet, is_single_code, single_code, value_set_named
from medagent_tools.arguments import Page, SomePeriod
from medagent_tools.charts.lines import MINUTE, label, set_name, status_words, told_set, value, when
from medagent_tools.charts.reading import ChartReader, WordSearch, newest_first, page, read_scopes
from medagent_tools.charts.search import WrittenCode, most_specific, set_of_code
from medagent_tools.guidelines.collector import Collector, Search
from medagent_tools.guidelines.leaves_values import is_questionable, latest_values, usable_values
from medagent_tools.seam import Line, ToolContext, ToolResult

_OBSERVATION = ("Observation",)


class ListLabsArguments(Page):
    """Of what, and how far back."""

    analyte: Annotated[str | None, Field(max_length=120)] = None
    within: SomePeriod = None


@dataclass(frozen=True, slots=True)
class ListLabs:
    """All values of an analyte, newest first, with their course; or, without an analyte, what has been measured."""

    name: ClassVar[str] = "list_labs"
    arguments: ClassVar[type[ListLabsArguments]] = ListLabsArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_OBSERVATION)

    def run(self, arguments: ListLabsArguments, context: ToolContext) -> ToolResult:
        """Steps: (1) a value set or a code means one analyte; (2) words that mean one do, too; (3) else each analyte
        is told on one line."""
        # (1)
        value_set = None if arguments.analyte is None else _set_of(arguments.analyte, context)
        # (2)
        if value_set is None:
            every = ChartReader(context)
            groups = _by_analyte(every.read(_OBSERVATION).facts, arguments.analyte, context)
            only = next(iter(groups)) if arguments.analyte is not None and len(groups) == 1 else None
            if only is None or only.value_set is None:
                return _overview(every, groups, arguments)  # (3)
            value_set = only.value_set
        return _course(ChartReader(context), value_set, arguments)


@dataclass(frozen=True, slots=True)
class _Analyte:
    """What several values are of: a set where there is one, else what the chart calls it."""

    value_set: str | None
    called: str = ""


def _set_of(analyte: str, context: ToolContext) -> str | None:
    """The set that an id, a title or a LOINC code means. None: it is something else."""
    sets = {one.id: one for one in context.pack.value_sets.values() if one.kind == "observation"}
    if analyte in sets:
        return analyte
    titled = [one.id for one in sets.values() if one.title.casefold() == analyte.casefold()]
    if titled:
        return titled[0]
    code = WrittenCode(analyte.removeprefix("observation:"))
    if code.system is None or not (is_single_code(analyte) or code.system in SYSTEMS.values()):
        return None  # words, of which the last is no code
    return set_of_code("observation", Coding(code.system, code.code), context)


def _single(coding: Coding) -> str | None:
    """The name of the set of one code. None: it is no code of a system."""
    try:
        return single_code("observation", coding.system or "", coding.code or "").id
    except RuleError:
        return None


def _by_analyte(facts: Iterable[Fact], words: str | None, context: ToolContext) -> Mapping[_Analyte, list[Fact]]:
    """Values by what they are of, those that the words name; all without words."""
    search = None if words is None else WordSearch(words)
    known: dict[tuple[tuple[Coding, ...], str | None], _Analyte] = {}
    groups: dict[_Analyte, list[Fact]] = {}
    for fact in facts:
        if fact.value is None and not fact.value_codings and fact.absent_reason is None:
            continue  # a panel, whose values are its components
        if search is not None and not search.finds(fact):
            continue
        concept = fact.codings, fact.text
        if concept not in known:
            known[concept] = _analyte(fact, context)
        groups.setdefault(known[concept], []).append(fact)
    return groups


def _analyte(fact: Fact, context: ToolContext) -> _Analyte:
    value_set = most_specific(context, "observation", fact.codings, fact.text)
    if value_set is not None:
        return _Analyte(value_set.id)
    single = next((name for coding in fact.codings if (name := _single(coding))), None)
    return _Analyte(single) if single is not None else _Analyte(None, label(fact))


def _overview(reader: ChartReader, groups: Mapping[_Analyte, list[Fact]], arguments: ListLabsArguments) -> ToolResult:
    """One line for each analyte, the most recently measured first."""
    inside = {analyte: _inside(facts, arguments.within, reader.collector) for analyte, facts in groups.items()}
    ordered = sorted(
        ((analyte, newest_first(facts)) for analyte, facts in inside.items() if facts),
        key=lambda pair: _recency(pair[1][0]),
    )

    def tell(pair: tuple[_Analyte, list[Fact]]) -> Line:
        analyte, facts = pair
        newest, oldest = facts[0], facts[-1]
        count = f"{len(facts)} value{'s' if len(facts) > 1 else ''} since {when(oldest.time)}"
        called, name = label(newest), "" if analyte.value_set is None else set_name(analyte.value_set)
        asked_by = f" [{name}]" if name and f"({name})" not in called else ""
        said = f"newest {value(newest)} ({when(newest.time)})"
        return Line(text=f"{called}{asked_by}: {count}, {said}", evidence=(newest.id,))

    heading = f"What has been measured{_window_words(arguments.within)}: {len(ordered)} different things."
    if arguments.analyte is not None and ordered:
        heading += " The words fit these; ask for one by the name or code in brackets."
    return page(reader, heading, ordered, tell, arguments, by_words=arguments.analyte is not None)


def _recency(fact: Fact) -> tuple[bool, float, str]:
    if fact.time is None:
        return True, 0, fact.sort_name
    return False, -fact.time.latest.timestamp(), fact.sort_name


def _course(reader: ChartReader, name: str, arguments: ListLabsArguments) -> ToolResult:
    """All values of one analyte, with what is to be said of their course before them."""
    search = reader.read(_OBSERVATION, name)
    value_set = value_set_named(reader.context.pack.value_sets, name)
    collector = reader.collector
    inside = _inside(search.facts, arguments.within, collector)
    ids = {fact.id for fact in inside}
    usable = [fact for fact in usable_values(search, collector) if fact.id in ids]
    doubts = _Doubts(search, usable, collector, arguments.within)

    def tell(fact: Fact) -> Line:
        parts = [when(fact.time, MINUTE), label(fact), value(fact), *doubts.of(fact)]
        return Line(text=", ".join(part for part in parts if part), evidence=(fact.id,))

    heading = (
        f"{told_set(value_set)}{_window_words(arguments.within)}, newest first: {len(inside)} of "
        f"{len(search.facts)} values recorded at any time."
    )
    return page(reader, heading, newest_first(inside), tell, arguments, first=_trend(search, usable, value_set))


def _inside(facts: Iterable[Fact], period: str | None, collector: Collector) -> list[Fact]:
    """Those that may lie in the window."""
    return [fact for fact in facts if period is None or collector.is_within(fact.time, period) is not Truth.NOT_MET]


def _window_words(period: str | None) -> str:
    return "" if period is None else f" in the {period} before the date asked about"


def _trend(search: Search, usable: Sequence[Fact], value_set: ValueSet) -> list[Line]:
    """First against last, in one unit. Nothing is said of what is contradictory, questionable or not comparable."""
    if not usable:
        return []
    last = latest_values(usable)
    assert last is not None  # there are values
    first = [fact for fact in usable if fact.time == usable[0].time]
    evidence = (search.reading.id, first[0].id, last.newest.id)
    ends = f"first {value(first[0])} ({when(first[0].time)}), last {value(last.newest)} ({when(last.newest.time)})"
    if len(usable) == 1:
        return [Line(text="One usable value: no course.", evidence=evidence[:2])]
    if any(is_questionable(fact, value_set) for fact in (*first, *last.facts)):
        return [Line(text=f"Course: {ends}; one of them is questionable, so no change is stated.", evidence=evidence)]
    unit = value_set.unit or _unit_of(last.newest)
    one, other = _exact(first, unit, value_set), _exact(last.facts, unit, value_set)
    if one is None or other is None:
        text = f"Course: {ends}; no change is stated: values of one time differ, or units cannot be compared."
        return [Line(text=text, evidence=evidence)]
    text = f"Course: {ends}; change {other - one:+f} {unit} over {len(usable)} usable values."
    return [Line(text=text, evidence=evidence)]


def _unit_of(fact: Fact) -> str | None:
    return resolve_unit(fact.value) if isinstance(fact.value, Quantity) else None


def _exact(facts: Iterable[Fact], unit: str | None, value_set: ValueSet) -> Decimal | None:
    """The one value that all of these have in the unit. None: there is none."""
    found: set[Decimal] = set()
    for fact in facts:
        if unit is None or not isinstance(fact.value, Quantity):
            return None
        possible = amount(fact.value, unit, value_set.analyte)
        if not isinstance(possible, Amount) or possible.low != possible.high:
            return None
        found.add(possible.low)
    return found.pop() if len(found) == 1 else None


class _Doubts:
    """What keeps a value from deciding anything."""

    def __init__(self, search: Search, usable: Sequence[Fact], collector: Collector, period: str | None) -> None:
        self._value_set = search.value_set
        self._usable = {fact.id for fact in usable}
        self._collector = collector
        self._period = period
        said: dict[Interval | None, set[str]] = {}
        for fact in usable:
            said.setdefault(fact.time, set()).add(value(fact))
        self._disagreeing = {time for time, values in said.items() if len(values) > 1}

    def of(self, fact: Fact) -> list[str]:
        """Each in a word or two; none for a value without doubts."""
        found = [status_words(fact)]
        if is_questionable(fact, self._value_set):
            found.append("questionable: outside of what is plausible")
        if fact.time is None:
            found.append("cannot be placed in time")
        elif self._collector.certainly_in_childhood(fact.time):
            found.append("measured in childhood")
        elif self._period is not None and self._collector.is_within(fact.time, self._period) is Truth.UNKNOWN:
            found.append("may lie outside of the window")
        if fact.id in self._usable and fact.time in self._disagreeing:
            found.append("contradictory: another value at this time differs")
        return [word for word in found if word]
