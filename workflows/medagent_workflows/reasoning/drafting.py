# SPDX-License-Identifier: Apache-2.0
"""The draft as a model writes it: flat, small, with short names instead of evidence ids.

It holds what a model chooses: a kind, the evidence, and what it claims of it. What follows from the evidence is filled
in by `compiling`. Every slot is required, so that a grammar leaves a model nothing to forget. The schema is kept as a
file with the prompts (`prompts/draft.schema.json`), since it is part of what was asked.
"""

from collections.abc import Container, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from medagent.model.exchange import JsonObject
from medagent.propositions import State
from medagent.rules import Comparison
from medagent_workflows.reasoning.handles import Handles

PROPOSITIONS_MAX = 12  # a page is read; longer drafts are not better ones, and each one costs tokens
NOTES_MAX = 1200  # characters that go to the dossier
ENUM_MAX = 400  # names offered in one slot; a grammar of more costs seconds to compile. Then the slot is open
LARGEST = 1_000_000_000  # beyond, nobody measures; and a model without a bound writes digits until it is cut off
DIGITS_MAX = 20  # charts hold doubles as programs print them, with up to 17
THOUSANDTHS = 1000  # the unit of regions: models see images in other sizes than they are stored in

_PART = 60  # signs
_DURATION = r"^[1-9][0-9]{0,3} (hour|day|week|month|year)s?$"


def _exact(number: object) -> object:
    """A number of JSON, with its digits; a float has lost them already."""
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        raise ValueError("a JSON number is needed here")
    return Decimal(number)


def _measurable(number: Decimal) -> Decimal:
    digits = number.as_tuple().digits
    if not number.is_finite() or abs(number) > LARGEST or max(len(digits), -number.adjusted()) > DIGITS_MAX:
        raise ValueError(f"a number of at most {DIGITS_MAX} digits between -{LARGEST} and {LARGEST} is needed here")
    return number


def _line(longest: int, shortest: int = 0) -> WithJsonSchema:
    """For a grammar: a text without control characters, quotes and backslashes. Where grammars only bound the length,
    models write what is no JSON. Longer texts are so many signs and some whole parts: xgrammar 0.2.8 ends the server
    over `{0,129}`, and parts of any length would have a reader of the pattern try them all."""
    sign = r'[^\u0000-\u001f"\\]'
    parts = max(0, ceil((longest - 2 * _PART) / _PART))
    rest = f"({sign}{{{_PART}}}){{0,{parts}}}" if parts else ""
    return WithJsonSchema({"type": "string", "pattern": f"^{sign}{{{shortest},{longest - parts * _PART}}}{rest}$"})


Number = Annotated[
    Decimal,
    BeforeValidator(_exact),
    AfterValidator(_measurable),
    WithJsonSchema({"type": "number", "minimum": -LARGEST, "maximum": LARGEST}),
]
Handle = Annotated[str, Field(max_length=12), _line(12, 1)]
RuleId = Annotated[str, Field(max_length=80), _line(80, 1)]
Unit = Annotated[str, Field(max_length=40), _line(40)]
Period = Annotated[str, Field(pattern=_DURATION)]
Words = Annotated[str, Field(max_length=280), _line(280, 1)]


class _Wire(BaseModel):
    """Base of what a model writes. An error never quotes it: a model repeats what it read."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class WireValue(_Wire):
    kind: Literal["value"]
    fact: Handle
    value: Number | StrictBool | Annotated[str, Field(strict=True, max_length=200), _line(200)]
    unit: Unit | None


class WireThreshold(_Wire):
    kind: Literal["threshold"]
    of: Handle
    comparison: Comparison
    bound: Number
    unit: Unit


class WireTrend(_Wire):
    kind: Literal["trend"]
    reading: Handle
    direction: Literal["rising", "falling"]
    least_change: Number
    unit: Unit
    window: Period


class WirePresence(_Wire):
    kind: Literal["presence"]
    fact: Handle
    state: State


class WireAbsence(_Wire):
    kind: Literal["absence"]
    reading: Handle
    state: State
    within: Period | None


class WireTiming(_Wire):
    kind: Literal["timing"]
    fact: Handle
    element: Literal["time", "value"]
    relation: Literal["within", "longer_ago_than", "before", "after"]
    period: Period | None
    event: Handle | None


class WireCalculation(_Wire):
    kind: Literal["calculation"]
    calculation: Handle
    result: Number


class WireCriterion(_Wire):
    kind: Literal["criterion"]
    rule: RuleId
    part: Literal["population", "criteria", "contraindications", "already"]
    truth: Literal["met", "not_met", "unknown"]


class WireStatement(_Wire):
    kind: Literal["statement"]
    passage: Handle
    quote: Annotated[str, Field(max_length=400), _line(400, 1)]


class WireSummary(_Wire):
    kind: Literal["summary"]
    rule: RuleId


class WireProposal(_Wire):
    kind: Literal["proposal"]
    rule: RuleId


class WireHypothesis(_Wire):
    kind: Literal["hypothesis"]
    text: Words
    supports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=PROPOSITIONS_MAX)], ...], Field(min_length=1, max_length=PROPOSITIONS_MAX)
    ]


Thousandths = Annotated[int, Field(ge=0, le=THOUSANDTHS)]


class WireRegion(_Wire):
    """A rectangle, in thousandths of the image's width and height."""

    left: Thousandths
    top: Thousandths
    width: Thousandths
    height: Thousandths


class WireImageReading(_Wire):
    kind: Literal["image_reading"]
    image: Handle
    region: WireRegion | None
    finding: Words
    confidence: Literal["low", "moderate", "high"]


AnyWire = (
    WireValue | WireThreshold | WireTrend | WirePresence | WireAbsence | WireTiming | WireCalculation | WireCriterion
    | WireStatement | WireSummary | WireProposal | WireHypothesis | WireImageReading
)  # fmt: skip
WireProposition = Annotated[AnyWire, Field(discriminator="kind")]


class WireDraft(_Wire):
    """What a model answers when it is asked for its draft."""

    abstain: Literal["nothing_to_add", "missing_evidence"] | None
    propositions: Annotated[tuple[WireProposition, ...], Field(max_length=PROPOSITIONS_MAX)]
    notes: Annotated[str, Field(max_length=NOTES_MAX), _line(NOTES_MAX)]


_SLOTS: Mapping[str, str] = {
    "fact": "f",
    "event": "f",
    "of": "fc",
    "reading": "r",
    "calculation": "c",
    "passage": "p",
    "image": "i",
}
"""Letters of the names that a slot may hold."""


def narrowed(
    schema: JsonObject,
    handles: Handles,
    rules: Sequence[str],
    proposable: Sequence[str] | None = None,
    shown: Container[str] | None = None,
) -> JsonObject:
    """The schema with only those names and rules that exist, so that a grammar cannot invent any.

    `proposable`: rules that the engine has a proposal for; `shown`: ids among which those of the images stand that were
    shown. None: all. A kind of which nothing exists falls out.
    """
    offered: dict[str, Sequence[str]] = {slot: handles.beginning_with(letters) for slot, letters in _SLOTS.items()}
    offered["rule"] = rules
    if shown is not None:
        offered["image"] = [name for name in offered["image"] if handles.evidence(name) in shown]
    narrow: JsonObject = deepcopy(schema)
    gone: set[str] = set()
    for name, kind in narrow["$defs"].items():
        choices = dict(offered)
        if name == WireProposal.__name__ and proposable is not None:
            choices["rule"] = proposable
        for slot, known in choices.items():
            if slot in kind["properties"] and not _narrow(kind["properties"], slot, known):
                gone.add(name)
    kinds = narrow["properties"]["propositions"]["items"]["anyOf"]
    kinds[:] = [kind for kind in kinds if kind["$ref"].rpartition("/")[2] not in gone]
    for name in gone:
        del narrow["$defs"][name]
    return narrow


def _narrow(properties: JsonObject, slot: str, known: Sequence[str]) -> bool:
    """Whether anything is left to choose for a slot, once it is narrowed. A slot that may be empty always has that."""
    may_be_empty = "anyOf" in properties[slot]
    if known and len(known) <= ENUM_MAX:
        choice = {"type": "string", "enum": list(known)}
        properties[slot] = {"anyOf": [choice, {"type": "null"}]} if may_be_empty else choice
    elif not known and may_be_empty:
        properties[slot] = {"type": "null"}
    return bool(known) or may_be_empty
