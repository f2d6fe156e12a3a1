# SPDX-License-Identifier: Apache-2.0
"""What a model wrote, checked here whatever the server promised, and how sure it was of each slot.

Errors are written for the model, which is told of them and tries again: the field, and what is needed there. They hold
nothing that it wrote but the names of fields, shortened: it may repeat what it read in a chart.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medagent.errors import InvalidOutput
from medagent.model.exchange import TokenChance
from medagent.model.json_text import parse_strict, shown, slots

__all__ = ["decisive_tokens", "parse_arguments", "parse_strict", "problems"]

M = TypeVar("M", bound=BaseModel)
_PROBLEMS_MAX = 8  # told at once; who repairs these will hear of the others
_NEEDED_LENGTH = 200  # characters of what is needed at one field
_REPLACED = "\N{REPLACEMENT CHARACTER}"  # stands in a token that is a part of a character
_REPLACED_LENGTH = 4  # characters that such a token may stand for, at most


def parse_arguments(text: str, model: type[M]) -> M:
    """JSON as that model. No text at all is no argument at all. Raises InvalidOutput."""
    value = parse_strict(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise InvalidOutput("A JSON object is needed, with a field for each argument")
    complaint = ""
    try:
        return model.model_validate(value)
    except ValidationError as error:  # raised below, unchained: it holds what was written
        complaint = "; ".join(problems(error))
    raise InvalidOutput(complaint)


def problems(error: ValidationError) -> tuple[str, ...]:
    """Each field that is wrong, with what is needed there."""
    found = error.errors(include_url=False, include_input=False)
    told = [f"{_place(detail['loc'])}: {_needed(detail)}" for detail in found[:_PROBLEMS_MAX]]
    rest = len(found) - len(told)
    return (*told, f"and {rest} more") if rest else tuple(told)


def decisive_tokens(text: str, chances: Sequence[TokenChance]) -> tuple[tuple[str, str], ...]:
    """For each scalar of a JSON text its JSON Pointer with the least log probability among the tokens that wrote it.

    Slots whose tokens cannot be told are left out: tokens and text are two accounts of the server's, and nothing is
    claimed where they differ.
    """
    spans = _spans(text, chances) if chances else []
    least: list[tuple[str, str]] = []
    for slot in slots(text) if spans else ():
        over = [span for span in spans if span[0] < slot.end and span[1] > slot.start]
        covered = sum(min(end, slot.end) - max(start, slot.start) for start, end, _ in over)
        if covered >= slot.end - slot.start > 0:
            least.append((slot.pointer, min((logprob for *_, logprob in over), key=Decimal)))
    return tuple(least)


def _spans(text: str, chances: Sequence[TokenChance]) -> list[tuple[int, int, str]]:
    """Where each token stands: first character, the one after its last, log probability.

    (1) A token that comes next in the text stands there. (2) Tokens that are parts of characters wait for the next
    whole one: together they wrote what lies before it. (3) A token that is not in the text is a sign of the model's own
    that the server left out.
    """
    spans: list[tuple[int, int, str]] = []
    waiting: list[str] = []
    position = 0
    for chance in chances:
        if not chance.token or _REPLACED in chance.token:
            waiting.append(chance.logprob)  # (2)
            continue
        reach = position + len(waiting) * _REPLACED_LENGTH + len(chance.token)
        start = text.find(chance.token, position, reach)
        if start < 0:
            continue  # (3)
        spans += [(position, start, logprob) for logprob in waiting]
        waiting.clear()
        position = start + len(chance.token)
        spans.append((start, position, chance.logprob))  # (1)
    end = min(len(text), position + len(waiting) * _REPLACED_LENGTH)
    return [*spans, *((position, end, logprob) for logprob in waiting)]


def _place(location: Sequence[object]) -> str:
    return "'" + ".".join(shown(part) for part in location) + "'" if location else "the whole"


def _needed(detail: Mapping[str, Any]) -> str:
    """What is needed, by the kind of error. Other kinds are in pydantic's words or in those of our own validators,
    neither of which quotes."""
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is no field here: leave it out"
        case "literal_error" | "enum":
            needed = f"must be {context['expected']}"
        case "union_tag_invalid":
            needed = f"{context['discriminator']} must be one of {context['expected_tags']}"
        case "union_tag_not_found":
            needed = f"{context['discriminator']} is missing"
        case _:
            needed = str(detail["msg"]).removeprefix("Value error, ")
    return needed if len(needed) <= _NEEDED_LENGTH else needed[: _NEEDED_LENGTH - 1] + "…"
