# SPDX-License-Identifier: Apache-2.0
"""What a model states of a chart that was read as in a run: gathered from its source, then judged by the verifier."""

import asyncio
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from builders.runs import instant_of, runner

from medagent.chart import Chart
from medagent.errors import ChartError
from medagent.evidence import Fact, Query, Reading, Role
from medagent.propositions import AnyProposition, Value
from medagent.records import Considerations
from medagent.value_sets import ValueSet, is_single_code, single_code
from medagent.verifier import Verifier
from medagent_tools.guidelines.engine import Screening, screen
from medagent_tools.guidelines.pack import Pack, shipped_pack
from medagent_workflows.evidence import gathered

SAMPLES = sorted(Path(str(files("medagent_workflows") / "samples")).glob("*.json"))
ADULTS = [path for path in SAMPLES if path.stem not in ("child", "deceased")]
ZONE = "UTC"
OBSERVATIONS = ("Observation",)


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Chart]]:
    with runner(tmp_path_factory.mktemp("home")) as at_work:
        as_of = instant_of("2026-06-30T23:59:59+00:00")
        yield {path.stem: asyncio.run(at_work.source(path).chart(None, as_of)) for path in ADULTS}


def screened(chart: Chart) -> tuple[Pack, Screening]:
    pack = shipped_pack()
    return pack, screen(chart, pack, time_zone=ZONE)


def set_of(fact: Fact, pack: Pack) -> ValueSet | None:
    """The set of the pack that a result belongs to, or that of its own code. None: it has none."""
    own = [one for one in pack.value_sets.values() if one.kind == "observation"]
    found = next((one for one in own if one.matches(fact.codings, fact.text)), None)
    listing = (one for one in pack.value_sets.values() if any(one.has(coding) for coding in fact.codings))
    found = found or next(listing, None)
    coded = next((one for one in fact.codings if one.system and one.code), None)
    if found is not None or coded is None:
        return found
    return single_code("observation", coded.system or "", coded.code or "")


def stated(fact: Fact, value_set: ValueSet) -> Value | None:
    """What a result says. None: it says nothing that can be stated."""
    value, unit = fact.element(Role.VALUE), fact.element(Role.UNIT)
    if value is None or isinstance(value.value, int):
        return None
    return Value(fact=fact.id, of=value_set.id, value=value.value, unit=None if unit is None else str(unit.value))


@pytest.mark.parametrize("name", [path.stem for path in ADULTS])
def test_all_results_of_a_chart_can_be_stated_together(name: str, charts: dict[str, Chart]) -> None:
    chart = charts[name]
    pack, screening = screened(chart)
    every = chart.read(Query(resource_types=OBSERVATIONS), pack.value_sets)
    facts = [chart.fact(one) for one in every.members]
    named = [(fact, found) for fact in facts if (found := set_of(fact, pack)) is not None]
    said: list[AnyProposition] = [one for fact, found in named if (one := stated(fact, found)) is not None]
    readings: list[Reading] = [
        chart.read(Query(resource_types=OBSERVATIONS, value_set=one.id), pack.value_sets) for _, one in named
    ]
    evidence = gathered(chart, pack, screening, ZONE, (*facts, *readings))
    verdict = Verifier(evidence).consider(Considerations(propositions=tuple(said)))
    assert verdict.recommendation is not None
    shown = {claim.proposition.id for claim in verdict.recommendation.claims}
    refused = {one.id for one in said} - shown
    reasons = {one.detail.partition(" ")[2] for one in verdict.findings if one.proposition in refused}
    assert shown
    assert all("questionable" in one or "usable" in one or "stand alone" in one for one in reasons), reasons


def test_a_result_that_no_rule_names_can_be_stated(charts: dict[str, Chart]) -> None:
    chart = charts["chest-ct-nodule"]
    pack, screening = screened(chart)
    every = chart.read(Query(resource_types=OBSERVATIONS), pack.value_sets)
    found = ((fact, set_of(fact, pack)) for fact in map(chart.fact, every.members))
    named = next(one for _, one in found if one is not None and is_single_code(one.id))
    reading = chart.read(Query(resource_types=OBSERVATIONS, value_set=named.id), pack.value_sets)
    facts = [chart.fact(one) for one in reading.members]
    evidence = gathered(chart, pack, screening, ZONE, (*facts, reading))
    said = tuple(one for fact in facts if (one := stated(fact, named)) is not None)
    verdict = Verifier(evidence).consider(Considerations(propositions=said))
    assert verdict.recommendation is not None
    assert verdict.recommendation.claims[0].text.startswith(f"{named.title} (“")


def test_what_a_reading_says_is_read_again(charts: dict[str, Chart]) -> None:
    chart = charts["diabetes-kidney"]
    pack, screening = screened(chart)
    true = chart.read(Query(resource_types=OBSERVATIONS, value_set="hba1c"), pack.value_sets)
    forged = true.model_copy(update={"members": true.members[:1]})
    assert gathered(chart, pack, screening, ZONE, (forged,)).items[true.id] == true


def test_a_fact_that_the_chart_never_gave_out_is_refused(charts: dict[str, Chart]) -> None:
    chart = charts["diabetes-kidney"]
    pack, screening = screened(chart)
    forged = chart.patient_fact().model_copy(update={"id": "fact-nothing"})
    with pytest.raises(ChartError):
        gathered(chart, pack, screening, ZONE, (forged,))
