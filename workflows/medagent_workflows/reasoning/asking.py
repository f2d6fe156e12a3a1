# SPDX-License-Identifier: Apache-2.0
"""Asking the model, once for each step of a run: what is journaled is not asked again."""

import asyncio
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
    is_confirmed: bool = True
    """Whether the server is known to serve what the run began with. Not so in a process that goes on with it."""

    @property
    def seconds_left(self) -> float:
        """Of the time that the model's part may take."""
        return self.bounds.seconds - self.spent.seconds

    async def ask(
        self, key: str, purpose: Purpose, request: ModelRequest, served: Served, *, kept: float = 0.0
    ) -> Answered:
        """What the model says, now or when it was asked before. `kept`: seconds that must be left afterwards.

        Steps: (1) the intent is durable, and says whether there is a result; (2) no call is begun without time for
        it, nor of another model than the run began with; (3) the answer, or how it failed, is durable before anybody
        uses it; (4) what it took is counted.
        """
        # (1)
        entry = self.journal.intend(self.run, key, request.recorded())
        if entry.result is not None:
            answered = Answered.model_validate_json(entry.result)
        else:
            answered = await self._ask_now(request, served, self.seconds_left - kept)
            # (3)
            self.journal.conclude(self.run, key, canonical_json(answered))
        # (4)
        self._count(answered)
        self.calls[key] = model_call(key, purpose, request, served, answered)
        return answered

    async def _ask_now(self, request: ModelRequest, served: Served, seconds: float) -> Answered:
        started = self.clock.now()
        # (2)
        if seconds <= 0:
            return Answered.failed(ModelError("deadline", "no time was left to ask the model"), started, started)
        try:
            async with asyncio.timeout(seconds):
                await self._confirm(served)
            left = seconds - (self.clock.now() - started).total_seconds()
            reply = await self.model.answer(request, seconds=left)
        except ModelError as error:
            return Answered.failed(error, started, self.clock.now())
        except TimeoutError:
            late = ModelError("deadline", "the model server did not say in time what it serves")
            return Answered.failed(late, started, self.clock.now())
        return Answered(reply=reply, started_at=started, ended_at=self.clock.now())

    async def _confirm(self, served: Served) -> None:
        """What the dossier says of the model is true of each call."""
        if self.is_confirmed:
            return
        now = await self.model.served()
        if _identity(now) != _identity(served):
            raise ModelError("refused", "the server serves another model by now than the run began with")
        self.is_confirmed = True

    def _count(self, answered: Answered) -> None:
        self.spent.seconds += answered.seconds
        if answered.failure == "deadline":
            self.spent.refuse("seconds")
        if answered.reply is not None:
            tokens = answered.reply.tokens
            self.spent.tokens += tokens.prompt + tokens.completion
            self.spent.context = max(self.spent.context, tokens.prompt + tokens.completion)


def _identity(served: Served) -> tuple[str | None, ...]:
    """What makes it another model, or the same model served otherwise. Adapters come and go."""
    return served.name, served.root, served.revision, served.weights_digest, served.server
