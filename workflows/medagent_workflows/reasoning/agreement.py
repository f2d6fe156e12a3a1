# SPDX-License-Identifier: Apache-2.0
"""What several samples of one draft have in common: what a model says only now and then is dropped.

Propositions are the same if their slots are. Of thoughts and readings of images the words vary, so they are compared by
words alone, without case and punctuation, together with what they rest on. Counts are recorded and never shown as a
probability (clinical: 18).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medagent.evidence_set import AnyEvidence
from medagent.propositions import AnyProposition, Hypothesis, ImageReading
from medagent.records import Agreement, Considerations, Draft
from medagent_workflows.reasoning.compiling import Compiled

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is left, and the record of it."""

    compiled: Compiled | None
    """None: the samples disagree, or none could be used."""
    agreement: Agreement


def agreed(samples: Sequence[Compiled | None], needed: int) -> Agreed:
    """What at least `needed` of the samples say. None: a sample that gave no usable draft, which says nothing.

    Steps: (1) each sample counts once for whatever it says; (2) of what is said alike the first wording stays; (3) a
    thought stays only with all that it rests on, under the ids of what stays.
    """
    usable = [sample for sample in samples if sample is not None]
    # (1)
    said = [_said(sample) for sample in usable]
    counts = Counter(key for keys in said for key in keys)
    # (2)
    first: dict[_Key, AnyProposition] = {}
    for keys in said:
        for key, proposition in keys.items():
            first.setdefault(key, proposition)
    kept = {key: one for key, one in first.items() if counts[key] >= needed}
    # (3)
    ids = {one.id: kept[key].id for keys in said for key, one in keys.items() if key in kept}
    propositions = {key: _resting_on(one, ids) for key, one in kept.items()}
    standing = {key: one for key, one in propositions.items() if one is not None}
    drafts: dict[str, Draft] = {draft.proposal: draft for sample in usable for draft in sample.drafts}
    put_forward = Counter(draft.proposal for sample in usable for draft in sample.drafts)
    agreement = Agreement(
        samples=len(samples),
        needed=needed,
        agreed={one.id: counts[key] for key, one in standing.items()}
        | {proposal: count for proposal, count in put_forward.items() if count >= needed},
    )
    if not agreement.agreed:
        return Agreed(None, agreement)
    evidence: dict[str, AnyEvidence] = {item.id: item for sample in usable for item in sample.evidence}
    return Agreed(
        Compiled(
            drafts=tuple(draft for proposal, draft in drafts.items() if put_forward[proposal] >= needed),
            considerations=Considerations(propositions=tuple(standing.values())) if standing else None,
            evidence=tuple(evidence.values()),
            invalid=tuple(dict.fromkeys(reason for sample in usable for reason in sample.invalid)),
        ),
        agreement,
    )


def _said(sample: Compiled) -> dict[_Key, AnyProposition]:
    """What one sample says, each thing once."""
    propositions = () if sample.considerations is None else sample.considerations.propositions
    by_id = {one.id: one for one in propositions}
    said: dict[_Key, AnyProposition] = {}
    for one in propositions:
        said.setdefault(_key(one, by_id), one)
    return said


def _key(proposition: AnyProposition, by_id: Mapping[str, AnyProposition]) -> _Key:
    match proposition:
        case ImageReading():
            return (proposition.kind, proposition.image, _words(proposition.finding))
        case Hypothesis():
            supports = sorted("\n".join(_key(by_id[support], by_id)) for support in proposition.supports)
            return (proposition.kind, _words(proposition.text), *supports)
        case _:
            return (proposition.kind, proposition.id)


def _words(text: str) -> str:
    return " ".join("".join(sign if sign.isalnum() else " " for sign in text.casefold()).split())


def _resting_on(proposition: AnyProposition, ids: Mapping[str, str]) -> AnyProposition | None:
    """A thought over the ids that stay; None: something that it rests on does not."""
    if not isinstance(proposition, Hypothesis):
        return proposition
    if any(support not in ids for support in proposition.supports):
        return None
    return Hypothesis(
        text=proposition.text, supports=tuple(dict.fromkeys(ids[support] for support in proposition.supports))
    )
