# SPDX-License-Identifier: Apache-2.0
"""Trees of criteria: the shape is the rule's, each leaf is evaluated anew, Kleene's connectives are recomputed."""

from collections.abc import Iterator, Mapping

from medagent.errors import RuleError
from medagent.kleene import Truth, all_of, any_of, at_least, negate
from medagent.propositions import Branch, Leaf, leaves
from medagent.rules import Age, All, Any_, AtLeast, Calculated, Criterion, LeafCriterion, Not, Pregnant, Sex
from medagent.value_sets import ValueSet
from medagent.verifier.criteria import evaluate
from medagent.verifier.expected import Expected, complaints
from medagent.verifier.readings import Readings
from medagent.verifier.slices import Refused, Slices
from medagent.verifier.statements import STEP, Statements


class Trees:
    """Checks trees against the criteria that they answer; equal leaves are evaluated once."""

    def __init__(self, slices: Slices, readings: Readings, statements: Statements) -> None:
        self._slices = slices
        self._readings = readings
        self._statements = statements
        self._found: dict[str, Expected] = {}

    def check(self, tree: Leaf | Branch, criterion: Criterion) -> None:
        """Whether a tree is what the criterion amounts to. Raises Refused where it is not."""
        self._shape(tree, criterion)
        # Each proposition on a leaf is true by itself.
        for leaf in leaves(tree):
            for proposition in leaf.propositions:
                self._statements.check(proposition)

    def expected(self, criterion: LeafCriterion) -> Expected:
        """What the verifier finds for a leaf."""
        key = criterion.model_dump_json()
        if key not in self._found:
            self._found[key] = self._unless_invalid(criterion) or evaluate(criterion, self._slices, self._readings)
        return self._found[key]

    def _unless_invalid(self, criterion: LeafCriterion) -> Expected | None:
        """An equation that does not hold for the patient says nothing, and what says so stands in its place."""
        reason = criterion.invalid_if if isinstance(criterion, Calculated) else None
        if reason is None or self.truth(reason) is not Truth.MET:
            return None
        found = [one for leaf in leaf_criteria(reason) if (one := self.expected(leaf)).truth is Truth.MET]
        readings = tuple(reading for one in found for reading in one.readings)
        return Expected(frozenset({Truth.UNKNOWN}), readings, reasons=frozenset({"formula"}), instead=tuple(found))

    def truth(self, criterion: Criterion) -> Truth:
        """What a criterion amounts to, with no draft of it at hand."""
        if isinstance(criterion, LeafCriterion):
            return self.expected(criterion).truth
        return _connected(criterion, [self.truth(part) for part in _parts(criterion)])

    def _shape(self, node: Leaf | Branch, criterion: Criterion) -> None:
        if isinstance(criterion, LeafCriterion):
            if not isinstance(node, Leaf):
                raise Refused(STEP, f"a branch stands where the rule has {criterion.kind}")
            for complaint in complaints(node, self.expected(criterion)):
                raise Refused(STEP, f"{criterion.kind}: {complaint}")
            return
        parts = _parts(criterion)
        if not isinstance(node, Branch) or node.operator != criterion.kind or len(node.children) != len(parts):
            raise Refused(STEP, f"the tree has another shape than the rule's {criterion.kind}")
        for child, part in zip(node.children, parts, strict=True):
            self._shape(child, part)
        truth = _connected(criterion, [child.truth for child in node.children])
        if node.truth is not truth:
            raise Refused(STEP, f"{criterion.kind} of its parts is {truth}, not {node.truth}")


def undecided(tree: Leaf | Branch, criterion: Criterion, value_sets: Mapping[str, ValueSet]) -> Iterator[str]:
    """What would have to be obtained, by name, for each leaf that leaves a checked tree unknown."""
    if tree.truth is not Truth.UNKNOWN:
        return
    if isinstance(criterion, LeafCriterion):
        yield _obtained(criterion, value_sets)
        return
    if isinstance(tree, Branch):
        for child, part in zip(tree.children, _parts(criterion), strict=True):
            yield from undecided(child, part, value_sets)


def leaf_criteria(criterion: Criterion) -> Iterator[LeafCriterion]:
    """The leaves of a criterion, in its order."""
    if isinstance(criterion, LeafCriterion):
        yield criterion
    else:
        for part in _parts(criterion):
            yield from leaf_criteria(part)


def _obtained(criterion: LeafCriterion, value_sets: Mapping[str, ValueSet]) -> str:
    """What would decide a leaf: one act of measuring, the entries of a value set, or a fact of the person."""
    if isinstance(criterion, Age | Sex | Pregnant):
        return criterion.kind
    name = next(iter(criterion.inputs.values())) if isinstance(criterion, Calculated) else criterion.in_
    value_set = value_sets.get(name)
    return (value_set.obtained_with if value_set is not None else None) or name


def _parts(criterion: All | Any_ | Not | AtLeast) -> tuple[Criterion, ...]:
    return (criterion.of,) if isinstance(criterion, Not) else criterion.of


def _connected(criterion: All | Any_ | Not | AtLeast, truths: list[Truth]) -> Truth:
    match criterion:
        case All():
            return all_of(truths)
        case Any_():
            return any_of(truths)
        case Not():
            return negate(truths[0])
        case AtLeast():
            try:
                return at_least(criterion.count, truths)
            except RuleError as error:
                raise Refused(STEP, "at_least asks for more than it names") from error
