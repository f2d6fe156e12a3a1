# SPDX-License-Identifier: Apache-2.0
"""The model's part at a terminal: its one card, visibly apart from what guidelines say, and what its work came to."""

from collections.abc import Iterator

from rich.box import DOUBLE
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from medagent.evidence import Evidence
from medagent.records import Claim, Dossier, Limit, Reasoning, Recommendation
from medagent.sentences import LEAD_OF_READING, LEAD_OF_THOUGHT
from medagent_workflows.rendering.pieces import plain, statement, telling
from medagent_workflows.rendering.wording import model_name

OWN = (
    ("consider", "The model's own thoughts, to consider", LEAD_OF_THOUGHT),
    ("model_reading", "The model's own reading of images, not confirmed", LEAD_OF_READING),
)
"""What is the model's by itself, under a heading that says so."""

_LIMITS = {
    "steps": "steps",
    "tool_calls": "tool calls",
    "tokens": "tokens",
    "images": "images",
    "seconds": "seconds",
    "context": "tokens of context",
}
_SAID_ABOVE = ("nothing_to_add", "missing_evidence")  # codes of a draft, which the head of the page says in words
_LEFT_OUT_SHOWN = 5  # rows; a chart of any size leaves out some of each kind


def noted_card(one: Recommendation, dossier: Dossier, evidence: dict[str, Evidence]) -> RenderableType:
    """First what was checked against the sources, then what is the model's own, each under its heading."""
    who = "the model" if dossier.mode.model is None else model_name(dossier.mode.model)
    body: list[RenderableType] = [
        Text(f"Noted by {who}, for review; not a guideline's recommendation", style="bold magenta")
    ]
    own = {standing for standing, _, _ in OWN}
    body += [statement(claim, evidence) for claim in telling(once(one)) if claim.standing not in own]
    for standing, heading, lead in OWN:
        claims = [claim for claim in once(one) if claim.standing == standing]
        if claims:
            body.append(Text(f"\n{heading}", style="magenta"))
            body += [statement(claim, evidence, lead) for claim in claims]
    return Padding(Panel(Group(*body), box=DOUBLE, border_style="magenta", padding=(0, 1)), (1, 0, 0, 0))


def model_rows(dossier: Dossier, elsewhere: str) -> Iterator[tuple[str, str]]:
    """What the model's work came to, which bounds it reached, and what of the chart it was not shown. `elsewhere`:
    where the rest of a long list stands."""
    reasoning = dossier.reasoning
    if reasoning is None:
        return
    yield "model", _work(reasoning)
    if reasoning.detail and reasoning.detail not in _SAID_ABOVE:
        yield "", plain(reasoning.detail)
    if reasoning.ended in ("unavailable", "refused"):
        yield "", "what the server can do: medagent model check"
    reached = [_limit(limit) for limit in reasoning.limits if limit.reached]
    if reached:
        yield "bounds", f"reached: {' · '.join(reached)}"
    label = "left out"
    for what in reasoning.left_out[:_LEFT_OUT_SHOWN]:
        yield label, plain(what)
        label = ""
    if (more := len(reasoning.left_out) - _LEFT_OUT_SHOWN) > 0:
        yield "", f"and {more} more, {elsewhere}"


def once(one: Recommendation) -> tuple[Claim, ...]:
    """Two entries of a chart may say the same; JSON has both."""
    return tuple({claim.text: claim for claim in reversed(one.claims)}.values())[::-1]


def _work(reasoning: Reasoning) -> str:
    tokens = sum(call.prompt_tokens + call.completion_tokens for call in reasoning.model_calls)
    parts = [
        _count(len(reasoning.model_calls), "model call", "model calls"),
        _count(len(reasoning.tool_calls), "tool call", "tool calls"),
        f"{tokens:,} tokens",
    ]
    if reasoning.repairs:
        parts.append(_count(reasoning.repairs, "draft sent back", "drafts sent back"))
    return " · ".join(parts)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _limit(limit: Limit) -> str:
    return f"{limit.used:,} of {limit.most:,} {_LIMITS[limit.name]}"
