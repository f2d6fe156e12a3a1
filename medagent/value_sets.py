# SPDX-License-Identifier: Apache-2.0
"""Value sets: what a rule means by "HbA1c" or "metformin", as codes with their systems.

A value set says which codes match, which systems it speaks (so that an entry coded only elsewhere is a possible
match and not a miss), within which limits a value is plausible, and by which names it goes in entries that carry
text only. A name proves what stands there; its absence proves nothing, but of drugs and allergies.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Literal, get_args

from pydantic import Field, model_validator

from medagent.errors import RuleError
from medagent.evidence import Coding, Record

SYSTEMS: Mapping[str, str] = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "RxNorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD-9-CM": "http://hl7.org/fhir/sid/icd-9-cm",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "CPT": "http://www.ama-assn.org/go/cpt",
    "HCPCS": "urn:oid:2.16.840.1.113883.6.285",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "ActCode": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
}
"""The names under which code systems stand in value set files. `ICD-10-CM: [E11]` matches E11 and all below."""

ALIASES: Mapping[str, str] = {
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10": SYSTEMS["ICD-10-CM"],
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd9": SYSTEMS["ICD-9-CM"],
}
"""Systems of one source that hold the codes of a public one."""

HIERARCHIES = frozenset({SYSTEMS["ICD-10-CM"], SYSTEMS["ICD-9-CM"]})
"""Systems whose codes contain their children by prefix, and are written with and without their dot."""

IPS_ABSENT_UNKNOWN = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"

NOTHING_KNOWN: Mapping[str, frozenset[str]] = {
    IPS_ABSENT_UNKNOWN: frozenset(
        {"no-known-problems", "no-known-medications", "no-known-procedures", "no-known-allergies"}
    ),
}
"""Entries that say that there is nothing of their kind: the one way in which an entry disproves every set."""

UNKNOWN_ANSWERS: Mapping[str, frozenset[str]] = {
    SYSTEMS["SNOMED"]: frozenset({"266927001", "261665006"}),
    SYSTEMS["LOINC"]: frozenset({"LA4489-6", "LA18980-5"}),
    "http://terminology.hl7.org/CodeSystem/v3-NullFlavor": frozenset({"UNK", "ASKU", "NI", "NASK", "NAV"}),
    IPS_ABSENT_UNKNOWN: frozenset({"no-problem-info", "no-medication-info", "no-procedure-info", "no-allergy-info"}),
    "http://terminology.hl7.org/CodeSystem/data-absent-reason": frozenset({"unknown", "asked-unknown", "not-asked"}),
}
"""Answers that say that the answer is not known. They tell nothing, in whatever set."""

NAMED_KINDS = frozenset({"medication", "allergy"})
"""Kinds whose entries say their substance by name. Each strength, form and brand has a code of its own, so a code
that is not listed does not tell that the substance is another."""

_NOT_THIS_PATIENT_NOW = ("family history", "family hx", "fh", "no", "denies", "negative for", "rule out", "ruled out",
                         "r/o", "suspected", "history of", "h/o", "risk of", "risk for", "screening for")  # fmt: skip
_NOT_DONE = ("family history", "no", "declined", "refused", "not done")
GUARDS: Mapping[str, tuple[str, ...]] = {
    "condition": _NOT_THIS_PATIENT_NOW,
    "finding": _NOT_THIS_PATIENT_NOW,
    "procedure": _NOT_DONE,
}
"""Words by kind of set beside which a name in a text does not say that the patient has or had it."""

_A_WORD = re.compile(r"[a-z]{3}")


SetKind = Literal[
    "condition", "observation", "medication", "allergy", "procedure", "immunization", "encounter", "finding"
]
"""What the entries of a set are."""


class Plausible(Record):
    """Limits outside of which a value is shown as questionable and meets nothing (data, not code)."""

    low: Decimal
    high: Decimal
    unit: str


class ValueSet(Record):
    """A named set of codes. `names` match whole words of the text of entries that no listed system codes; for
    medications and allergies, of any entry whose codes are not listed."""

    id: str
    title: str
    """As it is shown to a clinician, for instance `HbA1c`."""
    kind: SetKind
    source: str
    """Where the codes come from, and that they were or were not checked against it."""
    codes: Mapping[str, tuple[str, ...]]
    """Codes by system name (see `SYSTEMS`) or by the system's URI."""
    names: tuple[str, ...] = ()
    analyte: str | None = None
    """Key of the analyte-specific unit conversions, for instance `creatinine`."""
    unit: str | None = None
    """The UCUM unit in which the set's values are compared."""
    plausible: Plausible | None = None
    obtained_with: str | None = None
    """What one act of measuring gives, such as `blood-pressure`: undecided leaves that share it count as one."""
    not_names: tuple[str, ...] = ()
    """Words beside which a name means something else, as in "family history of" or "pulmonary" hypertension."""
    expires_after: str | None = None
    """For acute conditions: a duration after onset from which "active" is no longer believed (clinical: 8)."""
    codes_by_uri: Mapping[str, frozenset[str]] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="after")
    def _index(self) -> "ValueSet":
        index = {SYSTEMS.get(name, name): frozenset(codes) for name, codes in self.codes.items()}
        object.__setattr__(self, "codes_by_uri", index)  # derived once; the model stays frozen to everybody else
        return self

    @cached_property
    def _named(self) -> re.Pattern[str] | None:
        return _any_of(self.names)

    @cached_property
    def _guarded(self) -> re.Pattern[str] | None:
        return _any_of((*self.not_names, *GUARDS.get(self.kind, ())))

    def matches(self, codings: Sequence[Coding], text: str | None = None) -> bool:
        """Whether an entry with these codes, or with this text where no code decides, belongs to the set."""
        if any(self.has(coding) for coding in codings):
            return True
        if self.kind not in NAMED_KINDS and self._spoken(codings):
            return False
        words = (*_texts(codings, text), *(coding.code for coding in codings if coding.code))
        return _occurs(self._named, words) and not _occurs(self._guarded, words)

    def covers(self, codings: Sequence[Coding], text: str | None = None) -> bool:
        """Whether the set can tell that an entry belongs to it or does not.

        Steps: (1) an answer that says "unknown" tells nothing; (2) a listed code tells, and so does one that says that
        nothing is known; (3) of drugs and allergies a name tells, and a bare code of another system does not; (4) of
        all else an unlisted code of a system that the set speaks tells; a text tells only what it names, since one
        without the name may say the same in other words.
        """
        # (1)
        if any(_among(UNKNOWN_ANSWERS, coding) for coding in codings):
            return False
        # (2)
        if any(self.has(coding) or _among(NOTHING_KNOWN, coding) for coding in codings):
            return True
        words = _texts(codings, text)
        # (3)
        if self.kind in NAMED_KINDS:
            told = any(_A_WORD.search(word.lower()) for word in words)
            return bool(self.names) and told and not _occurs(self._guarded, words)
        # (4)
        return self._spoken(codings) or self.matches(codings, text)

    def _spoken(self, codings: Sequence[Coding]) -> bool:
        return any(_system(coding) in self.codes_by_uri and coding.code for coding in codings)

    def has(self, coding: Coding) -> bool:
        """Whether the set lists a code, or one above it."""
        system = _system(coding)
        codes = self.codes_by_uri.get(system)
        if codes is None or coding.code is None:
            return False
        if system in HIERARCHIES:
            return _dotless(coding.code).startswith(self._branches[system])
        return coding.code in codes

    @cached_property
    def _branches(self) -> Mapping[str, tuple[str, ...]]:
        return {uri: tuple(map(_dotless, codes)) for uri, codes in self.codes_by_uri.items() if uri in HIERARCHIES}


_KINDS: Mapping[str, SetKind] = {kind: kind for kind in get_args(SetKind)}
_NAMES = {uri: name for name, uri in SYSTEMS.items()}
_URI = re.compile(r"(?:https?://|urn:)[!-{}~]{1,200}")
_CODE = re.compile(r"[!-{}~]{1,64}")
_SETS_KEPT = 4096  # a chart has some hundreds of codes; each set is made again whenever its name is met


@lru_cache(maxsize=_SETS_KEPT)
def single_code(kind: SetKind, system: str, code: str) -> ValueSet:
    """The set of one code, so that a model can speak of entries that no rule names. Raises RuleError for what is no
    code: its title is shown, so neither spaces nor signs of other scripts may stand in it."""
    system = ALIASES.get(system, system)
    if _URI.fullmatch(system) is None or _CODE.fullmatch(code) is None:
        raise RuleError(f"{kind}: a code is named by its system's URI and up to 64 printable signs without spaces")
    return ValueSet(
        id=f"{kind}:{system}|{code}",
        title=f"{_NAMES.get(system, system)} {code}",
        kind=kind,
        source="One code as the chart has it; not checked against its system.",
        codes={system: (code,)},
    )


def is_single_code(name: str) -> bool:
    """Whether a value set's name is that of a single code, which no pack may give to its own."""
    return "|" in name


def value_set_named(value_sets: Mapping[str, ValueSet], name: str) -> ValueSet:
    """The set of a pack, or that of the single code that the name says. Raises RuleError where it is neither."""
    found = value_sets.get(name)
    if found is not None:
        return found
    kind, _, concept = name.partition(":")
    system, _, code = concept.rpartition("|")
    if not is_single_code(name) or kind not in _KINDS:
        raise RuleError(f"{name}: no value set has this id, and it is no kind:system|code; see the pack's value sets")
    single = single_code(_KINDS[kind], system, code)
    if single.id != name:
        raise RuleError(f"{name}: this code system goes by another URI; name it {single.id}")
    return single


def _among(codes: Mapping[str, frozenset[str]], coding: Coding) -> bool:
    return coding.code in codes.get(coding.system or "", ())


def _system(coding: Coding) -> str:
    return ALIASES.get(coding.system or "", coding.system or "")


def _dotless(code: str) -> str:
    return code.replace(".", "").upper()


def _texts(codings: Sequence[Coding], text: str | None) -> tuple[str, ...]:
    return tuple(word for word in (text, *(coding.display for coding in codings)) if word)


def _any_of(names: Sequence[str]) -> re.Pattern[str] | None:
    """Whole words. None: there are none."""
    if not names:
        return None
    return re.compile(r"(?<![a-z])(?:" + "|".join(re.escape(name.lower()) for name in names) + r")(?![a-z])")


def _occurs(names: re.Pattern[str] | None, words: Sequence[str]) -> bool:
    return names is not None and any(names.search(word.lower()) for word in words)
