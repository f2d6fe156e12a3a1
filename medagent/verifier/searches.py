# SPDX-License-Identifier: Apache-2.0
"""What the rules of a run ask for, as a guide to where something must have been looked for before it is absent."""

from collections.abc import Iterator, Mapping

from medagent.evidence_set import EvidenceSet
from medagent.propositions import State
from medagent.rules import LeafCriterion, Pregnant, Recorded
from medagent.value_sets import SetKind, ValueSet
from medagent.verifier.drafts import parts_of
from medagent.verifier.trees import leaf_criteria

TYPES_OF: Mapping[SetKind, tuple[str, ...]] = {
    "condition": ("Condition",),
    "observation": ("Observation",),
    "medication": ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration"),
    "allergy": ("AllergyIntolerance",),
    "procedure": ("Procedure", "DiagnosticReport", "ImagingStudy", "ServiceRequest", "CarePlan"),
    "immunization": ("Immunization",),
    "encounter": ("Encounter",),
    "finding": ("DiagnosticReport",),
}
"""The types whose entries are of a kind."""

STATES_OF: Mapping[SetKind, tuple[State, ...]] = {
    "condition": ("active", "recorded"),
    "observation": ("measured", "done"),
    "medication": ("listed",),
    "allergy": ("active",),
    "procedure": ("done", "ordered", "declined", "ongoing"),
    "immunization": ("done", "declined"),
    "encounter": ("done", "ongoing"),
    "finding": ("done",),
}
"""The states in which something of a kind can be absent. A drug that is not listed may still have been given."""

_PERFORMED: Mapping[State, frozenset[str]] = {"ordered": frozenset({"ServiceRequest"})}
_DEFAULT = frozenset({"Procedure"})


def types_to_search(value_set: ValueSet, state: State, evidence: EvidenceSet) -> frozenset[str]:
    """Where an entry of a set may stand in a state: for what is performed, the types that any rule asks for."""
    if value_set.kind != "procedure":
        return frozenset(TYPES_OF[value_set.kind])
    asked = (one for one in _leaves(evidence) if isinstance(one, Recorded))
    named = frozenset(name for one in asked if (one.in_, one.state) == (value_set.id, state) for name in one.of)
    return named or _PERFORMED.get(state, _DEFAULT)


def types_beside(value_set: ValueSet, resource_type: str) -> tuple[str, ...]:
    """Where entries may stand that say the contrary of one of this type: all types of the set's kind, and its own."""
    types = TYPES_OF[value_set.kind]
    return types if resource_type in types else (*types, resource_type)


def pregnancy_sets(evidence: EvidenceSet) -> frozenset[str]:
    """The value sets by which a pregnancy is stated."""
    usual = Pregnant()
    asked = (usual, *(one for one in _leaves(evidence) if isinstance(one, Pregnant)))
    return frozenset(name for one in asked for name in (one.conditions, one.status))


def _leaves(evidence: EvidenceSet) -> Iterator[LeafCriterion]:
    for rule in evidence.rules.values():
        for part in parts_of(rule).values():
            yield from leaf_criteria(part)
    for gate in evidence.gates.values():
        for criterion in gate.refuse_if.values():
            yield from leaf_criteria(criterion)
