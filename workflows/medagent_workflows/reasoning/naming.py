# SPDX-License-Identifier: Apache-2.0
"""Which value set says what a fact is about: a model names the fact, and need not know the pack's names."""

from collections.abc import Mapping

from medagent.errors import MedAgentError, RuleError
from medagent.evidence import Fact
from medagent.value_sets import SetKind, ValueSet, single_code
from medagent_tools.charts.search import most_specific
from medagent_tools.seam import ToolContext


class Unusable(MedAgentError):
    """No proposition can be made of what the model wrote; says why, as the model is told it."""


_KINDS: Mapping[str, SetKind] = {
    "Observation": "observation",
    "Condition": "condition",
    "MedicationRequest": "medication",
    "MedicationStatement": "medication",
    "MedicationDispense": "medication",
    "MedicationAdministration": "medication",
    "AllergyIntolerance": "allergy",
    "Procedure": "procedure",
    "DiagnosticReport": "procedure",
    "ImagingStudy": "procedure",
    "ServiceRequest": "procedure",
    "CarePlan": "procedure",
    "Immunization": "immunization",
    "Encounter": "encounter",
}
"""What entries of a type are of. A relative's history and a document are not of the patient's own state."""


def value_set_of(fact: Fact, context: ToolContext) -> ValueSet:
    """The most specific set that a fact belongs to.

    Steps: (1) the smallest set of the pack of the fact's own kind, which knows units, limits and expiry; (2) the
    smallest of another kind that lists its code; (3) the set of its one code.
    """
    if fact.resource_type == "Patient":
        raise Unusable("is the Patient, of whom only a recorded sex and the date of birth can be stated, as a value")
    kind = _KINDS.get(fact.resource_type)
    if kind is None:
        raise Unusable(f"is a {fact.resource_type}, of which nothing can be stated: name an entry of the patient's own")
    # (1)
    if (own := most_specific(context, kind, fact.codings, fact.text)) is not None:
        return own
    # (2)
    sets = context.pack.value_sets.values()
    listing = [known for known in sets if any(known.has(coding) for coding in fact.codings)]
    if listing:
        return min(listing, key=lambda known: (sum(map(len, known.codes.values())), known.id))
    # (3)
    for coding in fact.codings:
        if coding.system and coding.code:
            try:
                return single_code(kind, coding.system, coding.code)
            except RuleError:  # no code that could be shown; the entry may have another
                continue
    raise Unusable("carries no code by which it could be named: nothing can be stated of it")
