# SPDX-License-Identifier: Apache-2.0
"""What the runs of one process share to reason with a model, and how one run's reasoner is made of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from langgraph.checkpoint.base import BaseCheckpointSaver

from medagent.chart import Chart
from medagent.clock import Clock
from medagent.errors import ModelError
from medagent.evidence import ImageRef
from medagent.images import ImageSource
from medagent.journal import Journal
from medagent.model.seam import Model
from medagent.records import Request
from medagent.scopes import Grant
from medagent_tools.guidelines.engine import Screening
from medagent_tools.guidelines.pack import Pack
from medagent_tools.imaging.studies import images_of
from medagent_tools.seam import ToolContext
from medagent_tools.toolbox import toolbox
from medagent_workflows.gathering import Threshold
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.acting import Acting, Refused
from medagent_workflows.reasoning.asking import Asking
from medagent_workflows.reasoning.bounds import Bounds
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.pictures import Pictures
from medagent_workflows.reasoning.reasoner import Reasoner


@dataclass(frozen=True, slots=True)
class Models:
    """The model of a process, with what keeps its runs."""

    model: Model
    journal: Journal
    bounds: Bounds
    checkpointer: BaseCheckpointSaver[str]
    images: ImageSource | None = None
    """None: no pixels can be had."""


def reasoner_of(
    models: Models,
    *,
    request: Request,
    chart: Chart,
    pack: Pack,
    screening: Screening,
    entry: Threshold,
    clock: Clock,
    time_zone: str,
    refused: Refused | None = None,
) -> Reasoner:
    """The reasoner of one run. A tool that the launch's scopes do not permit is not offered, and not run if called.
    `refused`: puts refusals on record, as it must for every source that asks for scopes."""
    bounds = models.bounds if request.adapter is None else replace(models.bounds, adapter=request.adapter)
    context = ToolContext(
        chart=chart,
        pack=pack,
        time_zone=time_zone,
        images=models.images if bounds.images else None,
    )
    asking = Asking(run=request.id, model=models.model, journal=models.journal, clock=clock, bounds=bounds)
    handles = Handles()
    tools = toolbox(granted=request.scopes) if bounds.tools else {}
    grant = None if request.scopes is None else Grant.of(request.scopes)
    return Reasoner(
        request=request,
        context=context,
        screening=screening,
        entry=entry,
        asking=asking,
        acting=Acting(
            run=request.id,
            tools=tools,
            context=context,
            journal=models.journal,
            clock=clock,
            bounds=bounds,
            spent=asking.spent,
            handles=handles,
            count=partial(_tokens, models.model),
            grant=grant,
            refused=refused,
        ),
        pictures=Pictures(context.images, partial(_listed, context), bounds, asking.spent),
        specs=PROMPTS.tool_specs(tools),
        handles=handles,
    )


async def _tokens(model: Model, text: str) -> int:
    """How many tokens a text takes. Where the server does not say, as many as it has bytes: no tokenizer takes more,
    and what ails the server is found out by the next question to the model, whose failure is recorded."""
    try:
        return await model.text_tokens(text)
    except ModelError:
        return len(text.encode())


def _listed(context: ToolContext) -> Iterator[ImageRef]:
    return iter(()) if context.images is None else images_of(context.chart, context.images)
