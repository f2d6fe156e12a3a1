# SPDX-License-Identifier: Apache-2.0
"""A model's own words: what may stand in the text of a thought or of an image reading at all.

They are shown in quotes, apart, and as the model's. That is no licence for whatever it writes: it commands nothing
(clinical: 18), names no dose and no certainty, and carries no number, address or hidden sign. The lists are English
and know that they are not whole; a text in a script that they cannot read is refused.
"""

import re
import unicodedata

from medagent.sentences import forbidden_wording

_SIGNS = frozenset(" .,;:!?'\"()/%+&-–—’‘“”…")
"""What may stand between words. No brackets, angles or backquotes: nothing that a page could take for markup."""

_LETTERS = frozenset("ßæÆøØœŒłŁđĐðÐþÞαβγδκλμωΔΩµ")
"""Letters beside those of the Latin alphabet with and without accents."""

_ADDRESS = re.compile(r"://|\bwww\.|[^\s.]{2,}\.[a-z]{2,}", re.IGNORECASE)

_COMMAND = re.compile(
    r"(?:^'?|[.;:,!?()–—]\s*|\s(?:-+\s*|')|\b(?:and|or|then|please|also|now|so)\s+)"
    r"(start|stop|begin|give|prescribe|order|administer|discontinue|reduce|refer|check|measure|repeat|take|avoid|"
    r"initiate|switch|treat|obtain|monitor|ensure|use|do|don't|perform|schedule|recommend|withhold|hold|add|test|"
    r"screen|increase|decrease|consider|evaluate|assess|review|rule out|exclude|investigate|contact|call|admit|"
    r"discharge|consult|biopsy|arrange|confirm|continue|resume|adjust|replace|transfuse|intubate|operate|inject|"
    r"infuse|vaccinate|immunise|immunize|change|remove|follow up)\b"
    r"(?!\s+(?:of|for|is|was|on|in|date|with|results?)\b)"
)
_DIRECTION = re.compile(
    r"\b(should|ought|needs? to|needed|recommend\w*|advis\w*|indicated|contraindicated|require[sd]?|necessary|"
    r"urgent\w*|emergency|asap|warrant\w*|had better|supposed to)\b"
)
_CERTAINTY = re.compile(
    r"\b(certain|certainly|certainty|definite\w*|definitive\w*|confirm\w*|prove[sdn]?|proof|undoubtedly|doubtless|"
    r"no doubt|without doubt|clearly|obvious\w*|surely|always|never|diagnos\w*|conclusive\w*|pathognomonic|"
    r"safely|safety|harmless|ruled out|rules out|percent|per cent|probability|odds|cured?)\b"
)
_DOSE = re.compile(
    r"\b(dos(?:e|es|ed|age|ages|ing)|daily|twice|thrice|hourly|weekly|nightly|bid|tid|qid|b\.i\.d|t\.i\.d|q\.i\.d|"
    r"mg|mcg|µg|μg|ug|ml|iu|micrograms?|milligrams?|grams?|millilit\w*|units?|tablets?|capsules?|pills?|puffs?|bolus|"
    r"titrat\w*|taper\w*|doubl\w*|halv\w*|"
    r"two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    r"nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|dozens?)\b"
)


def unfit_thought(text: str) -> str | None:
    """Why a thought may not be shown. None: nothing speaks against it."""
    if _DOSE.search(_plain(text)) is not None:
        return "it states a dose or a number"
    return unfit_finding(text)


def unfit_finding(text: str) -> str | None:
    """Why what a model sees in an image may not be shown. None: nothing speaks against it."""
    if not text.strip():
        return "it says nothing"
    if any(unicodedata.numeric(sign, None) is not None for sign in text):
        return "it holds a number of its own"
    if not all(_may_stand(sign) for sign in text):
        return "it holds a sign that is neither a letter of the Latin alphabet nor a mark of a sentence"
    if _ADDRESS.search(text) is not None:
        return "it holds an address"
    plain = _plain(text)
    if _CERTAINTY.search(plain) is not None:
        return "it states a certainty"
    if forbidden_wording(plain) is not None or any(one.search(plain) for one in (_COMMAND, _DIRECTION)):
        return "it commands, or claims more than is known"
    return None


def _may_stand(sign: str) -> bool:
    """A letter whose base is one of A to Z, or one of a few others; so no look-alike of another script."""
    if sign in _SIGNS or sign in _LETTERS:
        return True
    base = unicodedata.normalize("NFKD", sign)[0]
    return base.isascii() and base.isalpha() and unicodedata.name(sign, "").startswith("LATIN ")


def _plain(text: str) -> str:
    """Without accents and case; a quote begins a sentence, so that a command in quotes is one."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if unicodedata.category(sign) != "Mn")
    return " ".join(bare.casefold().replace("’", "'").translate(_QUOTES).split())


_QUOTES = str.maketrans(dict.fromkeys('“”‘"', ";"))
