# SPDX-License-Identifier: Apache-2.0
"""What a model may state: each kind, stated truly, stands in the dossier with citations that a stranger can check;
each kind, stated falsely, is dropped, with a finding that says so. The engine says what it says without a model."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from builders.citation_checker import complaints, containers
from builders.fhir import Json
from builders.model_server import model_server
from builders.reasoning import (
    absence,
    criterion,
    hypothesis,
    image_reading,
    presence,
    threshold,
    timing,
    trend,
    value,
)
from builders.reasoning_scripts import (
    QUOTE,
    Drafts,
    Told,
    chart_in,
    desk,
    document,
    images_in,
    model,
    of_engine,
    pack_that_keeps,
)

from medagent_workflows.recommending import Recorded

EGFR = "mL/min/{1.73_m2}"
LOOKS: tuple[tuple[str, Json], ...] = (
    ("list_labs", {"analyte": "creatinine"}),
    ("calculate", {"formula": "ckd-epi-2021"}),
    ("search_chart", {"kind": "observation", "value_set": "urine-albumin-creatinine-ratio"}),
    ("search_guidelines", {"words": "metformin kidney lactic acidosis"}),
    ("list_images", {}),
    ("view_image", {"image": "i1"}),
)
"""What it asks for before it drafts: so that it has a name for each kind of evidence."""


def hba1c(told: Told) -> str:
    return told.name("f", "HbA1c [hba1c]: 7.6 %")


def creatinine(told: Told) -> str:
    return told.name("f", "creatinine [serum-creatinine]: 2.61")


def course(told: Told) -> str:
    return told.name("r", "searched for creatinine [serum-creatinine]")


def result(told: Told) -> str:
    return told.name("c", "ckd-epi-2021: 26")


def unmeasured(told: Told) -> str:
    return told.name("r", "Reading:", "urine-albumin-creatinine-ratio")


def passage(told: Told) -> str:
    return told.name("p", "the publisher's words")


def image(told: Told) -> str:
    return told.name("i", "pixels")


def problem(told: Told) -> str:
    return told.name("f", "«chronic kidney disease»")


def drug(told: Told) -> str:
    return told.name("f", "«metformin 1000 mg tablet»")


def newest(told: Told) -> Json:
    """A true statement that others may rest on."""
    return value(hba1c(told), Decimal("7.6"), "%")


def calculated(told: Told, said: int) -> Json:
    return {"kind": "calculation", "calculation": result(told), "result": said}


def statement(told: Told, words: str) -> Json:
    return {"kind": "statement", "passage": passage(told), "quote": words}


def ruled(kind: str, rule: str) -> Json:
    return {"kind": kind, "rule": rule}


TRUE: Mapping[str, Drafts] = {
    "value": lambda told: [newest(told)],
    "threshold": lambda told: [threshold(creatinine(told), ">", Decimal("2.5"), "mg/dL")],
    "trend": lambda told: [trend(course(told), "rising", Decimal("0.4"), "mg/dL", "12 months")],
    "presence": lambda told: [presence(problem(told), "active")],
    "absence": lambda told: [absence(unmeasured(told), "measured", "12 months")],
    "timing": lambda told: [presence(problem(told), "active"), timing(problem(told), "longer_ago_than", "2 years")],
    "calculation": lambda told: [calculated(told, 26)],
    "criterion": lambda told: [newest(told), criterion("metformin-egfr-below-30", "criteria", "met")],
    "statement": lambda told: [newest(told), statement(told, QUOTE)],
    "summary": lambda told: [
        newest(told), criterion("hba1c-above-goal", "criteria", "met"), ruled("summary", "hba1c-above-goal"),
    ],
    "hypothesis": lambda told: [
        newest(told), presence(drug(told), "confirmed"), hypothesis("The value may reflect an irregular intake.", 1, 2),
    ],
    "image_reading": lambda told: [
        newest(told),
        image_reading(image(told), "a rounded opacity", {"left": 100, "top": 100, "width": 300, "height": 300}),
    ],
}  # fmt: skip
"""By kind: a draft in which it is stated truly, with what it needs beside it."""

FALSE: Mapping[str, Drafts] = {
    "value": lambda told: [value(hba1c(told), Decimal("7.1"), "%")],
    "threshold": lambda told: [threshold(creatinine(told), "<", Decimal("1.2"), "mg/dL")],
    "trend": lambda told: [trend(course(told), "falling", Decimal("0.1"), "mg/dL", "12 months")],
    "presence": lambda told: [presence(hba1c(told), "active")],
    "absence": lambda told: [absence(course(told), "measured", "12 months")],
    "timing": lambda told: [presence(problem(told), "active"), timing(problem(told), "within", "1 month")],
    "calculation": lambda told: [calculated(told, 62)],
    "criterion": lambda told: [newest(told), criterion("metformin-egfr-below-30", "criteria", "not_met")],
    "statement": lambda told: [newest(told), statement(told, "metformin is always safe")],
    "summary": lambda told: [newest(told), ruled("summary", "hba1c-above-goal")],
    "hypothesis": lambda told: [
        value(hba1c(told), Decimal("7.1"), "%"), hypothesis("The value may reflect an irregular intake.", 1),
    ],
    "image_reading": lambda told: [
        newest(told),
        image_reading(image(told), "a rounded opacity", {"left": 900, "top": 900, "width": 600, "height": 600}),
    ],
}  # fmt: skip
"""By kind: a draft in which it is stated falsely, or without what it would need."""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_in(tmp_path_factory.mktemp("chart"))


Run = Callable[[Drafts], Recorded]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, chart: Path) -> Run:
    """A run whose model looks at everything and then drafts this."""

    images, home = images_in(tmp_path_factory.mktemp("images")), tmp_path_factory.mktemp("home")

    def whole(drafts: Drafts) -> Recorded:
        with (
            model_server(model(LOOKS, drafts=drafts)) as server,
            desk(home, server, pack=pack_that_keeps(), images=images) as at,
        ):
            return at.run(chart)

    return whole


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, chart: Path) -> bytes:
    """What the engine says where no model is configured."""
    with desk(tmp_path_factory.mktemp("home"), pack=pack_that_keeps()) as at:
        return of_engine(at.run(chart))


def noted(recorded: Recorded) -> list[Json]:
    """The claims of the model's own recommendation; none, where it has none."""
    shown = [one for one in document(recorded)["recommendations"] if one["author"] == "model"]
    return [claim for one in shown for claim in one["claims"]]


STANDINGS = {"summary": "summary", "hypothesis": "consider", "image_reading": "model_reading"}


# clinical: 18
@pytest.mark.parametrize("kind", TRUE)
def test_a_true_statement_stands_with_its_citations(run: Run, chart: Path, alone: bytes, kind: str) -> None:
    recorded = run(TRUE[kind])
    claims = [claim for claim in noted(recorded) if claim["kind"] == kind]
    assert [claim["standing"] for claim in claims] == [STANDINGS.get(kind, "verified")]
    assert all(claim["citations"] for claim in claims)
    assert list(complaints(document(recorded), containers([chart]))) == []
    assert of_engine(recorded) == alone


@pytest.mark.parametrize("kind", FALSE)
def test_a_false_statement_is_dropped_with_a_finding(run: Run, alone: bytes, kind: str) -> None:
    recorded = run(FALSE[kind])
    assert kind not in [claim["kind"] for claim in noted(recorded)]
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    stated = {one.id for part in recorded.dossier.considerations for one in part.propositions if one.kind == kind}
    refused = {one.proposition for one in recorded.dossier.findings if not one.passed}
    assert stated & refused or any(f", {kind}: " in reason for reason in reasoning.invalid)
    assert of_engine(recorded) == alone


def test_nothing_is_read_in_an_image_that_the_model_was_not_shown(chart: Path, tmp_path: Path) -> None:
    """Its line in a list names it, with its size; what a model sees there it has not seen."""
    images = images_in(tmp_path / "images")
    script = model([("list_images", {})], drafts=lambda told: [newest(told), image_reading(image(told), "a mass")])
    with model_server(script) as server, desk(tmp_path / "home", server, images=images) as at:
        recorded = at.run(chart)
        drafts = [asked.schema for asked in server.requests if asked.schema is not None]
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert [claim["kind"] for claim in noted(recorded)] == ["value"]
    assert any("was not shown to you" in reason for reason in reasoning.invalid)
    assert all("WireImageReading" not in schema["$defs"] for schema in drafts)


def test_a_rule_that_the_engine_puts_forward_may_be_proposed_and_stays_the_engines(run: Run, alone: bytes) -> None:
    recorded = run(lambda _: [ruled("proposal", "metformin-egfr-below-30")])
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert (reasoning.ended, reasoning.proposed) == ("drafted", ("metformin-egfr-below-30",))
    assert noted(recorded) == []
    assert of_engine(recorded) == alone


def test_a_rule_that_the_engine_does_not_put_forward_cannot_be_proposed(run: Run, alone: bytes) -> None:
    recorded = run(lambda told: [newest(told), ruled("proposal", "lung-cancer-screening")])
    reasoning = recorded.dossier.reasoning
    assert reasoning is not None
    assert reasoning.proposed == ()
    assert any("proposal" in reason and "cannot be proposed" in reason for reason in reasoning.invalid)
    assert of_engine(recorded) == alone
