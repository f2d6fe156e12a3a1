# SPDX-License-Identifier: Apache-2.0
"""Builds verified recommendations as the verifier would make them, for tests of what comes after verification."""

from datetime import UTC, datetime
from typing import Any

from medagent.kleene import Truth
from medagent.propositions import Criterion, Leaf
from medagent.records import (
    CallOutcome,
    Citation,
    Claim,
    Limit,
    ModelCall,
    Reasoning,
    ReasoningEnd,
    Recommendation,
    RuleRef,
    RuleResult,
    ToolCall,
)
from medagent.rules import Rule, Strength
from medagent.value_sets import ValueSet
from medagent_tools.guidelines.pack import Pack


def value_set(name: str, *codes: str) -> ValueSet:
    """A value set of RxNorm codes."""
    return ValueSet(
        id=name, title=name, kind="medication", source="written for tests", codes={"RxNorm": codes or (f"code-{name}",)}
    )


def rule(name: str, **changes: Any) -> Rule:
    """A rule that says nothing special."""
    action = {"id": f"action-{name}", "direction": "review", "option": "a look at it", **changes.pop("action", {})}
    return Rule.model_validate(
        {
            "id": name,
            "title": f"Title of {name}",
            "guideline": {
                "id": "guideline",
                "title": "A guideline",
                "publisher": "A publisher",
                "edition": "2025",
                "published": "2025-01-01",
                "in_force_from": "2025-01-01",
                "jurisdiction": "US",
                "url": "https://example.org/guideline",
                "checked": "written for tests",
            },
            "section": "1",
            "url": "https://example.org/guideline#1",
            "summary": "Something may be considered.",
            "strength": {"scale": "letters", "grade": "A"},
            "category": "treatment_gap",
            "urgency": "info",
            "age": {"at_least": 18},
            "population": {"age": {"at_least": 18, "unit": "a"}},
            "criteria": {"age": {"at_least": 18, "unit": "a"}},
            "action": action,
            **changes,
        }
    )


def pack_of(*rules: Rule, value_sets: tuple[ValueSet, ...] = ()) -> Pack:
    """A pack of just these rules."""
    return Pack(rules=rules, value_sets={one.id: one for one in value_sets}, gates={}, digest="0" * 64)


def recommendation(name: str, **changes: Any) -> Recommendation:
    """A verified recommendation for the rule of that name."""
    undecided = changes.pop("undecided", None)
    why = changes.pop("why", "missing")
    leaf = Leaf(truth=Truth.MET) if undecided is None else Leaf(truth=Truth.UNKNOWN, readings=(undecided,), why=why)
    criterion = Criterion(rule=name, part="criteria", truth=leaf.truth, tree=leaf)
    claim = Claim(
        id=f"claim-{name}",
        kind="criterion",
        standing="verified",
        text=f"What holds for {name}.",
        proposition=criterion,
        citations=(Citation(evidence="reading-1"),),
    )
    fields: dict[str, Any] = {
        "id": f"recommendation-{name}",
        "title": f"Title of {name}",
        "stance": "option",
        "category": "treatment_gap",
        "urgency": "info",
        "strength": Strength(scale="letters", grade="A"),
        "rule": RuleRef(
            id=name,
            guideline="guideline",
            title="A guideline",
            publisher="A publisher",
            edition="2025",
            source="https://example.org/guideline",
            section="1",
        ),
        "action": f"action-{name}",
        "claims": (claim,),
    }
    return Recommendation(**{**fields, **changes})


def result(name: str, outcome: str = "met", reason: str = "") -> RuleResult:
    """What the engine found for a rule."""
    return RuleResult.model_validate({"rule": name, "outcome": outcome, "reason": reason})


def reasoning(ended: ReasoningEnd = "drafted", **changes: Any) -> Reasoning:
    """The model's part of a run: one call of the model, one of a tool, and bounds that were not reached."""
    moment = datetime(2026, 6, 30, 12, tzinfo=UTC)
    call = ModelCall(
        key="model/0",
        purpose="draft",
        outcome=CallOutcome.ANSWERED,
        recorded_sha256="0" * 64,
        model="a-model",
        temperature="0",
        top_p="1",
        seed=1,
        tokens_max=500,
        prompt_tokens=4_000,
        completion_tokens=321,
        started_at=moment,
        ended_at=moment,
    )
    tool = ToolCall(
        key="tool/0/0",
        tool="labs",
        outcome="answered",
        request_sha256="1" * 64,
        result_sha256="2" * 64,
        started_at=moment,
        ended_at=moment,
    )
    fields: dict[str, Any] = {
        "ended": ended,
        "model_calls": (call,),
        "tool_calls": (tool,),
        "limits": (Limit(name="steps", most=12, used=3, reached=False),),
    }
    return Reasoning(**{**fields, **changes})


def noted_by_model(*claims: Claim) -> Recommendation:
    """What a model noted, as the verifier makes it."""
    return recommendation(
        "noted",
        title="For review: noted by the model",
        author="model",
        stance="noted",
        category="noted",
        strength=None,
        rule=None,
        action="none",
        **({"claims": claims} if claims else {}),
    )
