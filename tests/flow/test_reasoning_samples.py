# SPDX-License-Identifier: Apache-2.0
"""How sure a model is: what several samples agree on is verified, the rest is dropped; log probabilities are recorded
and never shown; a model that abstains is taken at its word."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders.fhir import Json
from builders.model_server import Asked, Script, Turn, model_server, say
from builders.program import SAMPLES
from builders.reasoning import drafted, hypothesis, threshold, value
from builders.reasoning_scripts import Told, answer, chart_in, desk, document, drafting, of_engine, on_screen

from medagent.canonical import public_json
from medagent.records import OutcomeKind, Reason, Reasoning
from medagent_workflows.recommending import Recorded
from medagent_workflows.rendering.document import document_json

THREE: Mapping[str, Any] = {"model_samples": 3, "model_temperature": 0.7}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_in(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def part_of(recorded: Recorded) -> Reasoning:
    assert recorded.dossier.reasoning is not None
    return recorded.dossier.reasoning


def noted(recorded: Recorded) -> list[str]:
    """Kinds of what is shown of the model's."""
    return [claim.kind for one in recorded.dossier.recommendations if one.author == "model" for claim in one.claims]


def hba1c(told: Told) -> Json:
    return value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%")


def potassium(told: Told) -> Json:
    return value(told.name("f", "potassium [potassium]: 4.9"), Decimal("4.9"), "mmol/L")


def creatinine(told: Told) -> Json:
    return threshold(told.name("f", "creatinine [serum-creatinine]"), ">", Decimal("2.5"), "mg/dL")


GARBAGE = "garbage"
ABSTAINS = "abstains"


def by_seed(*samples: tuple[object, ...] | str) -> Script:
    """Each sample says something else: functions of what is told, or no draft at all."""

    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        said = samples[asked.body["seed"]]
        if said == GARBAGE:
            return say("no JSON")
        if said == ABSTAINS:
            return answer(abstain="missing_evidence")
        told = Told(asked.text)
        return answer(*(one(told) for one in said))  # type: ignore[operator]  # functions; texts are dealt with

    return script


A, B, C = hba1c, potassium, creatinine
SAID: Mapping[str, tuple[Script, str, list[int], list[str]]] = {
    "all agree": (by_seed((A, B), (A, B), (B, A)), "drafted", [3, 3], ["value", "value"]),
    "most agree on a part": (by_seed((A,), (A, C), (B,)), "drafted", [2], ["value"]),
    "none agree": (by_seed((A,), (B,), (C,)), "disagreed", [], []),
    "one gives no draft": (by_seed((A,), GARBAGE, (A, B)), "drafted", [2], ["value"]),
    "the first gives no draft": (by_seed(GARBAGE, (A,), (A, B)), "drafted", [2], ["value"]),
    "only one gives a draft": (by_seed(GARBAGE, (A,), GARBAGE), "disagreed", [], []),
    "none gives a draft": (by_seed(GARBAGE, GARBAGE, GARBAGE), "invalid_output", [], []),
    "most abstain": (by_seed((A,), ABSTAINS, ABSTAINS), "abstained", [], []),
    "one abstains": (by_seed((A, C), ABSTAINS, (A, C)), "drafted", [2, 2], ["value", "threshold"]),
}


@pytest.mark.parametrize("case", SAID)
def test_what_most_samples_say_is_verified_and_the_rest_dropped(home: Path, chart: Path, case: str) -> None:
    script, ended, agreed, kinds = SAID[case]
    with model_server(script) as server, desk(home, server, **THREE) as at:
        recorded = at.run(chart)
    agreement = part_of(recorded).agreement
    assert agreement is not None
    assert (agreement.samples, agreement.needed) == (3, 2)
    assert (part_of(recorded).ended, sorted(agreement.agreed.values()), noted(recorded)) == (ended, agreed, kinds)
    with desk(home) as alone:
        assert of_engine(recorded) == of_engine(alone.run(chart))


def test_a_thought_stands_only_with_what_it_rests_on(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        told = Told(asked.text)
        seed = asked.body["seed"]
        rests_on = (hba1c, potassium, potassium)[seed](told)
        return answer(creatinine(told), rests_on, hypothesis("Something links these values.", 2))

    with model_server(script) as server, desk(home, server, **THREE) as at:
        recorded = at.run(chart)
    assert noted(recorded) == ["threshold", "value", "hypothesis"]


# clinical: 18
def test_log_probabilities_of_slots_are_recorded_and_never_shown(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        written = public_json(drafted(hba1c(Told(asked.text)))).decode()
        return say(written, logprob=-0.7531)

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
    decisive = {one.pointer: one.logprob for one in part_of(recorded).decisive}
    assert decisive["/propositions/0/value"] == "-0.753"
    shown = document_json(recorded.dossier, recorded.stored).decode() + on_screen(recorded)
    assert "0.753" not in shown
    assert "logprob" not in shown
    assert "robability" not in shown
    assert noted(recorded) == ["value"]


def test_agreement_is_shown_as_how_many_were_asked_and_nothing_else(home: Path, chart: Path) -> None:
    with model_server(by_seed((A,), (A,), (A, B))) as server, desk(home, server, **THREE) as at:
        recorded = at.run(chart)
    assert document(recorded)["reasoning"]["agreement"] == {"samples": 3, "needed": 2}


HEALTHY = SAMPLES / "healthy.json"
"""A chart for which the engine has nothing to put forward."""

ENDS: Mapping[str, tuple[Script, Mapping[str, Any], OutcomeKind, Reason | None]] = {
    "nothing to add": (drafting(answer(abstain="nothing_to_add")), {}, OutcomeKind.NOTHING_DUE, None),
    "an empty draft": (drafting(answer()), {}, OutcomeKind.NOTHING_DUE, None),
    "missing evidence": (
        drafting(answer(abstain="missing_evidence")), {}, OutcomeKind.ABSTAINED, Reason.MISSING_DATA,
    ),
    "disagreement": (
        drafting(
            answer(value("f1", "male")),
            answer(value("f1", "female")),
            answer({"kind": "criterion", "rule": "hba1c-above-goal", "part": "population", "truth": "met"}),
        ),
        THREE, OutcomeKind.ABSTAINED, Reason.MISSING_DATA,
    ),
    "only what is not true": (
        drafting(*[answer(value("f1", "unknown"))] * 2), {}, OutcomeKind.ABSTAINED, Reason.FAILED_VERIFICATION,
    ),
    "nothing that could be taken": (
        drafting(*[answer(value("f999", Decimal(1)))] * 3), {}, OutcomeKind.ABSTAINED, Reason.FAILED_VERIFICATION,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_where_the_engine_has_nothing_the_models_end_decides(home: Path, case: str) -> None:
    script, settings, outcome, reason = ENDS[case]
    with desk(home) as alone:
        assert alone.run(HEALTHY).dossier.outcome is OutcomeKind.NOTHING_DUE
    with model_server(script) as server, desk(home, server, **settings) as at:
        recorded = at.run(HEALTHY)
    assert (recorded.dossier.outcome, recorded.dossier.reason) == (outcome, reason)
