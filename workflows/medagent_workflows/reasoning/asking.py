# SPDX-License-Identifier: Apache-2.0
"""Asking the model, once for each step of a run: what is journaled is not asked again."""

from dataclasses import dataclass, field
from typing import Literal

from medagent.canonical import canonical_json
from medagent.clock import Clock
from medagent.errors import ModelError
from medagent.journal import Journal
from medagent.model.exchange import ModelRequest, Served
from medagent.model.seam import Model
from medagent.records import ModelCall
from medagent_workflows.reasoning.bounds import Bounds, Spent
from medagent_workflows.reasoning.recording import Answered, model_call

Purpose = Literal["reason", "draft", "repair"]


@dataclass(slots=True)
class Asking:
    """The model of one run, with what its calls took."""

    run: str
    model: Model
    journal: Journal
    clock: Clock
    bounds: Bounds
    spent: Spent = field(default_factory=Spent)
    calls: dict[str, ModelCall] = field(default_factory=dict)
    """By their key, in order."""

    @property
    def seconds_left(self) -> float:
        """Of the time that the model's part may take."""
        return self.bounds.seconds - self.spent.seconds

    async def ask(
        self, key: str, purpose: Purpose, request: ModelRequest, served: Served, *, kept: float = 0.0
    ) -> Answered:
        """What the model says, now or when it was asked before. `kept`: seconds that must be left afterwards.

        Steps: (1) the intent is durable, and says whether there is a result; (2) no call is begun without time for
        it; (3) the answer, or how it failed, is durable before anybody uses it; (4) what it took is counted.
        """
        # (1)
        entry = self.journal.intend(self.run, key, request.recorded())
        if entry.result is not None:
            answered = Answered.model_validate_json(entry.result)
        else:
            answered = await self._ask_now(request, self.seconds_left - kept)
            # (3)
            self.journal.conclude(self.run, key, canonical_json(answered))
        # (4)
        self._count(answered)
        self.calls[key] = model_call(key, purpose, request, served, answered)
        return answered

    async def _ask_now(self, request: ModelRequest, seconds: float) -> Answered:
        started = self.clock.now()
        # (2)
        if seconds <= 0:
            return Answered.failed(ModelError("deadline", "no time was left to ask the model"), started, started)
        try:
            reply = await self.model.answer(request, seconds=seconds)
        except ModelError as error:
            return Answered.failed(error, started, self.clock.now())
        return Answered(reply=reply, started_at=started, ended_at=self.clock.now())

    def _count(self, answered: Answered) -> None:
        self.spent.seconds += answered.seconds
        if answered.failure == "deadline":
            self.spent.refuse("seconds")
        if answered.reply is not None:
            tokens = answered.reply.tokens
            self.spent.tokens += tokens.prompt + tokens.completion
            self.spent.context = max(self.spent.context, tokens.prompt + tokens.completion)
