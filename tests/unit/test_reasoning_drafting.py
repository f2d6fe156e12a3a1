# SPDX-License-Identifier: Apache-2.0
"""The draft as a model writes it: exact numbers, bounded texts, and only names that exist."""

import re
from decimal import Decimal
from typing import Any

import pytest
from builders.fhir import Json
from builders.reasoning import absence, drafted, hypothesis, image_reading, presence, threshold, trend, value
from pydantic import ValidationError

from medagent.errors import InvalidOutput
from medagent.model.validation import parse_arguments
from medagent.propositions import Proposition
from medagent_workflows.prompts import PROMPTS
from medagent_workflows.reasoning.drafting import ENUM_MAX, PROPOSITIONS_MAX, WireDraft, narrowed
from medagent_workflows.reasoning.handles import Handles

HANDLES = Handles(["fact-a", "fact-b", "reading-a", "calculation-a"])
RULES = ("rule-a", "rule-b")


def read(*propositions: Json) -> WireDraft:
    return WireDraft.model_validate(drafted(*propositions))


def kinds_of(schema: Json) -> set[str]:
    """The kinds of propositions that a schema offers."""
    offered = schema["properties"]["propositions"]["items"]["anyOf"]
    names = [kind["$ref"].rpartition("/")[2] for kind in offered]
    return {schema["$defs"][name]["properties"]["kind"]["const"] for name in names}


def slot(schema: Json, kind: str, name: str) -> Any:
    every = [one["properties"] for one in schema["$defs"].values()]
    (found,) = [slots[name] for slots in every if slots.get("kind", {}).get("const") == kind]
    return found


@pytest.mark.parametrize(
    "written", ["8.10", "-3", "0.001", "1000000000", "1e3", "163.7407419920343", "0.12345678901234567"]
)
def test_numbers_keep_their_digits(written: str) -> None:
    proposition_text = f'{{"kind": "value", "fact": "f1", "value": {written}, "unit": null}}'
    text = f'{{"abstain": null, "propositions": [{proposition_text}], "notes": ""}}'
    (proposition,) = parse_arguments(text, WireDraft).propositions
    assert proposition.kind == "value"
    assert str(proposition.value) == str(Decimal(written))


@pytest.mark.parametrize("said", [True, False, "8.10", "yes", 1, 0])
def test_a_value_is_of_the_type_that_was_written(said: bool | str | int) -> None:
    (proposition,) = read(value("f1", said)).propositions
    assert proposition.kind == "value"
    assert isinstance(proposition.value, bool) == isinstance(said, bool)
    assert isinstance(proposition.value, str) == isinstance(said, str)


NUMBERS = [
    ("more than anybody measures", Decimal("1E+10")),
    ("an exponent without end", Decimal("1E+999999")),
    ("less than anybody measures", Decimal("1E-300")),
    ("digits without end", Decimal("0." + "1" * 40)),
    ("infinity", Decimal("Infinity")),
    ("no number", Decimal("NaN")),
    ("a float, which has lost its digits", 8.1),
    ("a number as a text", "7"),
    ("a truth", True),
]


@pytest.mark.parametrize("bound", [row[1] for row in NUMBERS], ids=[row[0] for row in NUMBERS])
def test_a_bound_that_is_no_measurable_number_is_refused(bound: Any) -> None:
    with pytest.raises(ValidationError):
        read(threshold("f1", "<", bound, "%"))


INVALID = [
    ("a kind that does not exist", {"kind": "diagnosis", "text": "x"}),
    ("a missing slot", {"kind": "summary"}),
    ("a slot too many", {"kind": "summary", "rule": "a", "patient": "Patient/2"}),
    ("a state that does not exist", presence("f1", "cured")),
    ("a window that is no duration", trend("r1", "rising", 1, "%", "forever")),
    ("a period of the future", absence("r1", "active", "-3 months")),
    ("a thought without support", hypothesis("So it may be.")),
    ("a thought too long", hypothesis("so " * 100, 1)),
    ("a support beyond the list", hypothesis("So it may be.", 13)),
    ("a region outside of the image", image_reading("i1", "x", {"left": 0, "top": 0, "width": 1001, "height": 1})),
    ("a name without end", presence("f" * 500, "active")),
]


@pytest.mark.parametrize("proposition", [row[1] for row in INVALID], ids=[row[0] for row in INVALID])
def test_what_is_not_of_the_schema_is_refused(proposition: Json) -> None:
    with pytest.raises(ValidationError):
        read(proposition)


def test_a_draft_has_an_end() -> None:
    with pytest.raises(ValidationError):
        read(*[presence("f1", "active")] * (PROPOSITIONS_MAX + 1))
    with pytest.raises(ValidationError):
        WireDraft.model_validate(drafted(notes="x" * 5_000))


TEXTS = [
    ("summary", "rule", 1, 80),
    ("hypothesis", "text", 1, 280),
    ("image_reading", "finding", 1, 280),
    ("statement", "quote", 1, 400),
    ("threshold", "unit", 0, 40),
    ("presence", "fact", 1, 12),
]


@pytest.mark.parametrize(("kind", "name", "shortest", "longest"), TEXTS, ids=[f"{row[0]} {row[1]}" for row in TEXTS])
def test_a_grammar_bounds_a_text_as_its_type_does(kind: str, name: str, shortest: int, longest: int) -> None:
    pattern = slot(PROMPTS.draft_schema, kind, name)["pattern"]
    lengths = [length for length in range(longest + 200) if re.fullmatch(pattern, "a" * length)]
    assert lengths == list(range(shortest, longest + 1))
    assert not any(re.fullmatch(pattern, f"a{sign}") for sign in '\n\t\x00"\\')


def test_no_repetition_is_longer_than_the_grammars_of_servers_bear() -> None:
    """xgrammar 0.2.8 ends the whole server over 129."""
    counts = re.findall(r"\{(?:\d+,)?(\d+)\}", str(PROMPTS.draft_schema))
    assert counts
    assert max(map(int, counts)) <= 128


def test_an_error_does_not_repeat_what_was_written() -> None:
    with pytest.raises(InvalidOutput) as refused:
        parse_arguments('{"abstain": "Mary Smith", "propositions": [], "notes": 5}', WireDraft)
    assert "Mary" not in str(refused.value)


def test_every_kind_of_proposition_can_be_written() -> None:
    from_kernel = {
        arm.model_fields["kind"].default
        for arm in Proposition.__origin__.__args__  # type: ignore[attr-defined]  # the union's arms
    }
    assert kinds_of(PROMPTS.draft_schema) == from_kernel


def test_a_grammar_offers_only_names_that_were_given_out() -> None:
    schema = narrowed(PROMPTS.draft_schema, HANDLES, RULES)
    assert slot(schema, "value", "fact")["enum"] == ["f1", "f2"]
    assert slot(schema, "threshold", "of")["enum"] == ["f1", "f2", "c1"]
    assert slot(schema, "absence", "reading")["enum"] == ["r1"]
    assert slot(schema, "summary", "rule")["enum"] == list(RULES)


def test_a_slot_that_may_be_empty_stays_so() -> None:
    event = slot(narrowed(PROMPTS.draft_schema, HANDLES, RULES), "timing", "event")
    assert event == {"anyOf": [{"type": "string", "enum": ["f1", "f2"]}, {"type": "null"}]}


def test_a_kind_without_evidence_is_not_offered() -> None:
    offered = kinds_of(narrowed(PROMPTS.draft_schema, HANDLES, RULES))
    assert offered.isdisjoint({"statement", "image_reading"})
    assert {"value", "calculation", "hypothesis"} <= offered
    assert kinds_of(narrowed(PROMPTS.draft_schema, Handles(), RULES)) == {
        "criterion", "summary", "proposal", "hypothesis"
    }  # fmt: skip


def test_only_images_that_were_shown_are_offered() -> None:
    handles = Handles(["image-listed", "image-shown", "fact-a"])
    schema = narrowed(PROMPTS.draft_schema, handles, RULES, shown={"image-shown"})
    assert slot(schema, "image_reading", "image")["enum"] == ["i2"]
    assert "image_reading" not in kinds_of(narrowed(PROMPTS.draft_schema, handles, RULES, shown=()))


def test_only_rules_with_a_proposal_of_the_engine_can_be_proposed() -> None:
    schema = narrowed(PROMPTS.draft_schema, HANDLES, RULES, proposable=["rule-b"])
    assert slot(schema, "proposal", "rule")["enum"] == ["rule-b"]
    assert slot(schema, "summary", "rule")["enum"] == list(RULES)
    assert "proposal" not in kinds_of(narrowed(PROMPTS.draft_schema, HANDLES, RULES, proposable=[]))


def test_of_very_many_names_none_is_withheld() -> None:
    """A grammar of thousands of names would take seconds to compile; what was not given out, compiling refuses."""
    many = Handles(f"fact-{place}" for place in range(ENUM_MAX + 1))
    assert "enum" not in slot(narrowed(PROMPTS.draft_schema, many, RULES), "value", "fact")


def test_narrowing_leaves_the_schema_as_it_was() -> None:
    schema = PROMPTS.draft_schema
    narrowed(schema, HANDLES, RULES)
    assert schema == PROMPTS.draft_schema
