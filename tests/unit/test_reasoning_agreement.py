# SPDX-License-Identifier: Apache-2.0
"""Of several samples of one draft only what enough of them say stays."""

import pytest
from builders.fhir import Json
from builders.reasoning import IMAGE, Situation, hypothesis, image_reading, presence, situation
from builders.screening import has

from medagent.propositions import AnyProposition, Hypothesis, ImageReading
from medagent_workflows.reasoning.agreement import Agreed, agreed
from medagent_workflows.reasoning.compiling import Compiled


@pytest.fixture(scope="module")
def told() -> Situation:
    """A chart with two conditions, and an image."""
    found = situation(has("condition", "diabetes", onset="2015"), has("condition", "bronchitis", onset="2026-01"))
    found.tell(IMAGE)
    return found


@pytest.fixture(scope="module")
def diabetes(told: Situation) -> Json:
    return presence(told.fact("diabetes", "Condition"), "active")


@pytest.fixture(scope="module")
def bronchitis(told: Situation) -> Json:
    return presence(told.fact("bronchitis", "Condition"), "active")


def kept(found: Agreed) -> tuple[AnyProposition, ...]:
    assert found.compiled is not None
    assert found.compiled.considerations is not None
    return found.compiled.considerations.propositions


def test_what_most_say_stays_and_the_rest_goes(told: Situation, diabetes: Json, bronchitis: Json) -> None:
    found = agreed([told.draft(diabetes, bronchitis), told.draft(bronchitis), told.draft(bronchitis)], needed=2)
    (one,) = kept(found)
    assert one == told.only(bronchitis)
    assert (found.agreement.samples, found.agreement.needed) == (3, 2)
    assert dict(found.agreement.agreed) == {one.id: 3}


def test_a_sample_counts_once_for_what_it_says(told: Situation, diabetes: Json, bronchitis: Json) -> None:
    twice = told.draft(diabetes, diabetes)
    assert agreed([twice, told.draft(bronchitis)], needed=2).compiled is None


def test_samples_without_anything_in_common_disagree(told: Situation, diabetes: Json, bronchitis: Json) -> None:
    found = agreed([told.draft(diabetes), told.draft(bronchitis)], needed=2)
    assert found.compiled is None
    assert dict(found.agreement.agreed) == {}


def test_a_sample_that_could_not_be_used_says_nothing(told: Situation, diabetes: Json) -> None:
    found = agreed([None, told.draft(diabetes), Compiled()], needed=2)
    assert found.compiled is None
    assert found.agreement.samples == 3


def test_a_proposal_needs_as_many(told: Situation, diabetes: Json) -> None:
    proposal = {"kind": "proposal", "rule": "rule"}
    found = agreed([told.draft(proposal), told.draft(proposal, diabetes)], needed=2)
    assert found.compiled is not None
    assert found.compiled.drafts == told.screening.drafts
    assert found.compiled.considerations is None
    assert agreed([told.draft(proposal), told.draft(diabetes)], needed=2).compiled is None


def test_thoughts_agree_whatever_their_case_and_punctuation(told: Situation, diabetes: Json) -> None:
    first = told.draft(diabetes, hypothesis("It may have lasted long.", 1))
    second = told.draft(diabetes, hypothesis("it MAY have lasted – long", 1))
    found = agreed([first, second], needed=2)
    thought = kept(found)[-1]
    assert isinstance(thought, Hypothesis)
    assert thought.text == "It may have lasted long."
    assert found.agreement.agreed[thought.id] == 2


def test_thoughts_that_rest_on_different_things_are_different(
    told: Situation, diabetes: Json, bronchitis: Json
) -> None:
    first = told.draft(diabetes, bronchitis, hypothesis("It may last.", 1))
    second = told.draft(diabetes, bronchitis, hypothesis("It may last.", 2))
    assert {one.kind for one in kept(agreed([first, second], needed=2))} == {"presence"}


def test_a_thought_rests_on_the_wording_that_stays(told: Situation) -> None:
    """Each sample worded its reading of the image in its own way."""
    first = told.draft(image_reading("i1", "A round opacity"), hypothesis("It may be old.", 1))
    second = told.draft(image_reading("i1", "a round opacity."), hypothesis("It may be old.", 1))
    seen, thought = kept(agreed([first, second, None], needed=2))
    assert isinstance(seen, ImageReading)
    assert isinstance(thought, Hypothesis)
    assert seen.finding == "A round opacity"
    assert thought.supports == (seen.id,)


def test_what_stays_keeps_its_evidence(told: Situation, diabetes: Json, bronchitis: Json) -> None:
    samples = [told.draft(diabetes), told.draft(diabetes, bronchitis)]
    found = agreed(samples, needed=2)
    assert found.compiled is not None
    assert {item.id for item in samples[0].evidence} <= {item.id for item in found.compiled.evidence}
