# SPDX-License-Identifier: Apache-2.0
"""The chat templates: one text, and what each family of models says differently."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CONVERSATION = Path(__file__).with_name("conversation.jinja")


@dataclass(frozen=True, slots=True)
class Marks:
    """The texts around turns and in the place of images."""

    turn_start: str = "<|im_start|>"
    turn_end: str = "<|im_end|>"
    assistant: str = "assistant"
    beginning: str = ""
    image: str = ""


CHATML = Marks()
QWEN = Marks(image="<|vision_start|><|image_pad|><|vision_end|>")
PLACEHOLDER = Marks(image="<image>")
GEMMA = Marks("<start_of_turn>", "<end_of_turn>", "model", "<bos>", "<start_of_image>")


def chat_template(marks: Marks) -> str:
    """The template of one family. Always renders the tools that a request offers."""
    settings = "".join(f"{{%- set {name} = {json.dumps(text)} -%}}" for name, text in asdict(marks).items())
    return settings + CONVERSATION.read_text(encoding="utf-8").strip()
