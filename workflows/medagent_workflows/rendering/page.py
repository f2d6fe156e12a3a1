# SPDX-License-Identifier: Apache-2.0
"""A run for people in a browser: the same cards and rows as at a terminal, as text that a template sets.

A pure function of the dossier; templates decide nothing but the looks.
"""

from dataclasses import dataclass
from itertools import chain

from medagent.evidence import Evidence
from medagent.records import Claim, Dossier, OutcomeKind, Recommendation
from medagent_workflows.rendering.noted import OWN, once
from medagent_workflows.rendering.pieces import resources, telling
from medagent_workflows.rendering.terminal import (
    LABELS,
    STANCES,
    last_done,
    made_by,
    rest_rows,
    source_line,
    version_line,
)
from medagent_workflows.rendering.wording import model_name, model_sentence, outcome_sentence, question_sentence


@dataclass(frozen=True, slots=True)
class Line:
    """One statement with the resources that it rests on."""

    text: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """One recommendation: option first, then what makes it doubtful, what it rests on, and whose it is."""

    category: str
    """Such as `treatment_gap`: what the looks depend on."""
    label: str
    title: str
    stance: str | None
    options: tuple[str, ...]
    warnings: tuple[str, ...]
    statements: tuple[Line, ...]
    criteria: tuple[str, ...]
    summaries: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Noted:
    """What a model noted: first what was checked, then what is its own, each under its heading."""

    who: str
    checked: tuple[Line, ...]
    own: tuple[tuple[str, tuple[Line, ...]], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the page of one run says."""

    version: str
    made_by: str
    stage: str
    as_of: str
    outcome: str
    offered: bool
    question: str | None
    banners: tuple[str, ...]
    cards: tuple[Card, ...]
    also: tuple[str, ...]
    """Titles of what is shown in one line."""
    noted: tuple[Noted, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """What else there is to say, under a label each: counts, what was held back, what is missing or was not read."""
    dossier: str


def page_of(dossier: Dossier) -> Page:
    """The page of a run that may be shown."""
    evidence = {one.id: one for one in dossier.evidence}
    of_engine = [one for one in dossier.recommendations if one.author == "engine"]
    unheard = model_sentence(dossier)
    return Page(
        version=version_line(dossier),
        made_by=made_by(dossier),
        stage=dossier.mode.stage,
        as_of=f"{dossier.request.as_of:%Y-%m-%d %H:%M} UTC",
        outcome=outcome_sentence(dossier),
        offered=dossier.outcome is OutcomeKind.OFFERED,
        question=question_sentence(dossier),
        banners=(*dossier.banners, *([unheard] if unheard is not None else [])),
        cards=tuple(_card(one, evidence) for one in of_engine if one.display == "card"),
        also=tuple(f"{one.title}{last_done(one, evidence)}" for one in of_engine if one.display == "line"),
        noted=tuple(_noted(one, dossier, evidence) for one in dossier.recommendations if one.author == "model"),
        rows=_grouped(dossier),
        dossier=dossier.id,
    )


def _card(one: Recommendation, evidence: dict[str, Evidence]) -> Card:
    of_patient = [claim for claim in one.claims if claim.kind not in ("proposal", "criterion", "summary")]
    return Card(
        category=one.category,
        label=LABELS[one.category],
        title=one.title,
        stance=STANCES.get(one.stance),
        options=tuple(text.removeprefix(f"{one.title}: ") for text in _texts(one, "proposal")),
        warnings=one.warnings,
        statements=tuple(_line(claim, evidence) for claim in telling(of_patient)),
        criteria=_texts(one, "criterion"),
        summaries=_texts(one, "summary"),
        source=source_line(one),
    )


def _texts(one: Recommendation, kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(claim.text for claim in one.claims if claim.kind == kind))


def _line(claim: Claim, evidence: dict[str, Evidence], lead: str = "") -> Line:
    names = chain.from_iterable(resources(citation.evidence, evidence) for citation in claim.citations)
    return Line(claim.text.removeprefix(lead), tuple(dict.fromkeys(names)))


def _noted(one: Recommendation, dossier: Dossier, evidence: dict[str, Evidence]) -> Noted:
    claims, own = once(one), {standing for standing, _, _ in OWN}
    under = (
        (heading, tuple(_line(claim, evidence, lead) for claim in claims if claim.standing == standing))
        for standing, heading, lead in OWN
    )
    return Noted(
        who="the model" if dossier.mode.model is None else model_name(dossier.mode.model),
        checked=tuple(_line(claim, evidence) for claim in telling(claims) if claim.standing not in own),
        own=tuple((heading, lines) for heading, lines in under if lines),
    )


def _grouped(dossier: Dossier) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The rows of the terminal; one without a label goes on with the one above."""
    groups: list[tuple[str, list[str]]] = []
    for label, text in rest_rows(dossier, "in the record"):
        if label:
            groups.append((label, []))
        groups[-1][1].append(text)
    return tuple((label, tuple(texts)) for label, texts in groups if label != "stored")
