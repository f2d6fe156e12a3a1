# SPDX-License-Identifier: Apache-2.0
"""Writes the models into a folder, each complete or not at all."""

import argparse
import json
import sys
import time
from pathlib import Path
from shutil import rmtree

import torch  # type: ignore[import-not-found]  # only .vllm/venv has it
import transformers  # type: ignore[import-not-found]  # only .vllm/venv has it
from safetensors.torch import load_file, save_file  # type: ignore[import-not-found]  # only .vllm/venv has it

from .architectures import ARCHITECTURES
from .smollm2 import convert
from .steering import steer

SMOLLM2 = "smollm2"
NAMES = (*ARCHITECTURES, SMOLLM2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Write small models for vLLM.")
    parser.add_argument("folder", type=Path, help="where each model gets a folder of its own name")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in arguments.names or NAMES:
        if name not in NAMES:
            parser.error(f"no model is called {name}; there are {', '.join(NAMES)}")
        began = time.monotonic()
        build(name, arguments.folder / name, arguments.seed)
        print(f"  {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def build(name: str, folder: Path, seed: int) -> None:
    """One model. What stood under its name goes only when the new one is complete."""
    unfinished = folder.with_name(f".{name}.unfinished")
    rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if name == SMOLLM2:
        convert(unfinished)
    else:
        torch.manual_seed(seed)
        _write(name, unfinished)
    rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _write(name: str, folder: Path) -> None:
    tiny = ARCHITECTURES[name]()
    tiny.model.float().eval()
    steer(tiny)
    tiny.processor.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    tiny.model.save_pretrained(folder)
    _name_as_published(folder / "model.safetensors")
    generation = {"eos_token_id": list(tiny.ends), "pad_token_id": tiny.tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")


def _name_as_published(path: Path) -> None:
    """transformers 5.19 drops a level from the names of vision weights, which published files and vLLM have."""
    short, published = "vision_tower.", "vision_tower.vision_model."
    weights = load_file(path)
    renamed = {
        name.replace(short, published, 1) if name.startswith(short) and not name.startswith(published) else name: tensor
        for name, tensor in weights.items()
    }
    if renamed.keys() != weights.keys():
        save_file(renamed, path, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
