# SPDX-License-Identifier: Apache-2.0
"""Claims looked at once more, by somebody who shares nothing with MedAgent: are they true of the bytes that were read?

Imports nothing of MedAgent. It reads resources as plain JSON (`builders.plain_chart`) and applies the meaning of each
kind of claim in the shortest way:

    basis = basis_of(evidence)                                   # what the verifier was given (an EvidenceSet)
    basis = basis_of_run(json.loads(stored, parse_float=Decimal), read)  # a stored dossier; `read`: bytes by SHA-256
    found = reevaluated(claims_of(verdict.recommendation), basis)
    found = [one for card in run["recommendations"] for one in reevaluated(card["claims"], basis)]
    assert not unsupported(found)

`Judged.verdict` is `holds`, `fails`, or `open`: this script cannot tell (a unit that it does not know, say), which is
neither. What it asks of each kind stands in `builders.plain_claims`. Beyond the truth of each claim it asks that no
older result stands without the newest one, that nothing a model says is there stands without a newer entry that says
the contrary, and that every number in the sentence comes from the claim or from its
evidence.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from builders.plain_chart import Json, Open, scalars, time_of
from builders.plain_claims import check
from builders.plain_contraries import contraries
from builders.plain_record import Basis, Entry, Unsupported, is_usable

Verdict = Literal["holds", "fails", "open"]


class Judged(NamedTuple):
    """What became of one claim."""

    claim: str
    kind: str
    verdict: Verdict
    why: str = ""


# What there is to look at.


def basis_of(evidence: Any) -> Basis:
    """Of what a verifier was given (`medagent.evidence_set.EvidenceSet`)."""
    return Basis(
        patient=evidence.patient,
        names=frozenset((evidence.patient, *evidence.patient_names)),
        as_of=evidence.as_of,
        zone=ZoneInfo(evidence.time_zone),
        evidence={name: one.model_dump() for name, one in evidence.items.items()},
        resources=_parsed(evidence.slices),
        value_sets={name: one.model_dump() for name, one in evidence.value_sets.items()},
        rules={name: one.model_dump() for name, one in evidence.rules.items()},
        texts=evidence.texts,
    )


def basis_of_run(run: Json, read: Callable[[str], bytes], texts: Mapping[str, str] | None = None) -> Basis:
    """Of a stored dossier. `read`: the bytes of a resource by their SHA-256, as the store keeps them."""
    sources = {one["source"]["sha256"] for one in run["evidence"] if one["kind"] in ("fact", "image")}
    listed = {digest for listing in run["listings"].values() for digest in listing}
    return Basis(
        patient=run["request"]["patient"],
        names=frozenset((run["request"]["patient"], *run["patient_names"])),
        as_of=datetime.fromisoformat(run["request"]["as_of"]),
        zone=ZoneInfo(run["time_zone"]),
        evidence={one["id"]: one for one in run["evidence"]},
        resources=_parsed({digest: read(digest) for digest in sorted(sources | listed)}),
        value_sets={one["id"]: one for one in run["value_sets"]},
        rules={one["id"]: one for one in run["rules"]},
        texts=texts or {},
    )


def claims_of(recommendation: Any) -> list[Json]:
    """The claims of a recommendation of the kernel's, as plain JSON; none where there is none. `says` is added: the id
    of the proposition, by which a thought names what it rests on."""
    claims = () if recommendation is None else recommendation.claims
    return [{**claim.model_dump(), "says": claim.proposition.id} for claim in claims]


def _parsed(slices: Mapping[str, bytes]) -> dict[str, Json]:
    """The resources whose bytes have the hash that they go by."""
    return {
        digest: json.loads(data, parse_float=Decimal)
        for digest, data in slices.items()
        if sha256(data).hexdigest() == digest
    }


# Claims.


def reevaluated(claims: Iterable[Json], basis: Basis) -> list[Judged]:
    """Each claim of one card, judged."""
    every = list(claims)
    return [_judged(claim, every, basis) for claim in every]


def unsupported(judged: Iterable[Judged]) -> list[Judged]:
    """What is not true."""
    return [one for one in judged if one.verdict == "fails"]


def _judged(claim: Json, card: Sequence[Json], basis: Basis) -> Judged:
    said = claim["proposition"]
    try:
        check(said, basis)
        _standing(claim, card, basis)
        _beside_the_newest(said, card, basis)
        _beside_the_contrary(said, card, basis)
        _sentence(claim, basis)
    except Unsupported as error:
        return Judged(claim["id"], claim["kind"], "fails", str(error))
    except Open as error:
        return Judged(claim["id"], claim["kind"], "open", str(error))
    return Judged(claim["id"], claim["kind"], "holds")


# What is asked of every claim.

_STANDING = {"summary": "summary", "hypothesis": "consider", "image_reading": "model_reading"}


def _standing(claim: Json, card: Sequence[Json], basis: Basis) -> None:
    """It is called what it is; a thought rests on something that was checked, a summary is the rule's own."""
    said = claim["proposition"]
    if claim["standing"] != _STANDING.get(said["kind"], "verified"):
        raise Unsupported(f"a {said['kind']} as {claim['standing']}")
    if said["kind"] == "hypothesis":
        beside = {one.get("says"): one["standing"] for one in card}
        if None in beside:
            raise Open("which claims it names cannot be told from the JSON of a run")
        if "verified" not in [beside.get(one) for one in said["supports"]]:
            raise Unsupported("it rests on nothing that was checked")
        if any(one not in beside for one in said["supports"]):
            raise Unsupported("a support of it does not stand")
    if said["kind"] == "summary" and basis.rules[said["rule"]]["summary"] not in claim["text"]:
        raise Unsupported("it is not the rule's own text")


def _beside_the_newest(said: Json, card: Sequence[Json], basis: Basis) -> None:
    """An older result is told only beside the newest of what it is of."""
    named = {"value": ("fact", "of"), "threshold": ("of", "value_set")}.get(said["kind"])
    if named is None or said[named[1]] is None or said.get("element", "value") != "value":
        return
    entry = basis.entry(said[named[0]])
    if entry.resource["resourceType"] != "Observation":
        return
    results = [one for one in basis.entries(("Observation",), basis.value_set(said[named[1]])) if is_usable(one, basis)]
    times = {one[:2]: time for one in results if (time := time_of(one.resource, basis.zone)) is not None}
    last = max(time.start for time in times.values())
    newest = {one for one, time in times.items() if time.end > last}
    if not newest & {one[:2] for claim in card for one in _told(claim["proposition"], basis)}:
        raise Unsupported("a newer result is left unsaid")


def _beside_the_contrary(said: Json, card: Sequence[Json], basis: Basis) -> None:
    """What a model says is there is told only beside the newest entry that says the contrary. A rule looks at all."""
    if said["kind"] != "presence" or any(claim["kind"] == "proposal" for claim in card):
        return
    told = {one[:2] for claim in card for one in _told(claim["proposition"], basis)}
    told |= {
        basis.entry(other["fact"])[:2]
        for other in (claim["proposition"] for claim in card)
        if other["kind"] == "presence" and other["state"] in ("done", "declined", "ordered")
    }
    if any(one[:2] not in told for one in contraries(said, basis)):
        raise Unsupported("a newer entry that says the contrary is left unsaid")


def _told(said: Json, basis: Basis) -> list[Entry]:
    """The results that a claim tells."""
    match said["kind"]:
        case "value" | "timing":
            facts = [said["fact"]]
        case "trend":
            facts = list(said["facts"])
        case "threshold" | "calculation":
            name = said["of"] if said["kind"] == "threshold" else said["calculation"]
            facts = list(basis.evidence.get(name, {}).get("inputs", {"": name}).values())
        case _:
            facts = []
    return [basis.entry(one) for one in facts if one in basis.evidence]


_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OF_UNITS = {"1.73", "2021", "2000", "1976", "1"}
"""In units and titles of formulas, as they are written for people."""


def _sentence(claim: Json, basis: Basis) -> None:
    """Every number of the sentence stands in the claim, or in what it rests on, or counts that."""
    said = claim["proposition"]
    if said["kind"] in ("criterion", "statement", "summary", "proposal"):
        return
    grounds = [said, *_grounds(said, basis)]
    known = " ".join(str(one) for one in scalars(grounds))
    counts = {str(len(said.get("facts", ()))), *(str(one.get("examined")) for one in grounds)}
    for number in _NUMBER.findall(claim["text"]):
        if number not in known and number not in counts | _OF_UNITS and "≈" not in claim["text"]:
            raise Unsupported(f"nobody knows where its number {number} comes from")


def _grounds(said: Json, basis: Basis) -> list[Json]:
    """The evidence and the resources that a claim names, and the set that it is of."""
    names = [str(one) for one in scalars(said) if str(one) in basis.evidence]
    items = [basis.evidence[name] for name in names]
    items += [basis.evidence[one] for item in list(items) for one in item.get("inputs", {}).values()]
    sources = [item["source"]["sha256"] for item in items if "source" in item]
    sets = [basis.value_set(said[slot]) for slot in ("of", "value_set") if said.get(slot) and said[slot] not in names]
    titles: list[Json] = [{"title": one["title"]} for one in sets]
    return [*items, *(basis.resources[one] for one in sources), *titles]
