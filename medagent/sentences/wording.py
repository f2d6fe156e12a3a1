# SPDX-License-Identifier: Apache-2.0
"""What may be said and what may not (clinical: 5, 18), and how text of a chart is made fit to be shown."""

import re
import unicodedata

LONGEST_CHART_TEXT = 80  # characters; a name of a drug fits, a note does not
LONGEST_MODEL_TEXT = 280  # characters, as its slots have it: a thought that is cut may say the opposite
_QUOTED = re.compile("“[^”]*”")
_ASSERTIONS = re.compile(
    r"\b(must|shall|diagnosed with|never had|never been|has to|have to|verified|safe|"
    r"guaranteed|mandatory|immediately)\b",
    re.IGNORECASE,
)
_IMPERATIVES = re.compile(
    r"(?:^|[.;:!?]\s+)((?:please\s+)?(?:start|stop|begin|give|prescribe|order|administer|discontinue|increase|"
    r"decrease|reduce|refer|check|measure|repeat|take|avoid|initiate|switch|treat|obtain|monitor|ensure|use|do not|"
    r"don't|perform|schedule|recommend|withhold|hold|add|test|screen))\b(?!\s+(?:of|for|is|was|on|in|date|with)\b)",
    re.IGNORECASE,
)


def forbidden_wording(text: str) -> str | None:
    """The first words outside of quotes that command, or claim more than is known. None: there are none."""
    own = _QUOTED.sub("“”", text)
    for pattern in (_ASSERTIONS, _IMPERATIVES):
        if (match := pattern.search(own)) is not None:
            return match[1]
    return None


def chart_text(text: str, longest: int = LONGEST_CHART_TEXT) -> str:
    """Text of a chart in quotes: without control and direction characters, on one line, and of bounded length."""
    shown = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)
    shown = "".join(sign for sign in shown if unicodedata.category(sign) not in ("Cf", "Co", "Cs", "Cn"))
    shown = " ".join(shown.translate(_QUOTES).split())
    if len(shown) > longest:
        shown = shown[: longest - 1].rstrip() + "…"
    return f"“{shown}”"


_QUOTES = str.maketrans({"“": "'", "”": "'"})
