# SPDX-License-Identifier: Apache-2.0
"""What a tool found, as text for the model: lines under short names, marked as data, cut to a number of tokens.

Nothing inside can end the mark: of all that is told, ours or the chart's, signs that could open or close one are
replaced. How many tokens a text takes only the served model's tokenizer says; asking it costs a request, so the length
is estimated from one count and then confirmed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from medagent.model.marking import neutral
from medagent_tools.seam import Line, ToolResult
from medagent_workflows.reasoning.handles import Handles

Count = Callable[[str], Awaitable[int]]
"""How many tokens a text takes, by the served model's own tokenizer."""

_LETTERS_PER_TOKEN = 6  # more than any tokenizer gets out of dates, codes and numbers: longer texts need no count
_MARGIN = 0.95  # an estimate that is a little too long costs a further count
_TRIES = 5  # counts of one text at most; each but the first cuts by what the one before measured


@dataclass(frozen=True, slots=True)
class Telling:
    """What the model is told, and how much of what there was."""

    text: str
    tokens: int
    shown: int
    """Lines that stand in the text."""
    total: int
    """Lines that there are in all."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How many of the parts of a text fit, and what they take."""

    parts: int
    text: str
    tokens: int


def as_data(tool: str, lines: Sequence[str]) -> str:
    """Lines within a mark that nothing in them can end."""
    return "\n".join((f'<data tool="{tool}">', *map(neutral, lines), "</data>"))


def told_line(line: Line, handles: Handles) -> str:
    """A line behind the names of its evidence."""
    names = " ".join(handles.name(evidence) for evidence in dict.fromkeys(line.evidence))
    return f"[{names}] {line.text}" if names else line.text


async def told(tool: str, result: ToolResult, handles: Handles, count: Count, tokens_max: int) -> Telling:
    """A result, cut to the cap. Names are given only to what stands in the text.

    Where not even the heading fits, it is told all the same: `tokens` says what it takes.
    """
    trial = handles.copy()
    lines = tuple(told_line(line, trial) for line in result.lines)
    total = max(result.total, result.offset + len(result.lines))

    def text(shown: int) -> str:
        return as_data(tool, (result.heading, *lines[:shown], _how_many(result, shown, total)))

    fitted = await fit(text, len(lines), count, tokens_max)
    for line in result.lines[: fitted.parts]:
        told_line(line, handles)
    return Telling(fitted.text, fitted.tokens, fitted.parts, total)


async def fit(text: Callable[[int], str], parts: int, count: Count, tokens_max: int) -> Fitted:
    """The most parts whose text takes at most so many tokens, within one estimate; none, if none fits."""
    parts = _longest(text, parts, tokens_max * _LETTERS_PER_TOKEN)
    for _ in range(_TRIES):
        written = text(parts)
        tokens = await count(written)
        if tokens <= tokens_max or parts == 0:
            return Fitted(parts, written, tokens)
        parts = min(parts - 1, _longest(text, parts, int(len(written) * tokens_max / tokens * _MARGIN)))
    written = text(0)
    return Fitted(0, written, await count(written))


def _longest(text: Callable[[int], str], parts: int, letters: int) -> int:
    """The most parts whose text has at most so many letters, by bisection: texts grow with their parts."""
    least, most = 0, parts
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if len(text(middle)) <= letters else (least, middle - 1)
    return least


def _how_many(result: ToolResult, shown: int, total: int) -> str:
    """Of which lines these are how many, and how the rest is reached."""
    last = result.offset + shown
    if shown == total:
        return f"({total} of {total} lines.)" if total else "(No lines.)"
    if shown == 0:
        return f"(0 of {total} lines: none fits. Ask for less at once, or for something narrower.)"
    if last >= total:
        return f"(Lines {result.offset + 1} to {last} of {total}; the earlier ones: a smaller offset.)"
    return f"(Lines {result.offset + 1} to {last} of {total}. For more: offset {last}, or ask for something narrower.)"
