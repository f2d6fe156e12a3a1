# SPDX-License-Identifier: Apache-2.0
"""What is shown of verified recommendations, and in which order."""

import pytest
from builders.recommendations import noted_by_model, pack_of, recommendation, result, rule, value_set

from medagent.records import Recommendation
from medagent_workflows.presentation import Presentation, present


def name_of(one: Recommendation) -> str:
    """Of its rule; of what a model noted, whose it is."""
    return one.rule.id if one.rule is not None else one.author


def shown(presentation: Presentation) -> list[str]:
    return [name_of(one) for one in presentation.recommendations]


def reasons(presentation: Presentation) -> dict[str, str]:
    return {one.rule: one.reason for one in presentation.suppressed}


def presented(*recommendations: Recommendation, old: bool = False) -> Presentation:
    names = [name_of(one) for one in recommendations if one.rule is not None]
    pack = pack_of(*(rule(name) for name in names))
    return present(recommendations, [result(name) for name in names], pack, old=old)


def test_harm_leads_then_decisive_missing_data_then_gaps_then_overdue_tests_then_prevention() -> None:
    """clinical: 16"""
    presentation = presented(
        recommendation("screening", category="prevention"),
        recommendation("overdue", category="missing_data"),
        recommendation("statin", category="treatment_gap"),
        recommendation("undecided", category="treatment_gap", stance="obtain", undecided="reading-creatinine"),
        recommendation("metformin", category="harm"),
    )
    assert shown(presentation) == ["metformin", "undecided", "statin", "overdue", "screening"]


def test_within_a_category_the_more_urgent_leads() -> None:
    presentation = presented(recommendation("a-mild"), recommendation("b-urgent", urgency="warning"))
    assert shown(presentation) == ["b-urgent", "a-mild"]


def test_at_most_five_are_shown_and_the_rest_is_kept_with_its_reason() -> None:
    """clinical: 16"""
    presentation = presented(*(recommendation(f"gap-{number}") for number in range(7)))
    assert shown(presentation) == [f"gap-{number}" for number in range(5)]
    assert reasons(presentation) == {"gap-5": "limit", "gap-6": "limit"}
    assert all(one.recommendation is not None for one in presentation.suppressed)


def test_harm_is_never_cut_by_the_limit() -> None:
    """clinical: 16"""
    presentation = presented(
        *(recommendation(f"harm-{number}", category="harm") for number in range(7)), recommendation("gap")
    )
    assert shown(presentation) == [f"harm-{number}" for number in range(7)]
    assert reasons(presentation) == {"gap": "limit"}


def test_prevention_is_one_line_beside_the_cards() -> None:
    """clinical: 16"""
    gaps = [recommendation(f"gap-{number}") for number in range(6)]
    lines = [recommendation(f"screening-{number}", category="prevention") for number in range(3)]
    presentation = presented(*gaps, *lines)
    displays = [one.display for one in presentation.recommendations]
    assert displays == ["card"] * 5 + ["line"] * 3
    assert reasons(presentation) == {"gap-5": "limit"}


def test_in_an_old_chart_what_is_only_overdue_joins_the_line() -> None:
    """clinical: 4"""
    overdue = recommendation("hba1c", category="missing_data")
    assert presented(overdue, old=False).recommendations[0].display == "card"
    assert presented(overdue, old=True).recommendations[0].display == "line"


def test_in_an_old_chart_harm_stays_a_card() -> None:
    """clinical: 4"""
    assert presented(recommendation("metformin", category="harm"), old=True).recommendations[0].display == "card"


def test_what_is_withheld_is_not_shown_but_kept_with_its_reason() -> None:
    """clinical: 12"""
    presentation = presented(recommendation("statin", stance="withheld"))
    assert shown(presentation) == []
    assert reasons(presentation) == {"statin": "withheld"}


@pytest.mark.parametrize(
    ("category", "why", "kept"),
    [
        ("treatment_gap", "incomplete", False),
        ("treatment_gap", "missing", True),
        ("treatment_gap", "stale", True),
        ("harm", "incomplete", True),
    ],
)
def test_what_is_undecided_for_want_of_a_complete_source_is_asked_only_for_harm(
    category: str, why: str, kept: bool
) -> None:
    """clinical: 17"""
    undecided = recommendation("one", stance="obtain", undecided="reading-1", why=why, category=category)
    presentation = presented(undecided)
    assert shown(presentation) == (["one"] if kept else [])
    assert reasons(presentation) == ({} if kept else {"one": "incomplete"})


def test_a_rule_whose_draft_failed_a_check_is_named() -> None:
    presentation = present([], [result("metformin")], pack_of(rule("metformin")), old=False, dropped=["metformin"])
    assert reasons(presentation) == {"metformin": "failed_verification"}


def test_what_is_done_already_is_named_as_suppressed() -> None:
    """clinical: 15"""
    presentation = present([], [result("statin", "not_met", "already")], pack_of(rule("statin")), old=False)
    assert reasons(presentation) == {"statin": "already"}


def test_rules_that_agree_on_an_action_are_merged_and_all_are_cited() -> None:
    """clinical: 15"""
    presentation = presented(
        recommendation("ada", action="start-statin"), recommendation("acc", action="start-statin", urgency="warning")
    )
    (merged,) = presentation.recommendations
    assert name_of(merged) == "acc"
    assert [one.id for one in merged.also] == ["ada"]
    assert {claim.id for claim in merged.claims} == {"claim-ada", "claim-acc"}


def test_undecided_rules_are_grouped_by_what_would_decide_them() -> None:
    """clinical: 17"""
    presentation = presented(
        recommendation("one", stance="obtain", undecided="reading-creatinine"),
        recommendation("two", stance="obtain", undecided="reading-creatinine"),
        recommendation("three", stance="obtain", undecided="reading-pack-years"),
    )
    assert [[name_of(one), *(rule.id for rule in one.also)] for one in presentation.recommendations] == [
        ["one", "two"],
        ["three"],
    ]


def test_undecided_rules_with_one_action_are_one_card() -> None:
    """clinical: 17"""
    presentation = presented(
        recommendation("systolic", stance="obtain", undecided="reading-systolic", action="review-pressure"),
        recommendation("diastolic", stance="obtain", undecided="reading-diastolic", action="review-pressure"),
    )
    assert sorted([name_of(one), *(rule.id for rule in one.also)] for one in presentation.recommendations) == [
        ["diastolic", "systolic"]
    ]


def test_what_is_undecided_joins_what_is_met_for_the_same_action_and_keeps_the_higher_rank() -> None:
    """clinical: 15, 16"""
    presentation = presented(
        recommendation("below-30", stance="obtain", undecided="reading-1", action="review-drug", category="harm"),
        recommendation("below-45", action="review-drug", category="treatment_gap"),
    )
    (card,) = presentation.recommendations
    assert (name_of(card), card.stance, card.category) == ("below-45", "option", "harm")
    assert [one.id for one in card.also] == ["below-30"]


def test_what_is_undecided_for_several_actions_stays_a_card_of_its_own() -> None:
    """clinical: 17"""
    presentation = presented(
        recommendation("drug", stance="obtain", undecided="reading-1", action="review-drug"),
        recommendation("other", stance="obtain", undecided="reading-1", action="review-other"),
        recommendation("met", action="review-drug"),
    )
    assert sorted(sorted([name_of(one), *(rule.id for rule in one.also)]) for one in presentation.recommendations) == [
        ["drug", "other"],
        ["met"],
    ]


def test_a_merged_card_has_an_id_of_its_own() -> None:
    one, other = recommendation("one", action="same"), recommendation("other", action="same")
    (card,) = presented(one, other).recommendations
    assert card.id not in (one.id, other.id)


@pytest.mark.parametrize("order", [("stop", "start"), ("start", "stop")], ids=["stop first", "start first"])
def test_a_contraindication_outranks_an_indication_for_the_same_drug(order: tuple[str, str]) -> None:
    """clinical: 13"""
    drugs = value_set("statins", "1", "2")
    rules = {
        "stop": rule("stop", category="harm", action={"direction": "stop", "medication": "statins"}),
        "start": rule("start", action={"direction": "start", "medication": "statins"}),
    }
    recommendations = {
        "stop": recommendation("stop", category="harm"),
        "start": recommendation("start"),
    }
    presentation = present(
        [recommendations[name] for name in order],
        [result(name) for name in order],
        pack_of(*rules.values(), value_sets=(drugs,)),
        old=False,
    )
    assert shown(presentation) == ["stop"]
    assert reasons(presentation) == {"start": "outranked by stop"}


def test_an_undecided_contraindication_outranks_nothing() -> None:
    """clinical: 13"""
    rules = (
        rule("stop", category="harm", action={"direction": "stop", "medication": "statins"}),
        rule("start", action={"direction": "start", "medication": "statins"}),
    )
    presentation = present(
        [
            recommendation("stop", category="harm", stance="obtain", undecided="reading-1"),
            recommendation("start"),
        ],
        [result("stop", "unknown"), result("start")],
        pack_of(*rules, value_sets=(value_set("statins", "1"),)),
        old=False,
    )
    assert shown(presentation) == ["stop", "start"]


def test_equal_positions_that_oppose_each_other_become_one_card_that_proposes_neither() -> None:
    """clinical: 13"""
    rules = (
        rule("stop", action={"direction": "stop", "medication": "aspirin"}),
        rule("start", action={"direction": "start", "medication": "antiplatelets"}),
    )
    sets = (value_set("aspirin", "1191"), value_set("antiplatelets", "1191", "32968"))
    presentation = present(
        [recommendation("stop"), recommendation("start")],
        [result("stop"), result("start")],
        pack_of(*rules, value_sets=sets),
        old=False,
    )
    (card,) = presentation.recommendations
    assert card.stance == "conflict"
    assert {name_of(card), *(one.id for one in card.also)} == {"start", "stop"}
    assert "neither is proposed" in card.warnings[0]
    assert {claim.kind for claim in card.claims} == {"criterion"}


def test_starting_one_drug_and_stopping_another_is_no_conflict() -> None:
    """clinical: 13"""
    rules = (
        rule("stop", action={"direction": "stop", "medication": "nsaids"}),
        rule("start", action={"direction": "start", "medication": "statins"}),
    )
    sets = (value_set("nsaids", "5640"), value_set("statins", "83367"))
    presentation = present(
        [recommendation("stop"), recommendation("start")],
        [result("stop"), result("start")],
        pack_of(*rules, value_sets=sets),
        old=False,
    )
    assert [one.stance for one in presentation.recommendations] == ["option", "option"]


def test_the_order_of_what_comes_in_decides_nothing() -> None:
    recommendations = [
        recommendation("b", action="same"),
        recommendation("a", action="same"),
        recommendation("c", category="harm"),
        recommendation("d", stance="obtain", undecided="reading-1"),
    ]
    assert presented(*recommendations) == presented(*reversed(recommendations))


def test_what_a_model_noted_comes_last() -> None:
    presentation = presented(noted_by_model(), recommendation("screening", category="prevention"), recommendation("a"))
    assert shown(presentation) == ["a", "screening", "model"]


def test_what_a_model_noted_takes_no_place_of_a_guidelines_card() -> None:
    """clinical: 16"""
    guidelines = [recommendation(name) for name in ("a", "b", "c", "d", "e")]
    presentation = presented(*guidelines, noted_by_model())
    assert shown(presentation) == ["a", "b", "c", "d", "e", "model"]
    assert presentation.suppressed == ()


def test_what_a_model_noted_merges_with_nothing() -> None:
    presentation = presented(recommendation("a", action="none"), noted_by_model())
    assert shown(presentation) == ["a", "model"]
    assert presentation.recommendations[-1] == noted_by_model()


def test_what_a_model_noted_stands_in_an_old_chart_as_well() -> None:
    """clinical: 4"""
    assert shown(presented(noted_by_model(), old=True)) == ["model"]


def test_of_two_notes_of_a_model_the_second_is_held_back() -> None:
    second = noted_by_model().model_copy(update={"id": "recommendation-second"})
    presentation = presented(noted_by_model(), second)
    assert shown(presentation) == ["model"]
    assert [(one.rule, one.reason, one.recommendation) for one in presentation.suppressed] == [
        ("model", "limit", second)
    ]
