# SPDX-License-Identifier: Apache-2.0
"""How text that nobody of us wrote reaches a model: marked as data, on one line, unable to end its mark.

Chart text, notes, DICOM tags, guideline documents and a clinician's question may hold anything, also what a chat
template or a tokenizer would take for its own signs (`<|im_start|>`, `<image>`, `[INST]`). Marking is a help to honest
models; what a model makes of such text is stopped by the verifier, not by this.
"""

import re
import unicodedata

OPENING, CLOSING = "«", "»"
_MARKS = str.maketrans({OPENING: "‹", CLOSING: "›"})
_TEMPLATE_SIGN = re.compile(r"[<＜﹤](?=\s*[|｜/!A-Za-z_\\])")  # with a space, too: a reader may take it for a mark
_BRACKET_SIGN = re.compile(
    r"\[(?=/?(?:INST|SYS|SYSTEM|IMG|IMAGE|AUDIO|TOOL|AVAILABLE|ARGS|CALL|THINK|CONTROL|UNUSED|gMASK|sMASK|MASK|CLS|SEP|"
    r"PAD|UNK|BOS|EOS)(?:\b|_)|e~\[)",
    re.IGNORECASE,
)
"""Of Llama, Mistral, InternLM, GLM, BERT and MiniMax. Brackets of units (`mm[Hg]`, `[iU]`) stay."""
_TILDE_SIGN = re.compile(r"\](?=~)")  # MiniMax: `]~b]`


def neutral(text: str) -> str:
    """The text without signs that control a terminal, a direction of writing, a chat template or a tokenizer."""
    if not text.isprintable():  # what is printable holds none of these
        text = _without_controls(text)
    return _TILDE_SIGN.sub(")", _BRACKET_SIGN.sub("(", _TEMPLATE_SIGN.sub("‹", text)))


def _without_controls(text: str) -> str:
    shown = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)
    return "".join(sign for sign in shown if unicodedata.category(sign) not in ("Cf", "Co", "Cs", "Cn"))


def marked(text: str, longest: int = 200) -> str:
    """The text as data, within « and », on one line; longer text is cut and ends with an ellipsis."""
    shown = " ".join(neutral(text).translate(_MARKS).split())
    if len(shown) > longest:
        shown = shown[: longest - 1].rstrip() + "…"
    return f"{OPENING}{shown}{CLOSING}"
