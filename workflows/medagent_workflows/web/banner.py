# SPDX-License-Identifier: Apache-2.0
"""The patient banner: whose chart the page is about, for an EHR that does not show that itself (standards 13)."""

from dataclasses import dataclass

import msgspec


class _Name(msgspec.Struct):
    use: str | None = None
    text: str | None = None
    prefix: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    family: str | None = None
    suffix: tuple[str, ...] = ()


class _Coded(msgspec.Struct):
    code: str | None = None


class _Kind(msgspec.Struct):
    coding: tuple[_Coded, ...] = ()


class _Identifier(msgspec.Struct):
    type: _Kind | None = None
    value: str | None = None


class _Patient(msgspec.Struct, rename="camel"):
    id: str | None = None
    name: tuple[_Name, ...] = ()
    birth_date: str | None = None
    gender: str | None = None
    identifier: tuple[_Identifier, ...] = ()


_decoder = msgspec.json.Decoder(_Patient)
_BEST_FIRST = ("official", "usual", None, "temp", "nickname", "anonymous", "maiden", "old")
_RECORD_NUMBER = "MR"  # http://terminology.hl7.org/CodeSystem/v2-0203


@dataclass(frozen=True, slots=True)
class Banner:
    """What two people of one name are told apart by."""

    name: str | None
    birth_date: str | None
    gender: str | None
    record_number: str | None
    """The medical record number that people know; else the resource's id."""


def banner_of(patient: bytes) -> Banner | None:
    """The banner of a Patient resource. None: its demographics cannot be read."""
    try:
        said = _decoder.decode(patient)
    except msgspec.MsgspecError:
        return None
    numbers = (one.value for one in said.identifier if one.type is not None and _is_record_number(one.type))
    names = sorted(said.name, key=_preference)
    return Banner(
        name=next((text for text in map(_told, names) if text), None),
        birth_date=said.birth_date,
        gender=said.gender,
        record_number=next((number for number in numbers if number), said.id),
    )


def _is_record_number(kind: _Kind) -> bool:
    return any(coding.code == _RECORD_NUMBER for coding in kind.coding)


def _preference(name: _Name) -> int:
    return _BEST_FIRST.index(name.use) if name.use in _BEST_FIRST else len(_BEST_FIRST)


def _told(name: _Name) -> str:
    """As the EHR writes it, else put together in the order of a chart's cover: family name first."""
    if name.text:
        return name.text
    given = " ".join((*name.prefix, *name.given))
    return ", ".join(part for part in (name.family or "", given, " ".join(name.suffix)) if part)
