# SPDX-License-Identifier: Apache-2.0
"""One value, one sequence of bytes: what is hashed, stored and compared.

Two forms of JSON leave this module. The canonical form (RFC 8785, JCS) is hashed and gives ids that are
derived from content; it writes decimals as strings, because JCS numbers are doubles and would turn `1.10`
into `1.1`. The public form is for people and programs; it writes decimals as the numbers of their source.

Both refuse floats: a measured value is a `Decimal` from the moment it is read (`parse_json` sees to it).
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from types import NoneType
from typing import Any, NoReturn

import msgspec
import rfc8785
from pydantic import BaseModel

from medagent.errors import CanonicalError

MAX_DEPTH = 100  # levels; FHIR nests below 30, and Python's stack must survive what a stranger sends
_EXACT_INTEGER = 2**53 - 1  # RFC 8785: the largest integer that every JSON reader keeps
_ID_LENGTH = 26  # base32 characters, 130 bits: no two contents share an id by chance
_ID_BYTES = 20  # enough for these characters: Python's base32 takes longer than the hash

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_sorted_encoder = msgspec.json.Encoder(order="sorted")
_CONTAINERS = (Mapping, list, tuple)
_FOUR_BYTES = re.compile(rb"[\xf0-\xf4]")  # how a character from U+10000 on begins in UTF-8
_BYTE_POSITION = re.compile(r"\(byte (\d+)\)")


def canonical_json(value: object) -> bytes:
    """The RFC 8785 form of a value.

    Takes mappings with text keys, lists, tuples, texts, integers, booleans, None, finite decimals, dates,
    datetimes with an offset, enumeration members, and dataclasses and pydantic models made of them.
    """
    plain = _plain(value, 0, True)
    try:
        # Without floats, names in the order of code points are the canonical form. UTF-16, whose order counts, has
        # another one only from U+10000 on, which is rare: the reference is many times slower.
        encoded = _sorted_encoder.encode(plain)
        return encoded if _FOUR_BYTES.search(encoded) is None else rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise CanonicalError("A text holds half a surrogate pair, which no UTF-8 can express") from error


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def content_id(prefix: str, value: object) -> str:
    """An id derived from content: equal content has an equal id on every machine and in every replay."""
    digest = hashlib.sha256(canonical_json(value)).digest()[:_ID_BYTES]
    return f"{prefix}-{base64.b32encode(digest).decode('ascii').lower()[:_ID_LENGTH]}"


def public_json(value: object, indent: bool = False) -> bytes:
    """JSON for people and programs: decimals are numbers with the digits of their source."""
    try:
        encoded = _encoder.encode(_plain(value, 0, False))
    except UnicodeError as error:
        raise CanonicalError("A text holds half a surrogate pair, which no UTF-8 can express") from error
    return msgspec.json.format(encoded, indent=2) if indent else encoded


def parse_json(data: bytes) -> object:
    """Reads JSON with every number that has a fraction or an exponent as a `Decimal`.

    Of an object that repeats a name the last value counts, as in nearly all readers; the decoder cannot tell
    that a name is repeated. Citations hold nevertheless: their pointers are resolved by this function, too,
    and the hash is of the bytes.
    """
    try:
        return _decoder.decode(data)
    except RecursionError as error:
        raise CanonicalError("The JSON nests too deeply to be read") from error
    except UnicodeDecodeError as error:
        raise CanonicalError("The JSON holds bytes that are not UTF-8") from error
    except InvalidOperation as error:
        raise CanonicalError("The JSON holds a number beyond any range") from error
    except msgspec.DecodeError as error:
        position = _BYTE_POSITION.search(str(error))  # nothing else of the message: it may quote content
        where = f"at byte {position[1]}" if position else f"within its {len(data)} bytes"
        raise CanonicalError(f"The JSON is malformed {where}") from error


def _plain(value: object, depth: int, canonical: bool) -> Any:
    """The value in types of JSON. `canonical` says how decimals and large integers leave."""
    return _FORMS[type(value)](value, depth, canonical)


_Form = Callable[[Any, int, bool], Any]


class _Forms(dict[type, _Form]):
    """How the values of each class become plain, decided once: a record has dozens of classes and some hundred
    thousand values."""

    def __missing__(self, kind: type) -> _Form:
        form = self[kind] = _form_of(kind)
        return form


_FORMS = _Forms()


def _form_of(kind: type) -> _Form:
    """The order counts: a truth is an integer, a datetime a date."""
    if issubclass(kind, NoneType | bool):
        return _as_it_is
    if issubclass(kind, Enum):
        return _member
    if issubclass(kind, str):
        return _as_it_is if kind is str else _text
    if issubclass(kind, int):
        return _integer
    if issubclass(kind, Decimal):
        return _decimal
    if issubclass(kind, date):
        return _moment
    if issubclass(kind, BaseModel):
        return _model
    if dataclasses.is_dataclass(kind):
        return _dataclass
    if issubclass(kind, Mapping):
        return _mapping
    return _sequence if issubclass(kind, list | tuple) else _refused


def _as_it_is(value: object, depth: int, canonical: bool) -> object:
    return value


def _text(value: str, depth: int, canonical: bool) -> str:
    return str(value)


def _member(value: Enum, depth: int, canonical: bool) -> Any:
    return _plain(value.value, depth, canonical)


def _moment(value: date, depth: int, canonical: bool) -> str:
    return _time_text(value)


def _model(value: BaseModel, depth: int, canonical: bool) -> Any:
    _refuse_depth(depth)
    fields = value.model_dump(mode="python")
    return _FORMS[type(fields)](fields, depth, canonical) if isinstance(fields, _CONTAINERS) else _refused(fields)


def _dataclass(value: Any, depth: int, canonical: bool) -> dict[str, Any]:
    return _mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth, canonical)


def _mapping(value: Mapping[Any, Any], depth: int, canonical: bool) -> dict[str, Any]:
    _refuse_depth(depth)
    below = depth + 1
    return {
        name if type(name) is str else _name(name): _FORMS[type(member)](member, below, canonical)
        for name, member in value.items()
    }


def _sequence(value: list[Any] | tuple[Any, ...], depth: int, canonical: bool) -> list[Any]:
    _refuse_depth(depth)
    below = depth + 1
    return [_FORMS[type(member)](member, below, canonical) for member in value]


def _refuse_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise CanonicalError(f"The value nests deeper than {MAX_DEPTH} levels")


def _name(name: object) -> str:
    if isinstance(name, Enum):
        name = name.value
    if not isinstance(name, str):
        raise CanonicalError(f"A name of type {type(name).__name__}: JSON names are texts")
    return str(name)


def _integer(value: int, depth: int, canonical: bool) -> int:
    if canonical and abs(value) > _EXACT_INTEGER:
        raise CanonicalError("An integer beyond 2^53 - 1 loses digits in JSON: write it as a text")
    return int(value)


def _decimal(value: Decimal, depth: int, canonical: bool) -> Decimal | str:
    if not value.is_finite():
        raise CanonicalError("A decimal is infinite or not a number: JSON has neither")
    return str(value) if canonical else value


def _time_text(value: date) -> str:
    """RFC 3339; a moment is written in UTC with `Z`."""
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is None:
        raise CanonicalError("A datetime without an offset names no moment: make it aware of its time zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _refused(value: object, depth: int = 0, canonical: bool = True) -> NoReturn:
    if isinstance(value, float):
        raise CanonicalError("A float has no exact decimal digits: use Decimal")
    raise CanonicalError(f"A value of type {type(value).__name__} has no JSON form: convert it first")
