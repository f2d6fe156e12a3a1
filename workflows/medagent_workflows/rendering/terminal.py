# SPDX-License-Identifier: Apache-2.0
"""A run for people at a terminal. Chart text is never interpreted: no markup, no control characters."""

import re
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from medagent.evidence import Calculation, Evidence, Fact
from medagent.propositions import Calculated, Threshold, Timing
from medagent.records import Claim, Dossier, Finding, OutcomeKind, Recommendation
from medagent_workflows.rendering.wording import outcome_sentence, suppressed_because

_STYLES = {"harm": "bold red", "missing_data": "bold yellow", "treatment_gap": "bold cyan", "prevention": "bold green"}
_LABELS = {
    "harm": "safety",
    "missing_data": "missing data",
    "treatment_gap": "treatment",
    "prevention": "prevention",
}
_STANCES = {
    "considered": "considered, not proposed",
    "conflict": "positions differ, none proposed",
}


def write_dossier(console: Console, dossier: Dossier) -> None:
    """Writes one run: what leads, what is put forward with its sources, what was held back, what is missing."""
    evidence = {one.id: one for one in dossier.evidence}
    console.print(_head(dossier))
    cards = [one for one in dossier.recommendations if one.display == "card"]
    for number, recommendation in enumerate(cards, start=1):
        console.print(_card(number, recommendation, evidence))
    lines = [one for one in dossier.recommendations if one.display == "line"]
    if lines:
        console.print(_one_line(lines, evidence))
    console.print(_rest(dossier))


def headline(recommendation: Recommendation) -> Text:
    """Category, title and stance in one line."""
    text = Text()
    text.append(_LABELS[recommendation.category], style=_STYLES[recommendation.category])
    text.append("  ")
    text.append(recommendation.title, style="bold")
    if recommendation.stance in _STANCES:
        text.append(f"  ({_STANCES[recommendation.stance]})", style="dim")
    return text


def mode_line(dossier: Dossier) -> str:
    """Version, stage and model: stands in every output (clinical: 14)."""
    model = "guideline engine alone, no model configured"
    if dossier.mode.model is not None:
        model = f"model {dossier.mode.model.name} ({dossier.mode.model.revision or 'revision unknown'})"
    images = "" if dossier.mode.images else ", no image analysis"
    return f"MedAgent {dossier.software.version} · stage {dossier.mode.stage} · {model}{images}"


def _head(dossier: Dossier) -> RenderableType:
    head = Text()
    head.append(_plain(dossier.request.patient), style="bold")
    head.append(f"   as of {dossier.request.as_of:%Y-%m-%d %H:%M} UTC\n")
    style = "bold green" if dossier.outcome is OutcomeKind.OFFERED else "bold yellow"
    head.append(outcome_sentence(dossier), style=style)
    for banner in dossier.banners:
        head.append(f"\n▲ {banner}", style="yellow")
    return Panel(head, title=mode_line(dossier), title_align="left", border_style="dim")


def _card(number: int, one: Recommendation, evidence: dict[str, Evidence]) -> RenderableType:
    """Option first, then what makes it doubtful, what it rests on, and whose recommendation it is."""
    title = Text(f"{number}  ")
    title.append_text(headline(one))
    body: list[RenderableType] = [title]
    by_kind: dict[str, list[Claim]] = {"proposal": [], "criterion": [], "summary": []}
    for claim in one.claims:
        by_kind.setdefault(claim.kind if claim.kind in by_kind else "patient", []).append(claim)
    body += [_indented(Text(f"→ {claim.text}")) for claim in by_kind["proposal"]]
    body += [_indented(Text(f"! {warning}", style="yellow")) for warning in one.warnings]
    body += [_statement(claim, evidence) for claim in _telling(by_kind.get("patient", []))]
    body.append(_indented(Text(" · ".join(dict.fromkeys(claim.text for claim in by_kind["criterion"])), style="dim")))
    body += [_indented(Text(text, style="dim")) for text in _guidelines(one, by_kind["summary"])]
    return Padding(Group(*body), (1, 0, 0, 1))


def _telling(claims: list[Claim]) -> list[Claim]:
    """Without results that a comparison of the same claim's list repeats; JSON has them all."""
    compared = {claim.proposition.of for claim in claims if isinstance(claim.proposition, Threshold)}
    return [
        claim
        for claim in claims
        if not (isinstance(claim.proposition, Calculated) and claim.proposition.calculation in compared)
    ]


def _statement(claim: Claim, evidence: dict[str, Evidence]) -> RenderableType:
    mark = {"verified": "•", "summary": "§", "consider": "?", "model_reading": "?"}[claim.standing]
    text = Text(f"{mark} {claim.text}", style="dim" if claim.kind == "absence" else "")
    sources = dict.fromkeys(name for citation in claim.citations for name in _resources(citation.evidence, evidence))
    if sources:
        text.append(f"  {', '.join(sources)}", style="dim")
    return _indented(text)


def _resources(evidence_id: str, evidence: dict[str, Evidence]) -> Iterator[str]:
    """The resources behind a citation, random ids shortened; hashes and pointers stand in the JSON."""
    one = evidence.get(evidence_id)
    if isinstance(one, Calculation):
        for name in one.inputs.values():
            yield from _resources(name, evidence)
    elif isinstance(one, Fact) and one.resource_type != "Patient":
        kind, _, name = one.source.uri.rpartition("/")
        yield _plain(f"{kind.rpartition('/')[2]}/{name[:8] + '…' if _RANDOM.fullmatch(name) else name}")


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 3))


_DAY = len("2024-03-02")
_RANDOM = re.compile(r"[0-9a-fA-F-]{32,36}")  # a UUID tells a reader nothing


def _plain(text: str) -> str:
    """Ids and file names of a stranger, without anything that a terminal would act on."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _guidelines(one: Recommendation, summaries: list[Claim]) -> list[str]:
    """Whose recommendation it is, each said once where several rules of an edition were merged."""
    texts = [f"§ {claim.text}" for claim in summaries]
    grade = [] if one.strength is None else [f"{one.strength.scale}: {one.strength.grade}"]
    sources = [rule.source for rule in (one.rule, *one.also) if rule is not None]
    return [*dict.fromkeys(texts), " · ".join(dict.fromkeys((*grade, *sources)))]


def _one_line(lines: list[Recommendation], evidence: dict[str, Evidence]) -> RenderableType:
    text = Text("Also: ", style="bold")
    text.append(" · ".join(f"{one.title}{_last(one, evidence)}" for one in lines), style="not bold")
    text.append("  (details with --format json)", style="dim")
    return Padding(text, (1, 0, 0, 1))


def _last(one: Recommendation, evidence: dict[str, Evidence]) -> str:
    """When it was last done, where the chart says so."""
    facts = (evidence.get(claim.proposition.fact) for claim in one.claims if isinstance(claim.proposition, Timing))
    days = [fact.time.text[:_DAY] for fact in facts if isinstance(fact, Fact) and fact.time is not None]
    return f" (last {max(days)})" if days else ""


def _rest(dossier: Dossier) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, entry in _rows(dossier):
        table.add_row(label, Text(entry))
    return Padding(table, (1, 0, 0, 1))


def _rows(dossier: Dossier) -> Iterator[tuple[str, str]]:
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
        yield label, _plain(what)
        label = ""
    label = "not used"
    for skipped in dossier.skipped[:_SKIPPED_SHOWN]:
        yield label, _plain(f"{skipped.where}: {skipped.reason}")
        label = ""
    if len(dossier.skipped) > _SKIPPED_SHOWN:
        yield "", f"and {len(dossier.skipped) - _SKIPPED_SHOWN} more, see --format json"
    yield "checks", _checks(dossier.findings)
    yield "stored", f"medagent show {dossier.id} --format json"


def _checks(findings: tuple[Finding, ...]) -> str:
    """Empty is no pass: where nothing was drafted, nothing was checked."""
    if not findings:
        return "none made: nothing was drafted"
    failed = sum(not finding.passed for finding in findings)
    return f"{len(findings)} made, {f'{failed} failed' if failed else 'all passed'}"


_SKIPPED_SHOWN = 5  # rows; a broken file can have thousands
