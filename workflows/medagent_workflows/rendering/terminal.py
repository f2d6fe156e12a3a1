# SPDX-License-Identifier: Apache-2.0
"""A run for people at a terminal. Chart text is never interpreted: no markup, no control characters."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from medagent.evidence import Evidence, Fact
from medagent.propositions import Timing
from medagent.records import Claim, Dossier, OutcomeKind, Recommendation
from medagent_workflows.rendering.noted import model_rows, noted_card
from medagent_workflows.rendering.pieces import indented, marked, plain, statement, telling
from medagent_workflows.rendering.wording import (
    checks_sentence,
    model_name,
    model_sentence,
    outcome_sentence,
    question_sentence,
    suppressed_because,
)

_STYLES = {
    "harm": "bold red",
    "missing_data": "bold yellow",
    "treatment_gap": "bold cyan",
    "prevention": "bold green",
    "noted": "bold magenta",
}
LABELS = {
    "harm": "safety",
    "missing_data": "missing data",
    "treatment_gap": "treatment",
    "prevention": "prevention",
    "noted": "noted",
}
STANCES = {
    "considered": "considered, not proposed",
    "conflict": "positions differ, none proposed",
}


def write_dossier(console: Console, dossier: Dossier) -> None:
    """Writes one run: what leads, what is put forward with its sources, what was held back, what is missing."""
    evidence = {one.id: one for one in dossier.evidence}
    console.print(_head(dossier))
    of_engine = [one for one in dossier.recommendations if one.author == "engine"]
    cards = [one for one in of_engine if one.display == "card"]
    for number, recommendation in enumerate(cards, start=1):
        console.print(_card(number, recommendation, evidence))
    lines = [one for one in of_engine if one.display == "line"]
    if lines:
        console.print(_one_line(lines, evidence))
    for recommendation in dossier.recommendations:
        if recommendation.author == "model":
            console.print(noted_card(recommendation, dossier, evidence))
    console.print(_rest(dossier))


def headline(recommendation: Recommendation) -> Text:
    """Category, title and stance in one line."""
    text = Text()
    text.append(LABELS[recommendation.category], style=_STYLES[recommendation.category])
    text.append("  ")
    text.append(recommendation.title, style="bold")
    if recommendation.stance in STANCES:
        text.append(f"  ({STANCES[recommendation.stance]})", style="dim")
    return text


def mode_line(dossier: Dossier) -> str:
    """Version, stage and model: stands in every output (clinical: 14)."""
    return f"{version_line(dossier)} · {made_by(dossier)}"


def version_line(dossier: Dossier) -> str:
    """Version and stage."""
    return f"MedAgent {dossier.software.version} · stage {dossier.mode.stage}"


def made_by(dossier: Dossier) -> str:
    """Who took part: engine, model, images."""
    if dossier.mode.model is not None:
        made = f"guideline engine and {model_name(dossier.mode.model)}"
    elif dossier.reasoning is not None:
        made = "guideline engine alone, the model did not answer"
    elif dossier.outcome is OutcomeKind.ABSTAINED and not dossier.results:
        made = "ended before the guideline engine, and no model was asked"
    else:
        made = "guideline engine alone, no model configured"
    return f"{made}, {'images read by the model' if dossier.mode.images else 'no image analysis'}"


def _head(dossier: Dossier) -> RenderableType:
    head = Text()
    head.append(plain(dossier.request.patient), style="bold")
    head.append(f"   as of {dossier.request.as_of:%Y-%m-%d %H:%M} UTC\n")
    if (question := question_sentence(dossier)) is not None:
        head.append(f"{question}\n")
    style = "bold green" if dossier.outcome is OutcomeKind.OFFERED else "bold yellow"
    head.append(outcome_sentence(dossier), style=style)
    head.append(f"\n{made_by(dossier)}", style="dim")  # here, since a border is cut where the terminal is narrow
    for banner in dossier.banners:
        head.append(f"\n▲ {banner}", style="yellow")
    if (part := model_sentence(dossier)) is not None:
        head.append(f"\n▲ {part}", style="yellow")
    return Panel(head, title=version_line(dossier), title_align="left", border_style="dim")


def _card(number: int, one: Recommendation, evidence: dict[str, Evidence]) -> RenderableType:
    """Option first, then what makes it doubtful, what it rests on, and whose recommendation it is."""
    title = Table.grid(padding=(0, 2))
    title.add_row(str(number), headline(one))
    body: list[RenderableType] = [title]
    by_kind: dict[str, list[Claim]] = {"proposal": [], "criterion": [], "summary": []}
    for claim in one.claims:
        by_kind.setdefault(claim.kind if claim.kind in by_kind else "patient", []).append(claim)
    body += [marked("→", Text(claim.text.removeprefix(f"{one.title}: "))) for claim in by_kind["proposal"]]
    body += [marked("!", Text(warning, style="yellow")) for warning in one.warnings]
    body += [statement(claim, evidence) for claim in telling(by_kind.get("patient", []))]
    body.append(indented(Text(" · ".join(dict.fromkeys(claim.text for claim in by_kind["criterion"])), style="dim")))
    summaries = dict.fromkeys(claim.text for claim in by_kind["summary"])
    body += [marked("§", Text(text, style="dim")) for text in summaries]
    body.append(indented(Text(source_line(one), style="dim")))
    return Padding(Group(*body), (1, 0, 0, 1))


_DAY = len("2024-03-02")


def source_line(one: Recommendation) -> str:
    """Whose recommendation it is and how strong, each said once where several rules of an edition were merged."""
    grade = [] if one.strength is None else [f"{one.strength.scale}: {one.strength.grade}"]
    sources = [rule.source for rule in (one.rule, *one.also) if rule is not None]
    return " · ".join(dict.fromkeys((*grade, *sources)))


def _one_line(lines: list[Recommendation], evidence: dict[str, Evidence]) -> RenderableType:
    text = Text("Also: ", style="bold")
    text.append(" · ".join(f"{one.title}{last_done(one, evidence)}" for one in lines), style="not bold")
    text.append("  (details with --format json)", style="dim")
    return Padding(text, (1, 0, 0, 1))


def last_done(one: Recommendation, evidence: dict[str, Evidence]) -> str:
    """When it was last done, where the chart says so."""
    facts = (evidence.get(claim.proposition.fact) for claim in one.claims if isinstance(claim.proposition, Timing))
    days = [fact.time.text[:_DAY] for fact in facts if isinstance(fact, Fact) and fact.time is not None]
    return f" (last {max(days)})" if days else ""


def _rest(dossier: Dossier) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, entry in rest_rows(dossier):
        table.add_row(label, Text(entry))
    return Padding(table, (1, 0, 0, 1))


def rest_rows(dossier: Dossier, more: str = "see --format json") -> Iterator[tuple[str, str]]:
    """What else there is to say, each behind its label; an empty label goes on with the one above. `more`: where the
    rest of a long list stands."""
    counts = dossier.counts
    if dossier.results:
        yield (
            "rules",
            f"{counts.met} met · {counts.not_met} not met · {counts.unknown} undecided · "
            f"{counts.not_applicable} not applicable",
        )
    label = "held back"
    for one in dossier.suppressed:
        yield label, f"{one.rule}: {suppressed_because(one)}"
        label = ""
    label = "missing"
    for what in dict.fromkeys(f"{one.what}: {one.why}" for one in dossier.missing):
        yield label, plain(what)
        label = ""
    label = "not used"
    for skipped in dossier.skipped[:_SKIPPED_SHOWN]:
        yield label, plain(f"{skipped.where}: {skipped.reason}")
        label = ""
    if len(dossier.skipped) > _SKIPPED_SHOWN:
        yield "", f"and {len(dossier.skipped) - _SKIPPED_SHOWN} more, {more}"
    yield from model_rows(dossier, more)
    yield "checks", checks_sentence(dossier.findings)
    yield "stored", f"medagent show {dossier.id} --format json"


_SKIPPED_SHOWN = 5  # rows; a broken file can have thousands
