# SPDX-License-Identifier: Apache-2.0
"""What a run is about and what it leaves behind: request, draft, verdict, recommendation, dossier.

"Verified" is another type than "drafted": everything that shows something to people takes `Recommendation`, and
only `medagent.verifier` makes one. `Draft` is never shown.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from medagent.evidence import Evidence, Record
from medagent.propositions import Proposition
from medagent.rules import Gate, Rule, Strength
from medagent.value_sets import ValueSet


class Request(Record):
    """Who asks what about whom."""

    id: str
    tenant: str = "local"
    actor: str
    """Who asks: a user, a client, or `command-line`."""
    patient: str
    scopes: tuple[str, ...] | None = None
    """SMART scopes as they were granted, in no order of ours. None: the source asks for none, as local files do. Empty:
    none was granted."""
    retrieval: str | None = None
    """Under which the calls to the EHR stand that read the chart (X-Request-Id, audit events). None: local files."""
    question: str | None = None
    adapter: str | None = None
    """Name of the LoRA adapter that is to answer. None: the site's."""
    as_of: datetime
    """What was known at this instant (UTC)."""
    deadline: datetime | None = None
    created_at: datetime


class Draft(Record):
    """A candidate recommendation, by the engine or a model. Never shown."""

    rule: str
    truth: Literal["met", "unknown"]
    proposal: str
    """Id of the proposal among the propositions."""
    propositions: tuple[Proposition, ...] = Field(min_length=1)


class Considerations(Record):
    """What a model drafts on its own, apart from any rule's proposal. Never shown."""

    propositions: tuple[Proposition, ...] = Field(min_length=1)
    """Of any kind but a proposal: an option rests on a rule, and comes as a `Draft`."""


class Citation(Record):
    """Where a claim stands. For a reading or a calculation: its id alone."""

    evidence: str
    pointer: str | None = None
    value: str | bool | Decimal | int | None = None
    quote: str | None = None
    decode: Literal["base64"] | None = None


class Claim(Record):
    """A verified proposition, with its citations and the sentence that we render from it."""

    id: str
    kind: str
    standing: Literal["verified", "summary", "consider", "model_reading"]
    text: str
    proposition: Proposition
    citations: tuple[Citation, ...] = Field(min_length=1)


class Finding(Record):
    """One check on one proposition."""

    check: str
    """Number and name of the verifier's step, for instance `3 element`."""
    proposition: str
    """Id of the proposition."""
    rule: str | None = None
    passed: bool
    detail: str = ""
    """Why, in words without patient data: ids, pointers, codes of ours."""


class RuleRef(Record):
    """The rule behind a recommendation."""

    id: str
    guideline: str
    title: str
    publisher: str
    edition: str
    source: str
    """URL."""
    section: str


class Recommendation(Record):
    """What may be shown. Built only by the verifier."""

    id: str
    title: str
    author: Literal["engine", "model"] = "engine"
    """`model`: chosen by a model apart from any rule; it proposes nothing."""
    stance: Literal["option", "considered", "obtain", "withheld", "conflict", "noted"]
    """`noted`: nothing is proposed; checked statements, and beside them what the model thinks or sees."""
    category: Literal["harm", "missing_data", "treatment_gap", "prevention", "noted"]
    urgency: Literal["info", "warning", "critical"]
    strength: Strength | None
    """None: no rule, so no grade."""
    rule: RuleRef | None
    """None: no rule stands behind it."""
    action: str
    warnings: tuple[str, ...] = ()
    """Sentences rendered by us: what the gate could not decide, what conflicts."""
    claims: tuple[Claim, ...] = Field(min_length=1)
    also: tuple[RuleRef, ...] = ()
    """Other rules that agree on the same action and were merged (clinical: 15), or the other position of a conflict."""
    display: Literal["card", "line"] = "card"
    """`line`: shown only by its title, within the one line of prevention or of an old chart (clinical: 4, 16)."""


class Verdict(Record):
    """What the verifier makes of one draft."""

    recommendation: Recommendation | None
    """None: dropped; the findings say why."""
    findings: tuple[Finding, ...] = Field(min_length=1)


class OutcomeKind(StrEnum):
    """How a run ends."""

    OFFERED = "offered"
    NOTHING_DUE = "nothing_due"
    ABSTAINED = "abstained"


class Reason(StrEnum):
    """Why a run abstained, or why no rule puts anything forward where only a model's notes are offered."""

    MISSING_DATA = "missing_data"
    FAILED_VERIFICATION = "failed_verification"
    UNAVAILABLE = "unavailable"
    DECEASED = "deceased"
    OUT_OF_SCOPE = "out_of_scope"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    WITHHELD = "withheld"
    """Something is due, and all of it is contraindicated for this patient."""


class Missing(Record):
    """What would have been needed."""

    what: str
    why: str
    needed_by: str


class Skipped(Record):
    """What of the input was not used."""

    where: str
    reason: str


class Suppressed(Record):
    """What was held back, and why (clinical: 15, 16)."""

    rule: str
    reason: str
    recommendation: Recommendation | None = None


class Counts(Record):
    """Over all rules of the pack."""

    met: int = 0
    not_met: int = 0
    unknown: int = 0
    not_applicable: int = 0


class ModelRef(Record):
    """The served model."""

    name: str
    revision: str | None
    adapter: str | None = None


class CallOutcome(StrEnum):
    """How a call of a model ended."""

    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    TOO_LONG = "too_long"
    REFUSED = "refused"
    INVALID_OUTPUT = "invalid_output"


class ModelCall(Record):
    """One exchange with a model, without what was said: that is kept in the journal, by these hashes."""

    key: str
    """Its place in the journal, such as `model/2`."""
    purpose: Literal["reason", "draft", "repair"]
    outcome: CallOutcome
    recorded_sha256: str
    """Of the request as it is kept (`ModelRequest.recorded`)."""
    request_sha256: str | None = None
    """Of the HTTP body that was sent."""
    response_sha256: str | None = None
    """Of the HTTP body that was received."""
    model: str
    adapter: str | None = None
    revision: str | None = None
    weights_digest: str | None = None
    server: str | None = None
    temperature: str
    top_p: str
    seed: int
    tokens_max: int
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    completion_tokens: int = 0
    finish: str | None = None
    images: tuple[str, ...] = ()
    """SHA-256 of each image that went along."""
    attempts: int = 1
    started_at: datetime
    ended_at: datetime


class ToolCall(Record):
    """One call of a tool, without what it said."""

    key: str
    """Its place in the journal, such as `tool/2/0`."""
    tool: str
    outcome: Literal["answered", "refused", "invalid_arguments", "unknown_tool", "over_limit"]
    request_sha256: str
    result_sha256: str
    evidence: int = 0
    """How many pieces of evidence it named."""
    shown: int = 0
    total: int = 0
    """How many lines the model was shown, of how many there were."""
    tokens: int = 0
    started_at: datetime
    ended_at: datetime


class Limit(Record):
    """One bound of the model's work."""

    name: Literal["steps", "tool_calls", "tokens", "images", "seconds", "context"]
    most: int
    used: int
    reached: bool


class PromptRef(Record):
    """A prompt, tool description or schema that was in use."""

    name: str
    version: str
    sha256: str


class Agreement(Record):
    """What several samples of one draft had in common (never shown as a probability, clinical: 18)."""

    samples: int
    needed: int
    """How many had to say the same."""
    agreed: Mapping[str, int]
    """By proposition id: in how many samples it stands."""


class DecisiveToken(Record):
    """A slot of the draft with the least log probability of its tokens; recorded, never shown as a probability."""

    pointer: str
    """JSON Pointer in the draft as the model wrote it."""
    logprob: str


ReasoningEnd = Literal[
    "drafted", "abstained", "disagreed", "unavailable", "deadline", "too_long", "refused", "invalid_output"
]
"""How the model's part of a run ended. `abstained`: it said itself that it has nothing to say."""


class Reasoning(Record):
    """The model's part of a run: for reviewers, never shown as advice."""

    ended: ReasoningEnd
    detail: str = ""
    """Why, in our words, without patient data."""
    prompts: tuple[PromptRef, ...] = ()
    model_calls: tuple[ModelCall, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    limits: tuple[Limit, ...] = ()
    left_out: tuple[str, ...] = ()
    """What of the chart and its images did not fit and was left to the tools, in our words."""
    proposed: tuple[str, ...] = ()
    """Rules that the model put forward, too. The engine's draft of each stands for it."""
    repairs: int = 0
    """How often the model was told that its draft could not be used."""
    free_text: tuple[str, ...] = ()
    """What the model wrote outside of the slots."""
    invalid: tuple[str, ...] = ()
    """What of its draft could not be taken, in our words."""
    agreement: Agreement | None = None
    decisive: tuple[DecisiveToken, ...] = ()
    images: tuple[str, ...] = ()
    """Ids of the images that it was shown."""


class Mode(Record):
    """How the run was made; stands in every output (clinical: 14)."""

    stage: Literal["demo", "shadow", "care"]
    model: ModelRef | None = None
    """None: the guideline engine alone."""
    images: bool = False


class Software(Record):
    """What made the dossier."""

    name: str = "medagent"
    version: str


class RuleResult(Record):
    """What the engine found for one rule."""

    rule: str
    outcome: Literal["met", "not_met", "unknown", "not_applicable"]
    reason: str = ""
    """A code: `age`, `population`, `already`, `contraindicated`, `criteria`, or what is missing."""


class Dossier(Record):
    """Everything of one request, frozen. A reader per old version is kept."""

    schema_version: int = Field(default=1, alias="schema")
    id: str
    request: Request
    outcome: OutcomeKind
    reason: Reason | None = None
    banners: tuple[str, ...] = ()
    """Sentences that lead every rendering: not clinically reviewed, chart out of date, deceased."""
    mode: Mode
    created_at: datetime
    past: bool = False
    patient_names: tuple[str, ...] = ()
    time_zone: str
    counts: Counts
    results: tuple[RuleResult, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    drafts: tuple[Draft, ...] = ()
    considerations: tuple[Considerations, ...] = ()
    reasoning: Reasoning | None = None
    """None: no model took part."""
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    listings: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    rules: tuple[Rule, ...] = ()
    """The rules as they were, so that a replay needs no pack."""
    value_sets: tuple[ValueSet, ...] = ()
    gates: tuple[Gate, ...] = ()
    pack: str
    """SHA-256 of the pack: which rules, value sets and gates were in use."""
    software: Software


JsonObject = dict[str, Any]
"""A parsed JSON object of public output."""
