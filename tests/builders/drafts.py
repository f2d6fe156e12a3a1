# SPDX-License-Identifier: Apache-2.0
"""Drafts that hold: one for each way in which a rule can end, together with every kind of proposition.

They are written by hand as an engine ought to draft them, so that the verifier is tested without any engine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal

from builders import fhir
from builders.evidence import ChartBuilder
from medagent.canonical import sha256_hex
from medagent.evidence import Calculation, Fact, Reading, Region
from medagent.evidence_set import EvidenceSet
from medagent.kleene import Truth, all_of, any_of, at_least, negate
from medagent.propositions import (
    Absence,
    AnyLeafProposition,
    AnyProposition,
    Branch,
    Calculated,
    Criterion,
    GateCheck,
    Hypothesis,
    ImageReading,
    Leaf,
    Presence,
    Proposal,
    State,
    Statement,
    Summary,
    Threshold,
    Timing,
    Trend,
    Value,
    leaves,
)  # fmt: skip
from medagent.records import Considerations, Draft
from medagent.rules import Comparison, Gate, Rule
from medagent.value_sets import ValueSet

Kind = Literal["condition", "observation", "medication", "allergy", "procedure"]
MEDICATIONS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
MET, NOT_MET, UNKNOWN = Truth.MET, Truth.NOT_MET, Truth.UNKNOWN


@dataclass(frozen=True, slots=True)
class Case:
    """A draft and the evidence that it was drafted from."""

    draft: Draft
    evidence: EvidenceSet


@dataclass(frozen=True, slots=True)
class Considered:
    """What a model drafted on its own, and the evidence that it had."""

    considerations: Considerations
    evidence: EvidenceSet


def _set(name: str, kind: Kind, system: str, *codes: str, **more: Any) -> ValueSet:
    return ValueSet(id=name, title=name.replace("-", " "), kind=kind, source="made up", codes={system: codes}, **more)


VALUE_SETS = (
    _set("diabetes", "condition", "SNOMED", "44054006"),
    _set("pregnancy", "condition", "SNOMED", "77386006"),
    _set("liver-failure", "condition", "SNOMED", "59927004"),
    _set("hba1c", "observation", "LOINC", "4548-4", unit="%", analyte="hba1c",
         plausible={"low": "3", "high": "20", "unit": "%"}),
    _set("albuminuria", "observation", "LOINC", "9318-7", unit="mg/g", analyte="albumin_creatinine"),
    _set("creatinine", "observation", "LOINC", "2160-0", unit="mg/dL", analyte="creatinine"),
    _set("systolic", "observation", "LOINC", "8480-6", unit="mm[Hg]"),
    _set("smoking-status", "observation", "LOINC", "72166-2"),
    _set("current-smoker", "observation", "SNOMED", "449868002"),
    _set("quit-date", "observation", "LOINC", "74010-0"),
    _set("pregnancy-status", "observation", "LOINC", "82810-3"),
    _set("pregnant", "observation", "LOINC", "LA15173-0"),
    _set("not-pregnant", "observation", "LOINC", "LA26683-5"),
    _set("hysterectomy", "procedure", "SNOMED", "236886002"),
    _set("metformin", "medication", "RxNorm", "860975"),
    _set("statin", "medication", "RxNorm", "617318"),
    _set("statin-allergy", "allergy", "RxNorm", "36567", names=("simvastatin", "atorvastatin")),
)  # fmt: skip

_GUIDELINE = {
    "id": "test", "title": "A guideline for tests", "publisher": "A publisher", "edition": "2024",
    "published": "2024-01-01", "in_force_from": "2024-01-01", "jurisdiction": "US", "url": "https://example.org/g",
    "checked": "written for tests",
}  # fmt: skip
_AGE_ONLY = {"age": {"at_least": 18, "unit": "a"}}
GATE = Gate.model_validate(
    {
        "medication": "statin",
        "source": "made up",
        "refuse_if": {
            "allergy": {"allergy": {"in": "statin-allergy"}},
            "renal": {"condition": {"in": "liver-failure"}},
            "pregnancy": {"pregnant": {}},
            "duplicate": {"medication": {"in": "statin", "use": "exposure"}},
        },
        "not_needed": {"interaction": "none is known to the test"},
    }
)


def rule_of(name: str, population: Any, criteria: Any, **changes: Any) -> Rule:
    """A rule with these criteria."""
    action = {"id": f"{name}-action", "direction": "review", "option": "a review", **changes.pop("action", {})}
    return Rule.model_validate(
        {
            "id": name, "title": "A situation", "guideline": _GUIDELINE, "section": "1", "url": "https://example.org/g#1",
            "summary": "A review may be useful.", "strength": {"scale": "letters", "grade": "A"},
            "category": "treatment_gap", "urgency": "info", "age": {"at_least": 18}, "population": population,
            "criteria": criteria, "action": action, **changes,
        }
    )  # fmt: skip


class Drafting:
    """A draft in the making."""

    def __init__(self, rule: Rule, *resources: fhir.Json, patient: fhir.Json | None = None) -> None:
        self.rule = rule
        self.chart = ChartBuilder(patient or fhir.patient(), *resources, value_sets=VALUE_SETS)
        self.age = self.chart.age()
        self._criteria: list[Criterion] = []
        self._gate: list[GateCheck] = []
        self._more: list[AnyProposition] = []

    def read(self, value_set: str | None, *types: str, incomplete: str | None = None) -> Reading:
        """A reading; observations where no type is named."""
        return self.chart.reading(types or ("Observation",), value_set, incomplete)

    def part(self, part: Any, tree: Leaf | Branch) -> None:
        """A part of the rule, evaluated."""
        self._criteria.append(Criterion(rule=self.rule.id, part=part, truth=tree.truth, tree=tree))

    def check(self, name: Any, tree: Leaf | None) -> None:
        """A check of the gate."""
        truth = MET if tree is None else negate(tree.truth)
        self._gate.append(GateCheck(check=name, truth=truth, tree=tree))

    def also(self, *propositions: AnyProposition) -> None:
        """Further propositions."""
        self._more.extend(propositions)

    def of_age(self) -> Leaf:
        """The leaf of the age limits."""
        return leaf(MET, [], calculated(self.age), over(self.age, ">=", 18, "a"))

    def considered(self, *propositions: AnyProposition) -> "Considered":
        """What a model drafts on its own, with the evidence that was read."""
        return Considered(
            Considerations(propositions=propositions), self.chart.evidence(self.rule, {GATE.medication: GATE})
        )

    def case(self, stance: Any = "option", truth: Literal["met", "unknown"] = "met") -> Case:
        """The draft with its evidence."""
        proposal = Proposal(
            rule=self.rule.id, action=self.rule.action.id, stance=stance,
            supports=tuple(one.id for one in self._criteria), gate=tuple(self._gate),
        )  # fmt: skip
        found = [one for criterion in self._criteria for node in leaves(criterion.tree) for one in node.propositions]
        stated = tuple(dict.fromkeys([calculated(self.age), over(self.age, ">=", 18, "a"), *found, *self._more]))
        draft = Draft(
            rule=self.rule.id, truth=truth, proposal=proposal.id,
            propositions=(Summary(rule=self.rule.id), *self._criteria, *stated, proposal),
        )  # fmt: skip
        return Case(draft, self.chart.evidence(self.rule, {GATE.medication: GATE}))


def leaf(truth: Truth, readings: Sequence[Reading], *propositions: AnyLeafProposition, why: Any = None) -> Leaf:
    """A leaf."""
    return Leaf(truth=truth, propositions=propositions, readings=tuple(one.id for one in readings), why=why)


def branch(operator: Any, *children: Leaf | Branch, count: int = 1) -> Branch:
    """A branch with the truth that it has."""
    connect: Mapping[str, Callable[[list[Truth]], Truth]] = {
        "all": all_of, "any": any_of, "not": lambda truths: negate(truths[0]),
        "at_least": lambda truths: at_least(count, truths),
    }  # fmt: skip
    return Branch(operator=operator, truth=connect[operator]([one.truth for one in children]), children=children)


def calculated(calculation: Calculation) -> Calculated:
    """That a formula gave this."""
    return Calculated(
        calculation=calculation.id, formula=calculation.formula, result=calculation.result, unit=calculation.unit
    )


def over(
    of: Fact | Calculation, comparison: Comparison, bound: int | str, unit: str, value_set: str | None = None
) -> Threshold:
    """That a value lies on that side of a bound."""
    return Threshold(of=of.id, value_set=value_set, comparison=comparison, bound=Decimal(bound), unit=unit)


def states(fact: Fact, value_set: str) -> Value:
    """What a fact says."""
    element, unit = fact.element("value"), fact.element("unit")
    assert element is not None
    assert not isinstance(element.value, int)
    return Value(fact=fact.id, of=value_set, value=element.value, unit=None if unit is None else str(unit.value))


def present(fact: Fact, value_set: str, state: State) -> Presence:
    """That a fact has a state."""
    return Presence(fact=fact.id, value_set=value_set, state=state)


def timed(fact: Fact, relation: Any, period: str, value_set: str | None = None, element: Any = "time") -> Timing:
    """That a fact lies within a period or before it."""
    return Timing(fact=fact.id, relation=relation, period=period, value_set=value_set, element=element)


def absent(reading: Reading, value_set: str, state: State, within: str | None = None) -> Absence:
    """That a reading holds nothing of the kind."""
    return Absence(reading=reading.id, value_set=value_set, state=state, within=within)


DIABETES = fhir.condition("44054006", text="Type 2 diabetes mellitus")
STUDY = fhir.imaging_study(
    identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    series=[{"uid": "1.2.3.4", "instance": [{"uid": "1.2.3.4.5"}]}],
)
_HIGH = fhir.observation("4548-4", "8.10", "%", at="2024-03-01")
_LOW = fhir.observation("4548-4", "6.4", "%", at="2023-09-01")


def _with_diabetes(drafting: Drafting) -> None:
    conditions = drafting.read("diabetes", "Condition")
    drafting.part("population", leaf(MET, [conditions], present(drafting.chart.of(DIABETES), "diabetes", "active")))


def above_goal() -> Case:
    """The latest HbA1c lies above a bound; there are older ones, a void one and one with a reference range."""
    criteria = {"latest": {"in": "hba1c", "at_least": 7, "max_age": "12 months"}}
    void = fhir.observation("4548-4", "5.0", "%", at="2024-05-01", status="entered-in-error")
    limits = [{"high": fhir.quantity("5.6", "%")}]
    older = fhir.observation("4548-4", "7.7", "%", at="2023-05-01", referenceRange=limits)
    drafting = Drafting(
        rule_of("above-goal", {"condition": {"in": "diabetes"}}, criteria), DIABETES, _HIGH, _LOW, void, older
    )
    _with_diabetes(drafting)
    value = drafting.chart.of(_HIGH)
    drafting.part("criteria", leaf(MET, [drafting.read("hba1c")], over(value, ">=", 7, "%", "hba1c")))
    return drafting.case()


def never_measured() -> Case:
    """Nothing within a year, and something older."""
    old = fhir.observation("9318-7", "12", "mg/g", at="2021-02-01")
    criteria = {"not": {"recorded": {"in": "albuminuria", "of": ["Observation"], "within": "12 months"}}}
    drafting = Drafting(rule_of("not-measured", {"condition": {"in": "diabetes"}}, criteria), DIABETES, old, _HIGH)
    _with_diabetes(drafting)
    reading = drafting.read("albuminuria")
    found = leaf(
        NOT_MET, [reading], absent(reading, "albuminuria", "measured", "12 months"),
        timed(drafting.chart.of(old), "longer_ago_than", "12 months", "albuminuria"),
    )  # fmt: skip
    drafting.part("criteria", branch("not", found))
    return drafting.case()


def rising() -> Case:
    """Creatinine rises over four values, one of them in another unit."""
    values = [
        fhir.observation("2160-0", "0.90", "mg/dL", at="2023-08-01"),
        fhir.observation("2160-0", "88.4", "umol/L", at="2023-11-01"),
        fhir.observation("2160-0", "1.2", "mg/dL", at="2024-02-01"),
        fhir.observation("2160-0", "1.5", "mg/dL", at="2024-05-01"),
    ]
    before = fhir.observation("2160-0", "3.0", "mg/dL", at="2022-05-01")
    trend = {"in": "creatinine", "direction": "rising", "least_change": "0.5", "unit": "mg/dL", "window": "12 months"}
    drafting = Drafting(rule_of("rising", _AGE_ONLY, {"trend": trend}), *values, before)
    drafting.part("population", drafting.of_age())
    reading = drafting.read("creatinine")
    found = Trend(
        facts=tuple(drafting.chart.of(value).id for value in values), reading=reading.id, value_set="creatinine",
        direction="rising", least_change=Decimal("0.5"), unit="mg/dL", window="12 months",
    )  # fmt: skip
    drafting.part("criteria", leaf(MET, [reading], found))
    return drafting.case()


def low_egfr() -> Case:
    """eGFR below 30 now and three months earlier, under a listed drug."""
    now = fhir.observation("2160-0", "2.50", "mg/dL", at="2024-06-01")
    then = fhir.observation("2160-0", "2.40", "mg/dL", at="2024-01-15")
    drug = fhir.medication_request("860975", at="2022-01-01")
    egfr = {"formula": "ckd-epi-2021", "inputs": {"creatinine": "creatinine"}, "below": 30, "max_age": "12 months",
            "persists": "3 months"}  # fmt: skip
    rule = rule_of("low-egfr", {"medication": {"in": "metformin", "use": "exposure"}}, {"calculated": egfr})
    drafting = Drafting(rule, now, then, drug)
    listed = present(drafting.chart.of(drug), "metformin", "listed")
    drafting.part("population", leaf(MET, [drafting.read("metformin", *MEDICATIONS)], listed))
    unit = "mL/min/{1.73_m2}"
    # A woman born on 1960-05-01: 142 x (Scr/0.7)^-1.2 x 0.9938^age x 1.012 by hand.
    results = [drafting.chart.egfr(drafting.chart.of(one), result) for one, result in ((then, 22), (now, 21))]
    said = [one for result in results for one in (calculated(result), over(result, "<", 30, unit))]
    drafting.part("criteria", leaf(MET, [drafting.read("creatinine")], *said))
    return drafting.case()


def _statin(stance: str, *resources: fhir.Json, patient: fhir.Json | None = None) -> Drafting:
    action = {"direction": "start", "medication": "statin", "option": "statin treatment", "teratogenic": True}
    contraindications = {"condition": {"in": "liver-failure"}}
    already = {"medication": {"in": "statin", "use": "treatment"}}
    rule = rule_of(
        f"statin-{stance}", {"sex": {"is": "female"}}, {"condition": {"in": "diabetes"}},
        action=action, contraindications=contraindications, already=already,
    )  # fmt: skip
    drafting = Drafting(rule, DIABETES, *resources, patient=patient)
    patient_fact = drafting.chart.patient
    drafting.part("population", leaf(MET, [], Value(fact=patient_fact.id, element="gender", value="female")))
    diabetes = present(drafting.chart.of(DIABETES), "diabetes", "active")
    drafting.part("criteria", leaf(MET, [drafting.read("diabetes", "Condition")], diabetes))
    liver = drafting.read("liver-failure", "Condition")
    healthy = leaf(NOT_MET, [liver], absent(liver, "liver-failure", "active"))
    drafting.part("contraindications", healthy)
    drugs = drafting.read("statin", *MEDICATIONS)
    untreated = leaf(NOT_MET, [drugs], absent(drugs, "statin", "listed"))
    drafting.part("already", untreated)
    drafting.check("interaction", None)
    drafting.check("renal", healthy)
    drafting.check("duplicate", untreated)
    return drafting


def option_with_gate() -> Case:
    """A drug may be started: all checks pass, pregnancy is excluded by age."""
    other = fhir.allergy("2670", system=fhir.RXNORM, text="Codeine")
    drafting = _statin("option", other, patient=fhir.patient(birth_date="1950-05-01", birth_sex="F"))
    allergies, every = drafting.read("statin-allergy", "AllergyIntolerance"), drafting.read(None, "AllergyIntolerance")
    drafting.check("allergy", leaf(NOT_MET, [allergies, every], absent(allergies, "statin-allergy", "active")))
    conditions, status = drafting.read("pregnancy", "Condition"), drafting.read("pregnancy-status")
    drafting.check(
        "pregnancy",
        leaf(NOT_MET, [conditions, status], calculated(drafting.age), over(drafting.age, ">=", 56, "a")),
    )
    return drafting.case("option")


def considered() -> Case:
    """Pregnancy is not excluded, so the option is considered and not proposed."""
    drafting = _statin("considered", patient=fhir.patient(birth_date="1990-05"))
    allergies, every = drafting.read("statin-allergy", "AllergyIntolerance"), drafting.read(None, "AllergyIntolerance")
    drafting.check("allergy", leaf(UNKNOWN, [allergies, every], why="missing"))
    searched = [
        drafting.read("pregnancy", "Condition"),
        drafting.read("pregnancy-status"),
        drafting.read("hysterectomy", "Procedure", "Condition"),
    ]
    drafting.check("pregnancy", leaf(UNKNOWN, searched, why="missing"))
    return drafting.case("considered")


def withheld() -> Case:
    """An allergy to the drug, and the patient is pregnant."""
    allergy = fhir.allergy("36567", system=fhir.RXNORM, text="Simvastatin")
    pregnancy = fhir.condition("77386006", onset="2024-03-10")
    drafting = _statin("withheld", allergy, pregnancy, patient=fhir.patient(birth_date="1990-05-01"))
    allergic = present(drafting.chart.of(allergy), "statin-allergy", "active")
    drafting.check("allergy", leaf(MET, [drafting.read("statin-allergy", "AllergyIntolerance")], allergic))
    conditions, status = drafting.read("pregnancy", "Condition"), drafting.read("pregnancy-status")
    expecting = drafting.chart.of(pregnancy)
    said = present(expecting, "pregnancy", "active"), timed(expecting, "within", "42 weeks", "pregnancy")
    drafting.check("pregnancy", leaf(MET, [conditions, status], *said))
    return drafting.case("withheld")


def stale() -> Case:
    """The latest value is too old to decide, and it alone decides."""
    old = fhir.observation("4548-4", "9.3", "%", at="2021-03")
    criteria = {"latest": {"in": "hba1c", "at_least": 7, "max_age": "12 months"}}
    drafting = Drafting(rule_of("stale", {"condition": {"in": "diabetes"}}, criteria), DIABETES, old)
    _with_diabetes(drafting)
    fact = drafting.chart.of(old)
    drafting.part(
        "criteria",
        leaf(UNKNOWN, [drafting.read("hba1c")], states(fact, "hba1c"),
             timed(fact, "longer_ago_than", "12 months", "hba1c"), why="stale"),
    )  # fmt: skip
    return drafting.case("obtain", "unknown")


def smoker() -> Case:
    """Connectives over a component, a coded value, a date as a value, and a reading that was cut short."""
    pressure = fhir.observation(
        "85354-9", components=[fhir.component("8480-6", "152", "mm[Hg]"), fhir.component("8462-4", "91", "mm[Hg]")]
    )
    smoking = fhir.observation("72166-2", fhir.concept("449868002", fhir.SNOMED, display="Smokes daily"))
    quit_ = fhir.observation("74010-0", valueDateTime="2019-04", at="2024-03-01")
    criteria = {
        "any": [
            {"at_least": {"count": 2, "of": [
                {"latest": {"in": "systolic", "at_least": 140, "unit": "mm[Hg]", "max_age": "24 months"}},
                {"latest": {"in": "smoking-status", "value_in": "current-smoker", "max_age": "5 years"}},
                {"latest": {"in": "quit-date", "value_within": "15 years", "max_age": "5 years"}},
            ]}},
            {"condition": {"in": "liver-failure"}},
        ]
    }  # fmt: skip
    drafting = Drafting(rule_of("smoker", _AGE_ONLY, criteria), pressure, smoking, quit_, DIABETES)
    drafting.part("population", drafting.of_age())
    chart = drafting.chart
    systolic, said, date = chart.of(pressure, "/component/0"), chart.of(smoking), chart.of(quit_)
    liver = drafting.read("liver-failure", "Condition", incomplete="the source is partial")
    tree = branch(
        "any",
        branch(
            "at_least",
            leaf(MET, [drafting.read("systolic")], over(systolic, ">=", 140, "mm[Hg]", "systolic")),
            leaf(MET, [drafting.read("smoking-status")], states(said, "smoking-status")),
            leaf(MET, [drafting.read("quit-date")], timed(date, "within", "15 years", "quit-date", "value")),
            count=2,
        ),
        leaf(UNKNOWN, [liver], why="incomplete"),
    )
    drafting.part("criteria", tree)
    return drafting.case()


def with_a_model() -> Case:
    """What a model adds: a thought, a reading of an image, the publisher's words."""
    drug = fhir.medication_dispense("860975", at="2024-02-01")
    population = {"medication": {"in": "metformin", "use": "treatment"}}
    criteria = {"recorded": {"in": "hba1c", "of": ["Observation"], "within": "12 months"}}
    text = "Introduction.\nAdults with diabetes have their HbA1c measured at least twice a year.\nEnd."
    kept = {**_GUIDELINE, "texts": (sha256_hex(text.encode()),)}
    rule = rule_of("model", population, criteria, guideline=kept)
    drafting = Drafting(rule, drug, _HIGH, STUDY)
    chart = drafting.chart
    taken, value = chart.of(drug), chart.of(_HIGH)
    drafting.part(
        "population", leaf(MET, [drafting.read("metformin", *MEDICATIONS)], present(taken, "metformin", "confirmed"))
    )
    said = present(value, "hba1c", "done"), timed(value, "within", "12 months", "hba1c")
    drafting.part("criteria", leaf(MET, [drafting.read("hba1c")], *said))
    passage = chart.passage(text, 14, 14 + 68)
    image = ImageReading(
        image=chart.image(STUDY).id, region=Region(left=10, top=10, width=40, height=30),
        finding="a rounded opacity", confidence="low",
    )  # fmt: skip
    quote = Statement(passage=passage.id, quote="HbA1c measured at least twice a year")
    thought = Hypothesis(text="The value may follow the drug.", supports=(said[0].id, image.id))
    drafting.also(quote, image, thought)
    return drafting.case()


CASES: Mapping[str, Callable[[], Case]] = {
    "a latest value above its bound": above_goal,
    "nothing found within the window": never_measured,
    "a rising value": rising,
    "a calculated result that persists": low_egfr,
    "a drug that may be started": option_with_gate,
    "a teratogenic drug with pregnancy not excluded": considered,
    "an option that is withheld": withheld,
    "a value too old to decide": stale,
    "connectives over all sorts of values": smoker,
    "what a model adds": with_a_model,
}


@cache
def case(name: str) -> Case:
    """A case by its name; nothing of it changes, so it is made once."""
    return CASES[name]()


HEMOGLOBIN = "observation:http://loinc.org|718-7"
_IN_BLOOD = fhir.concept("718-7", fhir.LOINC, display="Hemoglobin in Blood")
_HEMOGLOBIN_NOW = {**fhir.observation("718-7", "10.1", "g/dL", at="2024-05-01"), "code": _IN_BLOOD}
_HEMOGLOBIN_THEN = {**fhir.observation("718-7", "13.0", "g/dL", at="2023-10-01"), "code": _IN_BLOOD}


def noted() -> Considered:
    """Each kind of statement that a model may make on its own, once or more, all of them true and fair."""
    text = "Introduction.\nAdults with diabetes have their HbA1c measured at least twice a year.\nEnd."
    kept = {**_GUIDELINE, "texts": (sha256_hex(text.encode()),)}
    rule = rule_of(
        "noted", {"condition": {"in": "diabetes"}}, _AGE_ONLY, guideline=kept,
        contraindications={"condition": {"in": "liver-failure"}},
    )  # fmt: skip
    creatinine = [
        fhir.observation("2160-0", "2.40", "mg/dL", at="2024-01-15"),
        fhir.observation("2160-0", "2.50", "mg/dL", at="2024-06-01"),
    ]
    drug = fhir.medication_request("860975", at="2022-01-01")
    drafting = Drafting(rule, DIABETES, _HIGH, _LOW, _HEMOGLOBIN_NOW, _HEMOGLOBIN_THEN, *creatinine, drug, STUDY)
    chart, diabetes = drafting.chart, drafting.chart.of(DIABETES)
    conditions, liver = drafting.read("diabetes", "Condition"), drafting.read("liver-failure", "Condition")
    albuminuria, rising = drafting.read("albuminuria"), drafting.read("creatinine")
    for name in ("hba1c", HEMOGLOBIN):
        drafting.read(name)
    drafting.read("metformin", *MEDICATIONS)
    listed = present(diabetes, "diabetes", "active")
    population = leaf(MET, [conditions], listed)
    harmless = leaf(NOT_MET, [liver], absent(liver, "liver-failure", "active"))
    above = over(chart.of(_HIGH), ">=", 7, "%", "hba1c")
    trend = Trend(
        facts=tuple(chart.of(one).id for one in creatinine), reading=rising.id, value_set="creatinine",
        direction="rising", least_change=Decimal("0.05"), unit="mg/dL", window="12 months",
    )  # fmt: skip
    low = states(chart.of(_HEMOGLOBIN_NOW), HEMOGLOBIN)
    egfr = chart.egfr(chart.of(creatinine[-1]), 21)
    image = ImageReading(
        image=chart.image(STUDY).id, region=Region(left=10, top=10, width=40, height=30),
        finding="a rounded opacity", confidence="low",
    )  # fmt: skip
    return drafting.considered(
        Hypothesis(text="The anaemia may follow from the kidney disease.", supports=(low.id, trend.id)),
        image,
        listed,
        above,
        states(chart.of(_HIGH), "hba1c"),
        states(chart.of(_LOW), "hba1c"),
        low,
        states(chart.of(_HEMOGLOBIN_THEN), HEMOGLOBIN),
        trend,
        calculated(egfr),
        over(egfr, "<", 30, "mL/min/{1.73_m2}"),
        present(chart.of(drug), "metformin", "listed"),
        absent(albuminuria, "albuminuria", "measured", "12 months"),
        timed(diabetes, "longer_ago_than", "2 years", "diabetes"),
        Value(fact=chart.patient.id, element="gender", value="female"),
        Statement(passage=chart.passage(text, 14, 14 + 68).id, quote=text[14 : 14 + 68]),
        Criterion(rule=rule.id, part="population", truth=MET, tree=population),
        Criterion(rule=rule.id, part="contraindications", truth=NOT_MET, tree=harmless),
        Summary(rule=rule.id),
    )  # fmt: skip
