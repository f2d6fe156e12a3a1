# SPDX-License-Identifier: Apache-2.0
"""What a tool found, told within a cap and within a mark that nothing of it can end."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.model.marking import marked
from medagent_tools.seam import Line, ToolResult
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.telling import Telling, told

NOTHING_LIMITS = 100_000  # tokens


class Tokenizer:
    """Counts, at so many letters to a token, and remembers how often it was asked."""

    def __init__(self, letters: float = 3.5) -> None:
        self._letters = letters
        self.asked: list[int] = []

    async def count(self, text: str) -> int:
        self.asked.append(len(text))
        return max(1, round(len(text) / self._letters))


def result_of(*texts: str, **fields: Any) -> ToolResult:
    """A line per text, each about a fact of its own."""
    lines = tuple(Line(text=text, evidence=(f"fact-{place}", "reading-r")) for place, text in enumerate(texts))
    return ToolResult(heading="What was found", lines=lines, **({"total": len(lines)} | fields))


def telling(
    result: ToolResult, tokens_max: int = NOTHING_LIMITS, handles: Handles | None = None, letters: float = 3.5
) -> Telling:
    return asyncio.run(told("list_labs", result, handles or Handles(), Tokenizer(letters).count, tokens_max))


def test_a_result_is_told_line_by_line_under_short_names() -> None:
    assert telling(result_of("2024-03-02, HbA1c 8.1 %", "2023-03-02, HbA1c 7.2 %")).text == (
        '<data tool="list_labs">\n'
        "What was found\n"
        "[f1 r1] 2024-03-02, HbA1c 8.1 %\n"
        "[f2 r1] 2023-03-02, HbA1c 7.2 %\n"
        "(2 of 2 lines.)\n"
        "</data>"
    )


def test_a_line_without_evidence_has_no_name() -> None:
    assert "\nNone found.\n" in telling(ToolResult(heading="H", lines=(Line(text="None found."),), total=1)).text


def test_nothing_to_tell_is_said() -> None:
    assert "(No lines.)" in telling(ToolResult(heading="H")).text


@pytest.mark.parametrize("letters", [1.0, 2.5, 3.5, 6.0])
@pytest.mark.parametrize("tokens_max", [60, 150, 400, 1_000])
def test_what_is_told_fits_the_cap_and_says_what_is_missing(letters: float, tokens_max: int) -> None:
    result = result_of(*(f"2024-03-{day % 28 + 1:02}, a value of {day} mg/dL" for day in range(300)))
    found = telling(result, tokens_max, letters=letters)
    assert found.tokens <= tokens_max or found.shown == 0
    assert found.shown < found.total == 300
    if found.shown:
        assert f"(Lines 1 to {found.shown} of 300. For more: offset {found.shown}," in found.text
    else:
        assert "(0 of 300 lines: none fits." in found.text


def test_most_of_the_cap_is_used() -> None:
    result = result_of(*(f"2024, a value of {place} mg/dL" for place in range(300)))
    assert telling(result, 1_000).tokens > 800


def test_a_page_says_where_it_stands() -> None:
    assert "(Lines 21 to 22 of 50. For more: offset 22," in telling(result_of("a", "b", total=50, offset=20)).text
    assert "(Lines 49 to 50 of 50; the earlier ones" in telling(result_of("a", "b", total=50, offset=48)).text


def test_names_are_given_only_to_what_is_shown() -> None:
    handles = Handles()
    found = telling(result_of(*(f"line {place} of many" for place in range(100))), 80, handles)
    assert 0 < found.shown < 100
    assert handles.known == ("fact-0", "reading-r", *(f"fact-{place}" for place in range(1, found.shown)))


def test_the_tokenizer_is_asked_a_few_times_whatever_the_length() -> None:
    tokenizer = Tokenizer(1.2)
    result = result_of(*(f"a line of text, number {place}" for place in range(5_000)))
    asyncio.run(told("t", result, Handles(), tokenizer.count, 500))
    assert len(tokenizer.asked) <= 6
    assert max(tokenizer.asked) <= 500 * 6


def is_closed_in(text: str) -> bool:
    """Whether the text is one mark, opened first and closed last, with nothing between that looks like either."""
    lines = text.split("\n")
    inner = "\n".join(lines[1:-1])
    return (
        lines[0] == '<data tool="list_labs">'
        and lines[-1] == "</data>"
        and len(lines) == 5
        and re.search(r"[<＜]\s*[/a-z|!]", inner, re.IGNORECASE) is None
    )


def strings(value: object) -> Iterator[str]:
    """All texts of a parsed file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.items() for part in item for text in strings(part))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))


@pytest.mark.data
def test_no_injected_string_leaves_its_line_or_its_mark(shared_data: Path) -> None:
    files = sorted((shared_data / "injection").rglob("*.json")) + sorted((shared_data / "injection").rglob("*.yaml"))
    texts = {
        text
        for file in files
        for text in strings(
            json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())
        )
    }
    assert len(texts) > 100
    for text in texts:
        for said in (text, f"</data>\n{text}", marked(text, 4_000)):
            assert is_closed_in(telling(result_of(said)).text), "a string of the injection data leaves its mark"


_PIECES = ("</data>", "<", "＜", "/", "data", ">", "\n", " ", "\u2028", "«", "»", "\u200d", "|", "im_start")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(_PIECES)).map("".join))
def test_no_text_at_all_leaves_its_line_or_its_mark(text: str) -> None:
    assert is_closed_in(telling(result_of(text)).text)
    assert is_closed_in(telling(result_of("x").model_copy(update={"heading": text})).text)
