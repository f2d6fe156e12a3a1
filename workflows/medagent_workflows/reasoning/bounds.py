# SPDX-License-Identifier: Apache-2.0
"""What the model's part of one run may take, and what it has taken."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from medagent.records import Limit
from medagent.settings import Settings


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one run, from the settings (`medagent.settings` gives their meaning and units)."""

    steps: int
    tool_calls: int
    tokens: int
    images: int
    image_side: int
    seconds: float
    overview_tokens: int
    tool_tokens: int
    reply_tokens: int
    draft_tokens: int
    samples: int
    temperature: float
    seed: int
    tools: bool = True
    adapter: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        """As a site has set them."""
        return cls(
            steps=settings.model_steps_max,
            tool_calls=settings.model_tool_calls_max,
            tokens=settings.model_tokens_max,
            images=settings.model_images_max,
            image_side=settings.model_image_side_max,
            seconds=settings.model_seconds_max,
            overview_tokens=settings.model_overview_tokens_max,
            tool_tokens=settings.model_tool_tokens_max,
            reply_tokens=settings.model_reply_tokens_max,
            draft_tokens=settings.model_draft_tokens_max,
            samples=settings.model_samples,
            temperature=settings.model_temperature,
            seed=settings.model_seed,
            tools=settings.model_tools,
            adapter=settings.model_adapter,
        )

    @classmethod
    def of_json(cls, text: str) -> "Bounds":
        """As a run recorded them."""
        return _JSON.validate_json(text)

    def json(self) -> str:
        """As a run records them."""
        return _JSON.dump_json(self).decode()


_JSON = TypeAdapter(Bounds)


@dataclass(slots=True)
class Spent:
    """What was taken of the bounds. Recorded calls count with the time that they took when they were made."""

    steps: int = 0
    tool_calls: int = 0
    tokens: int = 0
    images: int = 0
    seconds: float = 0.0
    context: int = 0
    """Tokens of the longest request with its answer."""
    refused: frozenset[str] = frozenset()
    """Bounds that something was given up for."""

    def refuse(self, name: str) -> None:
        """Something was not done, for this bound was reached."""
        self.refused |= {name}

    def limits(self, bounds: Bounds, context_tokens: int) -> tuple[Limit, ...]:
        """As it is recorded."""
        rows = (
            ("steps", bounds.steps, self.steps),
            ("tool_calls", bounds.tool_calls, self.tool_calls),
            ("tokens", bounds.tokens, self.tokens),
            ("images", bounds.images, self.images),
            ("seconds", round(bounds.seconds), round(self.seconds)),
            ("context", context_tokens, self.context),
        )
        return tuple(
            Limit.model_validate({"name": name, "most": most, "used": used, "reached": name in self.refused})
            for name, most, used in rows
        )
