# SPDX-License-Identifier: Apache-2.0
"""What makes a claim of each kind true of plain JSON; `check` raises where it is not.

For `builders.reevaluation`. Imports nothing of MedAgent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from builders.plain_chart import (
    Json,
    Open,
    Span,
    back,
    begun,
    end_of,
    in_state,
    is_void,
    known_at,
    scalars,
    span_of,
    time_of,
)
from builders.plain_numbers import FORMULAS, STEPS, UNITS, amounts
from builders.plain_record import Basis, Entry, Unsupported, is_of_childhood, is_usable


def check(said: Json, basis: Basis) -> None:
    """Raises Unsupported where a proposition is not true of the bytes, Open where this script cannot tell."""
    if said["kind"] == "absence" and said["state"] not in _CAN_BE_ABSENT[basis.value_set(said["value_set"])["kind"]]:
        raise Unsupported(f"nothing of its kind is ever {said['state']}")
    _true(said, basis)


def _true(said: Json, basis: Basis) -> None:
    try:
        _CHECKS[said["kind"]](said, basis)
    except (KeyError, IndexError) as error:
        raise Unsupported(f"{said['kind']}: nothing stands at {error}") from error


def _value(said: Json, basis: Basis) -> None:
    """The resource holds the value, with the unit, where its result, or what is named, stands."""
    entry = basis.entry(said["fact"])
    if said["of"] is None:
        if said["unit"] is not None:
            raise Unsupported("nothing of a person has a unit")
        _same(said["value"], _personal(entry.resource, said["element"]))
        return
    _about(entry, said["of"], basis)
    if said["element"] != "value":
        if said["element"] not in ("time", "end") or span_of(said["value"], basis.zone) is None:
            raise Unsupported("neither a result nor a time")
        _same(said["value"], scalars(entry.resource))
        return
    quantity = entry.part.get("valueQuantity")
    if quantity is not None:
        _same(said["value"], [quantity["value"]])
        if said["unit"] not in (quantity.get("unit"), quantity.get("code")):
            raise Unsupported(f"{said['unit']} is not its unit")
        return
    results = [value for name, value in entry.part.items() if name.startswith(("value", "conclusion"))]
    _same(said["value"], scalars(results))


def _personal(resource: Json, element: str) -> list[Any]:
    if resource["resourceType"] != "Patient":
        raise Unsupported("a value without a name, and not of the patient")
    birth_sex = [one.get("valueCode") for one in resource.get("extension", []) if "birthsex" in one.get("url", "")]
    stated = {"gender": [resource.get("gender")], "birth_date": [resource.get("birthDate")], "birth_sex": birth_sex}
    return stated[element]


def _same(claimed: Any, stated: Iterable[Any]) -> None:
    for one in stated:
        numbers = not isinstance(one, bool | str) and not isinstance(claimed, bool) and one is not None
        if numbers and Decimal(str(one)) == Decimal(str(claimed)):
            return
        if not numbers and type(one) is type(claimed) and one == claimed:
            return
    raise Unsupported("another value stands there")


def _about(entry: Entry, name: str | None, basis: Basis) -> None:
    if is_void(entry.resource) or entry.resource["resourceType"] == "Patient":
        raise Unsupported("it is void, or no clinical statement")
    if name is not None and not basis.is_about(entry, basis.value_set(name)):
        raise Unsupported(f"it is not about {name}")
    if not known_at(entry.resource, basis.as_of, basis.zone):
        raise Unsupported("it was not known then")


def _threshold(said: Json, basis: Basis) -> None:
    """All that the value can be lies on that side of the bound, in the bound's unit."""
    item, comparator = basis.evidence[said["of"]], None
    if item["kind"] == "calculation":
        low, high = _calculated(item, basis)
        if said["unit"] != item["unit"]:
            raise Open("a calculation in another unit")
    else:
        entry = basis.entry(said["of"])
        _about(entry, said["value_set"], basis)
        analyte = basis.value_set(said["value_set"]).get("analyte")
        low, high = amounts(entry.part["valueQuantity"], said["unit"], analyte)
        comparator = entry.part["valueQuantity"].get("comparator")
    bound = Decimal(said["bound"])
    holds = {
        "<": high < bound or (comparator == "<" and high == bound),
        "<=": high <= bound,
        ">": low > bound or (comparator == ">" and low == bound),
        ">=": low >= bound,
        "=": low == high == bound,
    }
    if not holds[said["comparison"]]:
        raise Unsupported(f"{low} to {high} is not {said['comparison']} {bound}")


def _trend(said: Json, basis: Basis) -> None:
    """Over every usable value of the window, from the first to the last, by so much."""
    value_set = basis.value_set(said["value_set"])
    _complete(said, basis)
    limit = back(basis.as_of, said["window"])
    usable = [one for one in basis.entries(("Observation",), value_set) if is_usable(one, basis)]
    inside = {one[:2] for one in usable if _time(one, basis).start >= limit}
    facts = [basis.entry(one) for one in said["facts"]]
    if {one[:2] for one in facts} != inside:
        raise Unsupported(f"{len(inside)} values lie in {said['window']}, and others are named")
    times = [_time(one, basis).start for one in facts]
    if times != sorted(times):
        raise Unsupported("its values are not in order")
    first, last = (
        amounts(one.part["valueQuantity"], said["unit"], value_set.get("analyte")) for one in (facts[0], facts[-1])
    )
    change = last[0] - first[1] if said["direction"] == "rising" else first[0] - last[1]
    if change < Decimal(said["least_change"]) or Decimal(said["least_change"]) <= 0:
        raise Unsupported(f"a change of {change}")


def _complete(said: Json, basis: Basis) -> Json:
    """The reading that a claim names: of its set, and not cut short."""
    reading = basis.evidence[said["reading"]]
    if reading["kind"] != "reading" or not reading["complete"]:
        raise Unsupported("it rests on no complete reading")
    if reading["query"]["value_set"] not in (None, said["value_set"]):
        raise Unsupported("its reading looked for something else")
    query: Json = reading["query"]
    return query


_CAN_BE_ABSENT = {
    "condition": ("active", "recorded"),
    "observation": ("measured", "done"),
    "medication": ("listed",),
    "allergy": ("active",),
    "procedure": ("done", "ordered", "declined", "ongoing"),
    "immunization": ("done", "declined"),
    "encounter": ("done", "ongoing"),
    "finding": ("done",),
}


def _presence(said: Json, basis: Basis) -> None:
    """The entry is of that set, and in that state at `as_of`."""
    entry = basis.entry(said["fact"])
    value_set = basis.value_set(said["value_set"])
    _about(entry, said["value_set"], basis)
    if not in_state(entry.resource, entry.pointer, said["state"], basis.as_of, basis.zone, value_set):
        raise Unsupported(f"it is not {said['state']}")


def _absence(said: Json, basis: Basis) -> None:
    """The reading was complete, and nothing of its types matches in that state and period."""
    query, value_set = _complete(said, basis), basis.value_set(said["value_set"])
    for entry in basis.entries(query["resource_types"], value_set):
        if not in_state(entry.resource, entry.pointer, said["state"], basis.as_of, basis.zone, value_set):
            continue
        time = time_of(entry.resource, basis.zone)
        old = said["within"] is not None and time is not None and time.end <= back(basis.as_of, said["within"])
        if not old and not (said["state"] in ("done", "measured") and is_of_childhood(entry, basis)):
            raise Unsupported(f"{entry.resource['resourceType']}/{entry.resource.get('id')} is there")


def _timing(said: Json, basis: Basis) -> None:
    """The interval that the chart states lies there as a whole."""
    entry = basis.entry(said["fact"])
    _about(entry, said["value_set"], basis)
    stated = entry.part.get("valueDateTime")
    time = begun(entry.resource, basis.zone) if said["element"] == "time" else span_of(stated, basis.zone)
    if time is None:
        raise Unsupported("it states no time")
    match said["relation"], said["event"], said["period"]:
        case "before" | "after" as relation, str() as event, None:
            own = _extent(entry.resource, basis) if said["element"] == "time" else time
            other = _extent(basis.entry(event).resource, basis)
            first, second = (own, other) if relation == "before" else (other, own)
            holds = first is not None and second is not None and first.end <= second.start
        case "within", None, str() as period:
            holds = back(basis.as_of, period) <= time.start <= basis.as_of
        case "longer_ago_than", None, str() as period:
            holds = time.end <= back(basis.as_of, period)
        case _:
            holds = False
    if not holds:
        raise Unsupported(f"not {said['relation']} {said['period'] or said['event']}")


def _extent(resource: Json, basis: Basis) -> Span | None:
    """From the beginning to the end, where one is stated."""
    start, end = begun(resource, basis.zone), end_of(resource, basis.zone)
    return start if start is None or end is None else Span(start.start, max(start.end, end.end))


def _time(entry: Entry, basis: Basis) -> Span:
    time = time_of(entry.resource, basis.zone)
    if time is None:
        raise Unsupported("it is undated")
    return time


def _calculation(said: Json, basis: Basis) -> None:
    """The formula, computed here from the values of its inputs, gives the result."""
    item = basis.evidence[said["calculation"]]
    low, _ = _calculated(item, basis)
    if (said["formula"], said["unit"]) != (item["formula"], item["unit"]) or Decimal(said["result"]) != low:
        raise Unsupported("another result is stated")


def _calculated(item: Json, basis: Basis) -> tuple[Decimal, Decimal]:
    """The least and the greatest result as they are stated, once they have been found here."""
    stated = Decimal(item["result"]), Decimal(item["result_high"])
    if item["formula"] == "age":
        if tuple(map(Decimal, basis.ages_at(basis.as_of))) != stated:
            raise Unsupported("another age")
        return stated
    measured = {name: basis.entry(one) for name, one in item["inputs"].items() if name not in ("age", "sex")}
    ends: list[dict[str, float]] = [{}, {}]
    for name, entry in measured.items():
        span = amounts(entry.part["valueQuantity"], UNITS.get(name, entry.part["valueQuantity"]["code"]), name)
        for end, amount in zip(ends, span, strict=True):
            end[name] = float(amount)
    when = next(time_of(entry.resource, basis.zone) for entry in measured.values())
    if "age" in item["inputs"] and when is not None:
        ends[0]["age"], ends[1]["age"] = map(float, (basis.ages_at(when.start)[0], basis.ages_at(when.end)[1]))
    is_female = basis.person.get("gender") == "female"
    results = [FORMULAS[item["formula"]](one, is_female) for one in ends]
    slack = STEPS[item["formula"]] / 2 + 1e-6
    if abs(min(results) - float(stated[0])) > slack or abs(max(results) - float(stated[1])) > slack:
        raise Unsupported(f"{item['formula']} gives {min(results):.2f}")
    return stated


def _statement(said: Json, basis: Basis) -> None:
    """The kept text holds the quote between the passage's offsets."""
    passage = basis.evidence[said["passage"]]
    text = basis.texts.get(passage["sha256"])
    if text is None:
        raise Open("the kept text is not at hand")
    if sha256(text.encode()).hexdigest() != passage["sha256"]:
        raise Unsupported("the text is another one")
    if said["quote"] not in text[passage["start"] : passage["end"]]:
        raise Unsupported("the passage does not say so")


def _summary(said: Json, basis: Basis) -> None:
    """The rule exists; its text is compared with the sentence."""
    if said["rule"] not in basis.rules:
        raise Unsupported("there is no such rule")


_CONNECTIVES = {"all": "all", "any": "any", "not": "not", "at_least": "at_least"}


def _criterion(said: Json, basis: Basis) -> None:
    """The tree has the shape of the rule's part and the truth of its leaves, and what its leaves rest on is true."""
    part = basis.rules[said["rule"]][said["part"]]
    if part is None or _truth(said["tree"], part, basis) != str(said["truth"]):
        raise Unsupported("its tree gives another truth")


def _truth(node: Json, criterion: Json, basis: Basis) -> str:
    kind = criterion["kind"]
    if node["node"] == "leaf":
        if kind in _CONNECTIVES:
            raise Unsupported(f"a leaf in the place of {kind}")
        if not node["propositions"] and node["truth"] != "unknown":
            raise Unsupported("a leaf that is decided by nothing")
        for proposition in node["propositions"]:
            _true(proposition, basis)
        return str(node["truth"])
    children = [criterion["of"]] if kind == "not" else list(criterion["of"])
    if node["operator"] != _CONNECTIVES.get(kind) or len(children) != len(node["children"]):
        raise Unsupported("its tree is not that of the rule")
    truths = [_truth(child, own, basis) for child, own in zip(node["children"], children, strict=True)]
    needed = {"all": len(truths), "any": 1, "not": 1, "at_least": criterion.get("count", 0)}[kind]
    met, possible = truths.count("met"), len(truths) - truths.count("not_met")
    truth = "met" if met >= needed else "not_met" if possible < needed else "unknown"
    if kind == "not":
        truth = {"met": "not_met", "not_met": "met", "unknown": "unknown"}[truth]
    if truth != str(node["truth"]):
        raise Unsupported(f"{kind} of {', '.join(truths)} is {truth}")
    return truth


_COMMANDING = re.compile(
    r"(^|[.;:!?,] |\band |\bthen |\bplease )"
    r"(start|stop|begin|give|prescribe|order|administer|discontinue|take|increase|reduce|ignore|call|send|open|visit)\b"
    r"|\b(must|should|shall|need to|recommended?|diagnosed|confirmed|certain(ly)?)\b",
    re.IGNORECASE,
)


def _words(text: str) -> None:
    """No number, no command, no certainty, and not longer than a page can bear."""
    if re.search(r"\d", text) or len(text) > 280 or "\n" in text:
        raise Unsupported("words with a number, or more of them than may be shown")
    if _COMMANDING.search(text):
        raise Unsupported("words that command")


def _hypothesis(said: Json, _basis: Basis) -> None:
    """Words of a thought; what it rests on is looked at with its standing."""
    _words(said["text"])


def _image_reading(said: Json, basis: Basis) -> None:
    """A study of the patient tells of the image, the region lies in it, and what is seen is no command."""
    _words(said["finding"])
    image = basis.evidence[said["image"]]
    study = basis.resources.get(image["source"]["sha256"])
    if study is None or study["resourceType"] != "ImagingStudy" or not basis.is_own(study):
        raise Unsupported("no study of the patient tells of it")
    if image["instance"] not in list(scalars(study.get("series"))):
        raise Unsupported("its study has no such image")
    region = said["region"]
    if region is not None:
        right, bottom = region["left"] + region["width"], region["top"] + region["height"]
        if min(region.values()) < 0 or right > image["columns"] or bottom > image["rows"]:
            raise Unsupported("its region lies outside of the image")


def _proposal(said: Json, basis: Basis) -> None:
    """The rule has that option; whether it may be put forward rests on the criteria beside it."""
    if said["action"] != basis.rules[said["rule"]]["action"]["id"]:
        raise Unsupported("the rule has another option")


_CHECKS: Mapping[str, Callable[[Json, Basis], None]] = {
    "value": _value,
    "threshold": _threshold,
    "trend": _trend,
    "presence": _presence,
    "absence": _absence,
    "timing": _timing,
    "calculation": _calculation,
    "statement": _statement,
    "summary": _summary,
    "criterion": _criterion,
    "hypothesis": _hypothesis,
    "image_reading": _image_reading,
    "proposal": _proposal,
}
