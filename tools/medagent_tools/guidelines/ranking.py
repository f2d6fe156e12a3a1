# SPDX-License-Identifier: Apache-2.0
"""Plain ranking of texts by words: Okapi BM25, deterministic, without an index of its own.

Source: Robertson S, Zaragoza H. The Probabilistic Relevance Framework: BM25 and Beyond. Found Trends Inf Retr
2009;3(4), with the usual k1 = 1.2, b = 0.75 and the idf that is never negative.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_SATURATION, _LENGTH = 1.2, 0.75
_WORD = re.compile(r"\w+")
_FORGETTABLE = frozenset("a an and are as at be by for from in is it of on or that the to was with".split())  # noqa: SIM905 - reads as words
_SHORTEST_PLURAL = 4  # letters; shorter words keep their s
_TEXTS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text that holds at least one of the words."""

    place: int
    """Its place among those that were ranked."""
    score: float


def ranked(query: str, texts: Sequence[str]) -> list[Ranked]:
    """The texts that hold a word of the query, best first; of equal ones the first."""
    wanted = tuple(dict.fromkeys(words(query)))
    counts = [_counted(text) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    weights = {word: _weight(sum(word in count for count in counts), len(texts)) for word in wanted}
    found: list[Ranked] = []
    for place, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        tempered = _SATURATION * (1 - _LENGTH + _LENGTH * length / mean)
        score = sum(
            weights[word] * count[word] * (_SATURATION + 1) / (count[word] + tempered) for word in wanted if count[word]
        )
        if score > 0:
            found.append(Ranked(place, score))
    return sorted(found, key=lambda one: (-one.score, one.place))


def words(text: str) -> list[str]:
    """What is compared: no case, no accents, no plural s, no words that say nothing."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return [_stem(word) for word in _WORD.findall(plain) if word not in _FORGETTABLE]


def _stem(word: str) -> str:
    plural = len(word) >= _SHORTEST_PLURAL and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if plural else word


def _weight(holding: int, all_: int) -> float:
    return math.log(1 + (all_ - holding + 0.5) / (holding + 0.5))


@lru_cache(maxsize=_TEXTS_KEPT)  # the texts of a pack are asked again by every run
def _counted(text: str) -> Counter[str]:
    return Counter(words(text))
