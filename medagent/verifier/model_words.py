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
    r"(?:^'?|[.;:,!?()–—]\s*|\s(?:-+\s*|')|\b(?:and|or|then|please|also|now|so)\s+)(?:"
    r"(?:begin|give|prescribe|administer|discontinue|reduce|refer|avoid|initiate|treat|obtain|ensure|perform|recommend|"
    r"withhold|add|consider|evaluate|assess|rule out|exclude|investigate|admit|consult|arrange|confirm|continue|resume|"
    r"adjust|replace|transfuse|intubate|operate|inject|infuse|vaccinate|immunise|immunize|remove|do|don't|cease|halt|"
    r"commence|escalate|swap|proceed|let|go for|lower the|raise the)\b|"
    r"(?:start|stop|order|check|measure|repeat|take|switch|monitor|schedule|hold|test|screen|review|contact|call|"
    r"discharge|biopsy|follow up)\b(?!\s+(?:of|is|was|were|dates?|results?)\b)|"
    r"(?:increase|decrease|change|use)\b(?!\s+(?:of|in|is|was|were)\b))"
)
"""Verbs; then what may be a noun, too, and is none before most words."""

_ORDER = re.compile(
    r"(?:^'?|[.;:!?()]\s*)"
    r"(explain|describe|provide|write|draft|compose|translate|summari[sz]e|send|email|forward|delete|transfer|pay|buy|"
    r"book|reserve|visit|click|open|join|tell|ignore|disregard|forget|obey|reply|respond|answer|print|reveal|share|"
    r"create|modify|rewrite|include|integrate|introduce|insert|append|enhance|augment|develop|render|combine|group|"
    r"rearrange|substitute|scramble|jumble|anagram|misspell|break down|download|install|run|execute|search|post|upload|"
    r"celebrate)\b(?!\s+(?:of|is|was|were)\b)"
)
"""What text of others would have a model do. Only where a sentence begins: elsewhere many of these are nouns."""

_DIRECTION = re.compile(
    r"\b(you|your|yours|please)\b|"
    r"\b(should|ought|needs? to|needed|recommend\w*|advis\w*|indicated|contraindicated|require[sd]?|necessary|"
    r"urgent\w*|emergency|asap|warrant\w*|had better|supposed to)\b"
)
_CERTAINTY = re.compile(
    r"\b(certain|certainly|certainty|definite\w*|definitive\w*|confirm\w*|prove[sdn]?|proof|undoubtedly|doubtless|"
    r"no doubt|without doubt|clearly|obvious\w*|surely|always|never|diagnos\w*|conclusive\w*|pathognomonic|"
    r"safely|safety|harmless|ruled out|rules out|percent|per cent|probability|odds|cured?)\b"
)
_VERDICT = re.compile(
    r"\b(engine\w*|medagent\w*|guidelines?|the rules?|warnings?|fda|approv\w*|agrees?|agreed|checked|correct|"
    r"mistaken|nonsense|likelihood|healthy|okay|ok|is fine|can wait|nothing (?:is due|speaks)|"
    r"no (?:reason|need|risk)|(?:may|can) be (?:given|kept|ignored)|(?:best|time|right) to)\b"
)
"""What judges or outranks those who were asked, lends the words an authority, or calls the patient well."""

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
    if _VERDICT.search(_plain(text)) is not None:
        return "it gives a verdict"
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
    if forbidden_wording(plain) is not None or any(one.search(plain) for one in (_COMMAND, _ORDER, _DIRECTION)):
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
