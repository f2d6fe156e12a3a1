# SPDX-License-Identifier: Apache-2.0
"""The sections of an overview that no tool of the model's answers: the patient, what the engine found, where each
analyte stands, whether there are notes. Those that read the chart are tools all the same, so that they pass the gate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from medagent.evidence import Calculation, Fact, Query, Reading, Role
from medagent.evidence_set import EvidenceSet
from medagent.model.marking import marked
from medagent.propositions import AnyProposition, Criterion, Proposal
from medagent.records import Draft
from medagent.rules import Rule
from medagent.value_sets import ValueSet
from medagent_tools.charts.lines import told_set, value, when
from medagent_tools.charts.reading import ChartReader, read_scopes
from medagent_tools.charts.search import most_specific
from medagent_tools.guidelines.collector import Search
from medagent_tools.guidelines.engine import Screening
from medagent_tools.guidelines.leaves_values import is_questionable, latest_values, usable_values
from medagent_tools.seam import Arguments, Line, ToolContext, ToolResult
from medagent_workflows.gathering import Threshold

_OBSERVATION, _DOCUMENT = ("Observation",), ("DocumentReference",)
_SEXES = frozenset({"male", "female", "other", "unknown", "M", "F"})
_CITED_MAX = 4  # names on a line of the engine; its criteria have them all
_EVIDENCE_SLOTS = ("fact", "of", "reading", "calculation", "facts", "event")


def patient_section(context: ToolContext, screening: Screening, entry: Threshold) -> ToolResult:
    """Sex, age, the date that is asked about, how old the chart is, and what of it could not be read."""
    chart = context.chart
    patient = chart.patient_fact()
    gender, birth_sex = (patient.element(role) for role in (Role.GENDER, Role.BIRTH_SEX))
    said = [f"recorded gender {_coded(gender.value)}" if gender else "no gender recorded"]
    if birth_sex is not None:
        said.append(f"recorded birth sex {_coded(birth_sex.value)}")
    age = next((one for one in _calculations(screening.evidence) if one.formula == "age"), None)
    if age is not None:
        said.append(f"age {_span(age)} years")
    lines = [Line(text=f"Patient: {', '.join(said)}.", evidence=(patient.id, *([age.id] if age else [])))]
    newest = f"newest entry of {when(chart.newest)}" if chart.newest else "no dated entry"
    later = "; later entries exist and are hidden" if chart.past else ""
    lines.append(Line(text=f"Date asked about: {chart.as_of:%Y-%m-%d}; {newest}{later}."))
    lines += (Line(text=banner) for banner in entry.banners)
    if chart.skipped:
        lines.append(Line(text=f"Parts of the source that could not be read: {len(chart.skipped)}."))
    return ToolResult(
        heading="The patient", lines=tuple(lines), total=len(lines), calculations=(age,) if age is not None else ()
    )


def engine_section(context: ToolContext, screening: Screening) -> ToolResult:
    """What the guideline engine puts forward, what it could not decide and for want of what."""
    rules = {rule.id: rule for rule in context.pack.rules}
    drafted = {draft.rule: draft for draft in screening.drafts}
    lines = [_put_forward(draft, rules[draft.rule], screening.evidence) for draft in screening.drafts]
    open_: dict[str, list[str]] = {}
    for missing in screening.missing:
        if missing.needed_by not in drafted:
            open_.setdefault(missing.needed_by, []).append(f"{missing.what}: {missing.why}")
    lines += (
        Line(text=f"rule {rule}: undecided, nothing put forward; wanted: {'; '.join(wanted)}")
        for rule, wanted in open_.items()
    )
    outcomes = [result.outcome for result in screening.results]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {outcome.replace('_', ' ')}"
        for outcome in ("met", "not_met", "unknown", "not_applicable")
    )
    cited = {evidence for line in lines for evidence in line.evidence}
    readings = [item for item in screening.evidence.items.values() if isinstance(item, Reading) and item.id in cited]
    return ToolResult(
        heading=f"The guideline engine: {len(outcomes)} rules ({counts})",
        lines=tuple(lines),
        total=len(lines),
        queries=tuple(reading.query for reading in readings),
        readings=tuple(reading.id for reading in readings),
        calculations=tuple(one for one in _calculations(screening.evidence) if one.id in cited),
    )


class NoArguments(Arguments):
    """These sections are not chosen from."""


@dataclass(frozen=True, slots=True)
class LatestValues:
    """Each analyte that a rule may ask for, newest first: its latest values, the one before, and the first."""

    name: ClassVar[str] = "latest_values"
    arguments: ClassVar[type[NoArguments]] = NoArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_OBSERVATION)

    def run(self, arguments: NoArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        return _latest_values(context)


@dataclass(frozen=True, slots=True)
class Notes:
    """Whether there are notes to search."""

    name: ClassVar[str] = "notes"
    arguments: ClassVar[type[NoArguments]] = NoArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_DOCUMENT)

    def run(self, arguments: NoArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        return _notes(context)


def _latest_values(context: ToolContext) -> ToolResult:
    reader = ChartReader(context)
    told: list[tuple[Fact, Line]] = []
    for value_set in context.pack.value_sets.values():
        if value_set.kind != "observation":
            continue
        search = reader.read(_OBSERVATION, value_set.id)
        line = _standing(search, value_set, reader)
        if line is not None:
            told.append(line)
    told.sort(key=lambda pair: (-pair[0].time.latest.timestamp() if pair[0].time else 0, pair[0].id))
    searches = [one for one in reader.searches if one.facts]
    return ToolResult(
        heading="Latest values of what guidelines ask for (each with the reading it is the latest of)",
        lines=tuple(line for _, line in told),
        total=len(told),
        queries=tuple(one.reading.query for one in searches),
        readings=tuple(one.reading.id for one in searches),
    )


def _notes(context: ToolContext) -> ToolResult:
    query = Query(resource_types=_DOCUMENT)
    reading = context.chart.read(query, context.pack.value_sets)
    line = Line(
        text=f"Notes: {reading.examined} documents"
        + (f", the newest of {when(reading.newest)}" if reading.newest else "")
        + ("; search_notes finds words in them." if reading.examined else "."),
        evidence=(reading.id,),
    )
    return ToolResult(heading="Notes", lines=(line,), total=1, queries=(query,), readings=(reading.id,))


def _put_forward(draft: Draft, rule: Rule, evidence: EvidenceSet) -> Line:
    proposal = next(one for one in draft.propositions if isinstance(one, Proposal))
    known = (name for one in draft.propositions for name in _named(one) if name in evidence.items)
    cited = tuple(dict.fromkeys(known))[:_CITED_MAX]
    text = f"rule {rule.id}: {draft.truth}, {proposal.stance}; {rule.title}; option: {rule.action.option}"
    return Line(text=text, evidence=cited)


def _named(proposition: AnyProposition) -> Iterator[str]:
    """The evidence that a proposition names itself."""
    if isinstance(proposition, Criterion | Proposal):
        return
    for slot in _EVIDENCE_SLOTS:
        named = getattr(proposition, slot, None)
        if isinstance(named, str):
            yield named
        elif isinstance(named, tuple):
            yield from (named[0], named[-1])


def _standing(search: Search, value_set: ValueSet, reader: ChartReader) -> tuple[Fact, Line] | None:
    """The newest value of an analyte and its line. None: nothing usable was measured."""
    values = usable_values(search, reader.collector)
    latest = latest_values(values)
    if latest is None:
        return None
    # What a smaller set says better, such as creatinine "or reported eGFR", is told there.
    if most_specific(reader.context, "observation", latest.newest.codings, latest.newest.text) != value_set:
        return None
    newest = list(reversed(latest.facts))
    shown = " and ".join(dict.fromkeys(_told(fact, value_set) for fact in newest))
    differ = len({value(fact) for fact in newest}) > 1
    parts = [f"{told_set(value_set)}: {shown}{' (contradictory)' if differ else ''}, {when(latest.time)}"]
    before, first = latest_values(values, times_before=1), values[0]
    cited = [*newest, *([before.newest] if before else []), first]
    if before is not None:
        parts.append(f"before {_told(before.newest, value_set)}, {when(before.time)}")
    if before is not None and before.newest is not first:
        parts.append(f"first of {len(values)} {_told(first, value_set)}, {when(first.time)}")
    if not search.complete:
        parts.append("reading incomplete")
    names = dict.fromkeys((newest[0].id, search.reading.id, *(fact.id for fact in cited)))
    return latest.newest, Line(text="; ".join(parts), evidence=tuple(names))


def _told(fact: Fact, value_set: ValueSet) -> str:
    return f"{value(fact)}{' (questionable)' if is_questionable(fact, value_set) else ''}"


def _coded(said: object) -> str:
    """A code of FHIR's own as it is; anything else as what it is, text of the chart."""
    return said if isinstance(said, str) and said in _SEXES else marked(str(said), 20)


def _span(age: Calculation) -> str:
    low, high = age.result, age.result_high
    return str(low) if low == high else f"{low} to {high}"


def _calculations(evidence: EvidenceSet) -> Iterable[Calculation]:
    return (item for item in evidence.items.values() if isinstance(item, Calculation))
