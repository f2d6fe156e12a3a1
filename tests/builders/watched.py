# SPDX-License-Identifier: Apache-2.0
"""The product, watched as it works: each call of journal, store, checkpointer, tools and nodes is a moment."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.context import register_configure_hook
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from sqlalchemy import Engine, event

from builders.moments import Moments
from medagent.journal import Journal, JournalEntry
from medagent.log.checkpoint import Checkpoint as LogCheckpoint
from medagent.store import RecordedOutcome, Store
from medagent_tools.seam import ToolContext, ToolResult
from medagent_tools.toolbox import ALL_TOOLS, AnyTool


class _Nodes(BaseCallbackHandler):
    """Entry and exit of each node of the graph."""

    run_inline = True  # in the thread of the graph, so that the node has not begun, or has not gone on

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._entered: dict[UUID, str] = {}

    def on_chain_start(
        self, serialized: dict[str, Any], inputs: dict[str, Any], *, run_id: UUID,
        metadata: dict[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """A node, the whole graph, or the choice of an edge."""
        about = metadata or {}
        if more.get("name") == about.get("langgraph_node", ""):
            self._entered[run_id] = f"{more['name']} at step {about['langgraph_step']}"
            self._moments(f"enter {self._entered[run_id]}")

    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **more: Any) -> None:
        """Its end."""
        if run_id in self._entered:
            self._moments(f"leave {self._entered[run_id]}")


_NODES: ContextVar[_Nodes | None] = ContextVar("nodes", default=None)


@dataclass(frozen=True, slots=True)
class WatchedJournal:
    """A run's journal."""

    journal: Journal
    moments: Moments

    def intend(self, run: str, key: str, request: bytes) -> JournalEntry:
        with self.moments.around(f"intend {key}"):
            return self.journal.intend(run, key, request)

    def conclude(self, run: str, key: str, result: bytes) -> None:
        with self.moments.around(f"conclude {key}"):
            self.journal.conclude(run, key, result)

    def entries(self, run: str) -> tuple[JournalEntry, ...]:
        return self.journal.entries(run)


class WatchedSaver(BaseCheckpointSaver[str]):
    """LangGraph's checkpointer, with what the graph calls of it."""

    def __init__(self, saver: BaseCheckpointSaver[str], moments: Moments) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver
        self._moments = moments

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._saver.aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        with self._moments.around(f"checkpoint {metadata['step']}"):
            return await self._saver.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        with self._moments.around("writes of a node"):
            await self._saver.aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        with self._moments.around("deletion of checkpoints"):
            await self._saver.adelete_thread(thread_id)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._saver.get_next_version(current, channel)


class WatchedStore(Store):
    """The store; what it commits is watched besides."""

    moments: Moments

    def record_request(self, *, request_id: str, body: bytes, patient: str, actor: str, tenant: str) -> None:
        with self.moments.around("request"):
            super().record_request(request_id=request_id, body=body, patient=patient, actor=actor, tenant=tenant)

    def record_outcome(self, outcome: RecordedOutcome) -> None:
        with self.moments.around("outcome"):
            super().record_outcome(outcome)

    def seal(self, tenant: str | None = None) -> LogCheckpoint | None:
        with self.moments.around("seal"):
            return super().seal(tenant)


@dataclass(frozen=True, slots=True)
class WatchedTool:
    name: str
    arguments: type[Any]
    scopes: tuple[str, ...]
    tool: AnyTool
    moments: Moments

    def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        with self.moments.around(f"tool {self.name}"):
            result: ToolResult = self.tool.run(arguments, context)
            return result


def watch(moments: Moments) -> None:
    """What has no seam of its own: this process is nobody else's."""
    event.listen(Engine, "commit", lambda _: moments("commit"))
    register_configure_hook(_NODES, inheritable=True)
    _NODES.set(_Nodes(moments))
    assert isinstance(ALL_TOOLS, dict)
    for name, tool in tuple(ALL_TOOLS.items()):
        ALL_TOOLS[name] = WatchedTool(name, tool.arguments, tool.scopes, tool, moments)
