# SPDX-License-Identifier: Apache-2.0
"""Notes and reports as texts: found by words, read in windows, with offsets in characters of the text.

What they say is data: it stands within marks, and nothing of it is a statement of the chart that could be cited as a
fact. The document that it stands in can be.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from medagent.chart import AttachedText
from medagent.errors import ToolRefused
from medagent.evidence import Fact
from medagent.model.marking import marked
from medagent_tools.arguments import EvidenceId, ToolArguments, Window, Words
from medagent_tools.charts.lines import label, status_words, when
from medagent_tools.charts.reading import ChartReader, newest_first, page, read_scopes
from medagent_tools.seam import Line, ToolContext, ToolResult

_WRITTEN = ("DocumentReference", "DiagnosticReport")
_SCOPES = (*read_scopes(_WRITTEN), "patient/Binary.rs")
_SEARCHED_MAX = 20_000_000  # characters of one search; bounds its time to some seconds
_AROUND = 90  # characters on both sides of what was found
_LINE_MAX = 600  # characters of a note on one line


class SearchNotesArguments(Window):
    """Words that must all occur."""

    words: Words


class ReadNoteArguments(ToolArguments):
    """Which note, and which part of it."""

    note: EvidenceId
    part: int = Field(default=1, ge=1, le=100)
    start: int = Field(default=0, ge=0, le=100_000_000)
    length: Annotated[int, Field(ge=200, le=6000)] = 3000  # characters; what a model can weigh at once


@dataclass(frozen=True, slots=True)
class _Hit:
    """A note in which the words occur."""

    fact: Fact
    part: int
    text: str
    start: int
    end: int
    count: int


@dataclass(frozen=True, slots=True)
class SearchNotes:
    """Notes in which all words occur, newest first, each with where it says the first of them."""

    name: ClassVar[str] = "search_notes"
    arguments: ClassVar[type[SearchNotesArguments]] = SearchNotesArguments
    scopes: ClassVar[tuple[str, ...]] = _SCOPES

    def run(self, arguments: SearchNotesArguments, context: ToolContext) -> ToolResult:
        """Searches the newest first, and says how many were not reached or hold no text."""
        reader = ChartReader(context)
        window = arguments.bounds(reader.collector.zone, context.chart.as_of)
        facts = reader.read(_WRITTEN).facts
        inside = newest_first(filter(window.holds, facts))
        sought = _Sought(arguments.words)
        hits: list[_Hit] = []
        characters = without_text = unreached = 0
        for fact in inside:
            if characters > _SEARCHED_MAX:
                unreached += 1
                continue
            texts = context.chart.texts(fact.id)
            without_text += not any(one.text.strip() for one in texts)
            characters += sum(len(one.text) for one in texts)
            hits += sought.hits(fact, texts)
        cut = f" {unreached} older ones were not searched: narrow the window." if unreached else ""
        heading = (
            f"Search of notes, newest first: the words occur in {len(hits)} texts of {len(inside)} documents and "
            f"reports; {without_text} of these hold no text that can be read.{cut}{window.left_out(facts)}"
        )
        return page(reader, heading, hits, _tell_hit, arguments, by_words=True)


@dataclass(frozen=True, slots=True)
class ReadNote:
    """A stretch of one note."""

    name: ClassVar[str] = "read_note"
    arguments: ClassVar[type[ReadNoteArguments]] = ReadNoteArguments
    scopes: ClassVar[tuple[str, ...]] = _SCOPES

    def run(self, arguments: ReadNoteArguments, context: ToolContext) -> ToolResult:
        """The stretch line by line, each with its offset."""
        reader = ChartReader(context)
        fact = reader.member(arguments.note, _WRITTEN)
        texts = context.chart.texts(fact.id)
        if not texts:
            raise ToolRefused("note: holds no text that can be read")
        if arguments.part > len(texts):
            raise ToolRefused(f"part: this note has {len(texts)}")
        text = texts[arguments.part - 1].text
        if arguments.start >= len(text):
            raise ToolRefused(f"start: this text has {len(text)} characters")
        end = min(arguments.start + arguments.length, len(text))
        heading = (
            f"Text {arguments.part} of {len(texts)} of this note, characters {arguments.start} to {end} of {len(text)}"
            f"{f'; for more: start {end}' if end < len(text) else ''}. Each line begins with its offset."
        )
        said = [Line(text=f"{_about(fact)}:", evidence=(fact.id,))]
        said += [
            Line(text=f"{start}: {marked(text[start:stop], _LINE_MAX + 1)}", evidence=(fact.id,))
            for start, stop in _stretches(text, arguments.start, end)
        ]
        reading = reader.searches[0].reading
        return ToolResult(
            heading=heading, lines=tuple(said), total=len(said), queries=(reading.query,), readings=(reading.id,)
        )


class _Sought:
    """Words side by side, else all of them anywhere."""

    def __init__(self, words: str) -> None:
        each = [re.escape(word) for word in words.split()]
        self._phrase = re.compile(r"(?<!\w)" + r"[\W_]+".join(each), re.IGNORECASE)
        self._words = [re.compile(rf"(?<!\w){word}", re.IGNORECASE) for word in each]

    def hits(self, fact: Fact, texts: Sequence[AttachedText]) -> Iterator[_Hit]:
        """At most one for each text."""
        for part, attached in enumerate(texts, start=1):
            text = attached.text
            found = self._phrase.search(text)
            places = self._phrase if found is not None else self._words[0]
            if found is None and all(word.search(text) for word in self._words):
                found = places.search(text)
            if found is not None:
                count = sum(1 for _ in places.finditer(text))
                yield _Hit(fact, part, text, found.start(), found.end(), count)


def _tell_hit(hit: _Hit) -> Line:
    first = max(0, hit.start - _AROUND)
    snippet = marked(hit.text[first : hit.end + _AROUND], 2 * _AROUND + 100)
    where = f"text {hit.part}, {len(hit.text)} characters, {hit.count} times, first at {hit.start}"
    return Line(text=f"{_about(hit.fact)}: {where}: {snippet}", evidence=(hit.fact.id,))


def _about(fact: Fact) -> str:
    parts = [when(fact.time), f"{fact.resource_type} {label(fact)}", status_words(fact)]
    return ", ".join(part for part in parts if part)


def _stretches(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The lines of a stretch without empty ones, long ones cut."""
    for line in re.finditer(r"[^\r\n]*[^\s][^\r\n]*", text[start:end]):
        for first in range(line.start(), line.end(), _LINE_MAX):
            yield start + first, start + min(first + _LINE_MAX, line.end())
