# SPDX-License-Identifier: Apache-2.0
"""What all tiny models share: their sizes, and the form in which a builder hands one over."""

from dataclasses import dataclass
from typing import Any

from .vocabulary import ENTRIES, WINDOW

HIDDEN = 128
LAYERS = 2
HEAD = 32  # vLLM's attention on the CPU takes no narrower head
VISION_HIDDEN = 64
VISION_SIDE = 112  # pixels


@dataclass(frozen=True, slots=True)
class Tiny:
    """A model that is built but not yet written. The types are those of transformers, which mypy cannot see here."""

    model: Any
    processor: Any
    tokenizer: Any
    ends: tuple[int, ...]
    """Token ids that end an answer; the first is the one a turn ends with."""


def text_settings(**more: object) -> dict[str, Any]:
    """The settings that decoders in the manner of Llama share."""
    return {
        "vocab_size": ENTRIES,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HIDDEN // HEAD,
        "num_key_value_heads": HIDDEN // HEAD // 2,
        "max_position_embeddings": WINDOW,
        "tie_word_embeddings": False,
        **more,
    }


def vision_settings(**more: object) -> dict[str, Any]:
    """The settings that vision towers in the manner of CLIP share."""
    return {
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": VISION_SIDE,
        "patch_size": 14,
        **more,
    }
