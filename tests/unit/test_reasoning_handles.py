# SPDX-License-Identifier: Apache-2.0
"""Short names for evidence: one each, in the order in which it is told, and the same when it is told again."""

import pytest

from medagent_workflows.reasoning.handles import Handles

TOLD = ("fact-b", "reading-a", "fact-a", "calculation-x", "passage-p", "image-i", "fact-b", "reading-b")


def test_names_are_counted_by_kind_in_the_order_told() -> None:
    handles = Handles()
    assert [handles.name(one) for one in TOLD] == ["f1", "r1", "f2", "c1", "p1", "i1", "f1", "r2"]


def test_telling_the_same_again_gives_the_same_names() -> None:
    first, second = Handles(), Handles()
    assert [first.name(one) for one in TOLD] == [second.name(one) for one in TOLD]
    assert Handles(first.known).known == first.known


def test_what_was_told_is_known_in_its_order_once() -> None:
    handles = Handles(TOLD)
    assert handles.known == tuple(dict.fromkeys(TOLD))


def test_a_name_leads_back_to_its_evidence() -> None:
    handles = Handles(TOLD)
    assert {name: handles.evidence(name) for name in ("f2", "r2")} == {"f2": "fact-a", "r2": "reading-b"}


@pytest.mark.parametrize("invented", ["f3", "F1", "f01", "f1 ", "", "fact-b", "ﬀ1"])
def test_a_name_that_was_never_given_leads_nowhere(invented: str) -> None:
    assert Handles(TOLD).evidence(invented) is None


def test_trying_names_out_gives_none_away() -> None:
    handles = Handles(TOLD)
    trial = handles.copy()
    assert trial.name("fact-new") == "f3"
    assert handles.evidence("f3") is None


def test_names_are_found_by_kind() -> None:
    assert Handles(TOLD).beginning_with("fc") == ("f1", "f2", "c1")
