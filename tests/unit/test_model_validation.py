# SPDX-License-Identifier: Apache-2.0
"""What a model wrote is checked here, whatever the server promised, and it is told what was wrong."""

import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from medagent.errors import InvalidOutput
from medagent.model.exchange import TokenChance
from medagent.model.json_text import DEPTH_MAX, LENGTH_MAX, slots
from medagent.model.validation import decisive_tokens, parse_arguments, parse_strict


class Labs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["hba1c", "ldl"]
    since: date | None = None
    least: Decimal | None = None
    count: Annotated[int, Field(ge=1, le=20)] = 5


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Choice(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


def refusal(text: str, model: type[BaseModel] = Labs) -> str:
    with pytest.raises(InvalidOutput) as refused:
        parse_arguments(text, model)
    assert refused.value.__context__ is None, "a chained error would hold what the model wrote"
    return str(refused.value)


def test_numbers_keep_their_digits() -> None:
    assert parse_strict("[1.10, 2, -0.50, 1e3]") == [Decimal("1.10"), 2, Decimal("-0.50"), Decimal("1000")]
    assert parse_arguments('{"kind": "ldl", "least": 1.10}', Labs).least == Decimal("1.10")


@pytest.mark.parametrize("text", ["", "  \n"], ids=["no text", "white space"])
def test_no_text_is_no_argument(text: str) -> None:
    class Nothing(BaseModel):
        pass

    assert parse_arguments(text, Nothing) == Nothing()
    assert refusal(text) == "'kind': is missing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('{"kind": "a\u0007"}', "Invalid control character", id="a control character in a text"),
        pytest.param('{"kind": "ldl", "kind": "hba1c"}', "'kind' stands more than once", id="a name repeated"),
        pytest.param('{"count": NaN}', "NaN is no number", id="not a number"),
        pytest.param('{"count": -Infinity}', "-Infinity is no number", id="infinity"),
        pytest.param('{"count": ' + "9" * 5000 + "}", "more than 100 digits", id="a number that never ends"),
        pytest.param('{"count": 0.' + "9" * 5000 + "}", "more than 100 digits", id="a fraction that never ends"),
        pytest.param('{"count": 1e999999999}', "exponent", id="an exponent that nobody can compute with"),
        pytest.param('{"kind": "\\ud800"}', "half a surrogate pair", id="half a surrogate pair, escaped"),
        pytest.param('{"kind": "\ud800"}', "half a surrogate pair", id="half a surrogate pair"),
        pytest.param("[" * (DEPTH_MAX + 1), "nests deeper", id="nested too deep"),
        pytest.param("[" * 500_000, "longer than", id="too long"),
        pytest.param('"' + '\\"' * 60_000, "Unterminated string", id="a text without an end"),
        pytest.param('{"kind": "ldl"} and so on', "Extra data", id="words after the value"),
        pytest.param('```json\n{"kind": "ldl"}\n```', "Expecting value", id="a fence around the value"),
        pytest.param("[]", "A JSON object is needed", id="another kind of value"),
        pytest.param("{}", "'kind': is missing", id="a field that is missing"),
        pytest.param('{"kind": "tsh"}', "'kind': must be 'hba1c' or 'ldl'", id="a value that is none of the known"),
        pytest.param('{"kind": "ldl", "count": 21}', "'count': Input should be less than or equal to 20", id="a bound"),
        pytest.param('{"kind": "ldl", "patient": "p2"}', "'patient': is no field here", id="an argument too many"),
    ],
)
def test_a_model_is_told_what_is_wrong(text: str, said: str) -> None:
    assert said in refusal(text)


def test_a_wrong_variant_is_told_the_right_ones() -> None:
    assert refusal('{"pet": {"kind": "Erika"}}', Choice) == "'pet': 'kind' must be one of 'cat', 'dog'"


def test_nothing_that_the_model_wrote_is_quoted_but_shortened_names() -> None:
    private = "Erika Mustermann born 1964 lives in Berlin and takes warfarin"
    said = refusal(json.dumps({"kind": private, "since": private, "count": private, "\u202e" + private: private}))
    assert "Erika Mustermann born 1964 lives in Ber…" in said, "a name, cut and without the sign that turns writing"
    assert said.count("Erika") == 1
    assert "takes warfarin" not in said


def test_of_many_problems_the_first_are_told() -> None:
    said = refusal(json.dumps({f"field{number}": 1 for number in range(20)}))
    assert said.endswith("; and 13 more")


SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab/~"\\é', max_size=3), inner),
    max_leaves=12,
)


def _leaves(value: object, pointer: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[Any, object]]
    match value:
        case dict():
            pairs = list(value.items())
        case list():
            pairs = list(enumerate(value))
        case _:
            return [(pointer, value)]
    return [leaf for name, one in pairs for leaf in _leaves(one, f"{pointer}/{_escaped(name)}")]


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1, 4]))
def test_every_scalar_is_found_where_it_stands(document: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert parse_strict(text) == document
    found = []
    for slot in slots(text):
        written = text[slot.start : slot.end]
        quoted = text[slot.start - 1 : slot.end + 1] if slot.start and text[slot.start - 1] == '"' else written
        found.append((slot.pointer, json.loads(quoted)))
    assert found == _leaves(document)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_however_the_text_is_cut_into_tokens_each_slot_has_its_least_likely_token(
    document: object, random: Any
) -> None:
    text = json.dumps(document, ensure_ascii=False)
    chances, spans, position = [], [], 0
    while position < len(text):
        end = position + random.randint(1, 4)
        logprob = Decimal(random.randint(-900, 0)) / 100
        chances.append(TokenChance(token=text[position:end], logprob=str(logprob)))
        spans.append((position, end, logprob))
        position = end
    expected = [
        (slot.pointer, min(logprob for start, end, logprob in spans if start < slot.end and end > slot.start))
        for slot in slots(text)
    ]
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert [(pointer, Decimal(least)) for pointer, least in decisive_tokens(text, chances)] == expected


def chances(*pairs: tuple[str, str]) -> tuple[TokenChance, ...]:
    return tuple(TokenChance(token=token, logprob=logprob) for token, logprob in pairs)


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        pytest.param(
            '{"a":"é🩺"}',
            chances(
                ('{"a":"', "-1"), ("�", "-.2"), ("�", "-.3"), ("é", "-.1"), ("�", "-.6"), ("", "-.4"), ('"}', "-2")
            ),
            (("/a", "-.6"),),
            id="tokens that are parts of a character count for it",
        ),
        pytest.param(
            "[1]",
            chances(("<tool_call>", "-9"), ("[", "-1"), ("1", "-.2"), ("]", "-1"), ("<|im_end|>", "-9")),
            (("/0", "-.2"),),
            id="signs of the model's own that are not in the text count for nothing",
        ),
        pytest.param(
            "[1, 2]", chances(("[", "-1"), ("1", "-.2")), (("/0", "-.2"),), id="a slot that no token covers is left out"
        ),
        pytest.param('{"a":1}', (), (), id="without tokens nothing is said"),
    ],
)
def test_tokens_are_laid_over_the_text(
    text: str, tokens: tuple[TokenChance, ...], expected: tuple[tuple[str, str], ...]
) -> None:
    assert decisive_tokens(text, tokens) == expected


def test_a_text_of_the_greatest_length_is_read() -> None:
    text = '["' + "a" * (LENGTH_MAX - 4) + '"]'
    assert len(text) == LENGTH_MAX
    assert parse_strict(text) == ["a" * (LENGTH_MAX - 4)]
