# SPDX-License-Identifier: Apache-2.0
"""Lies, one at a time: each takes a draft that holds and makes one that must not.

The liar is thorough: ids, supports and hashes are made consistent again wherever a careless one would be caught by
them, so that what is tested is the check and not the bookkeeping.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from pydantic import BaseModel

from builders.drafts import Case, Considered
from medagent.canonical import parse_json, public_json, sha256_hex
from medagent.evidence import (
    Calculation,
    Element,
    Fact,
    ImageRef,
    Passage,
    Reading,
    Region,
    Status,
    listing_digest,
    reading_id,
)
from medagent.intervals import Interval, instant
from medagent.kleene import Truth, negate
from medagent.propositions import (
    Absence,
    AnyLeafProposition,
    AnyProposition,
    Branch,
    Calculated,
    Criterion,
    Hypothesis,
    Leaf,
    Presence,
    Proposal,
    Statement,
    Threshold,
    Timing,
    Trend,
    Value,
    leaves,
)  # fmt: skip
from medagent.records import Considerations, Draft
from medagent.units import Quantity

Model = TypeVar("Model", bound=BaseModel)
Corruption = Callable[[Case, Random], Case | None]
"""None: the case has nothing that could be corrupted in this way."""

_TURNED: Mapping[str, str] = {">=": "<", ">": "<=", "<=": ">", "<": ">=", "=": "<"}
_UNITS = {
    "%": "mmol/mol",
    "mg/dL": "mmol/L",
    "mm[Hg]": "kPa",
    "a": "mo",
    "mL/min/{1.73_m2}": "mL/min",
    "mg/g": "mg/mmol",
}
_PERIODS = ("1 day", "2 days", "3 years", "40 years")


def changed(model: Model, update: Mapping[str, Any]) -> Model:
    """A model with other fields, made anew: a copy would carry along an id that was derived before."""
    return type(model)(**{**_fields(model), **update})


def _fields(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def rewritten(draft: Draft, change: Callable[[Any], Any]) -> Draft:
    """The draft with each proposition changed wherever it stands, and all ids that follow from it."""
    ids: dict[str, str] = {}
    done: list[AnyProposition] = []
    order = {"proposal": 1, "hypothesis": 1}
    for old in sorted(draft.propositions, key=lambda one: order.get(one.kind, 0)):
        new = _inside(old, change)
        if isinstance(new, Proposal | Hypothesis):
            new = changed(new, {"supports": tuple(ids.get(one, one) for one in new.supports)})
        new = change(new)
        ids[old.id] = new.id
        done.append(new)
    return changed(draft, {"proposal": ids[draft.proposal], "propositions": tuple(done)})


def _inside(proposition: AnyProposition, change: Callable[[Any], Any]) -> AnyProposition:
    if isinstance(proposition, Criterion):
        tree = _tree(proposition.tree, change)
        return changed(proposition, {"tree": tree})
    if isinstance(proposition, Proposal):
        gate = tuple(
            check if check.tree is None else changed(check, {"tree": _tree(check.tree, change)})
            for check in proposition.gate
        )
        return changed(proposition, {"gate": gate})
    return proposition


def _tree(node: Leaf | Branch, change: Callable[[Any], Any]) -> Leaf | Branch:
    new: Leaf | Branch
    if isinstance(node, Leaf):
        new = changed(node, {"propositions": tuple(change(one) for one in node.propositions)})
    else:
        new = changed(node, {"children": tuple(_tree(child, change) for child in node.children)})
    result: Leaf | Branch = change(new)
    return result


def _all(case: Case) -> list[AnyLeafProposition]:
    """The propositions about the patient, wherever they stand, each once."""
    found: dict[str, AnyLeafProposition] = {}
    for one in case.draft.propositions:
        trees = [one.tree] if isinstance(one, Criterion) else []
        trees += [check.tree for check in one.gate if check.tree] if isinstance(one, Proposal) else []
        inner = [leaf_one for tree in trees for leaf in leaves(tree) for leaf_one in leaf.propositions]
        found |= {each.id: each for each in inner}
        if isinstance(one, AnyLeafProposition):
            found[one.id] = one
    return list(found.values())


def _slot(kind: type[Any], change: Callable[[Any, Random, Case], dict[str, Any] | None]) -> Corruption:
    """Changes a slot of one proposition of a kind, everywhere."""

    def corrupt(case: Case, random: Random) -> Case | None:
        chosen = [one for one in _all(case) if isinstance(one, kind)]
        if not chosen:
            return None
        target = random.choice(chosen)
        update = change(target, random, case)
        if update is None:
            return None
        lie = changed(target, update)
        return replace(case, draft=rewritten(case.draft, lambda one: lie if one == target else one))

    return corrupt


def _node(kind: type[Any], change: Callable[[Any, Random], dict[str, Any] | None]) -> Corruption:
    """Changes one leaf, criterion or proposal."""

    def corrupt(case: Case, random: Random) -> Case | None:
        seen: list[Any] = []

        def note(one: Any) -> Any:
            if isinstance(one, kind):
                seen.append(one)
            return one

        rewritten(case.draft, note)
        if not seen:
            return None
        target = random.choice(seen)
        update = change(target, random)
        if update is None:
            return None
        lie = changed(target, update)
        return replace(case, draft=rewritten(case.draft, lambda one: lie if one == target else one))

    return corrupt


def _other_fact(one: Any, random: Random, case: Case) -> dict[str, Any] | None:
    field = "of" if isinstance(one, Threshold) else "fact"
    others = [
        item.id for item in case.evidence.items.values() if isinstance(item, Fact) and item.id != getattr(one, field)
    ]
    return {field: random.choice(others)} if others else None


def _value(one: Value, random: Random, _case: Case) -> dict[str, Any]:
    if isinstance(one.value, Decimal):
        return {"value": one.value + random.choice([Decimal(1), Decimal("-0.1"), Decimal("0.01")])}
    return {"value": f"{one.value}0"}


def _trend(one: Trend, random: Random, _case: Case) -> dict[str, Any]:
    left_out = list(one.facts)
    left_out.pop(random.randrange(len(left_out)))
    return random.choice(
        [
            {"facts": tuple(left_out)},
            {"facts": tuple(reversed(one.facts))},
            {"direction": "falling" if one.direction == "rising" else "rising"},
            {"least_change": one.least_change + random.randint(1, 5)},
            {"window": "6 months"},
            {"least_change": Decimal("0.01")},
            {"unit": "umol/L"},
        ]
    )


def _timing(one: Timing, random: Random, _case: Case) -> dict[str, Any]:
    turned = {"within": "longer_ago_than", "longer_ago_than": "within", "before": "after", "after": "before"}
    changes: list[dict[str, Any]] = [{"relation": turned[one.relation]}]
    if one.period is not None:
        changes += [{"period": period} for period in _PERIODS]
    return random.choice(changes)


def _bound(one: Threshold, random: Random, _case: Case) -> dict[str, Any]:
    return {"bound": one.bound + random.choice([-3, -1, 1, 2, 50])}


def _truth(one: Any, random: Random) -> dict[str, Any]:
    return {"truth": random.choice([truth for truth in Truth if truth is not one.truth])}


def _stance(one: Proposal, random: Random) -> dict[str, Any]:
    return {
        "stance": random.choice([name for name in ("option", "considered", "obtain", "withheld") if name != one.stance])
    }


def _gate(one: Proposal, random: Random) -> dict[str, Any] | None:
    if not one.gate:
        return None
    checks = list(one.gate)
    place = random.randrange(len(checks))
    check = checks[place]
    lies = [truth for truth in Truth if truth is not check.truth]
    if random.random() < 0.3:
        checks.pop(place)
    elif check.tree is not None and random.random() < 0.5:  # a tree that fits the lie
        truth = random.choice(lies)
        tree = changed(check.tree, {"truth": negate(truth), "why": "missing" if truth is Truth.UNKNOWN else None})
        checks[place] = changed(check, {"truth": truth, "tree": tree})
    else:
        checks[place] = changed(check, {"truth": random.choice(lies)})
    return {"gate": tuple(checks)}


def _no_support(one: Proposal, random: Random) -> dict[str, Any] | None:
    if len(one.supports) < 2:
        return None
    left = list(one.supports)
    left.pop(random.randrange(len(left)))
    return {"supports": tuple(left)}


def _quote(case: Case, random: Random) -> Case | None:
    quotes = [one for one in case.draft.propositions if isinstance(one, Statement)]
    if not quotes:
        return None
    target = quotes[0]
    words = target.quote.split()
    place = random.randrange(len(words))
    words[place] = random.choice(["never", "thrice", "monthly"])
    lie = changed(target, {"quote": " ".join(words)})
    return replace(case, draft=rewritten(case.draft, lambda one: lie if one == target else one))


def _with(case: Case, **changes: Any) -> Case:
    return replace(case, evidence=replace(case.evidence, **changes))


def _cited_facts(case: Case) -> list[Fact]:
    items = case.evidence.items
    names = [getattr(one, "fact", getattr(one, "of", None)) for one in _all(case)]
    return [item for name in dict.fromkeys(names) if isinstance(item := items.get(str(name)), Fact)]


def _fact_lies(change: Callable[[Fact, Random], Fact | None]) -> Corruption:
    """The fact says something else than its slice does."""

    def corrupt(case: Case, random: Random) -> Case | None:
        facts = _cited_facts(case)
        lie = change(random.choice(facts), random) if facts else None
        return None if lie is None else _with(case, items={**case.evidence.items, lie.id: lie})

    return corrupt


def _fact_value(fact: Fact, random: Random) -> Fact | None:
    if not isinstance(fact.value, Quantity) or fact.value.value is None:
        return None
    number = fact.value.value + random.choice([Decimal(1), Decimal("0.1"), Decimal(-2)])
    elements = tuple(one._replace(value=number) if one.role == "value" else one for one in fact.elements)
    return changed(fact, {"value": replace(fact.value, value=number), "elements": elements})


def _fact_unit(fact: Fact, _random: Random) -> Fact | None:
    if not isinstance(fact.value, Quantity):
        return None
    unit = _UNITS.get(fact.value.code or "", "kg")
    return changed(fact, {"value": replace(fact.value, unit=unit, code=unit)})


def _fact_time(fact: Fact, random: Random) -> Fact | None:
    if fact.time is None:
        return None
    by = timedelta(days=random.choice([-400, -1, 1, 300]))
    time = Interval(fact.time.text, fact.time.earliest + by, fact.time.latest + by)
    return changed(fact, {"time": time})


def _fact_pointer(fact: Fact, random: Random) -> Fact | None:
    if not fact.elements:
        return None
    place = random.randrange(len(fact.elements))
    wrong = Element(fact.elements[place].role, "/id", fact.source.uri.partition("/")[2])
    elements = (*fact.elements[:place], wrong, *fact.elements[place + 1 :])
    return changed(fact, {"elements": elements})


def _fact_digits(fact: Fact, _random: Random) -> Fact | None:
    """The same number, as if it had been measured more precisely."""
    if not isinstance(fact.value, Quantity) or fact.value.value is None:
        return None
    number = Decimal(f"{fact.value.value}" + ("00" if "." in str(fact.value.value) else ".00"))
    return changed(fact, {"value": replace(fact.value, value=number)})


def _uncited(case: Case, random: Random) -> Case | None:
    """A value is compared, and shown, and not cited."""
    items = case.evidence.items
    said = [one.of for one in _all(case) if isinstance(one, Threshold)]
    facts = [item for name in said if isinstance(item := items[name], Fact)]
    if not facts:
        return None
    fact = random.choice(facts)
    lie = changed(fact, {"elements": tuple(one for one in fact.elements if one.role != "value")})
    return _with(case, items={**items, lie.id: lie})


def _fact_far(fact: Fact, _random: Random) -> Fact | None:
    """A pointer that no program should turn into a number."""
    if fact.resource_type == "Patient" or not fact.elements:
        return None
    far = Element("code", f"/code/coding/{'9' * 5000}/code", "1")
    return changed(fact, {"elements": (far, *fact.elements)})


def _fact_source(fact: Fact, _random: Random) -> Fact:
    source = changed(fact.source, {"uri": f"{fact.resource_type}/another"})
    return changed(fact, {"source": source})


def _other_statement(case: Case, random: Random) -> Case | None:
    """Under the id of a fact lies another one, which really exists."""
    cited = [fact for fact in _cited_facts(case) if fact.resource_type == "Observation"]
    others = [
        item for item in case.evidence.items.values() if isinstance(item, Fact) and item.resource_type == "Observation"
    ]
    if not cited or len(others) < 2:
        return None
    fact = random.choice(cited)
    other = random.choice([one for one in others if one.id != fact.id])
    return _with(case, items={**case.evidence.items, fact.id: changed(other, {"id": fact.id})})


def _patient_fact(case: Case, random: Random) -> Case:
    """The Patient fact says more than a Patient resource can."""
    fact = next(
        item for item in case.evidence.items.values() if isinstance(item, Fact) and item.resource_type == "Patient"
    )
    more: list[dict[str, Any]] = [{"text": "on hospice"}, {"time": instant(case.evidence.as_of)}, {"value": "frail"}]
    lie = changed(fact, random.choice(more))
    return _with(case, items={**case.evidence.items, fact.id: lie})


def _dead(case: Case, random: Random) -> Case:
    """The patient has died, is a child, or the record was replaced: all else holds."""
    fact = next(
        item for item in case.evidence.items.values() if isinstance(item, Fact) and item.resource_type == "Patient"
    )
    resource = parse_json(case.evidence.slices[fact.source.sha256])
    assert isinstance(resource, dict)
    ends: list[dict[str, Any]] = [
        {"deceasedBoolean": True}, {"deceasedDateTime": "2020-01-01"}, {"active": False},
        {"link": [{"type": "replaced-by", "other": {"reference": "Patient/new"}}]},
    ]  # fmt: skip
    data = public_json({**resource, **random.choice(ends)})
    return _renamed(case, fact.source.sha256, sha256_hex(data), data)


def _image(case: Case, random: Random) -> Case | None:
    """An image that the study does not hold."""
    images = [item for item in case.evidence.items.values() if isinstance(item, ImageRef)]
    if not images:
        return None
    lies = [{"instance": "9.9"}, {"series": "9.9"}, {"study": "9.9"}]
    lie = changed(images[0], random.choice(lies))
    return _with(case, items={**case.evidence.items, lie.id: lie})


def _passage(case: Case, random: Random) -> Case | None:
    """Words that no kept text of the edition holds, with offsets and hash that fit."""
    passages = [item for item in case.evidence.items.values() if isinstance(item, Passage)]
    quotes = [one for one in case.draft.propositions if isinstance(one, Statement)]
    if not passages or not quotes:
        return None
    if random.random() < 0.5:
        return _with(case, items={**case.evidence.items, passages[0].id: changed(passages[0], {"edition": "1999"})})
    text = "Every adult receives the drug."
    digest = sha256_hex(text.encode())
    lie = changed(passages[0], {"sha256": digest, "start": 0, "end": len(text)})
    false = _with(case, items={**case.evidence.items, lie.id: lie}, texts={digest: text})
    claim = changed(quotes[0], {"quote": text})
    return replace(false, draft=rewritten(case.draft, lambda one: claim if one == quotes[0] else one))


def _void_through_thought(case: Case, _random: Random) -> Case | None:
    """What nobody may rely on is shown as the support of a thought."""
    void = [
        item for item in case.evidence.items.values()
        if isinstance(item, Fact) and item.status is Status.ENTERED_IN_ERROR and isinstance(item.value, Quantity)
    ]  # fmt: skip
    if not void or not isinstance(void[0].value, Quantity) or void[0].value.value is None:
        return None
    said = Value(fact=void[0].id, of="hba1c", value=void[0].value.value, unit=void[0].value.unit)
    thought = Hypothesis(text="Perhaps it is well by now.", supports=(said.id,))
    return replace(case, draft=changed(case.draft, {"propositions": (*case.draft.propositions, said, thought)}))


def _fact_hash(fact: Fact, random: Random) -> Fact:
    digest = sha256_hex(random.randbytes(8))
    return changed(fact, {"source": changed(fact.source, {"sha256": digest})})


def _byte(case: Case, random: Random) -> Case | None:
    """One byte of a stored slice is another one."""
    digest = random.choice([fact.source.sha256 for fact in _cited_facts(case)] or sorted(case.evidence.slices))
    data = bytearray(case.evidence.slices[digest])
    data[random.randrange(len(data))] ^= 1 << random.randrange(7)
    return _with(case, slices={**case.evidence.slices, digest: bytes(data)})


_OTHERS = (
    "Patient/somebody-else",
    "https://elsewhere.example/fhir/Patient/patient-1",
    "ftp://elsewhere.example/Patient/patient-1",
    "Group/7/Patient/patient-1",
    "urn:uuid:patient-1",
)


def _patient(case: Case, random: Random) -> Case | None:
    """A resource of another patient, with hashes, ids, listings and members that fit."""
    cited = [fact for fact in _cited_facts(case) if fact.resource_type != "Patient" and not fact.statement]
    if not cited:
        return None
    fact = random.choice(cited)
    resource = parse_json(case.evidence.slices[fact.source.sha256])
    assert isinstance(resource, dict)
    resource["patient" if "patient" in resource else "subject"] = {"reference": random.choice(_OTHERS)}
    data = public_json(resource)
    old, new = fact.source.sha256, sha256_hex(data)
    return _renamed(case, old, new, data)


def _renamed(case: Case, old: str, new: str, data: bytes) -> Case:
    """The case with one slice replaced, and everything that is derived from its hash."""
    names = {old: new, old[:26]: new[:26]}
    names |= {
        listing: listing_digest(tuple(new if one == old else one for one in hashes))
        for listing, hashes in case.evidence.listings.items()
        if old in hashes
    }
    slices = {key: value for key, value in case.evidence.slices.items() if key != old} | {new: data}
    return renamed(_with(case, slices=slices), names)


def changed_reading(case: Case, reading: Reading, update: Mapping[str, Any]) -> Case:
    """The case with another reading, whose id follows from what it says now."""
    lie = changed(reading, update)
    lie = changed(lie, {"id": reading_id(lie)})
    items = {name: item for name, item in case.evidence.items.items() if name != reading.id} | {lie.id: lie}
    return renamed(_with(case, items=items), {reading.id: lie.id})


def renamed(case: Case, names: Mapping[str, str]) -> Case:
    """The case with texts replaced wherever they stand in evidence and draft, and all ids that follow."""

    def swap(value: Any) -> Any:
        if isinstance(value, str):
            for before, after in names.items():
                value = value.replace(before, after)
            return value
        if isinstance(value, dict):
            return {swap(key): swap(part) for key, part in value.items()}
        return [swap(part) for part in value] if isinstance(value, list) else value

    items = [type(item).model_validate(swap_model(item, swap)) for item in case.evidence.items.values()]
    listings = {swap(key): tuple(sorted(swap(list(value)))) for key, value in case.evidence.listings.items()}

    def rename(one: Any) -> Any:
        return one if isinstance(one, Proposal | Hypothesis) else type(one).model_validate(swap_model(one, swap))

    draft = rewritten(case.draft, rename)
    return Case(draft, replace(case.evidence, items={one.id: one for one in items}, listings=listings))


def swap_model(model: Any, swap: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields of a model with every text swapped; what is no text stays as it is."""
    return {
        name: swap(value) if isinstance(value, str) else _deep(value, swap) for name, value in _fields(model).items()
    }


def _deep(value: Any, swap: Callable[[Any], Any]) -> Any:
    if isinstance(value, BaseModel):
        return type(value).model_validate(swap_model(value, swap))
    if type(value) is tuple:
        return tuple(swap(part) if isinstance(part, str) else _deep(part, swap) for part in value)
    if isinstance(value, dict):
        return {key: swap(part) if isinstance(part, str) else part for key, part in value.items()}
    return value


def _readings_used(case: Case) -> list[Reading]:
    used: set[str] = set()

    def note(one: Any) -> Any:
        used.update(one.readings if isinstance(one, Leaf) else ())
        return one

    rewritten(case.draft, note)
    return [item for one in sorted(used) if isinstance(item := case.evidence.items[one], Reading)]


def _reading_lies(change: Callable[[Reading, Random], dict[str, Any] | None]) -> Corruption:
    def corrupt(case: Case, random: Random) -> Case | None:
        readings = _readings_used(case)
        if not readings:
            return None
        reading = random.choice(readings)
        update = change(reading, random)
        if update is None:
            return None
        return changed_reading(case, reading, update)

    return corrupt


def _member(reading: Reading, random: Random) -> dict[str, Any] | None:
    if not reading.members:
        return None
    members = list(reading.members)
    members.pop(random.randrange(len(members)))
    return {"members": tuple(members)}


def _unlisted(case: Case, random: Random) -> Case | None:
    """A resource is left out of a listing, with a digest, a count and members that fit."""
    readings = [one for one in _readings_used(case) if one.examined > 0]
    if not readings:
        return None
    reading = random.choice(readings)
    hashes = list(case.evidence.listings[reading.listing])
    gone = hashes.pop(random.randrange(len(hashes)))
    members = tuple(one for one in reading.members if not one.startswith(f"fact-{gone[:26]}"))
    listing = listing_digest(tuple(hashes))
    listings = {**case.evidence.listings, listing: tuple(hashes)}
    update = {"listing": listing, "examined": len(hashes), "members": members}
    return changed_reading(_with(case, listings=listings), reading, update)


def _absence_of_incomplete(case: Case, _random: Random) -> Case | None:
    """The reading was cut short, and its absence is claimed all the same."""
    absences = [one for one in _all(case) if isinstance(one, Absence)]
    if not absences:
        return None
    reading = case.evidence.items[absences[0].reading]
    assert isinstance(reading, Reading)
    return changed_reading(case, reading, {"complete": False, "incomplete_because": ("the source is partial",)})


def _edition(case: Case, random: Random) -> Case | None:
    rule = case.evidence.rules[case.draft.rule]
    changes = [{"retired_on": date(2024, 6, 30)}, {"retired_on": date(2024, 2, 1)}, {"in_force_from": date(2024, 7, 1)}]
    guideline = changed(rule.guideline, random.choice(changes))
    return _with(case, rules={rule.id: changed(rule, {"guideline": guideline})})


def _another_rule(case: Case, _random: Random) -> Case | None:
    draft = changed(case.draft, {"rule": "another-rule"})
    return replace(case, draft=draft)


def _result(case: Case, random: Random) -> Case | None:
    """A calculation and all that is said of it give another result."""
    said = [one for one in _all(case) if isinstance(one, Calculated)]
    if not said:
        return None
    target = random.choice(said)
    calculation = case.evidence.items[target.calculation]
    assert isinstance(calculation, Calculation)
    wrong = target.result + random.choice([-1, 1, 5])
    lie = changed(calculation, {"result": wrong, "result_high": wrong})
    claim = changed(target, {"result": wrong})
    draft = rewritten(case.draft, lambda one: claim if one == target else one)
    return Case(draft, replace(case.evidence, items={**case.evidence.items, lie.id: lie}))


CORRUPTIONS: Mapping[str, Corruption] = {
    "a value is another one": _slot(Value, _value),
    "a value has another unit": _slot(Value, lambda one, _r, _c: {"unit": _UNITS.get(one.unit or "", "mg")}),
    "a value is of another fact": _slot(Value, _other_fact),
    "a threshold is of another fact": _slot(Threshold, _other_fact),
    "a comparison is turned round": _slot(Threshold, lambda one, _r, _c: {"comparison": _TURNED[one.comparison]}),
    "a bound is another one": _slot(Threshold, _bound),
    "a unit is swapped": _slot(Threshold, lambda one, _r, _c: {"unit": _UNITS[one.unit]}),
    "a trend is another one": _slot(Trend, _trend),
    "a period or relation is another one": _slot(Timing, _timing),
    "a state is another one": _slot(
        Presence,
        lambda one, random, _c: {
            "state": random.choice([state for state in ("ordered", "declined", "listed", "done") if state != one.state])
        },
    ),
    "a presence is of another fact": _slot(Presence, _other_fact),
    "an absence has another window": _slot(
        Absence, lambda one, random, _c: {"within": random.choice([p for p in (*_PERIODS, None) if p != one.within])}
    ),
    "a result is another one": _slot(Calculated, lambda one, random, _c: {"result": one.result + random.randint(1, 9)}),
    "a calculation is another one": _result,
    "a leaf has another truth": _node(Leaf, _truth),
    "a criterion has another truth": _node(Criterion, _truth),
    "a branch has another truth": _node(Branch, _truth),
    "the stance is another one": _node(Proposal, _stance),
    "a check of the gate is another one": _node(Proposal, _gate),
    "a support is left out": _node(Proposal, _no_support),
    "the action is another one": _node(Proposal, lambda _one, _r: {"action": "another-action"}),
    "a quote is another one": _quote,
    "a fact has another value": _fact_lies(_fact_value),
    "a fact has another unit": _fact_lies(_fact_unit),
    "a fact has another time": _fact_lies(_fact_time),
    "a fact cites another element": _fact_lies(_fact_pointer),
    "a fact names another hash": _fact_lies(_fact_hash),
    "a byte of a slice is flipped": _byte,
    "a resource is another patient's": _patient,
    "a member is dropped": _reading_lies(_member),
    "a reading counts another number": _reading_lies(lambda one, _r: {"examined": one.examined + 1}),
    "a resource is left out of a listing": _unlisted,
    "absence is claimed of an incomplete reading": _absence_of_incomplete,
    "another statement lies under a fact's id": _other_statement,
    "the Patient resource says more than it can": _patient_fact,
    "the patient is dead, or the record replaced": _dead,
    "an image is of no such study": _image,
    "a passage is of no kept text": _passage,
    "a void value supports a thought": _void_through_thought,
    "a fact names another source": _fact_lies(_fact_source),
    "a fact does not cite its value": _uncited,
    "a fact is more precise than its source": _fact_lies(_fact_digits),
    "a fact cites an endless pointer": _fact_lies(_fact_far),
    "the edition is not in force": _edition,
    "the rule is another one": _another_rule,
}


OF_CONSIDERATIONS = (
    "a value is another one", "a value has another unit", "a value is of another fact",
    "a threshold is of another fact", "a comparison is turned round", "a state is another one",
    "a presence is of another fact", "a result is another one", "a calculation is another one",
    "a leaf has another truth", "a criterion has another truth", "a quote is another one",
    "a fact has another value", "a fact has another unit", "a fact has another time", "a fact cites another element",
    "a fact names another hash", "a byte of a slice is flipped", "a resource is another patient's",
    "a member is dropped", "a reading counts another number", "a resource is left out of a listing",
    "absence is claimed of an incomplete reading", "another statement lies under a fact's id",
    "the Patient resource says more than it can", "the patient is dead, or the record replaced",
    "an image is of no such study", "a passage is of no kept text", "a fact names another source",
    "a fact does not cite its value", "a fact is more precise than its source", "a fact cites an endless pointer",
    "the edition is not in force",
)  # fmt: skip
"""Those that are lies where no rule says which bound, window or change is meant."""


def considered_otherwise(kind: str, truth: Considered, random: Random) -> Considered | None:
    """What a model considered, corrupted in one of the ways in which a draft is."""
    propositions = truth.considerations.propositions
    draft = Draft(rule="noted", truth="met", proposal=propositions[0].id, propositions=propositions)
    false = CORRUPTIONS[kind](Case(draft, truth.evidence), random)
    if false is None:
        return None
    return Considered(Considerations(propositions=false.draft.propositions), false.evidence)


_WRONG_TREE = Leaf(truth=Truth.MET)
SLOT_LIES: Mapping[str, Mapping[str, Any]] = {
    "value": {
        "fact": "fact-nothing", "of": "another-set", "element": "status", "value": Decimal("7.77"), "unit": "kg",
    },
    "threshold": {
        "of": "fact-nothing", "value_set": "creatinine", "comparison": "=", "unit": "kg",
        "bound": lambda one: Decimal(1000 if one.comparison == ">=" else 1),
    },
    "trend": {
        "facts": ("fact-nothing", "fact-none"), "reading": "reading-nothing", "value_set": "hba1c",
        "direction": "falling", "least_change": Decimal(1000), "unit": "kg", "window": "1 day",
    },
    "presence": {"fact": "fact-nothing", "value_set": "statin", "state": "declined"},
    "absence": {"reading": "reading-nothing", "value_set": "hba1c", "state": "listed", "within": "soon"},
    "timing": {
        "fact": "fact-nothing", "element": "value", "value_set": "statin", "relation": "before", "period": "40 years",
        "event": "fact-nothing",
    },
    "calculation": {
        "calculation": "calculation-nothing", "formula": "age", "result": Decimal(99), "unit": "mL/min",
    },
    "criterion": {"rule": "another-rule", "part": "already", "truth": Truth.UNKNOWN, "tree": _WRONG_TREE},
    "statement": {"passage": "passage-nothing", "quote": "HbA1c measured never"},
    "summary": {"rule": "another-rule"},
    "hypothesis": {"text": "Give more of it.", "supports": ("claim-nothing",)},
    "image_reading": {
        "image": "image-nothing", "region": Region(left=500, top=0, width=40, height=40), "finding": "Start treatment.",
    },
}  # fmt: skip
"""By kind and slot: what makes the statement false, or unfit to be shown. A model's confidence is its own."""


def with_a_lie(one: AnyProposition, slot: str) -> AnyProposition:
    """The statement with this slot corrupted."""
    lie = SLOT_LIES[one.kind][slot]
    return changed(one, {slot: lie(one) if callable(lie) else lie})
