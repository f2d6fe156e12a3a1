# SPDX-License-Identifier: Apache-2.0
"""The story of one request: who asks, about whom, as of when; recorded, run, recorded again, sealed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from langgraph.checkpoint.base import BaseCheckpointSaver
from langsmith import tracing_context

from medagent.canonical import content_id, parse_json, public_json
from medagent.chart import AsOf, Chart, ChartSource
from medagent.errors import ChartError, JournalError, MedAgentError, UsageError
from medagent.records import Dossier, Request
from medagent_workflows.ehrs import EhrSource
from medagent_workflows.graph import Graph, build_graph
from medagent_workflows.reasoning.services import Models
from medagent_workflows.wiring import Services
from medagent_workflows.workbench import Workbench

_NODES_MAX = 160  # two for each of the 64 turns that settings allow, and the others; LangGraph stops at 25 otherwise


@dataclass(frozen=True, slots=True, repr=False)
class Recorded:
    """A finished run: the dossier and the bytes that were stored of it.

    Its `repr` tells nothing of them: the end of `asyncio.run` makes one of what a coroutine returned (`signal.signal`
    words an error that it then drops), and that of a large dossier takes seconds and hundreds of megabytes.
    """

    dossier: Dossier
    stored: bytes


async def recommend(
    services: Services,
    source: ChartSource,
    *,
    patient: str | None,
    as_of: AsOf,
    actor: str,
    question: str | None = None,
    adapter: str | None = None,
    models: Models | None = None,
    begun: Callable[[str], None] | None = None,
) -> Recorded:
    """Runs one request to its outcome. `models` None: the guideline engine alone.

    `begun` is told the id of the request once it is on record: from then on `resume` can go on with it.

    Steps: (1) find the patient and the instant, so that bad input is refused before anything is recorded, but for the
    calls to an EHR, each of which is on record by itself; (2) record the request with its audit event; (3) walk the
    graph, which records the outcome with its audit event; (4) seal the log. Raises ChartError where the chart cannot be
    read, AuditError where nothing could be recorded.
    """
    # (1) Whom and when.
    chart = await _read(services, source, patient, as_of)
    now = services.clock.now()
    ehr = source if isinstance(source, EhrSource) else None
    identity = {
        "tenant": services.settings.tenant,
        "actor": actor,
        "patient": chart.patient,
        "question": question,
        "adapter": adapter,
        "as_of": chart.as_of,
        "created_at": now,
        "scopes": ehr.scopes if ehr is not None else None,
        "retrieval": ehr.retrieval if ehr is not None else None,
    }
    request = Request(id=content_id("request", identity), **identity)
    # (2) No audit, no recommendation.
    services.store.record_request(
        request_id=request.id,
        body=public_json(request),
        patient=request.patient,
        actor=actor,
        tenant=request.tenant,
    )
    if ehr is not None:
        ehr.belongs_to(request.id)
    if begun is not None:
        begun(request.id)
    # (3) Gather, screen, reason, draft, verify, present, freeze, deliver.
    return await _walk(services, source, request, chart, models)


async def resume(services: Services, source: ChartSource, request_id: str, models: Models | None = None) -> Recorded:
    """Goes on with a recorded request that has no outcome yet; of one that has, gives that.

    Steps: (1) the recorded outcome, if there is one, after what a process left undone that died right behind it; (2)
    the recorded request, with a model if it began with one; (3) the chart as it was asked about, by the same right; (4)
    the graph from its checkpoint, and what was asked of model and tools from the journal: nothing is asked twice.
    Raises StoreError for a request that was never recorded, UsageError where the model that took part is no longer
    configured, JournalError where the chart, the pack, the prompts or the EHR's grant are no longer what the run began
    with.
    """
    tenant = services.settings.tenant
    # (1)
    stored = services.store.outcome_of(request_id, tenant)
    if stored is not None:
        if models is not None:
            await models.checkpointer.adelete_thread(_thread(tenant, request_id))
        services.store.seal()
        return Recorded(Dossier.model_validate(parse_json(stored)), stored)
    # (2)
    request = Request.model_validate(parse_json(services.store.request(request_id, tenant)))
    if models is None and services.store.journal(tenant).entries(request_id):
        raise UsageError(
            "--resume: a model took part in this run; set MEDAGENT_MODEL_URL and MEDAGENT_MODEL as they were then"
        )
    # (3)
    if isinstance(source, EhrSource) is not (request.retrieval is not None):
        began = "a file" if request.retrieval is None else "a server"
        raise UsageError(f"--resume: the run began with the chart of {began}; name the same with --fhir")
    chart = await _read(services, source, request.patient.removeprefix("Patient/"), request.as_of)
    if isinstance(source, EhrSource) and _unordered(source.scopes) != _unordered(request.scopes):
        raise JournalError("--resume: the EHR does not grant now what it granted as the run began: start it anew")
    # (4)
    return await _walk(services, source, request, chart, models)


def recorded_patient(services: Services, request_id: str) -> str:
    """`Patient/id` of a recorded request. Raises StoreError for one that was never recorded."""
    stored = services.store.request(request_id, services.settings.tenant)
    return Request.model_validate(parse_json(stored)).patient


async def _read(services: Services, source: ChartSource, patient: str | None, as_of: AsOf) -> Chart:
    """The chart. Calls to an EHR are on record also where they gave none: then nothing else seals them."""
    try:
        return await source.chart(patient, as_of)
    except ChartError:
        if isinstance(source, EhrSource):
            services.store.seal()
        raise


def _unordered(scopes: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if scopes is None else frozenset(scopes)


async def _walk(
    services: Services, source: ChartSource, request: Request, chart: Chart, models: Models | None
) -> Recorded:
    """From the newest checkpoint of the request, or from the start."""
    bench = Workbench(
        request=request,
        source=source,
        pack=services.pack,
        store=services.store,
        clock=services.clock,
        stage=services.stage,
        time_zone=services.settings.time_zone,
        models=models,
        on_refusal=source.refused if isinstance(source, EhrSource) else None,
        chart=chart,
    )
    with tracing_context(enabled=False):  # LangGraph would obey the environment, and send each step to a stranger
        if models is None:
            await _graph().ainvoke({"request": request.id}, context=bench)
        else:
            await _walk_durably(request, bench, models.checkpointer)
    if bench.dossier is None:
        raise MedAgentError(f"The run of {request.id} ended without a dossier; the request stays recorded as open")
    services.store.seal()
    return Recorded(bench.dossier, bench.stored)


async def _walk_durably(request: Request, bench: Workbench, checkpointer: BaseCheckpointSaver[str]) -> None:
    """Each step is durable before the next begins. What is left of it when the outcome is recorded is deleted."""
    thread = _thread(request.tenant, request.id)
    graph = build_graph(checkpointer)
    begun = await checkpointer.aget_tuple({"configurable": {"thread_id": thread}})
    await graph.ainvoke(
        None if begun is not None else {"request": request.id},
        {"configurable": {"thread_id": thread}, "recursion_limit": _NODES_MAX},
        context=bench,
        durability="sync",
    )
    await checkpointer.adelete_thread(thread)


def _thread(tenant: str, request_id: str) -> str:
    """What LangGraph files a run's checkpoints under."""
    return f"{tenant}/{request_id}"


@cache
def _graph() -> Graph:
    return build_graph()
