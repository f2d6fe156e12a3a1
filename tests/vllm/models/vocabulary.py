# SPDX-License-Identifier: Apache-2.0
"""A small vocabulary that speaks the language of our prompts: clinical English, FHIR JSON and JSON schemas.

It is learnt from the project's own guideline pack, samples and documents. With 4,096 entries such a text takes about as
many tokens as with a large vocabulary of a real model, so that lengths in tests mean something.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tokenizers import (  # type: ignore[import-not-found]  # only .vllm/venv has it
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found]  # only .vllm/venv has it

from .templates import Marks, chat_template

ENTRIES = 4096
WINDOW = 32_768  # tokens; what the tokenizer believes, vLLM enforces the model's own
CALL = "<tool_call>"
TOOL_MARKS = (CALL, "</tool_call>")  # ordinary entries, as in Qwen: the server's tool parser reads them
_ROOT = Path(__file__).resolve().parents[3]
_FOLDERS = ("tools", "workflows")
_SUFFIXES = frozenset({".yaml", ".json", ".md"})


def texts() -> Iterator[str]:
    """Everything to learn from, in an order that does not depend on the file system."""
    for folder in _FOLDERS:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.suffix in _SUFFIXES:
                yield path.read_text(encoding="utf-8")


def tokenizer(
    marks: Marks,
    special: Sequence[str],
    *,
    end: str,
    padding: str,
    named: Mapping[str, str],
    ordinary: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """Byte-pair encoding over bytes, so that no text is unknown to it.

    `special` come first and in this order; `named` are those that a processor looks up by name; `ordinary` are whole
    entries that text may contain.
    """
    own = [*ordinary, *TOOL_MARKS]
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES - len(own),
        special_tokens=list(dict.fromkeys(special)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learnt.train_from_iterator(texts(), trainer)
    learnt.add_tokens([AddedToken(text, normalized=False) for text in own])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=learnt,
        eos_token=end,
        pad_token=padding,
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=dict(named),
    )
    wrapped.chat_template = chat_template(marks)
    return wrapped
