# SPDX-License-Identifier: Apache-2.0
"""Calculators: published equations, recalculated and never taken from a report (clinical: 11)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, product
from math import prod
from typing import ClassVar, Literal

from medagent.errors import ToolRefused
from medagent.evidence import Calculation, Fact
from medagent.formulas import FORMULAS, Formula, FormulaInput
from medagent.kleene import Truth
from medagent.value_sets import SYSTEMS, ValueSet, single_code
from medagent_tools.arguments import SomeEvidenceId, ToolArguments
from medagent_tools.charts.calculating import calculate, invalidating, measured_inputs, refuse_the_young
from medagent_tools.charts.lines import value, when
from medagent_tools.charts.proofs import evidence_of
from medagent_tools.charts.reading import ChartReader, none_found, read_scopes, search_line
from medagent_tools.charts.search import most_specific
from medagent_tools.guidelines.criteria import evaluate, undecided
from medagent_tools.guidelines.leaves_values import is_questionable, latest_values, usable_values
from medagent_tools.guidelines.wants import wanted, why_words
from medagent_tools.seam import Line, ToolContext, ToolResult

_OBSERVATION = ("Observation",)
_RESULTS_MAX = 8  # of inputs that contradict each other; more say nothing that these do not
_LOINC_OF: Mapping[str, str] = {"weight": "29463-7", "height": "8302-2"}
"""Inputs of which the pack needs no set of its own, by LOINC code."""


class CalculateArguments(ToolArguments):
    """Which formula, and what goes in where it shall not be the newest."""

    formula: Literal["ckd-epi-2021", "cockcroft-gault", "body-mass-index", "pack-years"]
    creatinine: SomeEvidenceId = None
    weight: SomeEvidenceId = None
    height: SomeEvidenceId = None
    packs_per_day: SomeEvidenceId = None
    years: SomeEvidenceId = None


@dataclass(frozen=True, slots=True)
class Calculate:
    """One formula over named or newest values; refuses what its publication does not cover."""

    name: ClassVar[str] = "calculate"
    arguments: ClassVar[type[CalculateArguments]] = CalculateArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(("Patient", "Observation", "Condition", "Procedure"))

    def run(self, arguments: CalculateArguments, context: ToolContext) -> ToolResult:
        """Steps: (1) adults only; (2) no input that the formula does not take; (3) states in which it does not hold;
        (4) each input, all values at the latest time of one that is not named; (5) the results."""
        reader = ChartReader(context)
        formula = FORMULAS[arguments.formula]
        # (1)
        refuse_the_young(reader.collector)
        # (2)
        needed = measured_inputs(formula)
        given = {name: named for name, named in arguments.model_dump(exclude={"formula"}).items() if named is not None}
        if foreign := sorted(given.keys() - {one.name for one in needed}):
            raise ToolRefused(f"{formula.id} takes no {', '.join(foreign)}")
        # (3)
        doubts = _states(formula, reader)
        # (4)
        choices = [_inputs(one, given.get(one.name), reader) for one in needed]
        # (5)
        names = [one.name for one in needed]
        corners = [dict(zip(names, corner, strict=True)) for corner in islice(product(*choices), _RESULTS_MAX)]
        results = [(calculate(formula, measured, reader.collector), measured) for measured in corners]
        if (more := prod(map(len, choices)) - len(results)) > 0:
            doubts.append(Line(text=f"{more} more combinations of values of one time are not calculated."))
        return _told(reader, formula, results, doubts)


def _told(
    reader: ChartReader,
    formula: Formula,
    results: list[tuple[Calculation, dict[str, Fact]]],
    doubts: list[Line],
) -> ToolResult:
    lines = [_result_line(calculation, measured) for calculation, measured in results]
    if len({(one.result, one.result_high) for one, _ in results}) > 1:
        ids = tuple(one.id for one, _ in results)
        lines.append(Line(text="Contradictory: values of one time differ, and so do the results.", evidence=ids))
    lines += [*doubts, *(search_line(search) for search in reader.searches)]
    readings = [*(search.reading for search in reader.searches), *reader.collector.readings]
    distinct = {reading.id: reading for reading in readings}
    return ToolResult(
        heading=f"{formula.title} ({formula.id}, {formula.edition}). Source: {formula.source}",
        lines=tuple(lines),
        total=len(lines),
        queries=tuple(reading.query for reading in distinct.values()),
        readings=tuple(distinct),
        calculations=(*(one for one, _ in results), *reader.collector.calculations),
    )


def _result_line(calculation: Calculation, measured: Mapping[str, Fact]) -> Line:
    low, high = _number(calculation.result), _number(calculation.result_high)
    result = low if low == high else f"between {low} and {high}"
    inputs = ", ".join(f"{name.replace('_', ' ')} {value(fact)} ({when(fact.time)})" for name, fact in measured.items())
    patient = " with age and recorded sex" if "sex" in calculation.inputs else ""
    evidence = (calculation.id, *(fact.id for fact in measured.values()))
    return Line(text=f"{calculation.formula}: {result} {calculation.unit}, from {inputs}{patient}", evidence=evidence)


def _number(result: Decimal) -> str:
    return format(result, "f")


def _states(formula: Formula, reader: ChartReader) -> list[Line]:
    """Refuses where the equation certainly does not hold; says what of it is not known."""
    chart, sets = reader.collector, reader.context.pack.value_sets
    found: list[Line] = []
    for criterion in invalidating(formula, reader.context.pack):
        tree = evaluate(criterion, chart)
        if tree.truth is Truth.MET:
            raise ToolRefused(
                f"{formula.id} does not hold for this patient at this date: pregnancy, dialysis or acute kidney "
                "injury is recorded (list_problems and timeline show it)"
            )
        for open_ in undecided(criterion, tree):
            text = f"Not excluded: {wanted(open_.criterion, sets)} ({why_words(open_.criterion, open_.leaf)})"
            found.append(Line(text=text, evidence=evidence_of((open_.leaf,))))
    return list(dict.fromkeys(found))


def _inputs(needed: FormulaInput, named: str | None, reader: ChartReader) -> tuple[Fact, ...]:
    """The value that is named; else all that differ at the latest time."""
    if named is not None:
        return (_named_value(needed, named, reader),)
    value_set = _set_of(needed, reader.context)
    if value_set is None:
        raise ToolRefused(f"{needed.name}: name the entry that states it; what it is called is not known")
    search = reader.read(_OBSERVATION, value_set.id)
    latest = latest_values(usable_values(search, reader.collector))
    if latest is None:
        raise ToolRefused(f"{needed.name}: {none_found([search.reading]).text} No usable value is recorded")
    if any(is_questionable(fact, value_set) for fact in latest.facts):
        raise ToolRefused(f"{needed.name}: the latest value is questionable (outside of what is plausible)")
    return tuple({value(fact): fact for fact in reversed(latest.facts)}.values())


def _named_value(needed: FormulaInput, named: str, reader: ChartReader) -> Fact:
    """The entry with this id, if it is a usable value of the right analyte."""
    fact = reader.member(named, _OBSERVATION)
    search = reader.searches[-1]
    if fact.id not in {usable.id for usable in usable_values(search, reader.collector)}:
        raise ToolRefused(f"{needed.name}: this entry is no usable value (not final, undated, or of childhood)")
    own = most_specific(reader.context, "observation", fact.codings, fact.text)
    if needed.analyte is not None and (own is None or own.analyte != needed.analyte):
        raise ToolRefused(f"{needed.name}: this entry is of another analyte")
    if is_questionable(fact, own):
        raise ToolRefused(f"{needed.name}: this value is questionable (outside of what is plausible)")
    return fact


def _set_of(needed: FormulaInput, context: ToolContext) -> ValueSet | None:
    """The set in which an input is looked for. None: nobody has said."""
    sets = (one for one in context.pack.value_sets.values() if one.kind == "observation")
    of_analyte = [one for one in sets if needed.analyte is not None and one.analyte == needed.analyte]
    if of_analyte:
        return min(of_analyte, key=lambda one: one.id)
    code = _LOINC_OF.get(needed.name)
    return None if code is None else single_code("observation", SYSTEMS["LOINC"], code)
