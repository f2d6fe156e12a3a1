# SPDX-License-Identifier: Apache-2.0
"""The models that a site may serve, and how: `catalogue.toml`, typed.

Names, flags and tool parsers are those of vLLM; each entry says what of it was checked against what, what was not, and
what was tried on a running server. No entry is a recommendation to use a model on patients.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from medagent.errors import UsageError
from medagent.evidence import Record

_GIB = 2**30
_UTILIZATION = 0.92
"""Share of the GPU's memory that vLLM takes unless told otherwise (`--gpu-memory-utilization`, 0.32)."""
_WORKING_SHARE, _WORKING_LEAST = 0.1, 2.0
"""Beside weights and cache, for activations, image encoder and CUDA graphs: a share of the weights, GiB at least. Ours,
not measured."""


class KeyValueCache(Record):
    """What of an architecture decides how much memory a token takes while it is in a prompt."""

    layers: int = Field(gt=0)
    key_value_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    windowed_layers: int = Field(default=0, ge=0)
    """How many of the layers keep no more than the window."""
    window: int = Field(default=0, ge=0)
    """Tokens."""

    def size(self, tokens: int) -> int:
        """Bytes for one prompt of that many tokens: a key and a value of two bytes per layer, head and dimension."""
        held = (self.layers - self.windowed_layers) * tokens + self.windowed_layers * min(tokens, self.window)
        return held * 2 * 2 * self.key_value_heads * self.head_size

    @model_validator(mode="after")
    def _windowed_within(self) -> Self:
        if self.windowed_layers > self.layers or bool(self.windowed_layers) != bool(self.window):
            raise ValueError("windowed_layers: at most all of the layers, and only together with window")
        return self


class Licence(Record):
    """Under what terms the weights come. A site's lawyers read the text, not this."""

    name: str = Field(min_length=1)
    source: str = Field(pattern=r"^https://")
    bound: bool
    """Whether its terms bind clinical or commercial use beyond what an open-source licence does."""
    terms: str = Field(min_length=1)
    """What binds, in our words."""


class Trial(Record):
    """What was tried of an architecture, with random weights of a few million parameters or less on a real server."""

    vllm: str
    works: tuple[str, ...] = Field(min_length=1)
    notes: str = ""


class CatalogueEntry(Record):
    """One model: how to serve it, what it needs, under what terms."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """What one types."""
    repository: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    """As vLLM loads it."""
    maker: str = Field(min_length=1)
    architecture: str = Field(min_length=1)
    """Class of vLLM's registry."""
    parameters: float = Field(gt=0)
    """Billions, image encoder included. All are held in memory, also those of experts that a token does not use."""
    cache: KeyValueCache
    context_tokens: int = Field(gt=0)
    """Most that the weights are made for."""
    served_context_tokens: int = Field(gt=0)
    """What we serve, as it decides how much memory is needed."""
    images: int = Field(gt=0)
    """Images per prompt that we serve."""
    images_most: int | None = Field(default=None, gt=0)
    """Most that the architecture takes. None: as many as fit the context."""
    other_media: tuple[Literal["video", "audio"], ...] = ()
    """What else it takes and MedAgent never sends: turned off, as vLLM would keep memory for it."""
    tools: Literal["own", "shipped", "none"]
    """Whose chat template tells it of tools: its own, one that comes with MedAgent, or none does."""
    tool_parser: str | None = None
    """`--tool-call-parser`."""
    chat_template: str | None = None
    """File of ours, in `chat_templates`."""
    chat_template_notes: str = Field(min_length=1)
    remote_code: bool = False
    """Whether it loads only with `--trust-remote-code`: Python that comes with the weights runs on the server."""
    preparation: str | None = None
    """What must be done before vLLM loads it."""
    converted: bool = False
    """Whether vLLM loads it only from weights that the preparation wrote, not from the repository."""
    licence: Licence
    intended_use: str = Field(min_length=1)
    """As its maker says, in our words."""
    tried: Trial | None = None
    """None: nothing of its architecture was tried."""
    checked: tuple[str, ...] = Field(min_length=1)
    """Which of these facts were compared, and with what."""
    unchecked: tuple[str, ...] = Field(min_length=1)

    @property
    def weights_gib(self) -> float:
        """Memory of the weights, two bytes (bfloat16) each."""
        return self.parameters * 1e9 * 2 / _GIB

    def memory_gib(self, prompts: int = 1) -> float:
        """An estimate of the GPU memory needed for that many prompts of full length at once: weights, cache and working
        memory, over the share that vLLM takes. Shorter prompts, and ones that share their beginning, take less."""
        held = prompts * self.cache.size(self.served_context_tokens) / _GIB
        working = max(_WORKING_LEAST, _WORKING_SHARE * self.weights_gib)
        return (self.weights_gib + held + working) / _UTILIZATION

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.served_context_tokens > self.context_tokens:
            raise ValueError("served_context_tokens: more than context_tokens")
        if self.images_most is not None and self.images > self.images_most:
            raise ValueError("images: more than images_most")
        if self.converted and self.preparation is None:
            raise ValueError("preparation: says how the weights are converted")
        if (self.tools == "none") != (self.tool_parser is None):
            raise ValueError("tool_parser: named where tools work, and only there")
        if (self.tools == "shipped") != (self.chat_template is not None):
            raise ValueError("chat_template: named where tools is shipped, and only there")
        return self


class Catalogue(Record):
    """All entries."""

    vllm: str
    """The release of vLLM with which architectures, parsers and flags were compared."""
    entries: tuple[CatalogueEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [entry.name for entry in self.entries] + [entry.repository for entry in self.entries]
        if len(set(names)) != len(names):
            raise ValueError("entries: two share a name or a repository")
        return self


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that comes with MedAgent. What a model does not say of itself, its family says of it."""
    read = tomllib.loads(files("medagent.model").joinpath("catalogue.toml").read_text(encoding="utf-8"))
    entries = [
        {name: said for name, said in family.items() if name != "model"} | model
        for family in read.pop("family")
        for model in family["model"]
    ]
    return Catalogue.model_validate(read | {"entries": entries})


def find(name: str) -> CatalogueEntry:
    """The entry of that name or repository. Raises UsageError with what comes near it."""
    entries = {known: entry for entry in load_catalogue().entries for known in (entry.name, entry.repository)}
    folded = {known.lower(): entry for known, entry in entries.items()}
    if (entry := folded.get(name.lower())) is not None:
        return entry
    near = get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    named = sorted({folded[known].name for known in near} | {known for known in folded if _begins(known, name)})
    hint = f"did you mean {' or '.join(named)}?" if named else "see: medagent model list"
    raise UsageError(f"no model of the catalogue is called {name!r}; {hint}")


def _begins(known: str, name: str) -> bool:
    """Whether a name of the catalogue begins like it, as `medgemma` does of `medgemma-4b`."""
    return "/" not in known and bool(name) and known.startswith(re.sub(r"[^a-z0-9.-]", "-", name.lower()))


def serve_command(
    entry: CatalogueEntry, *, port: int, weights: Path | None = None, further: Sequence[str] = ()
) -> tuple[str, ...]:
    """What starts vLLM with that model, on this machine only. `further` flags come last, so they win.

    `--generation-config vllm` keeps sampling that the weights bring along (a top-k, a repetition penalty) from being
    applied where the record of a call does not show it.
    """
    media = {"image": entry.images} | dict.fromkeys(entry.other_media, 0)
    command = ["vllm", "serve", entry.repository if weights is None else str(weights)]
    if weights is not None:
        command += ["--served-model-name", entry.repository]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", str(entry.served_context_tokens), "--limit-mm-per-prompt", _compact(media)]
    command += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
    command += ["--structured-outputs-config", _compact({"backend": "xgrammar", "disable_any_whitespace": True})]
    if entry.tool_parser is not None:
        command += ["--enable-auto-tool-choice", "--tool-call-parser", entry.tool_parser]
        command += ["--tool-strict-level", "parameter"]
    if entry.chat_template is not None:
        command += ["--chat-template", str(chat_template(entry.chat_template))]
    if entry.remote_code:
        command += ["--trust-remote-code"]
    return (*command, *further)


def chat_template(name: str) -> Path:
    """The file of a chat template that comes with MedAgent."""
    return Path(str(files("medagent.model") / "chat_templates" / name))


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
