# SPDX-License-Identifier: Apache-2.0
"""Using tools: those that a turn asked for run side by side, and are told in the order in which they were asked for.

Two kinds of refusal: what the model asked wrongly, or may not have, goes back to it in words; anything else that goes
wrong is a fault of ours and ends the run. What the scopes do not allow is on record before the model hears of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from medagent.canonical import canonical_json, public_json
from medagent.clock import Clock
from medagent.errors import InvalidOutput, ToolRefused
from medagent.journal import Journal, JournalEntry
from medagent.model.exchange import ToolRequest
from medagent.model.validation import parse_arguments, parse_strict
from medagent.records import ToolCall
from medagent.scopes import Grant
from medagent_tools.gate import GatedChart, may_answer, may_read, not_granted, types_of
from medagent_tools.seam import Tool, ToolContext, ToolResult
from medagent_tools.toolbox import ALL_TOOLS, evidence_fields
from medagent_workflows.reasoning.bounds import Bounds, Spent
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.recording import Told, ToolOutcome, Used, tool_call
from medagent_workflows.reasoning.telling import told

Count = Callable[[str], Awaitable[int]]
Refused = Callable[[str, str], Awaitable[None]]
"""Puts on record that a tool, by its name, was refused a resource type. Durable on return; AuditError ends the run."""

_UNKNOWN = "unknown"  # what a model calls a tool that does not exist is its own text, and is not recorded as a name


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call that can be made."""

    tool: Tool[Any]
    arguments: Any
    started_at: datetime


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
    grant: Grant | None = None
    """What the launch was granted. None: the source asks for none, as local files do."""
    refused: Refused | None = None
    """None: nothing is refused here that anybody audits, as of local files."""
    calls: dict[str, ToolCall] = field(default_factory=dict)
    """By their key, in order."""
    _until: float = 0.0
    """By the event loop's clock: when the seconds of the run are used up."""

    async def act(self, turn: int, requests: Sequence[ToolRequest], room: int) -> tuple[Used, ...]:
        """What the tools of one turn say, in at most `room` tokens together.

        Steps: (1) every intent is durable, and what is recorded is not run again; (2) what can be asked at all; (3) the
        chart reads what all of them need, and what recorded answers rest on; (4) tools run side by side; (5) results
        are told in order, so that handles do not depend on which was first; (6) each is durable before the model hears
        of it.
        """
        self._until = asyncio.get_running_loop().time() + self.bounds.seconds - self.spent.seconds
        keys = [f"tool/{turn}/{place}" for place in range(len(requests))]
        bodies = [canonical_json({"tool": one.name, "arguments": one.arguments}) for one in requests]
        # (1)
        entries = [self.journal.intend(self.run, key, body) for key, body in zip(keys, bodies, strict=True)]
        allowed = self.bounds.tool_calls - self.spent.tool_calls
        # (2)
        calls = [
            await self._once(request, entry, is_allowed=place < allowed)
            for place, (request, entry) in enumerate(zip(requests, entries, strict=True))
        ]
        # (3) At once: nothing else looks into the chart while it grows.
        await self.context.chart.provide(tuple(dict.fromkeys(name for call in calls for name in _needed(call))))
        # (4)
        ran = await asyncio.gather(*map(self._run, calls))
        done: list[Used] = []
        for key, body, one in zip(keys, bodies, ran, strict=True):
            if isinstance(one, Used):
                used = one
                self._remember(used)
            else:
                # (5)
                used = await self._tell(one, min(self.bounds.tool_tokens, room // len(requests)))
                # (6)
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

    async def _once(self, request: ToolRequest, entry: JournalEntry, *, is_allowed: bool) -> Used | _Ran | _Ready:
        """What is recorded of this call, or why it cannot be made, or what it is."""
        if entry.result is not None:
            return Used.model_validate_json(entry.result)
        started = self.clock.now()
        if not is_allowed:
            name = request.name if request.name in self.tools else _UNKNOWN
            words = "No tool call is left in this run: write the draft with what you have."
            return _Ran(name, "over_limit", None, words, started)
        tool = self.tools.get(request.name)
        if tool is None:
            return await self._without(request.name, started)
        try:
            arguments = parse_arguments(self._resolved(request.arguments, tool), tool.arguments)
        except InvalidOutput as error:
            return _Ran(tool.name, "invalid_arguments", None, f"The arguments cannot be used: {error}", started)
        return _Ready(tool, arguments, started)

    async def _without(self, name: str, started: datetime) -> _Ran:
        """There is no such tool, or none for these scopes, which is a refusal."""
        others = f"The tools are: {', '.join(self.tools)}."
        known = ALL_TOOLS.get(name)
        if known is None or may_answer(self.grant, known.scopes):
            return _Ran(_UNKNOWN, "unknown_tool", None, f"There is no such tool. {others}", started)
        missing = [needed for needed in types_of(known.scopes) if not may_read(self.grant, needed)]
        await self._record(known.name, missing)
        words = f"{known.name} cannot be used here: {'; '.join(map(not_granted, missing))}. {others}"
        return _Ran(known.name, "unknown_tool", None, words, started)

    async def _run(self, call: Used | _Ran | _Ready) -> Used | _Ran:
        """What a tool says now, of the part of the chart that it may see."""
        if not isinstance(call, _Ready):
            return call
        tool, started = call.tool, call.started_at
        gated = GatedChart(self.context.chart, tool, self.grant)
        try:
            # In a thread: a chart search is CPU work, and others wait for this event loop.
            result = await asyncio.to_thread(tool.run, call.arguments, replace(self.context, chart=gated))
            return _Ran(tool.name, "answered", result, "", started)
        except ToolRefused as error:
            return _Ran(tool.name, "refused", None, str(error), started)
        finally:
            await self._record(tool.name, gated.refused)

    async def _record(self, tool: str, resource_types: Sequence[str]) -> None:
        if self.refused is not None:
            for name in resource_types:
                await self.refused(tool, name)

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
        """Brings back the short names that an earlier process gave. A reading stands under the id that it has now: of a
        server's answers the id tells the pages, which are others each time."""
        now: dict[str, str] = {}
        if used.result is not None:
            chart, sets = self.context.chart, self.context.pack.value_sets
            for then, query in zip(used.result.readings, used.result.queries, strict=True):
                now[then] = chart.read(query, sets).id
        for evidence_id in used.told.named:
            self.handles.name(now.get(evidence_id, evidence_id))


def _needed(call: Used | _Ran | _Ready) -> Sequence[str]:
    """The resource types that a call may ask for, or that a recorded answer rests on."""
    if isinstance(call, _Ready):
        return types_of(call.tool.scopes)
    if isinstance(call, Used) and call.result is not None:
        return [name for query in call.result.queries for name in query.resource_types]
    return ()


def _seconds_of(done: Sequence[Used]) -> float:
    """Seconds in which any of them ran. Where a process died between two, the time until another went on is none."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for one in sorted(done, key=lambda used: used.started_at):
        seconds += max((one.ended_at - max(one.started_at, until)).total_seconds(), 0.0)
        until = max(until, one.ended_at)
    return seconds
