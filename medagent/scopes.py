# SPDX-License-Identifier: Apache-2.0
"""SMART scopes: what a launch granted, what a tool needs, and whether the one covers the other.

The grammar is that of https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html (2.2): a context, a resource
type, the letters of create, read, update, delete, search in this order, and optionally a query that narrows the type.
Version 1's `.read`, `.write`, `.*` stand for `.rs`, `.cud`, `.cruds`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from medagent.errors import UsageError

READING = frozenset("rs")
"""Letters that a chart is read with: a type is searched for and its resources are read."""
BY_ID = frozenset("r")
"""Letters for what is only read where a reference leads to it, such as the Patient, a Medication or a Binary."""

_LETTERS = "cruds"
_IN_ORDER = re.compile("".join(f"{letter}?" for letter in _LETTERS))
_FIRST_VERSION = {"read": "rs", "write": "cud", "*": "cruds"}
_SCOPE = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]*)\.(?P<may>\*|[a-z]+)(?:\?(?P<query>\S+))?"
)

Narrowing = tuple[tuple[str, str], ...]
"""Search parameters that a resource has to meet, all of them; sorted. Empty: nothing narrows the type."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope for FHIR resources."""

    context: Literal["patient", "user", "system"]
    type: str
    """A resource type, or `*`."""
    may: frozenset[str]
    """Of `c`, `r`, `u`, `d`, `s`."""
    narrowed: Narrowing = ()

    @property
    def text(self) -> str:
        """As version 2 writes it."""
        query = f"?{urlencode(self.narrowed)}" if self.narrowed else ""
        return f"{self.context}/{self.type}.{''.join(sorted(self.may, key=_LETTERS.index))}{query}"


@dataclass(frozen=True, slots=True)
class Grant:
    """The scopes that a server granted, of whatever was asked for. No scope: nothing may be read."""

    scopes: tuple[Scope, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Grant":
        """The scopes for resources among what was granted. Others (`openid`, `launch/patient`) and what has no meaning
        grant nothing."""
        return cls(tuple(scope for text in texts if (scope := parsed(text)) is not None))

    def reading(self, resource_type: str, needed: frozenset[str] = READING) -> tuple[Narrowing, ...] | None:
        """How far a type may be read by these letters. None: not at all. An empty narrowing among them: all of it.
        Else: what meets at least one of them."""
        letters: dict[Narrowing, set[str]] = {}
        for scope in self.scopes:
            if scope.type in ("*", resource_type):
                letters.setdefault(scope.narrowed, set()).update(scope.may)
        everything = letters.get((), set())
        if everything >= needed:
            return ((),)
        found = tuple(sorted(narrowed for narrowed, may in letters.items() if may | everything >= needed))
        return found or None

    def covers(self, needed: Iterable[str]) -> bool:
        """Whether every type that these scopes name may be read, if only in part. They are ours: UsageError for one
        that is none."""
        return all(self.reading(scope.type) is not None for scope in map(_required, needed))


def parsed(text: str) -> Scope | None:
    """One scope. None: it is not one for FHIR resources, or its letters are of neither version or out of order."""
    found = _SCOPE.fullmatch(text)
    if found is None or (found["query"] is not None and found["may"] in _FIRST_VERSION):
        return None
    letters = _FIRST_VERSION.get(found["may"], found["may"])
    if not _IN_ORDER.fullmatch(letters):
        return None
    narrowed = _narrowing(found["query"])
    if narrowed is None:
        return None
    context: Literal["patient", "user", "system"] = found["context"]  # type: ignore[assignment]  # by the expression
    return Scope(context, found["type"], frozenset(letters), narrowed)


def _narrowing(query: str | None) -> Narrowing | None:
    """Its parameters. None: one of them says nothing, so that it would narrow nothing, or cannot be read."""
    if query is None:
        return ()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return None
    return tuple(sorted(pairs)) if all(name and value for name, value in pairs) else None


def _required(text: str) -> Scope:
    scope = parsed(text)
    if scope is None:
        raise UsageError(f"{text}: is no SMART scope; write it like patient/Observation.rs")
    return scope
