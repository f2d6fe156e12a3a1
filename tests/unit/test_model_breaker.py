# SPDX-License-Identifier: Apache-2.0
"""A struggling model server is not asked more: the circuit breaker."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from medagent.errors import ModelError
from medagent.model.breaker import Breaker


@dataclass
class Seconds:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def fails(breaker: Breaker, error: BaseException) -> None:
    with pytest.raises(type(error)), breaker.watching():
        raise error


def down() -> ModelError:
    return ModelError("unavailable", "down")


def is_open(breaker: Breaker) -> bool:
    """Tried from outside: whether a call is refused before it starts."""
    started = False
    try:
        with breaker.watching():
            started = True
            raise KeyboardInterrupt  # shows nothing of the server, so trying changes nothing
    except KeyboardInterrupt:
        pass
    except ModelError:
        return True
    return not started


def opened(seconds: Seconds) -> Breaker:
    breaker = Breaker(failures=3, pause_seconds=10, monotonic=seconds)
    for _ in range(3):
        fails(breaker, down())
    assert is_open(breaker)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(failures=3, monotonic=Seconds())
    for _ in range(2):
        fails(breaker, down())
    assert not is_open(breaker)
    fails(breaker, down())
    assert is_open(breaker)


def _answers(breaker: Breaker) -> None:
    with breaker.watching():
        pass


def _refuses(breaker: Breaker) -> None:
    fails(breaker, ModelError("refused", "no such model"))


@pytest.mark.parametrize("between", [_answers, _refuses], ids=["an answer", "a refusal, which is an answer"])
def test_failures_in_a_row_are_counted_anew_after(between: Callable[[Breaker], None]) -> None:
    breaker = Breaker(failures=3, monotonic=Seconds())
    for _ in range(4):
        fails(breaker, down())
        fails(breaker, down())
        between(breaker)
    assert not is_open(breaker)


def test_a_cancelled_call_neither_counts_nor_forgives() -> None:
    breaker = Breaker(failures=3, monotonic=Seconds())
    fails(breaker, down())
    fails(breaker, KeyboardInterrupt())
    fails(breaker, down())
    assert not is_open(breaker)
    fails(breaker, down())
    assert is_open(breaker)


def test_open_it_says_when_to_ask_again() -> None:
    seconds = Seconds()
    breaker = opened(seconds)
    seconds.now += 4
    with pytest.raises(ModelError, match=r"failed 3 times in a row .* in 6 s"), breaker.watching():
        pytest.fail("an open breaker lets nothing through")


def test_after_the_pause_one_probe_goes_through_and_its_success_closes() -> None:
    seconds = Seconds()
    breaker = opened(seconds)
    seconds.now += 10
    with breaker.watching():
        assert is_open(breaker), "a second call while the first one probes"
    assert not is_open(breaker)


def test_a_probe_that_fails_opens_for_another_pause() -> None:
    seconds = Seconds()
    breaker = opened(seconds)
    seconds.now += 10
    fails(breaker, down())
    seconds.now += 9
    assert is_open(breaker)
    seconds.now += 1
    assert not is_open(breaker)


def test_a_probe_that_is_cancelled_leaves_the_place_to_the_next() -> None:
    seconds = Seconds()
    breaker = opened(seconds)
    seconds.now += 10
    fails(breaker, KeyboardInterrupt())
    _answers(breaker)
    assert not is_open(breaker)
