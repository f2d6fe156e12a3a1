# SPDX-License-Identifier: Apache-2.0
"""How the parts of a sentence are written: numbers as the source has them, units, times no finer than the chart's."""

from decimal import Decimal

from medagent.evidence import Calculation, Fact, Role
from medagent.evidence_set import EvidenceSet
from medagent.formulas import FORMULAS
from medagent.intervals import Interval
from medagent.kleene import Truth
from medagent.sentences.wording import chart_text
from medagent.units import Quantity, compare
from medagent.value_sets import ValueSet, is_single_code, value_set_named

COMPARISONS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least", "=": "equal to"}
_DAY = len("2024-03-02")
_DECIMALS_SHOWN = 4
_DIGITS_SHOWN = 4
_UNITS = {
    "mL/min/{1.73_m2}": "mL/min/1.73 m²",
    "mm[Hg]": "mmHg",
    "kg/m2": "kg/m²",
    "a": "years",
    "{PackYears}": "pack-years",
    "Cel": "°C",
    "[degF]": "°F",
    "/min": "per minute",
    "{score}": "points",
    "{INR}": "",
}


def fact_of(evidence: EvidenceSet, evidence_id: str) -> Fact:
    """The fact with this id."""
    item = evidence.items[evidence_id]
    assert isinstance(item, Fact)
    return item


def title_of(evidence: EvidenceSet, value_set: str | None) -> str:
    """What a value set is called. Raises RuleError for a name that none has."""
    return "" if value_set is None else value_set_named(evidence.value_sets, value_set).title


def day(time: Interval | None) -> str:
    """A time as the chart writes it, cut at the day."""
    return "an unknown date" if time is None else time.text.partition("/")[0][:_DAY]


def number(value: Decimal) -> str:
    """Digits as they stand, without an exponent. A result with more than four decimals was computed by somebody: it is
    shown to four digits and marked, and its citation has them all."""
    digits = format(value, "f")
    if len(digits.partition(".")[2]) <= _DECIMALS_SHOWN:
        return digits
    return f"≈{format(Decimal(format(value, f'.{_DIGITS_SHOWN}g')), 'f')}"


def unit_text(unit: str | None) -> str:
    """A unit as it is written for people."""
    return "" if unit is None else _UNITS.get(unit, unit)


def amount(value: Decimal, unit: str | None) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit_text(unit)}".rstrip()


def value_text(fact: Fact) -> str:
    """A fact's value as its source has it: number and unit, or the words of a coded value."""
    value = fact.value
    if isinstance(value, Quantity) and value.value is not None:
        return f"{value.comparator or ''}{amount(value.value, value.unit or value.code)}"
    if fact.value_codings:
        words = next((coding.display or coding.code for coding in fact.value_codings), None)
        return chart_text(words or (value if isinstance(value, str) else ""))
    if isinstance(value, Interval):
        return day(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return chart_text(value) if isinstance(value, str) else "no value"


def implausible(fact: Fact, value_set: ValueSet) -> bool:
    """Whether a value certainly lies outside of the analyte's limits (clinical: 7)."""
    limits, value = value_set.plausible, fact.value
    if limits is None or not isinstance(value, Quantity):
        return False
    too_low = compare(value, "<", limits.low, limits.unit, value_set.analyte)
    return Truth.MET in (too_low, compare(value, ">", limits.high, limits.unit, value_set.analyte))


def named(evidence: EvidenceSet, fact: Fact, value_set: str | None) -> str:
    """What is meant and, in quotes, what the chart calls it."""
    title = title_of(evidence, value_set)
    words = fact.text or next((coding.display for coding in fact.codings if coding.display), None)
    if words is None or words.casefold() == title.casefold():
        return title or fact.resource_type
    return f"{title} ({chart_text(words)})" if title else chart_text(words)


def measured(evidence: EvidenceSet, fact: Fact, value_set: str) -> str:
    """What a value is of. A set of the pack has a name that says it; a code says it in the chart's own words."""
    return named(evidence, fact, value_set) if is_single_code(value_set) else title_of(evidence, value_set)


def formula_text(calculation: Calculation) -> str:
    """What was calculated, and with what."""
    formula = FORMULAS.get(calculation.formula)
    return "Age" if formula is None else f"{formula.title} ({formula.edition})"


def result_text(calculation: Calculation) -> str:
    """The result; where the inputs leave it open, its limits."""
    low, high, unit = calculation.result, calculation.result_high, calculation.unit
    if low == high:
        return amount(low, unit)
    return f"between {number(low)} and {amount(high, unit)}"


def inputs_text(calculation: Calculation, evidence: EvidenceSet) -> str:
    """The measured values that a result rests on; age and sex go without saying."""
    facts = {name: evidence.items.get(item) for name, item in sorted(calculation.inputs.items())}
    measured = [
        f"{name.replace('_', ' ')} {value_text(fact)}"
        for name, fact in facts.items()
        if isinstance(fact, Fact) and fact.resource_type != "Patient"
    ]
    return f" from {', '.join(measured)}" if measured else ""


def patient_words(element: str) -> str:
    """What an element of Patient is called."""
    return {
        Role.GENDER: "Recorded gender",
        Role.BIRTH_SEX: "Recorded birth sex",
        Role.BIRTH_DATE: "Recorded date of birth",
    }.get(Role(element), f"Recorded {element.replace('_', ' ')}")
