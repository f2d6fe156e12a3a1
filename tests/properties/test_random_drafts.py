# SPDX-License-Identifier: Apache-2.0
"""Whatever a model drafts over the names that it was given: what is shown as checked is true of the bytes, by a second
reading that shares nothing with ours."""

import asyncio
from collections.abc import Iterator, Mapping
from random import Random

import pytest
from builders.program import SAMPLES
from builders.random_drafts import Heard, heard_of, judged, random_draft
from builders.reasoning_scripts import AS_OF, chart_in, images_in, pack_that_keeps
from builders.reevaluation import Judged, basis_of, claims_of, reevaluated
from builders.runs import runner

DRAFTS = 300  # over all charts
CHARTS = ("diabetes-kidney", "chest-ct-nodule", "allergies-interactions", "contradictory-missing", "healthy")
"""The first with a note, an image and a kept text of a publisher."""

STANDING = {"value", "threshold", "presence", "absence", "timing", "calculation", "criterion", "statement"}
"""Kinds of which some stand, so that there is something to look at."""


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Heard]]:
    """What a model is told of each chart."""
    folder = tmp_path_factory.mktemp("chart")
    paths = {path.stem: path for path in SAMPLES.glob("*.json")} | {CHARTS[0]: chart_in(folder)}
    images, pack = images_in(folder / "images"), pack_that_keeps()
    with runner(tmp_path_factory.mktemp("home")) as at:
        charts = {name: asyncio.run(at.source(paths[name]).chart(None, AS_OF)) for name in CHARTS}
        yield {name: heard_of(chart, pack, images) for name, chart in charts.items()}


def second_look(heard: Heard, seed: int) -> list[Judged]:
    """What of a random draft is shown, judged anew."""
    _, verdict, evidence = judged(heard, random_draft(heard, Random(seed)))  # noqa: S311 - a seed
    if verdict is None or verdict.recommendation is None:
        return []
    return reevaluated(claims_of(verdict.recommendation), basis_of(evidence))


# clinical: 18
def test_what_is_shown_of_random_drafts_is_true(heard: Mapping[str, Heard]) -> None:
    found = [one for seed in range(DRAFTS) for one in second_look(heard[CHARTS[seed % len(CHARTS)]], seed)]
    assert [one for one in found if one.verdict != "holds"] == []
    assert {one.kind for one in found} >= STANDING
