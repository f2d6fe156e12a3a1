# SPDX-License-Identifier: Apache-2.0
"""Gives a random decoder the few habits without which it is of no use to a test.

Random weights under a grammar write whitespace or control characters for ever, and never end by themselves. So each
token gets a bias. Decoders have no such parameter; but if one channel of what runs through the layers is the same
everywhere, then the column of the output matrix that reads this channel acts as one.
"""

from collections.abc import Mapping
from typing import Any

import torch  # type: ignore[import-not-found]  # only .vllm/venv has it

from .tiny import Tiny
from .vocabulary import CALL

SPREAD = 4.0  # times the usual initial weights: with these alone, the likeliest token is always the same one
CONSTANT = 4.0  # standard deviations of the embedding
NEVER, RARELY, SELDOM, OFTEN, END = -20.0, -8.0, -2.0, 1.0, 3.0  # standard deviations of the logits
_WRITES = ("o_proj.weight", "down_proj.weight", "out_proj.weight", "out_proj.bias", "fc2.weight", "fc2.bias")
_SAMPLE = "The patient reports a cough and no fever. The radiograph of the chest shows no effusion. " * 4


def steer(tiny: Tiny) -> None:
    """Changes the weights in place.

    1. All weights of the text model are spread further.
    2. Channel 0 is kept constant: the embedding writes it, no layer does.
    3. The bias is measured in the spread of the logits, and written where the output matrix reads channel 0.
    """
    with torch.no_grad():
        for name, weights in tiny.model.named_parameters():
            if weights.dim() == 2 and not any(part in name for part in ("norm", "vision", "visual")):
                weights.mul_(SPREAD)  # (1)
        decoder = tiny.model.get_decoder()
        if hasattr(decoder, "lm_head"):  # BLIP-2 names OPT together with its output
            decoder = decoder.get_decoder()
        decoder.embed_tokens.weight[:, 0] = decoder.embed_tokens.weight.std() * CONSTANT
        for name, weights in decoder.named_parameters():  # (2)
            if name.endswith(_WRITES):
                weights[0] = 0
            elif "embed_positions" in name:
                weights[:, 0] = 0
        sample = torch.tensor([tiny.tokenizer(_SAMPLE).input_ids])
        states = decoder(input_ids=sample).last_hidden_state[0]
        output = tiny.model.get_output_embeddings().weight
        unit = (states[:, 1:] @ output[:, 1:].T).std()
        output[:, 0] = torch.tensor(biases(tiny, output.shape[0])) * unit / states[:, 0].mean()  # (3)


def biases(tiny: Tiny, entries: int) -> list[float]:
    """How much each token is wanted."""
    special = frozenset(tiny.tokenizer.all_special_ids)
    vocabulary: Mapping[str, int] = tiny.tokenizer.get_vocab()
    decode: Any = tiny.tokenizer.backend_tokenizer.decoder.decode
    wanted = [NEVER] * entries  # also for rows that no token names
    for text, number in vocabulary.items():
        if number not in special:
            wanted[number] = _bias(text if text.startswith("<") else decode([text]))
    for number in (*tiny.ends, vocabulary[CALL]):
        wanted[number] = END
    return wanted


def _bias(text: str) -> float:
    if not text.isascii() or not text.isprintable() or not text.strip():
        return RARELY
    if text.startswith(('"', ",", "}", "]")):
        return OFTEN  # strings, numbers and lists end
    return SELDOM if text.strip().isdigit() else 0.0
