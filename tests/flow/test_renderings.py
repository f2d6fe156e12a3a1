# SPDX-License-Identifier: Apache-2.0
"""Renderings of every sample: what leads, what is told, and that they are functions of the dossier alone."""

import io
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from builders.citation_checker import complaints, containers
from builders.drafts import noted
from builders.recommendations import reasoning
from builders.runs import Runner, instant_of, runner
from rich.console import Console

from medagent.canonical import parse_json
from medagent.records import (
    Agreement,
    Considerations,
    DecisiveToken,
    Dossier,
    Finding,
    Limit,
    ModelRef,
    OutcomeKind,
    Reason,
    ReasoningEnd,
)
from medagent.sentences import forbidden_wording
from medagent.verifier import consider
from medagent_workflows.recommending import Recorded
from medagent_workflows.rendering.document import document_json
from medagent_workflows.rendering.terminal import write_dossier

SAMPLES = sorted(Path(str(files("medagent_workflows") / "samples")).glob("*.json"))
AS_OF = instant_of("2026-06-30T23:59:59+00:00")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Recorded]]:
    with runner(tmp_path_factory.mktemp("home")) as at_work:
        assert isinstance(at_work, Runner)
        yield {path.stem: at_work.record(path, as_of=AS_OF) for path in SAMPLES}


def text_of(dossier: Dossier, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    write_dossier(console, dossier)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


OUTCOMES = {
    "allergies-interactions": ("offered", None),
    "chest-ct-nodule": ("offered", None),
    "child": ("abstained", "out_of_scope"),
    "contradictory-missing": ("offered", None),
    "deceased": ("abstained", "deceased"),
    "diabetes-kidney": ("offered", None),
    "healthy": ("nothing_due", None),
}


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES])
def test_each_sample_ends_as_it_is_meant_to(name: str, runs: dict[str, Recorded]) -> None:
    dossier = runs[name].dossier
    assert (dossier.outcome.value, dossier.reason.value if dossier.reason else None) == OUTCOMES[name]


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES])
@pytest.mark.parametrize("width", [40, 100, 200])
def test_the_text_of_each_sample_says_how_it_was_made(name: str, width: int, runs: dict[str, Recorded]) -> None:
    """clinical: 14"""
    text = " ".join(text_of(runs[name].dossier, width).replace("│", " ").split())
    for part in ("Not clinically reviewed", "medagent show dossier-"):
        assert part in text, part


@pytest.mark.parametrize("name", ["child", "deceased"])
def test_where_nothing_was_drafted_no_check_is_said_to_have_passed(name: str, runs: dict[str, Recorded]) -> None:
    text = text_of(runs[name].dossier)
    assert "none made: nothing was drafted" in text
    assert "passed" not in text
    assert "no model was asked" in flat(text)
    assert "no model configured" not in flat(text), "nothing says whether there is one"


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES])
def test_every_citation_of_each_sample_stands_in_its_file(name: str, runs: dict[str, Recorded]) -> None:
    recorded = runs[name]
    document = json.loads(document_json(recorded.dossier, recorded.stored))
    (path,) = (path for path in SAMPLES if path.stem == name)
    assert list(complaints(document, containers([path]))) == []


def test_the_checker_complains_of_a_citation_that_does_not_hold(runs: dict[str, Recorded]) -> None:
    recorded = runs["diabetes-kidney"]
    document = json.loads(document_json(recorded.dossier, recorded.stored))
    cited = next(
        citation
        for one in document["recommendations"]
        for claim in one["claims"]
        for citation in claim["citations"]
        if "value" in citation
    )
    cited["value"] = "something else"
    (path,) = (path for path in SAMPLES if path.stem == "diabetes-kidney")
    assert len(list(complaints(document, containers([path])))) == 1


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES])
def test_stored_bytes_render_to_the_same_document(name: str, runs: dict[str, Recorded]) -> None:
    recorded = runs[name]
    again = Dossier.model_validate(parse_json(recorded.stored))
    assert document_json(again, recorded.stored) == document_json(recorded.dossier, recorded.stored)
    assert text_of(again) == text_of(recorded.dossier)


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES])
def test_no_sentence_commands_or_claims_too_much(name: str, runs: dict[str, Recorded]) -> None:
    """clinical: 18"""
    dossier = runs[name].dossier
    said = [
        text
        for one in dossier.recommendations
        for text in (one.title, *one.warnings, *(claim.text for claim in one.claims))
    ]
    assert [text for text in (*said, *dossier.banners) if forbidden_wording(text)] == []


MODEL = ModelRef(name="a-maker/a-model", revision="290cda5eeccbee130f987c4ad74a59ae6f196408", adapter="site-7")


def with_model(dossier: Dossier, *, ended: ReasoningEnd = "drafted", **changes: Any) -> Dossier:
    """The run as if a model had taken part in it."""
    mode = dossier.mode.model_copy(update={"model": MODEL})
    return dossier.model_copy(update={"mode": mode, "reasoning": reasoning(ended, **changes)})


def with_notes(dossier: Dossier, **changes: Any) -> Dossier:
    """The run as if a model had noted something in it, of another chart."""
    said = noted()
    card = consider(said.considerations, said.evidence).recommendation
    assert card is not None
    return with_model(dossier, **changes).model_copy(
        update={
            "recommendations": (*dossier.recommendations, card),
            "evidence": (*dossier.evidence, *said.evidence.items.values()),
            "considerations": (said.considerations,),
        }
    )


def flat(text: str) -> str:
    """Without borders and line breaks."""
    return " ".join("".join(" " if sign in "│║╔╗╚╝═─╭╮╰╯" else sign for sign in text).split())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_a_model_noted_stands_apart_and_last(width: int, runs: dict[str, Recorded]) -> None:
    text = flat(text_of(with_notes(runs["diabetes-kidney"].dossier), width))
    lead = "Noted by the model a-maker/a-model 290cda5eeccb with adapter site-7, for review; not a guideline's"
    order = [
        "beside them what the model noted", "Also: ", lead, "LOINC 718-7 (“Hemoglobin in Blood”): 10.1 g/dL",
        "The model's own thoughts, to consider", "“The anaemia may follow from the kidney disease.”",
        "The model's own reading of images, not confirmed", "“a rounded opacity”", "held back",
    ]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_where_only_the_model_noted_something_no_rule_is_said_to_have_offered_it(runs: dict[str, Recorded]) -> None:
    text = flat(text_of(with_notes(runs["healthy"].dossier.model_copy(update={"outcome": OutcomeKind.OFFERED}))))
    assert "only what the model noted; no rule of the pack put anything forward" in text


def test_what_rules_put_forward_and_was_held_back_is_not_hidden_behind_what_the_model_noted(
    runs: dict[str, Recorded],
) -> None:
    """Withheld for this patient, or dropped by the verifier: that is not nothing."""
    dossier = runs["diabetes-kidney"].dossier
    held = dossier.model_copy(update={"recommendations": ()})
    text = flat(text_of(with_notes(held.model_copy(update={"outcome": OutcomeKind.OFFERED}))))
    assert "only what the model noted; all that rules put forward was held back" in text
    assert "no rule of the pack put anything forward" not in text


def test_what_a_model_noted_neither_commands_nor_claims_to_be_safe(runs: dict[str, Recorded]) -> None:
    """clinical: 18"""
    text = flat(text_of(with_notes(runs["healthy"].dossier)))
    card = text[text.index("Noted by") : text.index("rules ")]
    assert forbidden_wording(card) is None


ENDS: dict[ReasoningEnd, str] = {
    "abstained": "The model had nothing to add",
    "disagreed": "The model's samples did not agree",
    "unavailable": "The model did not take part: its server gave no answer",
    "deadline": "The model was not done in time",
    "too_long": "The model did not take part: the chart is more than it can take in",
    "refused": "The model did not take part: its server refused the request",
    "invalid_output": "What the model wrote could not be used",
}


@pytest.mark.parametrize(("ended", "said"), ENDS.items(), ids=ENDS.keys())
def test_where_nothing_is_the_models_it_is_said_why(ended: ReasoningEnd, said: str, runs: dict[str, Recorded]) -> None:
    text = flat(text_of(with_model(runs["diabetes-kidney"].dossier, ended=ended)))
    assert said in text
    assert "what follows is the guideline engine's alone" in text


def test_a_model_that_found_no_evidence_is_not_said_to_have_agreed(runs: dict[str, Recorded]) -> None:
    changes: dict[str, Any] = {"ended": "abstained", "detail": "missing_evidence"}
    text = flat(text_of(with_model(runs["diabetes-kidney"].dossier, **changes)))
    assert "it found nothing in the chart to answer from" in text
    assert "nothing to add" not in text
    assert "missing_evidence" not in text


def test_a_model_that_was_not_heard_is_not_said_to_be_missing_from_the_settings(runs: dict[str, Recorded]) -> None:
    silent = {"mode": runs["healthy"].dossier.mode, "outcome": OutcomeKind.ABSTAINED, "reason": Reason.UNAVAILABLE}
    dossier = with_model(runs["healthy"].dossier, ended="unavailable", detail="Nobody answers.")
    text = flat(text_of(dossier.model_copy(update=silent)))
    assert "guideline engine alone, the model did not answer" in text
    assert "no rule of the pack put anything forward, and nothing came of the model" in text
    assert "Nobody answers." in text
    assert "medagent model check" in text
    assert "no model configured" not in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_was_asked_leads_the_page(width: int, runs: dict[str, Recorded]) -> None:
    asked = {"request": runs["healthy"].dossier.request.model_copy(update={"question": "Why\x1b[31m\n\nnow?"})}
    text = flat(text_of(with_model(runs["healthy"].dossier).model_copy(update=asked), width))
    assert "Asked: “Why\N{REPLACEMENT CHARACTER}[31m now?”" in text
    assert "no model took it up" not in text
    alone = flat(text_of(runs["healthy"].dossier.model_copy(update=asked), width))
    assert "(recorded; no model took it up)" in alone


def test_a_question_of_any_length_leaves_room_for_the_answer(runs: dict[str, Recorded]) -> None:
    asked = {"request": runs["healthy"].dossier.request.model_copy(update={"question": "why " * 500})}
    assert len(text_of(runs["healthy"].dossier.model_copy(update=asked)).splitlines()) < 20


def test_what_of_the_model_did_not_hold_is_counted_by_statement(runs: dict[str, Recorded]) -> None:
    dossier = with_notes(runs["diabetes-kidney"].dossier)
    refused = [Finding(check="7 proposition", proposition=name, passed=False) for name in ("claim-1", "claim-2")]
    findings = (*dossier.findings, *refused, refused[0])
    text = flat(text_of(dossier.model_copy(update={"findings": findings})))
    assert "3 failed; 2 statements of the model did not hold and are not shown" in text


def test_lines_that_do_not_fit_go_on_below_their_text(runs: dict[str, Recorded]) -> None:
    lines = text_of(runs["diabetes-kidney"].dossier, 60).splitlines()
    marks = [number for number, line in enumerate(lines) if line.startswith("    • ")]
    after = [lines[number + 1] for number in marks if len(lines[number].rstrip()) > 50]
    assert after
    assert all(line.startswith(("      ", "    • ")) for line in after)


def test_where_nothing_of_a_draft_stands_it_is_said(runs: dict[str, Recorded]) -> None:
    nothing = {"considerations": (Considerations(propositions=noted().considerations.propositions),)}
    text = flat(text_of(with_model(runs["diabetes-kidney"].dossier).model_copy(update=nothing)))
    assert "Nothing that the model drafted passed every check of its sources" in text


def test_where_no_model_is_configured_nothing_is_said_of_one(runs: dict[str, Recorded]) -> None:
    text = flat(text_of(runs["diabetes-kidney"].dossier))
    assert "no model configured" in text
    assert "The model" not in text


def test_bounds_that_were_reached_and_what_was_left_out_are_told(runs: dict[str, Recorded]) -> None:
    limits = (
        Limit(name="tool_calls", most=24, used=24, reached=True),
        Limit(name="steps", most=12, used=5, reached=False),
    )
    left_out = tuple(f"{number} older notes" for number in range(1, 8))
    text = flat(text_of(with_notes(runs["diabetes-kidney"].dossier, limits=limits, left_out=left_out, repairs=1)))
    assert "1 model call · 1 tool call · 4,321 tokens · 1 draft sent back" in text
    assert "reached: 24 of 24 tool calls" in text
    assert "of 12 steps" not in text
    assert "5 older notes and 2 more, see --format json" in text


def test_a_servers_name_for_its_model_is_no_markup(runs: dict[str, Recorded]) -> None:
    dossier = runs["healthy"].dossier
    mode = dossier.mode.model_copy(update={"model": ModelRef(name="[red]a\x1b[31m", revision=None)})
    text = text_of(dossier.model_copy(update={"mode": mode, "reasoning": reasoning()}))
    assert "the model [red]a\N{REPLACEMENT CHARACTER}[31m (revision unknown)" in flat(text)


def test_json_tells_of_the_models_part_by_hashes_and_not_what_it_wrote(runs: dict[str, Recorded]) -> None:
    recorded = runs["diabetes-kidney"]
    dossier = with_notes(
        recorded.dossier,
        free_text=("Something that it thought aloud.",),
        decisive=(DecisiveToken(pointer="/0", logprob="-0.25"),),
        agreement=Agreement(samples=3, needed=2, agreed={"claim-1": 3}),
    )
    document = json.loads(document_json(dossier, recorded.stored))
    card = document["recommendations"][-1]
    assert (card["author"], card["rule"], card["strength"], card["stance"]) == ("model", None, None, "noted")
    assert document["mode"]["model"] == {"name": MODEL.name, "revision": MODEL.revision, "adapter": "site-7"}
    told = document["reasoning"]
    assert told["model_calls"][0]["recorded_sha256"] == "0" * 64
    assert told["tool_calls"][0]["started_at"] == "2026-06-30T12:00:00Z"
    assert told["limits"] == [{"name": "steps", "most": 12, "used": 3, "reached": False}]
    assert told["agreement"] == {"samples": 3, "needed": 2}
    for secret in ("thought aloud", "-0.25", 'claim-1"'):
        assert secret not in json.dumps(document)


def test_json_of_the_engine_alone_has_no_part_of_a_model(runs: dict[str, Recorded]) -> None:
    recorded = runs["diabetes-kidney"]
    document = json.loads(document_json(recorded.dossier, recorded.stored))
    assert document["reasoning"] is None
    assert {one["author"] for one in document["recommendations"]} == {"engine"}
