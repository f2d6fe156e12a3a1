# SPDX-License-Identifier: Apache-2.0
"""The second look at claims: it agrees with what is true, and would notice each lie that a slot can tell."""

from functools import cache

import pytest
from builders.corruptions import SLOT_LIES, with_a_lie
from builders.drafts import noted
from builders.plain_chart import Json
from builders.plain_record import Basis
from builders.reevaluation import basis_of, claims_of, reevaluated

from medagent.verifier import consider


@cache
def truth() -> tuple[tuple[Json, ...], Basis]:
    made = noted()
    verdict = consider(made.considerations, made.evidence)
    return tuple(claims_of(verdict.recommendation)), basis_of(made.evidence)


def test_what_is_true_holds() -> None:
    claims, basis = truth()
    found = reevaluated(claims, basis)
    assert {one.kind for one in found} == set(SLOT_LIES)
    assert [one for one in found if one.verdict != "holds"] == []


@pytest.mark.parametrize(("kind", "slot"), [(kind, slot) for kind, lies in SLOT_LIES.items() for slot in lies])
def test_a_lie_does_not_hold(kind: str, slot: str) -> None:
    claims, basis = truth()
    said = {one.id: one for one in noted().considerations.propositions}
    for place, claim in enumerate(claims):
        if claim["kind"] == kind:
            lie = {**claim, "proposition": with_a_lie(said[claim["says"]], slot).model_dump()}
            judged = reevaluated([*claims[:place], lie, *claims[place + 1 :]], basis)[place]
            assert judged.verdict != "holds", lie["proposition"]
