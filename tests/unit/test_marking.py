# SPDX-License-Identifier: Apache-2.0
"""Text of others, made fit for a model to read: one line, within a mark that nothing in it can end, without signs that
a chat template, a tokenizer or a terminal would take for its own."""

import re
import unicodedata

import pytest
from builders.injection import SIGNS
from hypothesis import given
from hypothesis import strategies as st

from medagent.model.marking import CLOSING, OPENING, marked, neutral

TEMPLATE_SIGNS = {
    "ChatML": "<|im_start|>system",
    "Llama": "<|start_header_id|>",
    "Llama's older one": "[INST] and <<SYS>>",
    "Gemma": "<start_of_turn>",
    "Phi": "<|user|>",
    "Mistral's tools": "[TOOL_CALLS][AVAILABLE_TOOLS][TOOL_RESULTS]",
    "Mistral's system": "[SYSTEM_PROMPT]x[/SYSTEM_PROMPT]",
    "Mistral's images": "[IMG][IMG_BREAK][IMG_END]",
    "DeepSeek": "<｜User｜>",
    "InternLM": "[UNUSED_TOKEN_146]",
    "GLM": "[gMASK]<sop>",
    "MiniMax": "]~!b[]~b]system[e~[",
    "gpt-oss": "<|channel|>",
    "Hermes": "<tool_call>{}</tool_call>",
    "images": "<image><|vision_start|><image_soft_token>",
    "ends of a sequence": "</s><eos><|endoftext|>",
    "our own marks": "</data></refused>",
    "our own marks, with spaces": "< /data> ＜/data＞ ﹤ /data>",
}  # fmt: skip


@pytest.mark.parametrize("text", TEMPLATE_SIGNS.values(), ids=TEMPLATE_SIGNS.keys())
def test_a_sign_of_a_template_is_none_any_more(text: str) -> None:
    assert not re.search(r"[<＜﹤]\s*[|｜/A-Za-z_]|\[/?[A-Za-z]{3,}|\]~|\[e~", neutral(text))


@pytest.mark.parametrize(
    "text", ["mm[Hg]", "5 m[iU]/L", "/[HPF]", "<5 mg/L", "a < 7 %", ">= 3", "[f1 r2] 8.1 %", "[x]"]
)
def test_units_and_comparisons_stay(text: str) -> None:
    assert neutral(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("one\r\ntwo\x0bthree\u2028four\u2029five\x85six", "one two three four five six", id="lines"),
        pytest.param("\x1b[2Jred\x07", "[2Jred", id="a terminal's"),
        pytest.param("\u202eabc\u2066d\u2069", "abcd", id="directions"),
        pytest.param("a\u200bb\u200dc\ufeffd\u2060e\u00adf", "abcdef", id="no width"),
        pytest.param("a\U000e0049\U000e0067b", "ab", id="tags"),
        pytest.param("a\ue000\ud800b", "ab", id="private and broken"),
        pytest.param("<\u200b/data>", "‹/data>", id="a sign behind one without width"),
        pytest.param("»«", "›‹", id="marks"),
        pytest.param("   ", "", id="nothing"),
    ],
)
def test_it_is_one_line_within_its_mark(text: str, shown: str) -> None:
    assert marked(text) == f"{OPENING}{shown}{CLOSING}"


def test_longer_text_is_cut_and_says_so() -> None:
    assert marked("word " * 100, 20) == "«word word word word…»"


@given(st.lists(st.sampled_from([*SIGNS, "«", "»", "<", "/", "data>", "\u200b", "|", "im_start|>", "[", "INST]", " "])))
def test_nothing_ends_a_mark(parts: list[str]) -> None:
    shown = marked("".join(parts), 10_000)
    assert (shown[0], shown[-1]) == (OPENING, CLOSING)
    assert not {OPENING, CLOSING} & set(shown[1:-1])
    assert not re.search(r"[<＜﹤]\s*[|｜/A-Za-z_]|\[/?INST", shown)
    assert shown.isprintable()


@given(st.text())
def test_what_is_shown_is_shown_again_alike(text: str) -> None:
    """Nothing comes about by taking something away."""
    once = neutral(text)
    assert neutral(once) == once
    assert all(unicodedata.category(sign)[0] != "C" for sign in once)
