# SPDX-License-Identifier: Apache-2.0
"""Short names for evidence: a model copies `f12` where it would garble `fact-q7x…`, and tokens are dear.

They are given in the order in which evidence is told, so telling the same again gives the same names: a run that
resumes needs none of them stored.
"""

from collections.abc import Iterable, Mapping, Sequence

_LETTERS: Mapping[str, str] = {"fact": "f", "reading": "r", "calculation": "c", "passage": "p", "image": "i"}
"""By the kind of evidence, with which its id begins."""


class Handles:
    """The names given out in one run. An id has one name, however often it is told."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known`: ids that were named before, in that order."""
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        for evidence_id in known:
            self.name(evidence_id)

    @property
    def known(self) -> tuple[str, ...]:
        """Ids of the evidence that has a name, in the order in which it was named."""
        return tuple(self._names)

    def name(self, evidence_id: str) -> str:
        """The name of this evidence, given now where it has none yet."""
        known = self._names.get(evidence_id)
        if known is not None:
            return known
        letter = _LETTERS[evidence_id.partition("-")[0]]  # every kind of evidence has a letter
        self._counts[letter] = self._counts.get(letter, 0) + 1
        handle = f"{letter}{self._counts[letter]}"
        self._ids[handle] = evidence_id
        self._names[evidence_id] = handle
        return handle

    def evidence(self, handle: str) -> str | None:
        """The id behind a name. None: it was never given out."""
        return self._ids.get(handle)

    def beginning_with(self, letters: str) -> Sequence[str]:
        """The names with one of these letters, in order."""
        return tuple(handle for handle in self._ids if handle[0] in letters)

    def copy(self) -> "Handles":
        """The same names, to try out what further ones would be."""
        return Handles(self._names)
