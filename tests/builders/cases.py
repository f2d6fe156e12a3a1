# SPDX-License-Identifier: Apache-2.0
"""Case tables: what a rule must answer, written in YAML beside the pack before the rule, run through the real reader.

    rule: hba1c-monitoring
    as_of: 2026-01-15
    cases:
      - name: "met: no HbA1c on record"
        patient: {birth_date: 1966-03-01, gender: male}
        chart:
          - {condition: diabetes-mellitus-type-2, onset: 2015-01-01}
        expect: met            # met, not_met, unknown, not_applicable, or deceased
        stance: option         # of the draft; without it nothing is said of one
        why: stale             # the reason of an unknown leaf of the rule

`no_known_allergy: true` adds that entry, `partial: true` declares the source incomplete.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any

import yaml

from builders.chart import KINDS, ZONE, as_fhir, entry, open_chart
from builders.chart import patient as make_patient
from builders.fhir import Json
from medagent.propositions import Criterion, Proposal, leaves
from medagent.value_sets import ValueSet
from medagent_fhir.chart import SnapshotChart
from medagent_tools.guidelines.engine import Screening, screen
from medagent_tools.guidelines.pack import Pack

_FIELDS = frozenset(
    {"name", "patient", "chart", "partial", "expect", "stance", "why", "no_known_allergy", "as_of", "time_zone"}
)
OUTCOMES = frozenset({"met", "not_met", "unknown", "not_applicable", "deceased"})


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a case table."""

    rule: str
    name: str
    as_of: date
    patient: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    expect: str
    stance: str | None = None
    why: str | None = None
    partial: bool = False
    no_known_allergy: bool = False

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}"

    def resources(self, value_sets: Mapping[str, ValueSet]) -> list[Json]:
        """The chart's entries as resources."""
        entries = list(self.entries)
        if self.no_known_allergy:
            entries.append({"allergy": "no-known-allergy"})
        return [_resource(one, value_sets) for one in entries]

    def chart(self, value_sets: Mapping[str, ValueSet]) -> SnapshotChart:
        """The chart that it describes."""
        about = make_patient(**{name: as_fhir(value) for name, value in self.patient.items()})
        return open_chart(self.resources(value_sets), about=about, as_of=self.as_of, partial=self.partial, zone=ZONE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said of the case's rule."""

    outcome: str
    stance: str | None
    """None: nothing was drafted."""
    whys: frozenset[str]
    """The reasons of unknown leaves of the draft, or of the result where there is none."""


def shipped_cases() -> Iterator[Case]:
    """Every case of the shipped pack."""
    folder = files("medagent_tools.guidelines").joinpath("pack", "cases")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield from read_cases(yaml.safe_load(file.read_bytes()))


def read_cases(table: Mapping[str, Any]) -> Iterator[Case]:
    """The cases of one table. A field that nobody reads is an error of its author."""
    for case in table["cases"]:
        unknown = case.keys() - _FIELDS
        if unknown or case["expect"] not in OUTCOMES:
            raise ValueError(f"{table['rule']}: {case['name']}: correct {', '.join(unknown) or 'expect'}")
        yield Case(
            rule=table["rule"],
            name=case["name"],
            as_of=case.get("as_of", table["as_of"]),
            patient=case.get("patient", {}),
            entries=tuple(case.get("chart") or ()),
            expect=case["expect"],
            stance=case.get("stance"),
            why=case.get("why"),
            partial=case.get("partial", False),
            no_known_allergy=case.get("no_known_allergy", False),
        )


def answer(case: Case, pack: Pack) -> Answer:
    """The engine's answer to a case."""
    screening = screen(case.chart(pack.value_sets), pack, time_zone=ZONE.key)
    result = {result.rule: result for result in screening.results}[case.rule]
    return Answer(result.outcome, *_drafted(screening, case.rule, result.reason))


def _drafted(screening: Screening, rule: str, reason: str) -> tuple[str | None, frozenset[str]]:
    draft = next((draft for draft in screening.drafts if draft.rule == rule), None)
    if draft is None:
        return None, frozenset(reason.split(", ")) - {""}
    proposal = next(one for one in draft.propositions if isinstance(one, Proposal))
    trees = [one.tree for one in draft.propositions if isinstance(one, Criterion)]
    trees += [check.tree for check in proposal.gate if check.tree is not None]
    whys = {leaf.why for tree in trees for leaf in leaves(tree) if leaf.why is not None}
    return proposal.stance, frozenset(whys) | (frozenset(reason.split(", ")) - {""})


def _resource(one: Mapping[str, Any], value_sets: Mapping[str, ValueSet]) -> Json:
    kinds = one.keys() & KINDS
    if len(kinds) != 1:
        raise ValueError(f"an entry names one of {', '.join(sorted(KINDS))}: {sorted(one)}")
    (kind,) = kinds
    fields = {name: value for name, value in one.items() if name != kind}
    if "absent_reason" in fields:
        fields["absent_reason"] = {"coding": [{"code": fields["absent_reason"]}]}
    return entry(kind, one[kind], value_sets, **fields)
