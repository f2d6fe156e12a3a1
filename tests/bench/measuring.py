# SPDX-License-Identifier: Apache-2.0
"""How the benchmarks measure and print.

The machine may be shared, so contenders take turns: what slows one round slows all of it, and ratios are taken within
a round. Processor time stands beside the time on the wall; medians stand beside what was best.
"""

import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

ROUNDS = 7

Work = Callable[[], object]
"""What is measured: a function of a module, or a `partial` of one, so that another process can be handed it."""

_PEAK = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024"
"""Not `getrusage`: its greatest resident set counts what the parent held before our program was executed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def ratios(self, base: "Timing") -> list[float]:
        """How many times the processor time of `base` it took, round by round."""
        return [mine / theirs for mine, theirs in zip(self.processor, base.processor, strict=True)]


def in_turns(contenders: Mapping[str, Work], rounds: int = ROUNDS) -> dict[str, Timing]:
    """Lets all contenders run once in each round, after one that is not counted.

    Each has a process of its own: Python's collector looks through all objects of a process, so in one for all
    everybody would pay for the models of the others.
    """
    timings = {name: Timing() for name in contenders}
    with ExitStack() as processes:
        context = get_context("spawn")
        pools = {name: processes.enter_context(ProcessPoolExecutor(1, mp_context=context)) for name in contenders}
        for counted in (False, *[True] * rounds):
            for name, work in contenders.items():
                wall, processor = pools[name].submit(_timed, work).result()
                if counted:
                    timings[name].wall.append(wall)
                    timings[name].processor.append(processor)
    return timings


def _timed(work: Work) -> tuple[float, float]:
    gc.collect()
    wall, processor = time.perf_counter(), _processor_time()
    made = work()
    took = time.perf_counter() - wall, _processor_time() - processor
    del made  # freed after the clock has stopped, for everybody
    return took


def _processor_time() -> float:
    """Processor seconds of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_memory(program: str, *arguments: str | Path) -> int:
    """Bytes at the peak of a program, in a process of its own, above those at the line `IMPORTED = PEAK()`."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc/self/status to tell the peak of memory")
    tests = str(Path(__file__).parents[1])
    text = f"import sys; sys.path.append({tests!r})\nPEAK = lambda: {_PEAK}\n{program}\nprint(PEAK() - IMPORTED)\n"
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own program
    return int(done.stdout.split()[-1])


def milliseconds(times: Sequence[float]) -> str:
    """Median, and the least in parentheses."""
    middle, least = median(times) * 1e3, min(times) * 1e3
    digits = 0 if middle >= 20 else 1
    return f"{middle:,.{digits}f} ({least:,.{digits}f})"


def spread(ratios: Sequence[float]) -> str:
    """Median, and the extremes."""
    return f"{median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"


def percent(shares: Sequence[float]) -> str:
    """Median, and the extremes, of shares."""
    return f"{median(shares):.1%} ({min(shares):.1%}–{max(shares):.1%})"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Prints a table below its title; numbers stand to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=110, highlight=False)
    console.print(f"\n\n[bold]{title}[/bold]\n")
    console.print(table)
    if note:
        console.print(f"[dim]{note}[/dim]")
