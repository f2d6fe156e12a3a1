# SPDX-License-Identifier: Apache-2.0
"""Allergies and intolerances, and whether "none" is known: an empty list is not "no allergies" (clinical: 12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from medagent.evidence import Fact
from medagent.kleene import Truth
from medagent.value_sets import NOTHING_KNOWN
from medagent_tools.arguments import Page
from medagent_tools.charts.lines import label, status_words, when
from medagent_tools.charts.reading import ChartReader, newest_first, page, read_scopes
from medagent_tools.guidelines.collector import Search
from medagent_tools.guidelines.leaves_records import allergy_state
from medagent_tools.seam import Line, ToolContext, ToolResult

_ALLERGY = ("AllergyIntolerance",)
NO_KNOWN_ALLERGY = "no-known-allergy"
"""The pack's value set of entries that say that there is none."""


class ListAllergiesArguments(Page):
    """Which of the lines."""


@dataclass(frozen=True, slots=True)
class ListAllergies:
    """Every entry of the allergy list, active ones first, and what is known where there is none."""

    name: ClassVar[str] = "list_allergies"
    arguments: ClassVar[type[ListAllergiesArguments]] = ListAllergiesArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_ALLERGY)

    def run(self, arguments: ListAllergiesArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        reader = ChartReader(context)
        search = reader.read(_ALLERGY)
        states = {fact.id: allergy_state(fact, reader.collector, search) for fact in search.facts}
        nothing = {fact.id for fact in search.facts if _says_none(fact, context)}
        ordered = sorted(newest_first(search.facts), key=lambda fact: _ORDER[states[fact.id]])
        active = sum(state is Truth.MET for name, state in states.items() if name not in nothing)

        def tell(fact: Fact) -> Line:
            words = "says that none is known" if fact.id in nothing else f"active: {_WORDS[states[fact.id]]}"
            parts = [label(fact), words, status_words(fact), f"recorded or begun {when(fact.time or fact.visible)}"]
            return Line(text=", ".join(part for part in parts if part), evidence=(fact.id,))

        heading = f"Allergies and intolerances: {active} active of {len(search.facts)} entries."
        return page(reader, heading, ordered, tell, arguments, first=_whether_none_is_known(search, states, nothing))


def _says_none(fact: Fact, context: ToolContext) -> bool:
    value_set = context.pack.value_sets.get(NO_KNOWN_ALLERGY)
    if value_set is not None and value_set.matches(fact.codings, fact.text):
        return True
    return any(coding.code in NOTHING_KNOWN.get(coding.system or "", ()) for coding in fact.codings)


def _whether_none_is_known(search: Search, states: Mapping[str, Truth], nothing: set[str]) -> list[Line]:
    """What the list amounts to where no active allergy stands on it."""
    reading = search.reading.id
    if any(state is not Truth.NOT_MET for name, state in states.items() if name not in nothing):
        return []
    says_none = [fact.id for fact in search.facts if fact.id in nothing and states[fact.id] is Truth.MET]
    if says_none and search.complete:
        text = "No known allergy: an entry says so, and no other is active."
        return [Line(text=text, evidence=(says_none[0], reading))]
    text = "Whether there are allergies is unknown: none is listed as active, and nothing says that there is none."
    if not search.complete:
        text = "Whether there are allergies is unknown: the list could not be read completely."
    return [Line(text=text, evidence=(reading,))]


_ORDER = {Truth.MET: 0, Truth.UNKNOWN: 1, Truth.NOT_MET: 2}
_WORDS = {Truth.MET: "yes", Truth.UNKNOWN: "unknown", Truth.NOT_MET: "no"}
