# SPDX-License-Identifier: Apache-2.0
"""The moments that a process comes to in its work on a request, and at which of them it is to die.

A moment has a name that does not depend on how often processes died before, such as `before conclude tool/0/1`. Each is
noted in a file before anything else happens, so that whoever goes on knows what was done.
"""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Moment:
    """The `number`-th time, in one life, that something happens."""

    name: str
    number: int = 1

    def __str__(self) -> str:
        return self.name if self.number == 1 else f"{self.name} ({self.number})"


def noted(path: Path) -> list[Moment]:
    """The moments that a process came to, in order; none where it died before the first."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Moment(name, int(number)) for number, _, name in (line.partition(" ") for line in lines)]


class Moments:
    """Notes each moment, and ends the process at the one that it is to die at."""

    def __init__(self, notes: Path, death: Moment | None) -> None:
        self._file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._death = death
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()  # tools run in threads

    def __call__(self, name: str) -> Moment:
        """It is now."""
        with self._lock:
            self._counts[name] += 1
            moment = Moment(name, self._counts[name])
            os.write(self._file, f"{moment.number} {name}\n".encode())
            if moment == self._death:
                os.kill(os.getpid(), signal.SIGKILL)
            return moment

    def close(self) -> None:
        """There will be no more."""
        os.close(self._file)

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Before and after something."""
        self(f"before {name}")
        yield
        self(f"after {name}")


# When they die.

_KINDS = {
    "a node": ("enter ", "leave "),
    "the journal": ("before intend ", "after intend ", "before conclude ", "after conclude "),
    "a tool": ("before tool ", "after tool "),
    "the records": ("before request", "after request", "before outcome", "after outcome", "before seal", "after seal"),
    "a checkpoint": ("before checkpoint ", "after checkpoint ", "before deletion ", "after deletion "),
    "writes of a node": ("before writes ", "after writes "),
    "a question to the model's server": ("asked ",),
    "half an answer": ("half answered",),
    "a transaction": ("commit",),
}
"""What processes are killed at, by the beginning of the moment's name."""

_COUNTED = ("writes of a node", "a question to the model's server", "half an answer", "a transaction")
"""Kinds whose moments are told apart by their number alone, which is another one in the next life."""

_LIVES = 3  # that end by force, of one run


def kind_of(moment: Moment) -> str:
    """What it is a moment of."""
    (kind,) = (name for name, begins in _KINDS.items() if moment.name.startswith(begins))
    return kind


def is_named(moment: Moment) -> bool:
    """Whether its name says in each life the same. Others are told apart by their number alone."""
    return kind_of(moment) not in _COUNTED


def deaths(moments: Sequence[Moment], runs: int, seed: int) -> list[tuple[Moment, ...]]:
    """When the processes of each run die: at three moments at most, as an undisturbed run comes to them.

    For the first one each kind takes its turn as long as it has some left. The others are the next ones behind it that
    nobody died at yet, if there are any. So few runs see all kinds, and a hundred see every moment with a name. A later
    process may not come to its moment, for what is recorded is not done again; then it lives.
    """
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    shuffled = chance.sample(sorted(moments, key=str), len(moments))  # their order is not always the same
    kinds = [[one for one in shuffled if kind_of(one) == kind] for kind in _KINDS]
    firsts = [one for turn in zip_longest(*kinds) for one in turn if one is not None]
    named = [one for one in moments if is_named(one)]
    place = {one: number for number, one in enumerate(moments)}
    seen: set[Moment] = set()
    plans: list[tuple[Moment, ...]] = []
    for run in range(runs):
        plan = [firsts[run % len(firsts)]]
        while len(plan) < _LIVES and (behind := [one for one in named if place[one] > place[plan[-1]]]):
            plan.append(next((one for one in behind if one not in seen), chance.choice(behind)))
        seen.update(plan)
        plans.append(tuple(plan))
    return plans
