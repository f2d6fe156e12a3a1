# SPDX-License-Identifier: Apache-2.0
"""The conversation with a model: what never changes comes first, so that the server's prefix cache serves it.

Order: the system prompt and the tools (alike for all patients), the overview of the chart, the question, then turn by
turn what the model asked for and what it was told. Nothing that was said is ever changed or moved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medagent.model.exchange import Message, ModelRequest, Picture, Sampling, ToolRequest, ToolSpec
from medagent_workflows.reasoning.bounds import Bounds


@dataclass(slots=True)
class Conversation:
    """What was said so far."""

    messages: list[Message] = field(default_factory=list)

    @classmethod
    def begun(cls, system: str, opening: str, pictures: Iterable[Picture] = ()) -> "Conversation":
        """The first two messages."""
        return cls([Message(role="system", text=system), Message(role="user", text=opening, pictures=tuple(pictures))])

    def said(self, text: str, requests: Sequence[ToolRequest] = ()) -> None:
        """The model said something, and perhaps asked for tools."""
        self.messages.append(Message(role="assistant", text=text, tool_requests=tuple(requests)))

    def told(self, request: ToolRequest, text: str) -> None:
        """A tool answered."""
        self.messages.append(Message(role="tool", text=text, answers=request.id))

    def shown(self, text: str, pictures: Sequence[Picture]) -> None:
        """Images that the model asked for: a tool's message cannot hold any."""
        self.messages.append(Message(role="user", text=text, pictures=tuple(pictures)))

    def turn(self, specs: tuple[ToolSpec, ...], bounds: Bounds) -> ModelRequest:
        """The request for the next turn, in which tools may be called if there are any."""
        return ModelRequest(
            messages=tuple(self.messages),
            tools=specs,
            tool_choice="auto" if specs else "none",
            sampling=Sampling(temperature=bounds.temperature, seed=bounds.seed, tokens_max=bounds.reply_tokens),
            adapter=bounds.adapter,
        )

    def with_last(self, *messages: Message) -> tuple[Message, ...]:
        """All of it, and what is only asked now."""
        return (*self.messages, *messages)
