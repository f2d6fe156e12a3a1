# SPDX-License-Identifier: Apache-2.0
"""A struggling server is not asked more than it can bear: the budget of retries, and how long it asks us to wait."""

from datetime import UTC, datetime

import pytest

from medagent.retries import RetryBudget, seconds_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, 0.0, id="absent"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Sun, 01 Mar 2026 12:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sun, 01 Mar 2026 11:00:00 GMT", 0.0, id="a date that has passed"),
        pytest.param("soon", 0.0, id="neither"),
        pytest.param("-5", 0.0, id="less than nothing"),
        pytest.param("²", 0.0, id="a digit that is none of ASCII's"),
        pytest.param("9" * 400, 999_999_999.0, id="more than a double holds"),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float) -> None:
    assert seconds_of(header, NOON) == seconds


def test_retries_are_at_most_their_share_of_calls() -> None:
    budget = RetryBudget(share=0.2, reserve=5)
    taken = 0
    for _ in range(1000):
        budget.pay_in()
        taken += sum(budget.take() for _ in range(3))
    assert 200 <= taken <= 205, "a fifth of the calls and the reserve"


def test_quiet_times_save_up_no_more_than_the_reserve() -> None:
    budget = RetryBudget(share=0.2, reserve=5)
    for _ in range(1000):
        budget.pay_in()
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]
