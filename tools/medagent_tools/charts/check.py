# SPDX-License-Identifier: Apache-2.0
"""One drug for this patient: the pack's medication gate, with what each of its five checks found (clinical: 12).

A drug for which the pack has no gate is refused, never passed: nobody has said what would speak against it.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from medagent.errors import ToolRefused
from medagent.evidence import Fact
from medagent.kleene import Truth
from medagent.propositions import GateCheck, Leaf, Node, leaves
from medagent.rules import Criterion, Gate
from medagent.value_sets import ValueSet
from medagent_tools.arguments import ToolArguments
from medagent_tools.charts.lines import entry
from medagent_tools.charts.proofs import evidence_of
from medagent_tools.charts.reading import ChartReader, read_scopes, reading_line
from medagent_tools.guidelines.criteria import deciding_leaves, undecided
from medagent_tools.guidelines.gate import pass_gate
from medagent_tools.guidelines.leaves_records import MEDICATION_TYPES
from medagent_tools.guidelines.wants import wanted, why_words
from medagent_tools.seam import Line, ToolContext, ToolResult

_READ = ("Patient", "Observation", "Condition", "Procedure", "AllergyIntolerance", *MEDICATION_TYPES)
_SHOWN_MAX = 6  # entries told for one check; the others are cited by their check


class CheckMedicationArguments(ToolArguments):
    """Which drug: a value set of the pack by id or title, or a drug by name."""

    drug: Annotated[str, Field(min_length=1, max_length=120)]


@dataclass(frozen=True, slots=True)
class CheckMedication:
    """The five checks of the gate, and what each found."""

    name: ClassVar[str] = "check_medication"
    arguments: ClassVar[type[CheckMedicationArguments]] = CheckMedicationArguments
    scopes: ClassVar[tuple[str, ...]] = (*read_scopes(_READ), "patient/Medication.rs")

    def run(self, arguments: CheckMedicationArguments, context: ToolContext) -> ToolResult:
        """Answers."""
        gate, value_set = _gate_of(arguments.drug, context)
        reader = ChartReader(context)
        checks = pass_gate(gate, reader.collector)
        lines = [line for check in checks for line in _told(check, gate, reader)]
        readings = reader.collector.readings
        sets = context.pack.value_sets
        lines += [reading_line(one, sets.get(one.query.value_set or "")) for one in readings]
        passed = sum(check.truth is Truth.MET for check in checks)
        heading = (
            f"Medication gate of the pack for {value_set.title} [{gate.medication}]: {passed} of {len(checks)} checks "
            "passed. A check that is unknown has not passed. Not checked: doses, and whatever the pack does not name."
        )
        return ToolResult(
            heading=heading,
            lines=tuple(lines),
            total=len(lines),
            queries=tuple(one.query for one in readings),
            readings=tuple(one.id for one in readings),
            calculations=reader.collector.calculations,
        )


def _gate_of(drug: str, context: ToolContext) -> tuple[Gate, ValueSet]:
    """The gate of the class that the drug is in. Raises ToolRefused where there is none, or more than one."""
    sets = {name: context.pack.value_sets[name] for name in context.pack.gates}
    exact = [one for one in sets.values() if drug.casefold() in (one.id.casefold(), one.title.casefold())]
    meant = exact or [one for one in sets.values() if one.matches((), drug)]
    if len(meant) == 1:
        return context.pack.gates[meant[0].id], meant[0]
    gates = ", ".join(f"{one.title} [{one.id}]" for one in sets.values()) or "none"
    if meant:
        raise ToolRefused(f"drug: this fits more than one class; name one of: {gates}")
    raise ToolRefused(
        f"drug: the pack has no gate for it, so nothing can be said of its safety here. It has gates for: {gates}"
    )


def _told(check: GateCheck, gate: Gate, reader: ChartReader) -> list[Line]:
    """The check, and the entries that decide it."""
    if check.tree is None:
        return [Line(text=f"{check.check}: passed, not needed: {gate.not_needed[check.check]}")]
    criterion = gate.refuse_if[check.check]
    sets = reader.context.pack.value_sets
    deciding = tuple(deciding_leaves(criterion, check.tree, sets)) or tuple(leaves(check.tree))
    said = Line(text=f"{check.check}: {_verdict(check, criterion, check.tree, reader)}", evidence=evidence_of(deciding))
    return [said, *_entries(check, deciding, reader)]


def _verdict(check: GateCheck, criterion: Criterion, tree: Node, reader: ChartReader) -> str:
    match check.truth:
        case Truth.MET:
            return "passed, nothing found that speaks against it"
        case Truth.NOT_MET:
            return "failed, something speaks against it"
        case Truth.UNKNOWN:
            sets = reader.context.pack.value_sets
            open_ = [
                f"{wanted(one.criterion, sets)}: {why_words(one.criterion, one.leaf)}"
                for one in undecided(criterion, tree)
            ]
            return f"unknown ({'; '.join(dict.fromkeys(open_))})"


def _entries(check: GateCheck, deciding: tuple[Leaf, ...], reader: ChartReader) -> list[Line]:
    ids = evidence_of(deciding)
    facts: list[Fact] = []
    known = {member for reading in reader.collector.readings for member in reading.members}
    for name in ids:
        if name in known and len(facts) < _SHOWN_MAX:
            facts.append(reader.context.chart.fact(name))
    return [Line(text=f"{check.check}: {fact.resource_type}: {entry(fact)}", evidence=(fact.id,)) for fact in facts]
