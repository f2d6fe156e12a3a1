# SPDX-License-Identifier: Apache-2.0
"""Problems: active at `as_of` or recorded at any time. An acute one is not believed for ever (clinical: 8)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from medagent.evidence import Fact, Status
from medagent.intervals import Duration, before, instant, subtract
from medagent.kleene import Truth
from medagent_tools.arguments import Page, SomeWords
from medagent_tools.charts.grouping import Group, cited, grouped
from medagent_tools.charts.lines import status_words, when
from medagent_tools.charts.reading import ChartReader, WordSearch, page, read_scopes
from medagent_tools.guidelines.collector import newest
from medagent_tools.seam import Line, ToolContext, ToolResult

_CONDITION = ("Condition",)


class ListProblemsArguments(Page):
    """`active`: at the date asked about, or perhaps. `recorded`: all that was ever recorded."""

    state: Literal["active", "recorded"] = "active"
    words: SomeWords = None


@dataclass(frozen=True, slots=True)
class ListProblems:
    """Each problem once, with its state and its onset."""

    name: ClassVar[str] = "list_problems"
    arguments: ClassVar[type[ListProblemsArguments]] = ListProblemsArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_CONDITION)

    def run(self, arguments: ListProblemsArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        reader = ChartReader(context)
        search = reader.read(_CONDITION)
        facts = search.facts
        if arguments.words is not None:
            facts = tuple(filter(WordSearch(arguments.words).finds, facts))
        problems = [_state(group, reader) for group in grouped(facts)]
        shown = [one for one in problems if arguments.state == "recorded" or one.truth is not Truth.NOT_MET]
        over = (
            "" if len(shown) == len(problems) else f" {len(problems) - len(shown)} are over: state recorded lists them."
        )
        heading = f"Problems, {arguments.state}, newest first: {len(shown)} of {len(problems)} different ones.{over}"
        return page(reader, heading, shown, _tell, arguments, by_words=arguments.words is not None)


@dataclass(frozen=True, slots=True)
class _Problem:
    """A problem with what decides its state."""

    group: Group
    truth: Truth
    decisive: Fact
    expired: str | None
    """After which period it is no longer believed to be active."""


def _state(group: Group, reader: ChartReader) -> _Problem:
    """Active if any entry of it is, unknown if any may be."""
    expiries = {fact.id: _expiry(fact, reader) for fact in group.facts}
    chart, sets = reader.collector, reader.context.pack.value_sets
    truths = {fact.id: chart.is_active(fact, sets.get(expiries[fact.id] or "")) for fact in group.facts}
    for truth in (Truth.MET, Truth.UNKNOWN):
        fact = newest(fact for fact in group.facts if truths[fact.id] is truth)
        if fact is not None:
            return _Problem(group, truth, fact, None)
    last = group.facts[0]
    name = expiries[last.id]
    period = None if name is None else sets[name].expires_after
    return _Problem(group, Truth.NOT_MET, last, period if _expired(last, period, reader) else None)


def _expiry(fact: Fact, reader: ChartReader) -> str | None:
    """The acute condition that it is, of several the one that is over first."""
    acute = [
        one
        for one in reader.context.pack.value_sets.values()
        if one.kind == "condition" and one.expires_after is not None and one.matches(fact.codings, fact.text)
    ]
    as_of = reader.collector.as_of
    shortest = max(
        acute, key=lambda one: (subtract(as_of, Duration.parse(one.expires_after or "")), one.id), default=None
    )
    return None if shortest is None else shortest.id


def _expired(fact: Fact, period: str | None, reader: ChartReader) -> bool:
    """Whether it is over by its age alone: the chart still calls it active."""
    if period is None or fact.status is not Status.ACTIVE or fact.end is not None or fact.time is None:
        return False
    return before(fact.time, instant(subtract(reader.collector.as_of, Duration.parse(period)))) is Truth.MET


def _tell(problem: _Problem) -> Line:
    fact = problem.decisive
    if problem.expired is not None:
        state = f"over: acute, not believed active {problem.expired} after its onset"
    elif problem.truth is Truth.NOT_MET:
        state = "not active"
    else:
        state = "active" if problem.truth is Truth.MET else "unknown whether active"
    status = status_words(fact)
    told = "" if status in ("active", "inactive") else status
    parts = [f"{problem.group.called}: {state}", told, f"onset {when(fact.time)}"]
    if fact.end is not None:
        parts.append(f"ended {when(fact.end)}")
    parts.append(problem.group.count)
    return Line(text=", ".join(part for part in parts if part), evidence=cited(fact, problem.group.facts))
