# SPDX-License-Identifier: Apache-2.0
"""The JSON of one run, as programs read it. Fields may be added, these keep their meaning.

Anybody can check its citations with a JSON parser and SHA-256: see the README. Numbers are the source's own.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from medagent.canonical import public_json, sha256_hex
from medagent.evidence import Calculation, Evidence, Fact, ImageRef, Passage, Reading
from medagent.intervals import Interval
from medagent.propositions import Criterion, Proposal, leaves
from medagent.records import Citation, Claim, Dossier, JsonObject, Reasoning, Recommendation, RuleRef, Suppressed
from medagent_workflows.rendering.wording import suppressed_because


def document_json(dossier: Dossier, stored: bytes) -> bytes:
    """The document as indented JSON with a final newline."""
    return public_json(document(dossier, stored), indent=True) + b"\n"


def document(dossier: Dossier, stored: bytes) -> JsonObject:
    """The public JSON of a run; `stored` are the dossier's bytes, whose hash it names."""
    shown = dossier.recommendations
    held_back = tuple(one.recommendation for one in dossier.suppressed if one.recommendation is not None)
    return {
        "schema": 1,
        "id": dossier.id,
        "request": dossier.request.id,
        "outcome": dossier.outcome.value,
        "reason": dossier.reason.value if dossier.reason is not None else None,
        "tenant": dossier.request.tenant,
        "patient": dossier.request.patient,
        "question": dossier.request.question,
        "as_of": _time(dossier.request.as_of),
        "created_at": _time(dossier.created_at),
        "mode": dossier.mode.model_dump(),
        "banners": list(dossier.banners),
        "counts": dossier.counts.model_dump(),
        "results": [result.model_dump() for result in dossier.results],
        "suppressed": [_suppressed(one) for one in dossier.suppressed],
        "recommendations": [_recommendation(one) for one in shown],
        "evidence": [_evidence(one) for one in _cited(dossier, (*shown, *held_back))],
        "reasoning": _reasoning(dossier.reasoning),
        "missing": [one.model_dump() for one in dossier.missing],
        "skipped": [one.model_dump() for one in dossier.skipped],
        "findings": [_dump(one) for one in dossier.findings],
        "dossier": {"sha256": sha256_hex(stored)},
        "software": dossier.software.model_dump(),
    }


def _cited(dossier: Dossier, recommendations: Iterable[Recommendation]) -> tuple[Evidence, ...]:
    """The evidence that a claim cites, or that a cited calculation or criterion rests on, in the dossier's order."""
    wanted: set[str] = set()
    for recommendation in recommendations:
        for claim in recommendation.claims:
            wanted.update(citation.evidence for citation in claim.citations)
            wanted.update(_readings(claim))
    for one in dossier.evidence:
        if isinstance(one, Calculation) and one.id in wanted:
            wanted.update(one.inputs.values())
    return tuple(one for one in dossier.evidence if one.id in wanted)


def _readings(claim: Claim) -> Iterable[str]:
    proposition = claim.proposition
    trees = []
    if isinstance(proposition, Criterion):
        trees = [proposition.tree]
    elif isinstance(proposition, Proposal):
        trees = [check.tree for check in proposition.gate if check.tree is not None]
    return (reading for tree in trees for leaf in leaves(tree) for reading in leaf.readings)


def _recommendation(one: Recommendation) -> JsonObject:
    return {
        "id": one.id,
        "title": one.title,
        "author": one.author,
        "stance": one.stance,
        "category": one.category,
        "urgency": one.urgency,
        "display": one.display,
        "strength": one.strength.model_dump() if one.strength is not None else None,
        "rule": _rule(one.rule) if one.rule is not None else None,
        "also": [_rule(rule) for rule in one.also],
        "action": one.action,
        "warnings": list(one.warnings),
        "claims": [_claim(claim) for claim in one.claims],
    }


def _reasoning(reasoning: Reasoning | None) -> JsonObject | None:
    """The model's part without what it wrote outside of the slots, and without anything that reads as a probability
    (clinical: 18): both stand in the dossier, for reviewers."""
    if reasoning is None:
        return None
    shown = _dump(reasoning, exclude={"free_text", "decisive", "agreement"})
    if reasoning.agreement is not None:
        shown["agreement"] = reasoning.agreement.model_dump(exclude={"agreed"})
    for call in (*shown["model_calls"], *shown["tool_calls"]):
        call.update({name: _time(call[name]) for name in ("started_at", "ended_at")})
    return shown


def _rule(rule: RuleRef) -> JsonObject:
    return rule.model_dump()


def _claim(claim: Claim) -> JsonObject:
    return {
        "id": claim.id,
        "kind": claim.kind,
        "standing": claim.standing,
        "text": claim.text,
        "proposition": {"id": claim.proposition.id, **_dump(claim.proposition)},  # others rest on it by this id
        "citations": [_citation(citation) for citation in claim.citations],
    }


def _citation(citation: Citation) -> JsonObject:
    return citation.model_dump(exclude_none=True)


def _suppressed(one: Suppressed) -> JsonObject:
    shown: JsonObject = {"rule": one.rule, "reason": one.reason, "text": suppressed_because(one)}
    if one.recommendation is not None:
        shown["recommendation"] = _recommendation(one.recommendation)
    return shown


def _evidence(one: Evidence) -> JsonObject:
    match one:
        case Fact():
            return _fact(one)
        case Reading():
            return {
                **_dump(one, exclude={"newest", "as_of"}),
                "count": len(one.members),
                "as_of": _time(one.as_of),
                "newest": _interval(one.newest),
            }
        case Calculation():
            return {**_dump(one, exclude={"at"}), "at": _interval(one.at)}
        case ImageRef() | Passage():
            return _dump(one)


def _fact(fact: Fact) -> JsonObject:
    source = fact.source
    return {
        "id": fact.id,
        "kind": "fact",
        "source": {**source.model_dump(exclude={"retrieved_at"}), "retrieved_at": _time(source.retrieved_at)},
        "resource_type": fact.resource_type,
        "statement": fact.statement,
        "text": fact.text or next((coding.display for coding in fact.codings if coding.display), None),
        "codings": [{"system": one.system, "code": one.code, "display": one.display} for one in fact.codings],
        "status": fact.status.value,
        "time": _interval(fact.time),
    }


def _dump(record: Any, exclude: set[str] | None = None) -> JsonObject:
    dumped: JsonObject = record.model_dump(mode="python", by_alias=True, exclude_none=True, exclude=exclude)
    return dumped


def _interval(interval: Interval | None) -> JsonObject | None:
    if interval is None:
        return None
    return {"text": interval.text, "earliest": _time(interval.earliest), "latest": _time(interval.latest)}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
