# SPDX-License-Identifier: Apache-2.0
"""Searching the pack: its rules by MedAgent's own words, and the publishers' words where a text of theirs is kept.

Only editions that are in force on the day of `as_of` are searched, by the site's calendar: nothing else may be cited.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field

from medagent.evidence import Passage
from medagent.model.marking import marked, neutral
from medagent.rules import Guideline, Rule
from medagent_tools.arguments import Page
from medagent_tools.guidelines.pack import Pack
from medagent_tools.guidelines.passages import passages_of
from medagent_tools.guidelines.ranking import ranked
from medagent_tools.seam import Line, ToolContext, ToolResult

_SHOWN_OF_PASSAGE = 600  # characters; its offsets reach to its end


class SearchGuidelinesArguments(Page):
    """Words of which some should occur."""

    words: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class _Item:
    """A rule or a passage, with the text that it is found by."""

    text: str
    of: Rule | Passage


@dataclass(frozen=True, slots=True)
class SearchGuidelines:
    """Rules and kept passages that hold the words, best first."""

    name: ClassVar[str] = "search_guidelines"
    arguments: ClassVar[type[SearchGuidelinesArguments]] = SearchGuidelinesArguments
    scopes: ClassVar[tuple[str, ...]] = ()

    def run(self, arguments: SearchGuidelinesArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        pack, today = context.pack, context.chart.as_of.astimezone(ZoneInfo(context.time_zone)).date()
        editions = {(rule.guideline.id, rule.guideline.edition): rule.guideline for rule in pack.rules}
        current = [edition for edition in editions.values() if in_force(edition, today)]
        items = list(_items(pack, current))
        found = [items[one.place] for one in ranked(arguments.words, [item.text for item in items])]
        shown = found[arguments.offset : arguments.offset + arguments.limit]
        other = len(editions) - len(current)
        heading = (
            f"Search of {len(current)} guideline editions in force at the date asked about, best first: {len(found)} "
            f"of {len(items)} rules and passages hold some of the words."
            f"{f' {other} editions that were not in force then are left out.' if other else ''} "
            "Summaries of rules are MedAgent's own words, passages the publisher's."
        )
        return ToolResult(
            heading=heading,
            lines=tuple(_tell(item, pack) for item in shown),
            total=len(found),
            offset=arguments.offset,
            passages=tuple(item.of for item in shown if isinstance(item.of, Passage)),
        )


def in_force(edition: Guideline, today: date) -> bool:
    """Whether an edition is in force on a day."""
    return edition.in_force_from <= today and (edition.retired_on is None or today < edition.retired_on)


def _items(pack: Pack, current: list[Guideline]) -> Iterator[_Item]:
    """Rules in the order of the pack, then passages in the order of their texts."""
    for rule in pack.rules:
        if rule.guideline in current:
            yield _Item(_found_by(rule, pack), rule)
    for edition in sorted(current, key=lambda one: (one.id, one.edition)):
        for sha256 in edition.texts:
            text = pack.texts[sha256]
            for passage in passages_of(edition, sha256, text):
                yield _Item(f"{passage.section} {text[passage.start : passage.end]}", passage)


def _found_by(rule: Rule, pack: Pack) -> str:
    drugs = pack.value_sets.get(rule.action.medication or "")
    names = (drugs.title, *drugs.names) if drugs is not None else ()
    said = (rule.id, rule.title, rule.summary, rule.section, rule.action.option, rule.guideline.title)
    return " ".join((*said, rule.guideline.publisher, *names))


def _tell(item: _Item, pack: Pack) -> Line:
    if isinstance(item.of, Rule):
        rule, edition = item.of, item.of.guideline
        text = (
            f"rule {rule.id}: {rule.title}. MedAgent's summary: {rule.summary} Option: consider {rule.action.option}. "
            f"{edition.publisher}, {edition.title}, edition {edition.edition}, {rule.section}; "
            f"{rule.strength.scale}: {rule.strength.grade}; in force since {edition.in_force_from}."
        )
        return Line(text=neutral(text))
    passage = item.of
    words = marked(pack.texts[passage.sha256][passage.start : passage.end], _SHOWN_OF_PASSAGE)
    where = f"{passage.guideline}, edition {passage.edition}, {marked(passage.section, 120)}"
    return Line(text=f"{where}, the publisher's words: {words}", evidence=(passage.id,))
