# SPDX-License-Identifier: Apache-2.0
"""What a model is asked: texts, tool descriptions and the schema of its draft, as files with versions and hashes.

Every run records which it used (`PromptRef`). A changed file needs a new version in `index.json`; a test holds which
version had which hash. In a request they stand in the order of how seldom they change, for the server's prefix cache:
system prompt and tools, then the patient's overview, then the question, and last what only one request holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from string import Template
from typing import Any

from medagent.canonical import parse_json, sha256_hex
from medagent.model.exchange import JsonObject, ToolSpec
from medagent.model.marking import marked
from medagent.records import PromptRef

QUESTION_MAX = 2_000  # characters; what a clinician types, not a document


@dataclass(frozen=True, slots=True)
class Prompt:
    """One file of what a model is asked."""

    name: str
    version: str
    text: str
    sha256: str

    def filled(self, **slots: str) -> str:
        """The text with its slots filled. What is filled in is not looked at for slots of its own."""
        return Template(self.text).substitute(slots).strip()


class Prompts:
    """All of them, read once."""

    def __init__(self) -> None:
        folder = files(__name__)
        self._prompts: dict[str, Prompt] = {}
        for name, version in _mapping(folder.joinpath("index.json").read_bytes()).items():
            data = folder.joinpath(name).read_bytes()
            self._prompts[name] = Prompt(name, version, data.decode(), sha256_hex(data))

    @property
    def refs(self) -> tuple[PromptRef, ...]:
        """Which files a run used."""
        return tuple(
            PromptRef(name=prompt.name, version=prompt.version, sha256=prompt.sha256)
            for prompt in self._prompts.values()
        )

    @property
    def system(self) -> Prompt:
        """Who the model is and what it may do; alike for all patients."""
        return self._prompts["system.md"]

    @property
    def draft_schema(self) -> JsonObject:
        """The JSON Schema of a draft; the caller's own copy."""
        return _mapping(self._prompts["draft.schema.json"].text.encode())

    @cached_property
    def tools(self) -> tuple[ToolSpec, ...]:
        """Every tool as the model is told of it, in the order of the file."""
        specs = _mapping(self._prompts["tools.json"].text.encode())["tools"]
        return tuple(ToolSpec.model_validate(spec) for spec in specs)

    def tool_specs(self, names: Iterable[str]) -> tuple[ToolSpec, ...]:
        """These tools, always in the order of the file."""
        wanted = frozenset(names)
        found = tuple(spec for spec in self.tools if spec.name in wanted)
        assert len(found) == len(wanted), "a tool without a description"  # a test holds that all have one
        return found

    def question_for(self, overview: str, question: str | None) -> str:
        """The patient's part, then what is asked. The question is data like all that others wrote."""
        if question is None:
            return self._prompts["review.md"].filled(overview=overview)
        return self._prompts["question.md"].filled(overview=overview, question=marked(question, QUESTION_MAX))

    def images_for(self, names: Sequence[str]) -> str:
        """What stands beside images that were asked for. `names`: ours, in the order of the images."""
        return self._prompts["images.md"].filled(images=", ".join(names))

    def draft_request(self) -> str:
        """The last request."""
        return self._prompts["draft.md"].filled()

    def repair_for(self, problems: Sequence[str]) -> str:
        """What was wrong with a draft; in our words."""
        return self._prompts["repair.md"].filled(problems="\n".join(f"- {problem}" for problem in problems))


def _mapping(data: bytes) -> dict[str, Any]:
    parsed = parse_json(data)
    assert isinstance(parsed, dict)
    return parsed


PROMPTS = Prompts()
