# SPDX-License-Identifier: Apache-2.0
"""Present: what of the verified recommendations is shown, in which order (clinical: 13, 15 to 17).

A pure function of what is recorded. It drops nothing silently: what it holds back stands under `suppressed` with
the reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medagent.canonical import content_id
from medagent.errors import RuleError
from medagent.kleene import Truth
from medagent.propositions import Criterion, Leaf, leaves
from medagent.records import Claim, Recommendation, RuleRef, RuleResult, Suppressed
from medagent.rules import Rule
from medagent_tools.guidelines.pack import Pack

PAGE_CARDS = 5  # more are not read; harm is never cut (clinical: 16)
NOTED_CARDS = 1  # beside them, and last: what a model noted is read after what a guideline says
BY_MODEL = "model"
"""Stands where the rule of something held back would stand, where a model noted it."""

_TIERS = ("harm", "obtain", "treatment_gap", "missing_data", "prevention")
_URGENCIES = ("critical", "warning", "info")
_OPPOSED = frozenset({"stop", "review"})  # to a drug that another rule would start


@dataclass(frozen=True, slots=True)
class Presentation:
    """What is shown, in order, and what is held back."""

    recommendations: tuple[Recommendation, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()


def present(
    recommendations: Sequence[Recommendation],
    results: Sequence[RuleResult],
    pack: Pack,
    *,
    old: bool,
    dropped: Sequence[str] = (),
) -> Presentation:
    """Decides what is shown. `dropped`: rules whose draft the verifier did not let pass; they are named, not hidden.

    Steps: (1) what the gate or a contraindication withholds is held back, and what is undecided only because the
    source was not read completely, harm excepted: a clinician cannot obtain that; (2) positions that oppose each other
    become one card, unless a harm outranks an indication; (3) options with the same action are merged, and undecided
    rules that need the same thing are grouped; (4) rank: harm, decisive missing data, treatment gap, overdue tests,
    prevention; (5) one line for prevention, and in an old chart for all that is only overdue; (6) at most five cards
    beside the line, harm never cut; (7) after all of them what a model noted: one card that merges with none, takes no
    place of theirs, and stands in an old chart as well, under its banner.
    """
    noted = [one for one in recommendations if one.author == "model"]
    recommendations = [one for one in recommendations if one.author == "engine"]
    rules = {rule.id: rule for rule in pack.rules}
    suppressed = [Suppressed(rule=rule, reason="failed_verification") for rule in dropped]
    suppressed += [Suppressed(rule=one.rule, reason="already") for one in results if one.reason == "already"]
    # (1) Withheld, or not to be obtained.
    reasons = {one.id: _held_back(one) for one in recommendations}
    offered = [one for one in recommendations if reasons[one.id] is None]
    suppressed += [
        Suppressed(rule=_rule(one).id, reason=reason, recommendation=one)
        for one in recommendations
        if (reason := reasons[one.id]) is not None
    ]
    # (2) Conflicts.
    offered, outranked = _settle(offered, rules, pack)
    suppressed += outranked
    # (3) Merge, and (4) rank.
    ranked = sorted(_merged(offered), key=_rank)
    # (5) One line.
    shown = [_as_line(one) if _in_line(one, old) else one for one in ranked]
    # (6) The limit.
    cards = [one for one in shown if one.display == "card"]
    harms = sum(one.category == "harm" for one in cards)
    room = max(PAGE_CARDS, harms)
    suppressed += [Suppressed(rule=_rule(one).id, reason="limit", recommendation=one) for one in cards[room:]]
    lines = [one for one in shown if one.display == "line"]
    # (7) What a model noted.
    suppressed += [Suppressed(rule=BY_MODEL, reason="limit", recommendation=one) for one in noted[NOTED_CARDS:]]
    return Presentation(recommendations=(*cards[:room], *lines, *noted[:NOTED_CARDS]), suppressed=tuple(suppressed))


def _held_back(recommendation: Recommendation) -> str | None:
    if recommendation.stance == "withheld":
        return "withheld"
    undecided = {leaf.why for leaf in _undecided(recommendation)}
    if recommendation.stance == "obtain" and recommendation.category != "harm" and undecided == {"incomplete"}:
        return "incomplete"
    return None


def _rank(recommendation: Recommendation) -> tuple[int, int, bool, str]:
    return (
        _TIERS.index(_tier(recommendation)),
        _URGENCIES.index(recommendation.urgency),
        recommendation.stance == "obtain",
        _rule(recommendation).id,
    )


def _tier(recommendation: Recommendation) -> str:
    """What decides something is decisive; a test that is merely overdue comes after what would be treated."""
    if recommendation.category != "harm" and recommendation.stance == "obtain":
        return "obtain"
    return recommendation.category


def _in_line(recommendation: Recommendation, old: bool) -> bool:
    """Prevention is one line; in an old chart so is what merely was not measured since (clinical: 4)."""
    return recommendation.category == "prevention" or (old and _only_overdue(recommendation))


def _only_overdue(recommendation: Recommendation) -> bool:
    """Whether it rests on nothing but something not having been done or measured lately."""
    return recommendation.category == "missing_data" and recommendation.stance == "option"


def _as_line(recommendation: Recommendation) -> Recommendation:
    return recommendation.model_copy(update={"display": "line"})


def _settle(
    recommendations: Sequence[Recommendation], rules: dict[str, Rule], pack: Pack
) -> tuple[list[Recommendation], list[Suppressed]]:
    """Opposed positions on the same drugs: harm outranks an indication; equals become a conflict (clinical: 13)."""
    settled = sorted(recommendations, key=_rank)
    suppressed: list[Suppressed] = []
    for starting in [one for one in settled if rules[_rule(one).id].action.direction == "start"]:
        against = next(
            (one for one in settled if _opposed(rules[_rule(one).id], rules[_rule(starting).id], pack)), None
        )
        if against is None or "obtain" in (against.stance, starting.stance):
            continue  # what is undecided outranks nothing
        settled.remove(starting)
        if against.category == "harm" and starting.category != "harm":
            reason = f"outranked by {_rule(against).id}"
            suppressed.append(Suppressed(rule=_rule(starting).id, reason=reason, recommendation=starting))
        else:
            settled[settled.index(against)] = _conflict(against, starting)
    return settled, suppressed


def _conflict(one: Recommendation, other: Recommendation) -> Recommendation:
    """One card with both positions, their publishers and strengths, and without either proposal."""
    return _combined(
        [one, other],
        stance="conflict",
        title=f"Positions differ: {one.title} · {other.title}",
        claims=tuple(claim for claim in _all_claims([one, other]) if claim.kind != "proposal"),
        warnings=(
            f"Two positions: {_graded(one)} and {_graded(other)} point in opposite directions; neither is proposed.",
            *one.warnings,
            *other.warnings,
        ),
    )


def _rule(recommendation: Recommendation) -> RuleRef:
    """The rule behind a recommendation of the engine's; only a model's has none, and is presented apart."""
    if recommendation.rule is None:
        raise RuleError(f"{recommendation.id}: no rule stands behind it, so it cannot be ranked among rules")
    return recommendation.rule


def _graded(recommendation: Recommendation) -> str:
    """Who says it, and how strongly."""
    strength = recommendation.strength
    publisher = _rule(recommendation).publisher
    return publisher if strength is None else f"{publisher} ({strength.scale}: {strength.grade})"


def _opposed(against: Rule, starting: Rule, pack: Pack) -> bool:
    first, second = against.action.medication, starting.action.medication
    if first is None or second is None or against.action.direction not in _OPPOSED:
        return False
    if against.action.direction == "review" and against.category != "harm":
        return False
    codes = [pack.value_sets[name].codes_by_uri for name in (first, second)]
    return first == second or any(codes[0].get(system, frozenset()) & codes[1][system] for system in codes[1])


def _merged(recommendations: Iterable[Recommendation]) -> list[Recommendation]:
    """What agrees becomes one; what is undecided joins what is met, where it is all about the same action."""
    groups = _grouped(recommendations)
    met = {group[0].action: group for group in groups if group[0].stance != "obtain"}
    apart: list[list[Recommendation]] = []
    for group in (group for group in groups if group[0].stance == "obtain"):
        actions = {one.action for one in group}
        if len(actions) == 1 and group[0].action in met:
            met[group[0].action].extend(group)
        else:
            apart.append(group)
    return [_merge(group) for group in (*met.values(), *apart)]


def _grouped(recommendations: Iterable[Recommendation]) -> list[list[Recommendation]]:
    """Met ones by action; undecided ones by action or by what would decide them."""
    groups: list[tuple[set[tuple[str, ...]], list[Recommendation]]] = []
    for recommendation in sorted(recommendations, key=_rank):
        names = _names(recommendation)
        joined = [group for group in groups if group[0] & names]
        members = [one for group in joined for one in group[1]]
        groups = [group for group in groups if group not in joined]
        groups.append((names.union(*(group[0] for group in joined)), [*members, recommendation]))
    return [members for _, members in groups]


def _names(recommendation: Recommendation) -> set[tuple[str, ...]]:
    if recommendation.stance != "obtain":
        return {("do", recommendation.action)}
    return {("obtain for", recommendation.action), ("obtain", *_undecided_readings(recommendation))}


def _undecided_readings(recommendation: Recommendation) -> tuple[str, ...]:
    """What was searched for the leaf that alone is unknown."""
    return tuple(sorted({name for leaf in _undecided(recommendation) for name in leaf.readings})) or (
        _rule(recommendation).id,
    )


def _undecided(recommendation: Recommendation) -> list[Leaf]:
    """The unknown leaves of what makes the rule apply."""
    criteria = (claim.proposition for claim in recommendation.claims if isinstance(claim.proposition, Criterion))
    deciding = [one.tree for one in criteria if one.part in ("population", "criteria")]
    return [leaf for tree in deciding for leaf in leaves(tree) if leaf.truth is Truth.UNKNOWN]


def _merge(group: list[Recommendation]) -> Recommendation:
    """The strongest leads, and what is met leads what is undecided."""
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=lambda one: (one.stance == "obtain", _rank(one)))
    warnings = tuple(dict.fromkeys(warning for one in ordered for warning in one.warnings))
    return _combined(ordered, claims=_all_claims(ordered), warnings=warnings)


def _combined(group: list[Recommendation], **changes: object) -> Recommendation:
    """Several verified recommendations on one card; its id follows from theirs, and the drafts give those again."""
    first, *rest = group
    strongest = min(group, key=_rank)
    return first.model_copy(
        update={
            "id": content_id("recommendation", [one.id for one in group]),
            "category": strongest.category,
            "urgency": min((one.urgency for one in group), key=_URGENCIES.index),
            "also": (*first.also, *(rule for one in rest for rule in (_rule(one), *one.also))),
            **changes,
        }
    )


def _all_claims(group: list[Recommendation]) -> tuple[Claim, ...]:
    """Each claim once, in the order of the group."""
    return tuple({claim.id: claim for one in group for claim in one.claims}.values())
