# SPDX-License-Identifier: Apache-2.0
"""The value sets that a model may name: those of the pack, and a single code where none of them speaks of it."""

from medagent.evidence import Coding, Fact
from medagent.value_sets import SetKind, ValueSet, is_single_code
from medagent.verifier.searches import TYPES_OF
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP


class ChosenSets:
    """The value sets of a run, as a model may use them."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self._evidence = slices.evidence

    def named(self, name: str, *facts: Fact) -> ValueSet:
        """The value set; that of a single code only where no set of the pack speaks of the code or of these entries:
        it would leave out their limits, units and expiry."""
        value_set = self._slices.value_set(name)
        if not is_single_code(name):
            return value_set
        ((system, codes),) = value_set.codes_by_uri.items()
        (code,) = codes
        for own in self._evidence.value_sets.values():
            if own.has(Coding(system, code)):
                raise Refused(STEP, f"{name}: the code is one of {own.id}")
        for fact in facts:
            self._has_code(fact, value_set, code)
        return value_set

    def _has_code(self, fact: Fact, value_set: ValueSet, code: str) -> None:
        # Where codes hold others below them, a set matches those as well; the sentence names this very code.
        if not any(coding.code == code and value_set.has(coding) for coding in fact.codings):
            raise Refused(STEP, f"{fact.id} does not carry the code of {value_set.id}")
        if fact.resource_type not in TYPES_OF[value_set.kind]:
            raise Refused(STEP, f"{fact.id} is no {value_set.kind}")
        for own in self.of(fact, value_set.kind):
            raise Refused(STEP, f"{fact.id} is an entry of {own.id}")

    def of(self, fact: Fact, kind: SetKind) -> list[ValueSet]:
        """The sets of the pack that an entry belongs to."""
        own = (one for one in self._evidence.value_sets.values() if one.kind == kind)
        return [one for one in own if one.matches(fact.codings, fact.text)]
