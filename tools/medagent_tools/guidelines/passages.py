# SPDX-License-Identifier: Apache-2.0
"""A kept guideline text as passages: its paragraphs, with their offsets and the heading that they stand under.

What a passage is called must stand in the text itself, so that it can be checked: a short line that ends like a
heading, else the text's first line.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from medagent.canonical import content_id
from medagent.evidence import Passage
from medagent.rules import Guideline

_PARAGRAPH = re.compile(r"\S(?:[^\n]*\n(?![^\S\n]*\n))*[^\n]*")
_LONGEST = 2_000  # characters; a longer paragraph is cut after a sentence
_SENTENCE_END = re.compile(r"[.!?]\s")
_HEADING_MAX = 100  # characters
_TEXTS_KEPT = 64


def passages_of(guideline: Guideline, sha256: str, text: str) -> tuple[Passage, ...]:
    """Every paragraph of a text that this edition keeps."""
    return tuple(
        Passage(
            id=content_id("passage", [guideline.id, guideline.edition, section, sha256, start, end]),
            guideline=guideline.id,
            edition=guideline.edition,
            section=section,
            sha256=sha256,
            start=start,
            end=end,
        )
        for start, end, section in _paragraphs(text)
    )


@lru_cache(maxsize=_TEXTS_KEPT)
def _paragraphs(text: str) -> tuple[tuple[int, int, str], ...]:
    """Start, end and heading of each paragraph that is no heading itself."""
    first = _PARAGRAPH.search(text)
    section = "" if first is None else first.group().partition("\n")[0].strip()[:_HEADING_MAX]
    found: list[tuple[int, int, str]] = []
    for paragraph in _PARAGRAPH.finditer(text):
        said = paragraph.group().rstrip()
        if _is_heading(said):
            section = said.lstrip("# ").strip() or section
            continue
        start = paragraph.start()
        found += [(first, last, section) for first, last in _cut(text, start, start + len(said))]
    return tuple(found)


def _is_heading(said: str) -> bool:
    """One short line that is no sentence."""
    return "\n" not in said and len(said) <= _HEADING_MAX and (said.startswith("#") or said[-1] not in ".!?:;,")


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A paragraph in pieces of at most so many characters, after the end of a sentence where there is one."""
    while end - start > _LONGEST:
        ends = [sentence.end() for sentence in _SENTENCE_END.finditer(text, start, start + _LONGEST)]
        last = ends[-1] if ends else start + _LONGEST
        yield start, last
        start = last
    yield start, end
