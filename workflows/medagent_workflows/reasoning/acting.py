# SPDX-License-Identifier: Apache-2.0
"""Using tools: those that a turn asked for run side by side, and are told in the order in which they were asked for.

Two kinds of refusal: what the model asked wrongly, or may not have, goes back to it in words; anything else that goes
wrong is a fault of ours and ends the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from medagent.canonical import canonical_json, public_json
from medagent.clock import Clock
from medagent.errors import InvalidOutput, ToolRefused
from medagent.journal import Journal, JournalEntry
from medagent.model.exchange import ToolRequest
from medagent.model.validation import parse_arguments, parse_strict
from medagent.records import ToolCall
from medagent_tools.seam import Tool, ToolContext, ToolResult
from medagent_tools.toolbox import evidence_fields
from medagent_workflows.reasoning.bounds import Bounds, Spent
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.recording import Told, ToolOutcome, Used, tool_call
from medagent_workflows.reasoning.telling import told

Count = Callable[[str], Awaitable[int]]
_UNKNOWN = "unknown"  # what a model calls a tool that does not exist is its own text, and is not recorded as a name


@dataclass(frozen=True, slots=True)
class _Ran:
    """A tool's answer before it is told."""

    tool: str
    outcome: ToolOutcome
    result: ToolResult | None
    refusal: str
    started_at: datetime


@dataclass(slots=True)
class Acting:
    """The tools of one run, with what their calls took."""

    run: str
    tools: Mapping[str, Tool[Any]]
    """Those that the launch's scopes permit; others are not offered and not run."""
    context: ToolContext
    journal: Journal
    clock: Clock
    bounds: Bounds
    spent: Spent
    handles: Handles
    count: Count
    calls: dict[str, ToolCall] = field(default_factory=dict)
    """By their key, in order."""
    _until: float = 0.0
    """By the event loop's clock: when the seconds of the run are used up."""

    async def act(self, turn: int, requests: Sequence[ToolRequest], room: int) -> tuple[Used, ...]:
        """What the tools of one turn say, in at most `room` tokens together.

        Steps: (1) every intent is durable, and what is recorded is not run again; (2) the others run side by side;
        (3) results are told in order, so that handles do not depend on which was first; (4) each is durable before the
        model hears of it.
        """
        self._until = asyncio.get_running_loop().time() + self.bounds.seconds - self.spent.seconds
        keys = [f"tool/{turn}/{place}" for place in range(len(requests))]
        bodies = [canonical_json({"tool": one.name, "arguments": one.arguments}) for one in requests]
        # (1)
        entries = [self.journal.intend(self.run, key, body) for key, body in zip(keys, bodies, strict=True)]
        allowed = self.bounds.tool_calls - self.spent.tool_calls
        # (2)
        ran = await asyncio.gather(
            *(
                self._once(request, entry, is_allowed=place < allowed)
                for place, (request, entry) in enumerate(zip(requests, entries, strict=True))
            )
        )
        done: list[Used] = []
        for key, body, one in zip(keys, bodies, ran, strict=True):
            if isinstance(one, Used):
                used = one
                self._remember(used)
            else:
                # (3)
                used = await self._tell(one, min(self.bounds.tool_tokens, room // len(requests)))
                # (4)
                self.journal.conclude(self.run, key, canonical_json(used))
            self.calls[key] = tool_call(key, body, used)
            done.append(used)
        self._count(done, allowed)
        return tuple(done)

    def _count(self, done: Sequence[Used], allowed: int) -> None:
        """What the turn took: tools that ran side by side took their time together."""
        self.spent.tool_calls += min(len(done), max(allowed, 0))
        self.spent.seconds += _seconds_of(done)
        if len(done) > allowed:
            self.spent.refuse("tool_calls")

    async def _once(self, request: ToolRequest, entry: JournalEntry, *, is_allowed: bool) -> Used | _Ran:
        """What is recorded of this call, or what the tool says now."""
        if entry.result is not None:
            return Used.model_validate_json(entry.result)
        return await self._run(request, is_allowed=is_allowed)

    async def _run(self, request: ToolRequest, *, is_allowed: bool) -> _Ran:
        started = self.clock.now()
        outcome: ToolOutcome
        result, refusal, name = None, "", request.name if request.name in self.tools else _UNKNOWN
        if not is_allowed:
            outcome, refusal = "over_limit", "No tool call is left in this run: write the draft with what you have."
        elif (tool := self.tools.get(request.name)) is None:
            outcome, refusal = "unknown_tool", f"There is no such tool. The tools are: {', '.join(self.tools)}."
        else:
            try:
                arguments = parse_arguments(self._resolved(request.arguments, tool), tool.arguments)
                # In a thread: a chart search is CPU work, and others wait for this event loop.
                result = await asyncio.to_thread(tool.run, arguments, self.context)
                outcome = "answered"
            except InvalidOutput as error:
                outcome, refusal = "invalid_arguments", f"The arguments cannot be used: {error}"
            except ToolRefused as error:
                outcome, refusal = "refused", str(error)
        return _Ran(name, outcome, result, refusal, started)

    def _resolved(self, arguments: str, tool: Tool[Any]) -> str:
        """The arguments with evidence ids in place of the short names that the model was given."""
        parsed = parse_strict(arguments) if arguments.strip() else {}
        if not isinstance(parsed, dict):
            raise InvalidOutput("they are no JSON object")
        for field_name in evidence_fields(tool.arguments) & parsed.keys():
            handle = parsed[field_name]
            if not isinstance(handle, str) or not handle:
                continue  # absent, or wrong in a way that validation names
            evidence_id = self.handles.evidence(handle)
            if evidence_id is None:
                raise InvalidOutput(f"{field_name}: no evidence was given this name")
            parsed[field_name] = evidence_id
        return public_json(parsed).decode()

    async def _tell(self, ran: _Ran, tokens_max: int) -> Used:
        if ran.result is None:
            text = f"<refused>{ran.refusal}</refused>"
            said = Told(text=text, tokens=await self._counted(text))
        else:
            before = len(self.handles.known)
            telling = await told(ran.tool, ran.result, self.handles, self._counted, tokens_max)
            said = Told(
                text=telling.text,
                tokens=telling.tokens,
                shown=telling.shown,
                total=telling.total,
                named=self.handles.known[before:],
            )
        return Used(
            tool=ran.tool,
            outcome=ran.outcome,
            result=ran.result,
            told=said,
            started_at=ran.started_at,
            ended_at=self.clock.now(),  # until then the model waits for it
        )

    async def _counted(self, text: str) -> int:
        """How many tokens a text takes. Without time to ask, as many as it has bytes: no tokenizer takes more."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self.count(text)
        except TimeoutError:
            return len(text.encode())

    def _remember(self, used: Used) -> None:
        """Brings back the short names that an earlier process gave."""
        for evidence_id in used.told.named:
            self.handles.name(evidence_id)


def _seconds_of(done: Sequence[Used]) -> float:
    """Seconds in which any of them ran. Where a process died between two, the time until another went on is none."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for one in sorted(done, key=lambda used: used.started_at):
        seconds += max((one.ended_at - max(one.started_at, until)).total_seconds(), 0.0)
        until = max(until, one.ended_at)
    return seconds
