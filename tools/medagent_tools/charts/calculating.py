# SPDX-License-Identifier: Apache-2.0
"""A published equation over entries of the chart, as the verifier makes it anew.

Age is that at the first measurement, sex where the sources agree; inputs that are known only within limits give a
least and a greatest result.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import product

from medagent.errors import FormulaError, ToolRefused
from medagent.evidence import Calculation, Fact
from medagent.formulas import FORMULAS, Formula, FormulaInput
from medagent.intervals import RESOLUTION, age_at
from medagent.rules import Calculated, Criterion
from medagent.units import Amount, Quantity, amount
from medagent_tools.guidelines.collector import ADULT, Collector
from medagent_tools.guidelines.leaves_patient import calculation_of, sex_of
from medagent_tools.guidelines.pack import Pack
from medagent_tools.guidelines.pack_checks import leaves

FROM_PATIENT = ("age", "sex")


def measured_inputs(formula: Formula) -> tuple[FormulaInput, ...]:
    """What the chart has to give beside age and sex."""
    return tuple(needed for needed in formula.inputs if needed.name not in FROM_PATIENT)


def calculate(formula: Formula, measured: Mapping[str, Fact], chart: Collector) -> Calculation:
    """The results over all corners of what the inputs can mean; the formulas are monotonic in each of them."""
    names = [needed.name for needed in formula.inputs]
    ranges = [_range(formula, needed, measured, chart) for needed in formula.inputs]
    try:
        results = [formula.compute(dict(zip(names, corner, strict=True))).value for corner in product(*ranges)]
    except FormulaError as error:
        raise ToolRefused(str(error)) from error
    inputs = {name: measured[name].id if name in measured else chart.patient.id for name in names}
    at = next(fact.time for fact in measured.values())
    return calculation_of(formula.id, formula.edition, inputs, at, (min(results), max(results)), formula.unit)


def refuse_the_young(chart: Collector) -> None:
    """The formulas are for adults, and none is calculated for a child (clinical: 2)."""
    if chart.birth is None:
        raise ToolRefused("the chart has no date of birth, and the formulas are for adults only")
    if age_at(chart.birth, chart.as_of, chart.zone)[0] < ADULT:
        raise ToolRefused("the patient is, or may be, under 18: the formulas are for adults only")


def invalidating(formula: Formula, pack: Pack) -> Iterator[Criterion]:
    """In what states the equation does not hold, as the pack's rules say it of this one or of one like it."""
    seen: set[str] = set()
    for rule in pack.rules:
        for part in (rule.population, rule.criteria, rule.contraindications, rule.already):
            for leaf in () if part is None else leaves(part):
                if not isinstance(leaf, Calculated) or leaf.invalid_if is None or not _alike(formula, leaf):
                    continue
                if (said := leaf.invalid_if.model_dump_json()) not in seen:
                    seen.add(said)
                    yield leaf.invalid_if


def _alike(formula: Formula, leaf: Calculated) -> bool:
    """Whether both rest on the same substance: what makes creatinine misleading does so in every equation."""
    analytes = {needed.analyte for needed in formula.inputs} - {None}
    return leaf.formula == formula.id or any(needed.analyte in analytes for needed in FORMULAS[leaf.formula].inputs)


def _range(
    formula: Formula, needed: FormulaInput, measured: Mapping[str, Fact], chart: Collector
) -> tuple[Decimal | str, ...]:
    if needed.name == "sex":
        recorded, why, _ = sex_of(chart)
        if recorded is None:
            reason = "the sources disagree" if why == "contradictory" else "the chart does not state it"
            raise ToolRefused(f"{formula.id} needs the recorded sex: {reason}")
        return (recorded,)
    if needed.name == "age":
        return _ages(measured, chart)
    return _amount(formula, needed, measured[needed.name])


def _ages(measured: Mapping[str, Fact], chart: Collector) -> tuple[Decimal, ...]:
    """In whole years at any instant that the time of the first measurement can mean."""
    time = next(fact.time for fact in measured.values())
    assert time is not None  # usable values are dated
    assert chart.birth is not None  # asked for before
    least, _ = age_at(chart.birth, time.earliest, chart.zone)
    _, greatest = age_at(chart.birth, time.latest - RESOLUTION, chart.zone)
    return tuple(dict.fromkeys((Decimal(least), Decimal(greatest))))


def _amount(formula: Formula, needed: FormulaInput, fact: Fact) -> tuple[Decimal, ...]:
    """In the formula's unit. A side that is open ends where the formula's plausible limits do."""
    assert needed.unit is not None  # only the sex has none
    possible = amount(fact.value, needed.unit, needed.analyte) if isinstance(fact.value, Quantity) else None
    if not isinstance(possible, Amount):
        why = "it is no quantity" if possible is None else str(possible)
        raise ToolRefused(f"{formula.id}: {needed.name} cannot be read in {needed.unit}: {why}")
    low = possible.low if possible.low.is_finite() else needed.low
    high = possible.high if possible.high.is_finite() else needed.high
    if low is None or high is None or low > high:
        raise ToolRefused(f"{formula.id}: {needed.name} is only known to lie beyond what the formula covers")
    return tuple(dict.fromkeys((low, high)))
