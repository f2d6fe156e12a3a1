# SPDX-License-Identifier: Apache-2.0
"""JSON as a model writes it: read strictly, and taken apart into the places where its scalars stand.

A grammar on the server is no promise: those of vLLM let control characters into strings and numbers run on for ever.
What is ambiguous (a name that is repeated, half a surrogate pair, NaN) is refused, for two readers would differ on it.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from medagent.errors import InvalidOutput
from medagent.model.marking import neutral

LENGTH_MAX = 200_000  # characters; the largest draft schema allows far less
DEPTH_MAX = 32  # levels; drafts nest below 10
DIGITS_MAX = 100  # of a number, exponent included; models without a bound write digits until they are cut off
_EXPONENT_MAX = 400  # beyond what a double holds, and small enough that nobody computes for long
_SHOWN = 40  # characters of a name that a model chose
# The quotation mark that ends a text is optional: a text without an end is then read once, not from each of its signs.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


class Slot(NamedTuple):
    """A scalar in a text of JSON."""

    pointer: str
    """JSON Pointer (RFC 6901)."""
    start: int
    end: int
    """Characters of it, without the quotation marks of a text that is not empty."""


def parse_strict(text: str) -> object:
    """The value, its numbers with a fraction or an exponent as decimals. Raises InvalidOutput, which quotes nothing but
    names of fields."""
    if len(text) > LENGTH_MAX:
        raise InvalidOutput(f"The JSON is longer than {LENGTH_MAX} characters: write less")
    problem = ""
    try:
        _check_depth(text)
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_not_a_number,
        )
        json.dumps(value, ensure_ascii=False, default=str).encode()  # fails on half a surrogate pair
        return value
    except json.JSONDecodeError as error:  # raised below, unchained: it holds the text
        cause = error.msg.removesuffix(" at")
        problem = f"This is no JSON ({cause}, character {error.pos}): write one JSON value and nothing else"
    except UnicodeEncodeError:
        problem = "A text holds half a surrogate pair: write the sign itself or both halves"
    raise InvalidOutput(problem)


def slots(text: str) -> Iterator[Slot]:
    """The scalars of a text that `parse_strict` has read, in the order in which they stand."""
    path: list[str | int] = []
    name_next = False
    name = ""
    for piece in _PIECE.finditer(text):
        sign = piece.group()
        if sign in "{[":
            path.append("" if sign == "{" else 0)
            name_next = sign == "{"
        elif sign in "}]":
            path.pop()
            name_next = False
        elif sign == ",":
            last = path[-1]
            name_next = isinstance(last, str)
            path[-1] = last if isinstance(last, str) else last + 1
        elif sign == ":":
            path[-1] = name
            name_next = False
        elif name_next:
            name = json.loads(sign)
        else:
            quoted = sign.startswith('"') and len(sign) > 2
            yield Slot(_pointer(path), piece.start() + quoted, piece.end() - quoted)


def shown(name: object) -> str:
    """A name that a model may have chosen, short and without signs that anything would obey."""
    text = neutral(str(name))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _pointer(path: list[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _check_depth(text: str) -> None:
    """Before the parser recurses."""
    depth = 0
    for piece in _PIECE.finditer(text):
        sign = piece.group()
        depth += (sign in "{[") - (sign in "}]")
        if depth > DEPTH_MAX:
            raise InvalidOutput(f"The JSON nests deeper than {DEPTH_MAX} levels: write it flat")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidOutput(f"The field '{shown(twice)}' stands more than once in one object: write it once")
    return value


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise InvalidOutput(f"A number has more than {DIGITS_MAX} digits: write fewer")
    return int(digits)


def _decimal(digits: str) -> Decimal:
    if len(digits) > DIGITS_MAX:
        raise InvalidOutput(f"A number has more than {DIGITS_MAX} digits: write fewer")
    number = Decimal(digits)
    if abs(number.adjusted()) > _EXPONENT_MAX:
        raise InvalidOutput(f"A number's exponent is beyond {_EXPONENT_MAX}: write a measurable number")
    return number


def _not_a_number(name: str) -> NoReturn:
    raise InvalidOutput(f"{name} is no number of JSON: write a number, or null where the field allows it")
