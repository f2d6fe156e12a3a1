# SPDX-License-Identifier: Apache-2.0
"""How a conversation begins: the server says what it serves, and as much of the overview as fits is told.

What never changes stands at one end of the context and what is kept free for answers at the other; the overview gets
what is left between them, up to its own bound.
"""

import asyncio
from collections.abc import Sequence

from medagent.clock import Clock
from medagent.errors import ModelError
from medagent.model.exchange import ToolSpec
from medagent.model.seam import Model
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.bounds import Bounds
from medagent_workflows.reasoning.conversation import Conversation
from medagent_workflows.reasoning.drafts import DRAFT_PROMPT
from medagent_workflows.reasoning.handles import Handles
from medagent_workflows.reasoning.overview import Overview
from medagent_workflows.reasoning.recording import Opened, Told

_LEAST_OVERVIEW = 100  # tokens; with less, nothing of a chart can be told
_SMALLEST_DRAFT = 8  # part of a small context, kept for the draft where there is no room for all that it may have


async def opened(
    view: Overview,
    question: str | None,
    *,
    model: Model,
    clock: Clock,
    bounds: Bounds,
    specs: Sequence[ToolSpec],
    handles: Handles,
) -> Opened:
    """The beginning, or how the server failed at it, within the time that the model's part may take."""
    started = clock.now()
    try:
        async with asyncio.timeout(bounds.seconds):
            begun = await _fitted(view, question, model, bounds, tuple(specs), handles)
    except ModelError as error:
        begun = {"failure": error.failure, "message": str(error)}
    except TimeoutError:
        begun = {"failure": "deadline", "message": "the model server did not say in time what it serves"}
    return Opened.model_validate({**begun, "bounds": bounds.json(), "started_at": started, "ended_at": clock.now()})


async def _fitted(
    view: Overview,
    question: str | None,
    model: Model,
    bounds: Bounds,
    specs: tuple[ToolSpec, ...],
    handles: Handles,
) -> dict[str, object]:
    """What is served, and the overview that fits."""
    served = await model.served()
    bare = Conversation.begun(PROMPTS.system.text, PROMPTS.question_for("", question))
    base = await model.tokens(bare.turn(specs, bounds))
    reply = bounds.reply_tokens if specs else 0
    draft = DRAFT_PROMPT + min(bounds.draft_tokens, served.context_tokens // _SMALLEST_DRAFT)
    free = served.context_tokens - base - reply - draft
    if free < _LEAST_OVERVIEW:
        raise ModelError("too_long", f"a context of {served.context_tokens} tokens holds no overview of a chart")
    text = await view.told(handles, model.text_tokens, min(bounds.overview_tokens, free))
    told = Told(text=text.text, tokens=text.tokens, shown=text.shown, total=text.total, named=handles.known)
    return {"served": served, "told": told, "left_out": text.left_out, "tokens": base + text.tokens}
