# SPDX-License-Identifier: Apache-2.0
"""What is taken of a model server's answer."""

import json

import pytest

from medagent.model.vllm.replies import Completion, chances_of, choice_of, read


@pytest.mark.parametrize(
    ("tokens_max", "taken"),
    [
        pytest.param(2, ["a", "b"], id="no more than were asked for"),
        pytest.param(3, ["a", "b", "c"], id="as many as were asked for"),
        pytest.param(9, ["a", "b", "c"], id="fewer than were asked for"),
    ],
)
def test_log_probabilities_are_taken_of_as_many_tokens_as_were_asked_for(tokens_max: int, taken: list[str]) -> None:
    sent = [{"token": token, "logprob": -0.12345} for token in "abc"]
    body = {"choices": [{"message": {"content": "abc"}, "finish_reason": "stop", "logprobs": {"content": sent}}]}
    chances = chances_of(choice_of(read(json.dumps(body), Completion, "/v1/chat/completions")), tokens_max)
    assert [one.token for one in chances] == taken
    assert {one.logprob for one in chances} == {"-0.123"}


def test_an_answer_without_log_probabilities_has_none() -> None:
    body = {"choices": [{"message": {"content": "abc"}, "finish_reason": "stop", "logprobs": None}]}
    assert chances_of(choice_of(read(json.dumps(body), Completion, "/v1/chat/completions")), 3) == ()
