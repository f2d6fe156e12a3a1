# SPDX-License-Identifier: Apache-2.0
"""What of a chart is withheld before anything is made of it (clinical: 19).

By default that is whatever carries a security label of HL7's sensitivity codes, of a law that protects a kind of
information, or of restricted confidentiality (https://terminology.hl7.org/ValueSet-v3-InformationSensitivityPolicy.html,
https://hl7.org/fhir/uv/security-label-ds4p/). A site adds its own categories, by code, and says who may see them:

    [[category]]
    name = "substance use"
    codes = ["http://terminology.hl7.org/CodeSystem/v3-ActCode|SUD", "http://hl7.org/fhir/sid/icd-10-cm|F11.*"]
    types = ["Condition", "DocumentReference"]
    roles = ["addiction-medicine"]
    purposes = ["TREAT"]

`codes`: what the category is told by, wherever a resource says it; a star at the end stands for any rest. `types`: the
resource types that it covers; all where it is absent. `roles`, `purposes`: who may see it, for what; where both are
given both must fit, where neither is, nobody may. A category of a site stands in place of the default for the labels
that it names. What belongs to several categories is shown only to who may see all of them.

Only codes tell: what a resource says in words alone is not recognised.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from medagent.errors import SettingsError

_SENSITIVITY = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_OTHER_NAMES = {
    "http://hl7.org/fhir/v3/actcode": _SENSITIVITY.lower(),
    "2.16.840.1.113883.5.4": _SENSITIVITY.lower(),
    "http://hl7.org/fhir/v3/confidentiality": _CONFIDENTIALITY.lower(),
    "2.16.840.1.113883.5.25": _CONFIDENTIALITY.lower(),
}
"""Names that the two code systems had before R4, or have in other standards of HL7, in lower case."""

_SENSITIVE = """
    ETH GDIS HIV MST PREGNANT SCA SDV SEX SPI BH COGN DVD EMOTDIS MH PSY PSYTHPN SUD ETHUD OPIOIDUD STD TBOO VIO
    IDS SICKLE DEMO DOB GENDER LIVARG MARST PATLOC RACE REL B EMPL LOCIS SSP ADOL CEL VIP DIA DRGIS EMP PDS PHY PRS
    42CFRPart2 42CFRPart2CD Title38Section7332 HIPAAPsyNotes
"""
"""Codes for what acts, persons and roles are sensitive for, for what was asked for by a person, and for laws."""
_LABELLED = (
    *(f"{_SENSITIVITY}|{code}" for code in _SENSITIVE.split()),
    *(f"{_CONFIDENTIALITY}|{code}" for code in "RV"),
)

_LABELS = frozenset({"security", "securityLabel"})
"""Elements that hold nothing but labels, so that one without a system is a label, too."""

_WRITTEN = re.compile(r'[^\s|"\\]+\|[^\s|"\\*]+( [^\s|"\\*]+)*\*?')
_CODE = re.compile(rb'"code"\s*:\s*"\s*([^"]*?)\s*"')
_ESCAPED = re.compile(rb"\\[u/]")
"""Ways to write a letter of a code, or of the word `code`, otherwise."""


def withheld(count: int) -> str:
    """Why a reading is incomplete, in words that tell no category."""
    entries, are = ("entry", "is") if count == 1 else ("entries", "are")
    return f"{count} {entries} {are} not shown here by the site's policy"


class _Table(BaseModel):
    """A part of the site's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def _system_and_code(text: str) -> str:
    if not _WRITTEN.fullmatch(text):
        raise ValueError("write it as system|code, or as system|beginning* for all codes that begin so")
    return text


_Coded = Annotated[str, AfterValidator(_system_and_code)]
_Type = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]+$")]


class Category(_Table):
    """One kind of information that is withheld, and from whom it is not."""

    name: _Words
    codes: tuple[_Coded, ...] = Field(min_length=1)
    """`system|code`, or the beginning of a code and a star."""
    types: tuple[_Type, ...] = ()
    roles: tuple[_Words, ...] = ()
    purposes: tuple[_Words, ...] = ()

    def seen_by(self, roles: Collection[str], purposes: Collection[str]) -> bool:
        """Whether somebody of these roles, for these purposes, may see it."""
        fits = (not self.roles or not set(self.roles).isdisjoint(roles)) and (
            not self.purposes or not set(self.purposes).isdisjoint(purposes)
        )
        return fits and bool(self.roles or self.purposes)


class _File(_Table):
    category: tuple[Category, ...]


@dataclass(frozen=True, slots=True)
class _Codes:
    """What tells that a resource of one type is withheld."""

    exact: frozenset[tuple[str, str]]
    begun: tuple[tuple[str, str], ...]
    """Systems, and the beginnings of codes."""
    labels: frozenset[str]
    """Codes that are labels, whatever system they name."""
    bytes_exact: frozenset[bytes]
    bytes_begun: tuple[bytes, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "_Codes":
        """Out of `system|code`."""
        pairs = [(_one_name(system), code) for system, _, code in (text.partition("|") for text in texts)]
        exact = frozenset(pair for pair in pairs if not pair[1].endswith("*"))
        begun = tuple((system, code[:-1]) for system, code in pairs if code.endswith("*"))
        return cls(
            exact,
            begun,
            frozenset(code for system, code in exact if system in _OTHER_NAMES.values()),
            frozenset(code.encode() for _, code in exact),
            tuple(code.encode() for _, code in begun),
        )

    def may_be_in(self, raw: bytes) -> bool:
        """Whether some code of a resource is spelt like one of these: most hold none, and need not be parsed."""
        found = _CODE.findall(raw)
        return (
            not self.bytes_exact.isdisjoint(found)
            or any(code.startswith(self.bytes_begun) for code in found)
            or _ESCAPED.search(raw) is not None
        )

    def tell(self, system: str | None, code: str, is_label: bool) -> bool:
        """Whether a coding is one of these."""
        code = code.strip()
        if system is None:
            return is_label and code in self.labels
        system = _one_name(system)
        return (system, code) in self.exact or any(
            system == of and code.startswith(beginning) for of, beginning in self.begun
        )


@lru_cache(maxsize=1_024)
def _one_name(system: str) -> str:
    """One name for a code system, however a resource writes it: with https, in other capitals, with a version, with a
    slash at its end. Two systems whose names differ in no more than that are not worth showing what is withheld."""
    plain = system.strip().partition("|")[0].rstrip("/").lower().removeprefix("urn:oid:")
    plain = re.sub("^https:", "http:", plain)
    return _OTHER_NAMES.get(plain, plain)


class Sensitivity:
    """What is withheld from one user, for one purpose. Hand a chart's source the one of its run."""

    def __init__(self, categories: Iterable[Category]) -> None:
        """`categories`: what is withheld."""
        self._categories = tuple(categories)
        self._codes: dict[str, _Codes] = {}

    @classmethod
    def default(cls) -> "Sensitivity":
        """Whatever is labelled as sensitive is withheld from everybody."""
        return cls((Category(name="labelled", codes=_LABELLED),))

    @classmethod
    def load(cls, path: Path) -> "Sensitivity":
        """The default and what a site adds in its file. Nobody sees anything of it until `seen_by`. Raises
        SettingsError, which names the field."""
        try:
            read = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise SettingsError(f"{path.name}: cannot be read ({error.strerror or 'input error'})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path.name}: is not TOML: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"{path.name}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
        named = {code for category in read.category if not category.types for code in category.codes}
        left = tuple(code for code in _LABELLED if code not in named)
        labelled = (Category(name="labelled", codes=left),) if left else ()
        return cls((*labelled, *read.category))

    def seen_by(self, roles: Collection[str] = (), purposes: Collection[str] = ()) -> "Sensitivity":
        """What is withheld from somebody of these roles, for these purposes (codes of v3-ActReason such as `TREAT`)."""
        return Sensitivity(one for one in self._categories if not one.seen_by(roles, purposes))

    def withholds(self, raw: bytes, resource_type: str) -> bool:
        """Whether a resource, as its exact bytes, is not to be used: neither shown nor counted nor concluded from. What
        cannot be told is withheld, too. Of a Patient: the whole chart is. What a withheld Medication or Binary stands
        behind says the same, so it is to be withheld with it."""
        codes = self._codes.get(resource_type)
        if codes is None:
            codes = self._codes[resource_type] = self._codes_for(resource_type)
        if not codes.may_be_in(raw):
            return False
        try:
            return any(codes.tell(*found) for found in _codings(msgspec.json.decode(raw)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True

    def _codes_for(self, resource_type: str) -> _Codes:
        categories = (one for one in self._categories if not one.types or resource_type in one.types)
        return _Codes.of(code for category in categories for code in category.codes)


def _codings(resource: object) -> Iterator[tuple[str | None, str, bool]]:
    """Every system and code that a resource says, at any depth, and whether it stands where only labels do."""
    left: list[tuple[Any, bool]] = [(resource, False)]
    while left:
        node, is_label = left.pop()
        if isinstance(node, list):
            left += ((item, is_label) for item in node)
        elif isinstance(node, dict):
            system, code = node.get("system"), node.get("code")
            if isinstance(code, str):
                yield system if isinstance(system, str) else None, code, is_label
            left += ((value, is_label or key in _LABELS) for key, value in node.items())
