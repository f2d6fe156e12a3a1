# SPDX-License-Identifier: Apache-2.0
"""What every tool over the chart does: ask it by queries, say how much was examined, and hand out a page of lines.

The first lines name the readings, since absence, "the latest" and a trend rest on them (clinical: 5). Every fact of a
line is a member of a reading that the result names, so that a run that is resumed finds it again.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from medagent.errors import ToolRefused
from medagent.evidence import VOID, Fact, Query, Reading
from medagent.intervals import EARLIEST
from medagent.value_sets import ValueSet, value_set_named
from medagent_tools.arguments import Page
from medagent_tools.charts.lines import set_name, told_set, when
from medagent_tools.guidelines.collector import Collector, Search
from medagent_tools.seam import Line, ToolContext, ToolResult

Item = TypeVar("Item")


def read_scopes(types: Iterable[str]) -> tuple[str, ...]:
    """The SMART scopes for reading these types of the patient."""
    return tuple(f"patient/{name}.rs" for name in types)


class ChartReader:
    """The chart of the run, as one call of a tool asks it."""

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self.searches: list[Search] = []

    @cached_property
    def collector(self) -> Collector:
        """What times, ages and states mean for this patient at `as_of`."""
        return Collector(self.context.chart, self.context.pack, self.context.time_zone)

    def read(self, types: tuple[str, ...], value_set: str | None = None) -> Search:
        """All entries of these types, or those of a value set. Void ones are counted in the reading and left out."""
        sets = self.context.pack.value_sets
        reading = self.context.chart.read(Query(resource_types=types, value_set=value_set), sets)
        members = (self.context.chart.fact(member) for member in reading.members)
        search = Search(
            reading,
            tuple(fact for fact in members if fact.status not in VOID),
            None if value_set is None else value_set_named(sets, value_set),
        )
        self.searches.append(search)
        return search

    def member(self, evidence_id: str, types: tuple[str, ...]) -> Fact:
        """The entry with this id. Raises ToolRefused for one that this patient's chart does not hold."""
        for fact in self.read(types).facts:
            if fact.id == evidence_id:
                return fact
        raise ToolRefused(f"no entry of {' or '.join(types)} has this id; use an id that a tool gave out")


def page(
    reader: ChartReader,
    heading: str,
    items: Sequence[Item],
    tell: Callable[[Item], Line],
    arguments: Page,
    first: Sequence[Line] = (),
    by_words: bool = False,
) -> ToolResult:
    """The lines that were asked for: on what they rest, what is said of all, then one per item. `by_words`: items were
    chosen by what they are called, which leaves open what is called otherwise."""
    readings = [search.reading for search in reader.searches]
    head = [*(search_line(search) for search in reader.searches), *first]
    if not items:
        head.append(none_found(readings, by_words))
    unsure = [completeness(reading) for reading in readings if not reading.complete]
    total = len(head) + len(items)
    start, end = arguments.offset, arguments.offset + arguments.limit
    shown = [*head[start:end], *(tell(item) for item in items[max(0, start - len(head)) : max(0, end - len(head))])]
    return ToolResult(
        heading=" ".join((heading, *(f"Reading {why}." for why in dict.fromkeys(unsure)))),
        lines=tuple(shown),
        total=total,
        offset=start,
        queries=tuple(reading.query for reading in readings),
        readings=tuple(reading.id for reading in readings),
    )


def reading_line(reading: Reading, value_set: ValueSet | None, void: int = 0) -> Line:
    """How much was examined, and what keeps it from being complete."""
    types = ", ".join(reading.query.resource_types)
    sought = "" if value_set is None else f", searched for {told_set(value_set)}"
    newest = "" if reading.newest is None else f", the newest of {when(reading.newest)}"
    left_out = f"; {void} of them entered in error or cancelled, left out" if void else ""
    examined = f"{reading.examined} entries of {types} examined{sought}{newest}{left_out}"
    return Line(text=f"Reading: {examined}; {completeness(reading)}.", evidence=(reading.id,))


def search_line(search: Search) -> Line:
    """The same of a search, with what it leaves out."""
    void = len(search.reading.members) - len(search.facts)
    return reading_line(search.reading, search.value_set, void)


def completeness(reading: Reading) -> str:
    """Whether absence can be concluded, and why not."""
    if reading.complete:
        return "complete"
    because, name = "; ".join(reading.incomplete_because), reading.query.value_set
    return f"incomplete: {because if name is None else because.replace(name, set_name(name))}"


def none_found(readings: Sequence[Reading], by_words: bool = False) -> Line:
    """What absence rests on. Nothing is absent from a reading that was cut short (clinical: 5)."""
    examined = sum(reading.examined for reading in readings)
    unsure = "" if all(reading.complete for reading in readings) else " The reading is incomplete: this is unknown."
    otherwise = " What is called or coded otherwise is not found so." if by_words else ""
    text = f"None found in {examined} entries examined.{otherwise}{unsure}"
    return Line(text=text, evidence=tuple(reading.id for reading in readings))


def newest_first(facts: Iterable[Fact]) -> list[Fact]:
    """By time, undated last, then by name: the place in a file never decides (clinical: 7)."""
    return sorted(facts, key=_age_order, reverse=True)


def _age_order(fact: Fact) -> tuple[datetime, datetime, str]:
    if fact.time is None:
        return EARLIEST, EARLIEST, fact.sort_name
    return fact.time.latest, fact.time.earliest, fact.sort_name


class WordSearch:
    """Finds entries whose names begin words with all of these, whatever the case and the accents."""

    def __init__(self, words: str) -> None:
        self._words = [_plain(word) for word in words.split()]

    def finds(self, fact: Fact) -> bool:
        """Whether its text, displays, codes or coded value hold every word."""
        codings = (*fact.codings, *fact.value_codings, *fact.categories)
        said = [fact.text or "", fact.value if isinstance(fact.value, str) else ""]
        said += [part for coding in codings for part in (coding.display, coding.code) if part]
        return self.in_text(" ".join(said))

    def in_text(self, text: str) -> bool:
        """Whether every word begins a word of the text, or is one of its codes."""
        plain = _plain(text)
        return all(re.search(rf"(?<!\w){re.escape(word)}", plain) for word in self._words)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign))
