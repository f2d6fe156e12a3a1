# SPDX-License-Identifier: Apache-2.0
"""How a statement of the chart is told to a model: on one line, in the chart's own words, numbers and dates.

Whatever the chart's author could write freely stands within « and » (`marked`). Plain are only what we write and what
was parsed: numbers, dates, codes of public systems by their syntax, units that the table knows.
"""

import re
from collections.abc import Mapping

from medagent.evidence import Coding, Fact, Status
from medagent.intervals import Interval
from medagent.model.marking import marked
from medagent.units import Quantity, resolve_unit
from medagent.value_sets import SYSTEMS, ValueSet, is_single_code

DAY = len("2024-03-02")
MINUTE = len("2024-03-02T10:15")

_SYSTEM_NAMES: Mapping[str, str] = {uri: name for name, uri in SYSTEMS.items()}
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,19}")
_PLAIN_UNIT = re.compile(r"[\w/%\[\]{}.*^()+\-]{1,24}")
_COMPARATORS = frozenset({"<", "<=", ">", ">="})
_DIGITS_MAX = 40  # of a number; a longer one is nobody's measurement


def label(fact: Fact) -> str:
    """What the chart calls it, with a public code where there is one."""
    words = fact.text or next((coding.display for coding in fact.codings if coding.display), None)
    code = next((found for coding in fact.codings if (found := public_code(coding))), None)
    if words is None:
        words = None if code else next((coding.code for coding in fact.codings if coding.code), None)
    named = marked(words, 120) if words else ""
    return " ".join(part for part in (named, f"({code})" if code else "") if part) or fact.resource_type


def public_code(coding: Coding) -> str | None:
    """`LOINC 718-7`, for a code of a public system that is written as its codes are."""
    name = _SYSTEM_NAMES.get(coding.system or "")
    if name is None or coding.code is None or not _CODE.fullmatch(coding.code):
        return None
    return f"{name} {coding.code}"


def told_set(value_set: ValueSet) -> str:
    """A value set by title and id; that of a single code by its code, which is the chart's unless it is public."""
    return set_name(value_set.id) if is_single_code(value_set.id) else f"{value_set.title} [{value_set.id}]"


def set_name(name: str) -> str:
    """The name under which a value set is asked for."""
    if not is_single_code(name):
        return name
    system, _, code = name.partition(":")[2].rpartition("|")
    return public_code(Coding(system, code)) or marked(name)


def when(time: Interval | None, length: int = DAY) -> str:
    """A time as the chart has it, cut at the day or the minute."""
    if time is None:
        return "undated"
    first, _, last = time.text.partition("/")
    shown = [part[:length] for part in (first, last) if part]
    return " to ".join(dict.fromkeys(shown)) or "undated"


def lasted(fact: Fact) -> str:
    """From when to when, where these are different days."""
    first, last = when(fact.time), when(fact.end) if fact.end is not None else ""
    return first if last in ("", first) else f"{first} to {last}"


def value(fact: Fact) -> str:
    """The value as the chart has it: number and unit, the words of a coded value, a text."""
    if fact.absent_reason is not None:
        return f"no value, {marked(fact.absent_reason, 60)}"
    if isinstance(fact.value, Quantity):
        return quantity(fact.value)
    if fact.value_codings:
        coding = fact.value_codings[0]
        words = coding.display or (fact.value if isinstance(fact.value, str) else None) or coding.code
        code = public_code(coding)
        return " ".join(part for part in (marked(words) if words else "", f"({code})" if code else "") if part)
    if isinstance(fact.value, Interval):
        return when(fact.value)
    if isinstance(fact.value, bool):
        return "yes" if fact.value else "no"
    return marked(fact.value) if fact.value else "no value"


def quantity(measured: Quantity) -> str:
    """Number, comparator and unit, digits as they stand."""
    if measured.value is None:
        return "no value"
    digits = format(measured.value, "f") if abs(measured.value.adjusted()) < _DIGITS_MAX else "a number beyond measure"
    sign = measured.comparator if measured.comparator in _COMPARATORS else ""
    return f"{sign}{digits} {unit(measured)}".rstrip()


def unit(measured: Quantity) -> str:
    """The unit as it is written; marked unless the table knows it."""
    written = measured.unit or measured.code
    if not written:
        return "(no unit)"
    known = resolve_unit(measured) is not None and _PLAIN_UNIT.fullmatch(written)
    return written if known else marked(written, 40)


def status_words(fact: Fact) -> str:
    """What the status adds; empty where it is what one expects."""
    return _STATUS_WORDS.get(fact.status, "")


_STATUS_WORDS: Mapping[Status, str] = {
    Status.PRELIMINARY: "preliminary",
    Status.PLANNED: "planned, not done",
    Status.NOT_DONE: "not done",
    Status.REFUTED: "refuted",
    Status.UNCONFIRMED: "unconfirmed",
    Status.UNKNOWN: "status unknown",
    Status.INACTIVE: "inactive",
    Status.ACTIVE: "active",
}


_HAPPENINGS = frozenset({"Encounter", "Procedure", "Observation", "DiagnosticReport", "DocumentReference"})
"""Types whose end belongs to their time; of the others it says that they are over."""


def entry(fact: Fact) -> str:
    """A statement of any type: when, what, value, status, end."""
    happened = fact.resource_type in _HAPPENINGS
    parts = [lasted(fact) if happened else when(fact.time), label(fact)]
    if fact.value is not None or fact.value_codings or fact.absent_reason:
        parts.append(value(fact))
    if words := status_words(fact):
        parts.append(words)
    if fact.end is not None and not happened:
        parts.append(f"ended {when(fact.end)}")
    return ", ".join(parts)
