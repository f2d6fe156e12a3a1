# SPDX-License-Identifier: Apache-2.0
"""What the entries of a pack say of each other: names, units, dates, durations, formulas, gates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Generic, TypeVar

from medagent.errors import TimeError, UnitError
from medagent.formulas import FORMULAS
from medagent.intervals import Duration
from medagent.rules import (
    Action,
    Age,
    All,
    Any_,
    AtLeast,
    Calculated,
    Criterion,
    Gate,
    HasAllergy,
    HasCondition,
    ImagingFinding,
    Latest,
    LeafCriterion,
    Medication,
    Not,
    Pregnant,
    Recorded,
    Rule,
    Sex,
    Trend,
)  # fmt: skip
from medagent.units import convert, parse_unit
from medagent.value_sets import ValueSet, is_single_code
from medagent_tools.guidelines.pack_problems import Problems

T = TypeVar("T")

GATE_FILE = "medication_gate.yaml"

_FROM_PATIENT = frozenset({"age", "sex"})


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """An entry with the file that it stands in."""

    file: str
    entry: T


def check_pack(
    rules: Mapping[str, Placed[Rule]],
    value_sets: Mapping[str, Placed[ValueSet]],
    gates: Mapping[str, Placed[Gate]],
    problems: Problems,
) -> None:
    """Adds everything that does not fit together."""
    known = {name: placed.entry for name, placed in value_sets.items()}
    for name, value_set in value_sets.items():
        _Check(value_set.file, f"value set {name}", known, problems).value_set(value_set.entry)
    for name, gate in gates.items():
        check = _Check(gate.file, f"gate {name}", known, problems)
        check.named(gate.entry.medication, "medication")
        for gate_check, criterion in gate.entry.refuse_if.items():
            check.criterion(criterion, f"refuse_if > {gate_check}")
    for name, rule in rules.items():
        _Check(rule.file, f"rule {name}", known, problems).rule(rule.entry, gates)


class _Check:
    """The checks on one entry of a file."""

    def __init__(self, file: str, entry: str, value_sets: Mapping[str, ValueSet], problems: Problems) -> None:
        self.file = file
        self.entry = entry
        self.value_sets = value_sets
        self.problems = problems

    def problem(self, field: str, what: str) -> None:
        self.problems.add(self.file, self.entry, field, what)

    def value_set(self, value_set: ValueSet) -> None:
        """Its name, its unit, the limits of what is plausible, and when it expires."""
        if is_single_code(value_set.id):
            self.problem("id", "has the form of a single code, kind:system|code, which no pack names; take out the |")
        if not any(value_set.codes.values()) and not value_set.names:
            self.problem("codes", "is empty and there are no names, so nothing could match; add codes or names")
        self.unit(value_set.unit, "unit")
        limits = value_set.plausible
        if limits is not None:
            if limits.low >= limits.high:
                self.problem("plausible", "low must be less than high")
            self.convertible(limits.unit, value_set.unit or limits.unit, value_set.analyte, "plausible > unit")
        self.duration(value_set.expires_after, "expires_after")

    def rule(self, rule: Rule, gates: Mapping[str, Placed[Gate]]) -> None:
        """Its dates, ages, criteria, and the gate of a drug that it would start."""
        guideline, action = rule.guideline, rule.action
        if guideline.published > guideline.in_force_from:
            self.problem("guideline > in_force_from", "lies before it was published; correct one of the dates")
        if guideline.retired_on is not None and guideline.retired_on <= guideline.in_force_from:
            self.problem("guideline > retired_on", "must lie after in_force_from; correct one of the dates")
        if rule.age.below is not None and rule.age.below <= rule.age.at_least:
            self.problem("age", "nobody is within it: below must be greater than at_least")
        parts = {
            "population": rule.population,
            "criteria": rule.criteria,
            "contraindications": rule.contraindications,
            "already": rule.already,
        }
        for field, criterion in parts.items():
            if criterion is not None:
                self.criterion(criterion, field)
        self._contraindications(rule)
        self._action(action, gates)

    def _contraindications(self, rule: Rule) -> None:
        """They withhold an option, so nothing that makes the situation worse may stand among them."""
        field, against = "contraindications", rule.contraindications
        if against is None:
            return
        if rule.category == "harm":
            self.problem(field, "a warning of harm is never withheld; remove them, or say the case in the criteria")
        elif rule.action.direction in ("review", "confirm") and any(map(_asks_for_pregnancy, leaves(against))):
            what = f"pregnancy is no reason not to {rule.action.direction}; remove it, or use invalid_if of the formula"
            self.problem(field, what)

    def _action(self, action: Action, gates: Mapping[str, Placed[Gate]]) -> None:
        if action.medication is None:
            if action.direction in ("start", "stop"):
                what = f"is missing; name the value set of the drugs to {action.direction}"
                self.problem("action > medication", what)
            return
        self.named(action.medication, "action > medication")
        if action.direction == "start" and action.medication not in gates:
            what = f"{action.medication!r} may be started, so {GATE_FILE} needs a gate for it; add one"
            self.problem("action > medication", what)

    def criterion(self, criterion: Criterion, field: str) -> None:
        """A criterion with everything below it."""
        field = f"{field} > {criterion.kind}"
        match criterion:
            case All() | Any_() | AtLeast():
                for place, child in enumerate(criterion.of, start=1):
                    self.criterion(child, f"{field} > no. {place}")
                if isinstance(criterion, AtLeast) and criterion.count > len(criterion.of):
                    self.problem(field, f"asks for {criterion.count} of {len(criterion.of)}; lower the count")
            case Not():
                self.criterion(criterion.of, field)
            case Age():
                if self.bounds(criterion, field) and criterion.unit not in (None, "a"):
                    self.problem(f"{field} > unit", "an age is in whole years; remove the unit")
            case Sex():
                pass
            case Pregnant():
                self._pregnant(criterion, field)
            case Latest():
                self._latest(criterion, field)
            case Calculated():
                self._calculated(criterion, field)
            case Trend():
                self._trend(criterion, field)
            case HasCondition():
                self.named(criterion.in_, f"{field} > in")
                self.duration(criterion.for_at_least, f"{field} > for_at_least")
            case Recorded() | ImagingFinding():
                self.named(criterion.in_, f"{field} > in")
                self.duration(criterion.within, f"{field} > within")
            case Medication() | HasAllergy():
                self.named(criterion.in_, f"{field} > in")

    def _pregnant(self, criterion: Pregnant, field: str) -> None:
        for name in ("conditions", "status", "pregnant_values", "not_pregnant_values", "hysterectomy"):
            self.named(getattr(criterion, name), f"{field} > {name}")

    def _latest(self, criterion: Latest, field: str) -> None:
        value_set = self.named(criterion.in_, f"{field} > in")
        self.duration(criterion.max_age, f"{field} > max_age")
        self.duration(criterion.value_within, f"{field} > value_within")
        if criterion.value_in is not None:
            self.named(criterion.value_in, f"{field} > value_in")
        if criterion.bounds and self.bounds(criterion, field) and value_set is not None:
            unit = criterion.unit or value_set.unit
            if unit is None:
                self.problem(field, f"its bound has no unit and {value_set.id!r} has none either; add `unit`")
            else:
                self.convertible(unit, value_set.unit or unit, value_set.analyte, f"{field} > unit")

    def _trend(self, criterion: Trend, field: str) -> None:
        value_set = self.named(criterion.in_, f"{field} > in")
        self.duration(criterion.window, f"{field} > window")
        if criterion.least_values < 2:
            self.problem(f"{field} > least_values", "a trend needs two values at least")
        if criterion.least_change <= 0:
            self.problem(f"{field} > least_change", "must be greater than 0; the direction says which way")
        if value_set is not None:
            self.convertible(criterion.unit, value_set.unit or criterion.unit, value_set.analyte, f"{field} > unit")

    def _calculated(self, criterion: Calculated, field: str) -> None:
        self.duration(criterion.max_age, f"{field} > max_age")
        self.duration(criterion.persists, f"{field} > persists")
        self.bounds(criterion, field)
        formula = FORMULAS.get(criterion.formula)
        if formula is None:
            self.problem(f"{field} > formula", f"no such formula; use one of {', '.join(sorted(FORMULAS))}")
            return
        wanted = {needed.name: needed for needed in formula.inputs if needed.name not in _FROM_PATIENT}
        if len(wanted) != 1:
            self.problem(f"{field} > formula", "takes more than one measured value, which rules cannot ask for yet")
        elif set(criterion.inputs) != set(wanted):
            self.problem(f"{field} > inputs", f"must be exactly {', '.join(wanted)}, each with its value set")
        else:
            ((name, needed),) = wanted.items()
            value_set = self.named(criterion.inputs[name], f"{field} > inputs > {name}")
            if value_set is not None and value_set.unit is not None and needed.unit is not None:
                analyte = needed.analyte or value_set.analyte
                self.convertible(value_set.unit, needed.unit, analyte, f"{field} > inputs > {name}")
        if criterion.unit is not None:
            self.convertible(criterion.unit, formula.unit, None, f"{field} > unit")
        if criterion.invalid_if is not None:
            self.criterion(criterion.invalid_if, f"{field} > invalid_if")
        if criterion.shown_beside is not None:
            self.named(criterion.shown_beside, f"{field} > shown_beside")

    def bounds(self, criterion: Age | Latest | Calculated, field: str) -> bool:
        """At least one bound, at most one of each side, and a range that is not empty."""
        lower = [bound for bound in (criterion.at_least, criterion.above) if bound is not None]
        upper = [bound for bound in (criterion.at_most, criterion.below) if bound is not None]
        if not lower and not upper:
            self.problem(field, "has no bound; add at_least, above, at_most or below")
        elif len(lower) > 1 or len(upper) > 1:
            self.problem(field, "has two bounds on one side; keep one")
        elif lower and upper and lower[0] > upper[0]:
            self.problem(field, "no value lies between its bounds; correct one")
        else:
            return True
        return False

    def named(self, value_set: str, field: str) -> ValueSet | None:
        """The value set of this id; one that is not there is a problem."""
        found = self.value_sets.get(value_set)
        if found is None:
            close = _closest(value_set, self.value_sets)
            self.problem(field, f"no value set {value_set!r}; {close}add it under value_sets/ or correct the name")
        return found

    def duration(self, text: str | None, field: str) -> None:
        """A length of time such as `12 months`."""
        if text is not None:
            try:
                Duration.parse(text)
            except TimeError as error:
                self.problem(field, str(error))

    def unit(self, unit: str | None, field: str) -> None:
        """A unit that the table knows."""
        if unit is not None:
            try:
                parse_unit(unit)
            except UnitError as error:
                self.problem(field, str(error))

    def convertible(self, unit: str, target: str, analyte: str | None, field: str) -> None:
        """Two units between which a value can be converted."""
        try:
            convert(Decimal(1), unit, target, analyte)
        except UnitError as error:
            self.problem(field, f"{error}; use a unit that converts to {target}")


def leaves(criterion: Criterion) -> Iterator[LeafCriterion]:
    """The leaves of a criterion."""
    match criterion:
        case All() | Any_() | AtLeast():
            for child in criterion.of:
                yield from leaves(child)
        case Not():
            yield from leaves(criterion.of)
        case _:
            yield criterion


def _asks_for_pregnancy(leaf: LeafCriterion) -> bool:
    return isinstance(leaf, Pregnant) or (isinstance(leaf, HasCondition) and leaf.in_ == Pregnant().conditions)


def _closest(name: str, known: Iterable[str]) -> str:
    matches = get_close_matches(name, list(known), n=1)
    return f"did you mean {matches[0]!r}? Otherwise " if matches else ""
