# SPDX-License-Identifier: Apache-2.0
"""What a model says is there stands only where no newer entry of the same concept says the contrary, or beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
from builders import fhir
from builders.drafts import MEDICATIONS, Considered, Drafting, present, rule_of
from builders.fhir import Json
from builders.reevaluation import basis_of, reevaluated

from medagent.propositions import Presence, State
from medagent.value_sets import single_code
from medagent.verifier import consider

AGE = {"age": {"at_least": 18, "unit": "a"}}
PERFORMED = ("Procedure", "DiagnosticReport", "ImagingStudy", "ServiceRequest", "CarePlan")
REFLUX = single_code("condition", fhir.SNOMED, "235595009").id

condition = partial(fhir.condition, "44054006", onset="2015-03-01")
reflux = partial(fhir.condition, "235595009", text="Reflux")
order = partial(fhir.medication_request, "617318")
stated = partial(fhir.medication_statement, "617318")
dispensed = partial(fhir.medication_dispense, "617318")
allergy = partial(fhir.allergy, None, system=None)
procedure = partial(fhir.procedure, "236886002")
requested = partial(fhir.service_request, "236886002", system=fhir.SNOMED)

UNSAID = "a newer entry that says the contrary is left unsaid"


@dataclass(frozen=True)
class Of:
    """What is said of the first entry: its set, its state, and where its like may stand."""

    value_set: str
    state: State
    types: Sequence[str]


ACTIVE = Of("diabetes", "active", ("Condition",))
RECORDED = replace(ACTIVE, state="recorded")
LISTED = Of("statin", "listed", MEDICATIONS)
TAKEN = replace(LISTED, state="confirmed")
ALLERGIC = Of("statin-allergy", "active", ("AllergyIntolerance",))
CODED = replace(ACTIVE, value_set=REFLUX)
DONE = Of("hysterectomy", "done", PERFORMED)
ORDERED, DECLINED = replace(DONE, state="ordered"), replace(DONE, state="declined")


def chart_of(said: Of, *entries: Json) -> Drafting:
    made = Drafting(rule_of("noted", AGE, AGE), *entries)
    made.read(said.value_set, *said.types)
    return made


def about(made: Drafting, entry: Json, said: Of) -> Presence:
    return present(made.chart.of(entry), said.value_set, said.state)


def judged(considered: Considered) -> tuple[int, str]:
    """How many statements are shown, and why the others are not."""
    verdict = consider(considered.considerations, considered.evidence)
    shown = 0 if verdict.recommendation is None else len(verdict.recommendation.claims)
    return shown, " | ".join(one.detail for one in verdict.findings if not one.passed)


def second_look(considered: Considered) -> set[str]:
    """What somebody who shares nothing with the verifier says of a card with all of it."""
    said = considered.considerations.propositions
    claims = [
        {"id": one.id, "kind": one.kind, "standing": "verified", "text": "", "proposition": one.model_dump()}
        for one in said
    ]
    return {one.why or one.verdict for one in reevaluated(claims, basis_of(considered.evidence))}


OVERTAKEN: dict[str, tuple[Of, Json, Json]] = {
    "a problem that was resolved since": (ACTIVE, condition(), condition(onset="2023-02-01", clinical="resolved")),
    "a problem that is inactive by a later record": (
        ACTIVE, condition(), condition(onset="2010-01-01", recorded="2024-01-01", clinical="inactive"),
    ),
    "a problem of which an entry that began earlier ended later": (
        ACTIVE, condition(), condition(onset="2010-01-01", abatement="2023-01-01", clinical="resolved"),
    ),
    "a problem that was refuted since": (ACTIVE, condition(), condition(onset="2023-02-01", verification="refuted")),
    "a record of a problem that was refuted since": (
        RECORDED, condition(), condition(onset="2023-02-01", verification="refuted"),
    ),
    "a problem that is over by an undated entry": (ACTIVE, condition(), condition(onset=None, clinical="resolved")),
    "an undated problem beside one that is over": (
        ACTIVE, condition(onset=None), condition(onset="2010-02-01", clinical="resolved"),
    ),
    "a problem that is over by an entry of the same day": (ACTIVE, condition(), condition(clinical="resolved")),
    "a problem that is over by an entry of a year that may be later": (
        ACTIVE, condition(), condition(onset="2015", clinical="resolved"),
    ),
    "a problem of a single code": (CODED, reflux(), reflux(onset="2023-02-01", clinical="resolved")),
    "a drug whose newest order was stopped": (LISTED, order(at="2019-05-01"), order(at="2023-12-01", status="stopped")),
    "a drug whose newest order is completed": (
        LISTED, order(at="2019-05-01"), order(at="2023-12-01", status="completed"),
    ),
    "a drug that is said not to be taken since": (
        LISTED, order(at="2019-05-01"), stated(at="2023-12-01", status="not-taken"),
    ),
    "a drug whose refill was declined since": (
        LISTED, order(at="2019-05-01"), dispensed(at="2023-12-01", status="declined"),
    ),
    "a drug that was dispensed and then stopped": (
        TAKEN, dispensed(at="2023-11-01"), order(at="2024-02-01", status="stopped"),
    ),
    "an allergy whose like was resolved since": (
        ALLERGIC, allergy(text="Simvastatin"), allergy(text="Atorvastatin", recorded="2020-01-01", clinical="resolved"),
    ),
}  # fmt: skip
"""What is stated, and the entry that overtakes it."""

STANDING: dict[str, tuple[Of, Json, Sequence[Json]]] = {
    "a problem of one entry": (ACTIVE, condition(), ()),
    "a problem that came back": (
        ACTIVE, condition(onset="2020-01-15"),
        [condition(onset="2010-01-01", abatement="2012-01-01", clinical="resolved")],
    ),
    "a problem that came back on the day on which it was over": (
        ACTIVE, condition(onset="2020-01-15"),
        [condition(onset="2010-01-01", abatement="2020-01-15", clinical="resolved")],
    ),
    "a problem that is active by the later record of the same onset": (
        ACTIVE, condition(recorded="2023-01-01"), [condition(recorded="2016-01-01", clinical="resolved")],
    ),
    "a problem that two entries call active": (ACTIVE, condition(), [condition(onset="2023-02-01")]),
    "a problem with a newer entry made in error": (
        ACTIVE, condition(), [condition(onset="2023-02-01", verification="entered-in-error")],
    ),
    "a problem with a newer entry that is not confirmed": (
        ACTIVE, condition(), [condition(onset="2023-02-01", verification="unconfirmed")],
    ),
    "a problem beside another that is over": (ACTIVE, condition(), [reflux(onset="2023-02-01", clinical="resolved")]),
    "a record of a problem that is over": (RECORDED, condition(), [condition(onset="2023-02-01", clinical="resolved")]),
    "a problem of a single code that came back": (CODED, reflux(), [reflux(onset="2010-01-01", clinical="resolved")]),
    "a drug by the newest of several orders": (
        LISTED, order(at="2023-12-01"),
        [order(at="2019-05-01", status="completed"), order(at="2021-05-01", status="stopped"), order(at="2022-05-01")],
    ),
    "a drug that was dispensed since": (LISTED, order(at="2019-05-01"), [dispensed(at="2023-12-01")]),
    "a drug for which another order is planned": (
        LISTED, order(at="2019-05-01"), [order(at="2023-12-01", intent="plan")],
    ),
    "a drug beside another that was stopped": (
        LISTED, order(at="2019-05-01"), [fhir.medication_request("860975", at="2023-12-01", status="stopped")],
    ),
    "what was done and is ordered once more": (DONE, procedure(at="2020-05-01"), [requested(at="2023-05-01")]),
    "what was done after it had been declined": (
        DONE, procedure(at="2023-05-01"), [procedure(at="2020-05-01", status="not-done")],
    ),
}  # fmt: skip
"""What is stated, and what else the chart holds."""

BESIDE: dict[str, tuple[Of, Json, Of, Json]] = {
    "what was done and then declined": (
        DONE, procedure(at="2020-05-01"), DECLINED, procedure(at="2023-05-01", status="not-done"),
    ),
    "what was ordered and then done": (ORDERED, requested(at="2023-05-01"), DONE, procedure(at="2023-06-01")),
    "what was ordered and done at an unknown time": (ORDERED, requested(at="2023-05-01"), DONE, procedure(at=None)),
    "what was declined and then done": (
        DECLINED, procedure(at="2020-05-01", status="not-done"), DONE, procedure(at="2023-05-01"),
    ),
    "what was declined and then ordered": (
        DECLINED, procedure(at="2020-05-01", status="not-done"), ORDERED, requested(at="2023-05-01"),
    ),
}  # fmt: skip
"""What is stated, and what has to be stated beside it."""


@pytest.mark.parametrize(("said", "entry", "newer"), OVERTAKEN.values(), ids=OVERTAKEN)
def test_what_a_newer_entry_ended_is_not_stated(said: Of, entry: Json, newer: Json) -> None:
    """clinical: 7, 8, 18"""
    made = chart_of(said, entry, newer)
    considered = made.considered(about(made, entry, said))
    shown, why = judged(considered)
    assert shown == 0
    assert f"by {made.chart.of(newer).id}, which is as new or newer" in why
    assert second_look(considered) == {UNSAID}


@pytest.mark.parametrize(("said", "entry", "others"), STANDING.values(), ids=STANDING)
def test_what_nothing_newer_contradicts_is_stated(said: Of, entry: Json, others: Sequence[Json]) -> None:
    made = chart_of(said, entry, *others)
    considered = made.considered(about(made, entry, said))
    assert judged(considered) == (1, "")
    assert second_look(considered) == {"holds"}


@pytest.mark.parametrize(("said", "entry", "beside", "newer"), BESIDE.values(), ids=BESIDE)
def test_what_a_newer_entry_contradicts_stands_beside_it(said: Of, entry: Json, beside: Of, newer: Json) -> None:
    """clinical: 18"""
    made = chart_of(said, entry, newer)
    first, second = about(made, entry, said), about(made, newer, beside)
    alone, both = made.considered(first), made.considered(first, second)
    shown, why = judged(alone)
    assert shown == 0
    assert "as new or newer and says otherwise" in why
    assert judged(both) == (2, "")
    assert (second_look(alone), second_look(both)) == ({UNSAID}, {"holds"})


def test_of_many_newer_entries_the_newest_stands_beside_it() -> None:
    first, then, last = requested(at="2020-05-01"), procedure(at="2021-05-01"), procedure(at="2023-05-01")
    made = chart_of(ORDERED, first, then, last)
    stated = {name: about(made, entry, of) for name, entry, of in
              (("first", first, ORDERED), ("then", then, DONE), ("last", last, DONE))}  # fmt: skip
    assert judged(made.considered(stated["first"], stated["then"]))[0] == 1
    assert judged(made.considered(stated["first"], stated["last"])) == (2, "")


def test_what_is_over_today_ends_the_older_entry_at_a_moment_in_the_past_as_well() -> None:
    """Nobody knows whether it was over then. clinical: 3"""
    entry, newer = condition(), condition(onset="2023-02-01", clinical="inactive")
    made = chart_of(ACTIVE, entry, newer)
    considered = made.considered(about(made, entry, ACTIVE))
    past = replace(considered, evidence=replace(considered.evidence, past=True))
    assert judged(past)[0] == 0


def test_the_very_code_is_the_same_concept_whatever_set_is_named() -> None:
    """A code that no set lists, of which only the words of one entry say the substance."""
    code = fhir.concept("S1", "urn:local")
    entry = {**allergy(), "code": {**code, "text": "Simvastatin"}}
    newer = {**allergy(recorded="2020-01-01", clinical="resolved"), "code": code}
    made = chart_of(ALLERGIC, entry, newer)
    shown, why = judged(made.considered(about(made, entry, ALLERGIC)))
    assert shown == 0
    assert "which is as new or newer" in why


@pytest.mark.parametrize("types", [("MedicationRequest",), MEDICATIONS[:2]], ids=["of its own type", "of some types"])
def test_newer_entries_are_looked_for_wherever_they_may_stand(types: Sequence[str]) -> None:
    entry = order(at="2019-05-01")
    made = chart_of(replace(LISTED, types=types), entry)
    shown, why = judged(made.considered(about(made, entry, LISTED)))
    assert shown == 0
    assert "holds no reading of statin in" in why
