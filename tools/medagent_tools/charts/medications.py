# SPDX-License-Identifier: Apache-2.0
"""Drugs as the chart has them: "active" is not "taking", so each is confirmed or only listed (clinical: 8)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from medagent.evidence import Fact
from medagent.kleene import Truth
from medagent_tools.arguments import Page, SomeWords
from medagent_tools.charts.grouping import Group, cited, grouped
from medagent_tools.charts.lines import status_words, when
from medagent_tools.charts.reading import ChartReader, WordSearch, page, read_scopes
from medagent_tools.guidelines.collector import Collector, Search, newest
from medagent_tools.guidelines.leaves_records import CONFIRMED_WITHIN, MEDICATION_TYPES, is_confirmed, is_listed
from medagent_tools.seam import Line, ToolContext, ToolResult


class ListMedicationsArguments(Page):
    """`current`: confirmed, listed, or of unknown state."""

    state: Literal["current", "all"] = "current"
    words: SomeWords = None


@dataclass(frozen=True, slots=True)
class ListMedications:
    """Each drug once, with whether it is confirmed or listed, since when, and by how many entries."""

    name: ClassVar[str] = "list_medications"
    arguments: ClassVar[type[ListMedicationsArguments]] = ListMedicationsArguments
    scopes: ClassVar[tuple[str, ...]] = (*read_scopes(MEDICATION_TYPES), "patient/Medication.rs")

    def run(self, arguments: ListMedicationsArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        reader = ChartReader(context)
        search = reader.read(MEDICATION_TYPES)
        facts = search.facts
        if arguments.words is not None:
            facts = tuple(filter(WordSearch(arguments.words).finds, facts))
        drugs = [_state(group, search, reader.collector) for group in grouped(facts)]
        shown = [drug for drug in drugs if arguments.state == "all" or drug.is_current]
        past = "" if arguments.state == "all" else f" {len(drugs) - len(shown)} more are neither: state all lists them."
        heading = (
            f"Drugs, newest entry first: {len(shown)} of {len(drugs)}. Confirmed: dispensed, administered or stated as "
            f"taken within {CONFIRMED_WITHIN}. Listed: on an active list, with no sign that it is taken.{past}"
        )
        return page(reader, heading, shown, _tell, arguments, by_words=arguments.words is not None)


@dataclass(frozen=True, slots=True)
class _Drug:
    """A drug with what decides its state."""

    group: Group
    words: str
    decisive: Fact | None
    is_current: bool


def _state(group: Group, search: Search, chart: Collector) -> _Drug:
    """Confirmed goes before listed, what is certain before what is not."""
    confirmed = {fact.id: is_confirmed(fact, chart) for fact in group.facts}
    listed = {fact.id: is_listed(fact, chart, search) for fact in group.facts}
    for truths, truth, words in (
        (confirmed, Truth.MET, "confirmed"),
        (listed, Truth.MET, "listed"),
        (confirmed, Truth.UNKNOWN, "unknown whether confirmed"),
        (listed, Truth.UNKNOWN, "unknown whether listed"),
    ):
        fact = newest(fact for fact in group.facts if truths[fact.id] is truth)
        if fact is not None:
            since = "since" if words == "listed" else "of"
            return _Drug(group, f"{words}, {fact.resource_type} {since} {when(fact.time)}", fact, True)
    last = group.facts[0]
    words = status_words(last) or "over"
    return _Drug(group, f"not current ({words}), {last.resource_type} of {when(last.time)}", last, False)


def _tell(drug: _Drug) -> Line:
    parts = [f"{drug.group.called}: {drug.words}", drug.group.count]
    return Line(text=", ".join(part for part in parts if part), evidence=cited(drug.decisive, drug.group.facts))
