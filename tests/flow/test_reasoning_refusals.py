# SPDX-License-Identifier: Apache-2.0
"""Two kinds of refusal. What a model asked wrongly, or may not have, goes back to it in words; anything else that goes
wrong in a tool ends the run, whose request stays open and is gone on with once the fault is gone."""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders.fhir import Json
from builders.model_server import Asked, Turn, calls, model_server, say
from builders.reasoning import drafted, threshold, value
from builders.reasoning_scripts import (
    PATIENT,
    SECRETS,
    Told,
    answer,
    chart_in,
    desk,
    drafting,
    images_in,
    model,
    of_engine,
)
from builders.tools import study

from medagent.canonical import public_json
from medagent.errors import StoreError
from medagent.evidence import ImageRef
from medagent.images import ImageSource
from medagent.propositions import Threshold
from medagent.records import Reasoning
from medagent_workflows.recommending import Recorded


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_in(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def part_of(recorded: Recorded) -> Reasoning:
    """The model's part of a run."""
    assert recorded.dossier.reasoning is not None
    return recorded.dossier.reasoning


def newest(told: Told) -> list[Json]:
    return [value(told.name("f", "HbA1c [hba1c]: 7.6 %"), Decimal("7.6"), "%")]


def told_by_tools(body: Json) -> list[str]:
    return [one["content"] for one in body["messages"] if one["role"] == "tool"]


# What goes back to the model.

WRONG: Mapping[str, tuple[str, Mapping[str, Any] | str, str, str]] = {
    "a tool that does not exist": ("delete_chart", {}, "unknown_tool", "There is no such tool. The tools are: list_"),
    "arguments that are no JSON": ("list_labs", "{analyte", "invalid_arguments", "cannot be used"),
    "arguments that are a list": ("list_labs", "[1]", "invalid_arguments", "no JSON object"),
    "an argument that does not exist": ("list_labs", {"everything": True}, "invalid_arguments", "'everything'"),
    "an argument of another kind": ("list_labs", {"limit": "many"}, "invalid_arguments", "'limit'"),
    "no argument where one is needed": ("read_note", {}, "invalid_arguments", "'note': is missing"),
    "a name that was not given out": ("read_note", {"note": "f999"}, "invalid_arguments", "no evidence"),
    "another patient": ("list_labs", {"patient": "Patient/other"}, "invalid_arguments", "is no field here"),
    "another patient's resource": (
        "read_note", {"note": "DocumentReference/other"}, "invalid_arguments", "no evidence was given this name",
    ),
    "evidence that the tool has no use for": ("read_note", {"note": "f2"}, "refused", "<refused>"),
    "a value set that does not exist": (
        "search_chart", {"kind": "observation", "value_set": "nothing"}, "refused", "no value set of this id",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_was_asked_wrongly_goes_back_in_words_and_the_run_goes_on(home: Path, chart: Path, case: str) -> None:
    tool, arguments, outcome, words = WRONG[case]
    with model_server(model(calls((tool, arguments)), drafts=newest)) as server, desk(home, server) as at:
        recorded = at.run(chart)
        (told,) = told_by_tools(server.bodies[-1])
    assert words in told
    assert "Patient/other" not in told
    assert [one.outcome for one in part_of(recorded).tool_calls] == [outcome]
    assert part_of(recorded).ended == "drafted"


def test_a_tool_that_the_scopes_do_not_permit_is_neither_offered_nor_run(home: Path, chart: Path) -> None:
    script = model([("list_medications", {}), ("list_labs", {})])
    with model_server(script) as server, desk(home, server) as at:
        recorded = at.go_on(chart, at.request(scopes=("patient/Observation.rs", "patient/Condition.r")))
        offered, told = server.requests[0].tools, told_by_tools(server.bodies[-1])
    assert "list_labs" in offered
    assert not {"list_medications", "list_problems", "search_notes", "view_image"} & set(offered)
    assert [one.outcome for one in part_of(recorded).tool_calls] == ["unknown_tool", "answered"]
    assert "metformin" not in told[0]


# standards: 50
def test_a_model_that_asks_wrongly_three_times_is_asked_for_its_draft(home: Path, chart: Path) -> None:
    script = model(*[[("list_labs", {"bad": number})] for number in range(9)], drafts=newest)
    with model_server(script) as server, desk(home, server, model_steps_max=9) as at:
        recorded = at.run(chart)
    assert [one.key for one in part_of(recorded).tool_calls] == ["tool/0/0", "tool/1/0", "tool/2/0"]
    assert part_of(recorded).ended == "drafted"


# What ends the run.


@dataclass(slots=True)
class Shelf:
    """Images that can be had until something happens."""

    images: ImageSource
    broken: bool = False

    def pixels(self, image: ImageRef) -> bytes | None:
        """A rendered frame, while all is well."""
        if self.broken:
            raise ConnectionError("the shelf fell down")
        return self.images.pixels(image)


def test_a_fault_of_a_tool_ends_the_run_and_it_goes_on_when_the_fault_is_gone(chart: Path, tmp_path: Path) -> None:
    shelf = Shelf(images_in(tmp_path / "images"))

    def script(asked: Asked) -> Turn:
        if asked.schema is not None:
            return answer(*newest(Told(asked.text)))
        if asked.step:
            return say("Seen.")
        shelf.broken = True
        return calls(("list_labs", {}), ("view_image", {"image": "i1"}))

    with model_server(script) as server, desk(tmp_path / "home", server, images=shelf) as at:
        with pytest.raises(ConnectionError):
            at.run(chart)
        (request,) = at.services.store.open_requests("local")
        with pytest.raises(ConnectionError):
            at.go_on(chart, request)
        shelf.broken = False
        recorded = at.go_on(chart, request)
        assert at.go_on(chart, request).stored == recorded.stored
        bodies = [one.raw for one in server.requests]
    assert [one.outcome for one in part_of(recorded).tool_calls] == ["answered", "answered"]
    assert part_of(recorded).ended == "drafted"
    assert len(bodies) == len(set(bodies)) == 3


def test_what_was_never_recorded_cannot_be_gone_on_with(home: Path, chart: Path) -> None:
    with desk(home) as at, pytest.raises(StoreError):
        at.go_on(chart, "request-of-nobody")


# Drafts that cannot be used.


def written(*propositions: Json) -> str:
    return public_json(drafted(*propositions)).decode()


UNUSABLE = {
    "no JSON": ("Sure, here is my draft:", "JSON"),
    "half a draft": ('{"abstain": null, "propositions": [', "JSON"),
    "another schema": ('{"answer": 42}', "'answer'"),
    "a kind that does not exist": (written({"kind": "diagnosis", "text": "gout"}), "'kind' must be one of"),
    "a slot that does not exist": (written({**value("f1", Decimal(1)), "sure": True}), "is no field here"),
    "a number as text": (written(threshold("f1", ">", 1, "%") | {"bound": "much"}), "JSON number"),
    "a name that was not given out": (written(value("f999", Decimal(1))), "f999 was not given out"),
    "a name of another kind": (written(value("r1", Decimal(1))), "r1 is no fact"),
    "a rule that does not exist": (written({"kind": "summary", "rule": "cure-all"}), "there is no such rule"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_draft_that_cannot_be_used_is_repaired(home: Path, chart: Path, case: str) -> None:
    text, words = UNUSABLE[case]

    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        return answer(*newest(Told(asked.text))) if "could not be used" in asked.last else say(text)

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
        repair = server.requests[-1].last
    assert words in repair
    assert (part_of(recorded).ended, part_of(recorded).repairs) == ("drafted", 1)
    assert [one.purpose for one in part_of(recorded).model_calls] == ["reason", "draft", "repair"]


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_draft_that_is_never_repaired_leaves_the_engine_unharmed(home: Path, chart: Path, case: str) -> None:
    text, _ = UNUSABLE[case]
    with model_server(drafting(*[say(text)] * 3)) as server, desk(home, server) as at:
        recorded = at.run(chart)
    assert (part_of(recorded).ended, part_of(recorded).repairs) == ("invalid_output", 2)
    assert recorded.dossier.considerations == ()
    with desk(home) as alone:
        assert of_engine(recorded) == of_engine(alone.run(chart))


@pytest.mark.parametrize(
    "repair", ["I give up.", written(value("f999", Decimal(1)))], ids=["no draft", "nothing that can be taken"]
)
def test_a_repair_that_loses_what_was_good_leaves_that_standing(home: Path, chart: Path, repair: str) -> None:
    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        if "could not be used" in asked.last:
            return say(repair)
        return answer(*newest(Told(asked.text)), value("f999", Decimal(1)))

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
    assert (part_of(recorded).ended, part_of(recorded).repairs) == ("drafted", 2)
    assert [one.author for one in recorded.dossier.recommendations].count("model") == 1


def test_a_repair_that_withdraws_all_is_taken_at_its_word(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        if "could not be used" in asked.last:
            return answer(abstain="nothing_to_add")
        return answer(*newest(Told(asked.text)), value("f999", Decimal(1)))

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
    assert (part_of(recorded).ended, part_of(recorded).detail) == ("abstained", "nothing_to_add")


def lie(told: Told) -> Json:
    """About something that no rule of the engine rests on."""
    return threshold(told.name("f", "potassium [potassium]"), "<", Decimal("1.2"), "mmol/L")


def test_a_second_draft_that_is_worse_leaves_the_first_and_there_is_no_third(home: Path, chart: Path) -> None:
    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        told = Told(asked.text)
        return answer(lie(told)) if "could not be used" in asked.last else answer(*newest(told), lie(told))

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
    assert [one.key for one in part_of(recorded).model_calls] == ["model/0", "draft/0/0/0", "draft/1/0/0"]
    (noted,) = [one for one in recorded.dossier.recommendations if one.author == "model"]
    assert [claim.kind for claim in noted.claims] == ["value"]


def test_what_the_verifier_refused_may_be_put_right_once(home: Path, chart: Path) -> None:
    """It is told which of its statements fell and why, without ids that it never saw and without the chart's words."""

    def script(asked: Asked) -> Turn:
        if asked.schema is None:
            return say("Enough.")
        told = Told(asked.text)
        if "could not be used" in asked.last:
            return answer(*newest(told))
        return answer(*newest(told), lie(told))

    with model_server(script) as server, desk(home, server) as at:
        recorded = at.run(chart)
        said = server.requests[-1].last
    assert [one.key for one in part_of(recorded).model_calls][-2:] == ["draft/0/0/0", "draft/1/0/0"]
    assert "proposition 2, threshold: " in said
    assert not [word for word in (*SECRETS, "claim-", "fact-", "reading-") if word in said]
    (noted,) = [one for one in recorded.dossier.recommendations if one.author == "model"]
    assert [claim.kind for claim in noted.claims] == ["value"]
    # The refused one is kept for reviewers, with what it rests on.
    refused, _ = recorded.dossier.considerations
    kept = {one.id for one in recorded.dossier.evidence}
    assert {one.of for one in refused.propositions if isinstance(one, Threshold)} <= kept


# Side by side.


class Meeting:
    """Images that are only given when two ask at once."""

    def __init__(self, images: ImageSource) -> None:
        self.images = images
        self.together = threading.Barrier(2)
        self.meeting = False

    def pixels(self, image: ImageRef) -> bytes | None:
        """Waits for another one who asks, once the model does."""
        if self.meeting:
            self.together.wait(timeout=10)
        return self.images.pixels(image)


def test_tools_of_one_turn_run_side_by_side(home: Path, chart: Path, tmp_path: Path) -> None:
    meeting = Meeting(images_in(tmp_path))

    def script(asked: Asked) -> Turn:
        if asked.step:
            meeting.meeting = False
            return answer(abstain="nothing_to_add") if asked.schema is not None else say("Enough.")
        meeting.meeting = True
        return calls(("list_images", {}), ("list_images", {"limit": 5}))

    with model_server(script) as server, desk(home, server, images=meeting) as at:
        recorded = at.run(chart)
    assert [one.outcome for one in part_of(recorded).tool_calls] == ["answered", "answered"]


class Late:
    """Images whose folder is slow."""

    def __init__(self, images: ImageSource) -> None:
        self.images = images
        self.slow = False

    def pixels(self, image: ImageRef) -> bytes | None:
        """Takes its time, once the model asks."""
        if self.slow:
            time.sleep(0.3)
        return self.images.pixels(image)


def test_short_names_do_not_depend_on_which_tool_ends_first(home: Path, tmp_path: Path) -> None:
    """Of two tools that both tell of what has no name yet: an older study, and a search for words."""
    visits = [f"2025-0{month}-01T09:00:00Z" for month in range(1, 8)]
    older = [study(f"{UID}.{n}.3", uid=f"{UID}.{n}.1", patient=PATIENT, at=at) for n, at in enumerate(visits)]
    chart = chart_in(tmp_path / "chart", *older)
    late = Late(images_in(tmp_path / "images"))

    def told(slow: bool) -> tuple[str, list[str]]:
        """The overview, and what the two tools say."""

        def script(asked: Asked) -> Turn:
            late.slow = slow and asked.step == 0
            if asked.step == 0:
                return calls(("list_images", {"offset": 12}), ("search_notes", {"words": "along"}))
            return answer(abstain="nothing_to_add") if asked.schema is not None else say("Enough.")

        with model_server(script) as server, desk(home, server, images=late) as at:
            at.run(chart)
            return server.requests[0].text, told_by_tools(server.bodies[-1])

    overview, texts = told(slow=True)
    assert told(slow=False) == (overview, texts)
    known, first, second = ({int(number) for number in re.findall(r"\bf([0-9]+)", one)} for one in (overview, *texts))
    assert max(first - known) < min(second - known - first)


UID = "1.2.826.0.1.3680043.8.498.9"
