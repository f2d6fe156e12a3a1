# SPDX-License-Identifier: Apache-2.0
"""One request as a LangGraph graph: gather → screen → reason ⇄ act → draft → verify → present → freeze → deliver.

The state that LangGraph sees and its checkpointer keeps is plain JSON of ids, counts and codes, without patient data.
What the nodes work on lies on a `Workbench` that arrives as the runtime's context and ends with the process. A process
that goes on where another one died makes it anew: the chart is read and screened again, which is deterministic, and
the conversation with the model comes back from the journal. Where no model is configured, which is a normal state, the
engine's screening is drafted as it is, and the mode of every output says so.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from medagent.clock import instant_text
from medagent.records import OutcomeKind
from medagent_workflows.freezing import dossier_of, recorded
from medagent_workflows.workbench import Step, Workbench


class RunState(TypedDict, total=False):
    """What a checkpointer may see."""

    request: str
    outcome: str
    reason: str | None
    turns: int
    """Turns of the model that are done."""
    next: Literal["act", "draft", "end"]
    attempts: int
    """Drafts of the model that are done."""
    again: bool
    """Whether the model is told what was refused, and drafts once more."""
    drafts: int
    recommendations: list[str]
    frozen_at: str
    dossier: str


Graph = CompiledStateGraph[RunState, Workbench, RunState, RunState]


async def gather(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Reads the chart, unless it is at hand, and checks what ends a run at once (clinical: 1 to 4)."""
    entry = await runtime.context.gather()
    if entry.reason is None:
        return {}
    return {"outcome": OutcomeKind.ABSTAINED.value, "reason": entry.reason.value}


def _whether_to_screen(state: RunState) -> Literal["screen", "freeze"]:
    return "freeze" if state.get("outcome") == OutcomeKind.ABSTAINED.value else "screen"


async def screen_guidelines(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """The guideline engine: deterministic, always on, with or without a model."""
    bench = await _remade(state, runtime, "screen")
    bench.screen()
    return {"next": "end" if bench.models is None else "act"}


def _whether_to_reason(state: RunState) -> Literal["reason", "draft"]:
    return "draft" if state["next"] == "end" else "reason"


async def reason(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """One turn of the model: it asks for tools, or has seen enough."""
    bench = await _remade(state, runtime, "reason")
    turns = state.get("turns", 0)
    return {"next": await bench.converse().turn(turns), "turns": turns + 1}


def _what_is_next(state: RunState) -> Literal["act", "draft", "verify"]:
    step = state["next"]
    return "verify" if step == "end" else step


async def act(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """The tools that the turn asked for, side by side."""
    bench = await _remade(state, runtime, "act")
    await bench.converse().act(state["turns"] - 1)
    return {}


async def draft(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Collects the drafts: the engine's, and that of the model, bound to the schema of propositions."""
    bench = await _remade(state, runtime, "draft")
    drafts = len(bench.screen().drafts)
    if bench.models is None:
        return {"drafts": drafts}
    attempts = state.get("attempts", 0)
    # The engine's drafts are verified while the model writes: neither waits for the other.
    await asyncio.gather(bench.converse().draft(attempts, bench.refused), asyncio.to_thread(bench.verify))
    return {"attempts": attempts + 1, "drafts": drafts + attempts + 1}


async def verify_drafts(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Hands each draft to the verifier, which shares no code with what drafted it. What a model drafted and was
    refused may come back once, if the model is told why."""
    bench = await _remade(state, runtime, "verify")
    await asyncio.to_thread(bench.judge)  # tenths of a second of a long chart, and others wait for this event loop
    again = state.get("attempts") == 1 and bench.judged[-1].may_be_repaired
    return {"recommendations": [one.id for one in bench.kept], "again": again}


def _whether_to_draft_again(state: RunState) -> Literal["draft", "present"]:
    return "draft" if state["again"] else "present"


async def present_recommendations(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Merges, suppresses, ranks and limits (clinical: 15 to 18)."""
    bench = await _remade(state, runtime, "present")
    bench.present()
    return {}


async def freeze(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Makes the dossier: from here on nothing changes."""
    bench = await _remade(state, runtime, "freeze")
    frozen_at = bench.clock.now()
    bench.dossier = dossier_of(bench, frozen_at)
    return {"outcome": bench.dossier.outcome.value, "dossier": bench.dossier.id, "frozen_at": instant_text(frozen_at)}


async def deliver(state: RunState, runtime: Runtime[Workbench]) -> RunState:
    """Stores the outcome and its audit event in one transaction. No audit, no recommendation."""
    bench = await _remade(state, runtime, "freeze")
    if bench.dossier is None:
        bench.dossier = dossier_of(bench, datetime.fromisoformat(state["frozen_at"]))
    outcome = recorded(bench.dossier, _slices(bench))
    bench.store.record_outcome(outcome)
    bench.stored = outcome.canonical
    return {}


async def _remade(state: RunState, runtime: Runtime[Workbench], upto: Step) -> Workbench:
    """The workbench with what the steps that are done had made on it; a new process begins with an empty one."""
    bench = runtime.context
    await bench.remake(
        turns=state.get("turns", 0),
        attempts=state.get("attempts", 0),
        last_act=upto == "reason",
        upto=upto,
    )
    return bench


def _slices(bench: Workbench) -> Mapping[str, bytes]:
    """The bytes that the dossier rests on; where a run ended at once, those of the Patient."""
    evidence = bench.evidence
    if evidence is not None:
        return evidence.slices
    if bench.chart is None:
        return {}
    digest = bench.chart.patient_fact().source.sha256
    return {digest: bench.chart.slice_of(digest)}


def build_graph(checkpointer: BaseCheckpointSaver[str] | None = None) -> Graph:
    """The graph, compiled. One per process is enough; it holds no state of a run."""
    graph = StateGraph(RunState, context_schema=Workbench)
    graph.add_node("gather", gather)
    graph.add_node("screen", screen_guidelines)
    graph.add_node("reason", reason)
    graph.add_node("act", act)
    graph.add_node("draft", draft)
    graph.add_node("verify", verify_drafts)
    graph.add_node("present", present_recommendations)
    graph.add_node("freeze", freeze)
    graph.add_node("deliver", deliver)
    graph.add_edge(START, "gather")
    graph.add_conditional_edges("gather", _whether_to_screen)
    graph.add_conditional_edges("screen", _whether_to_reason)
    graph.add_conditional_edges("reason", _what_is_next)
    graph.add_edge("act", "reason")
    graph.add_edge("draft", "verify")
    graph.add_conditional_edges("verify", _whether_to_draft_again)
    graph.add_edge("present", "freeze")
    graph.add_edge("freeze", "deliver")
    graph.add_edge("deliver", END)
    return graph.compile(checkpointer=checkpointer)
