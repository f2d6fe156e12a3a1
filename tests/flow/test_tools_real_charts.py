# SPDX-License-Identifier: Apache-2.0
"""Every tool over charts that nobody of this project wrote: what it says stands in the chart, and nothing breaks it."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import fhir
from builders.tools import all_text, asked, context_over, named_ids, texts

from medagent.canonical import parse_json
from medagent.chart import Chart
from medagent.errors import ToolRefused
from medagent.evidence import Fact
from medagent_tools.guidelines.pack import shipped_pack
from medagent_tools.seam import ToolContext, ToolResult
from medagent_tools.toolbox import ALL_TOOLS

pytestmark = pytest.mark.data

KINDS = ALL_TOOLS["search_chart"].arguments.model_json_schema()["properties"]["kind"]["enum"]
FORMULAS = ALL_TOOLS["calculate"].arguments.model_json_schema()["properties"]["formula"]["enum"]


def calls(context: ToolContext) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a thorough reader would ask."""
    for name in ("list_problems", "list_medications", "list_allergies", "list_labs", "timeline", "list_images"):
        yield name, {"limit": 50}
    for kind in KINDS:
        yield "search_chart", {"kind": kind, "limit": 50}
    for analyte in ("hba1c", "serum-creatinine", "glucose", "LOINC 718-7", "systolic-blood-pressure"):
        yield "list_labs", {"analyte": analyte, "within": "10 years"}
    yield "search_notes", {"words": "history"}
    for hit in asked("search_notes", context, words="history", limit=3).lines[1:]:
        if hit.evidence[0].startswith("fact"):
            yield "read_note", {"note": hit.evidence[0], "length": 6000}
    for formula in FORMULAS:
        yield "calculate", {"formula": formula}
    for gate in shipped_pack().gates:
        yield "check_medication", {"drug": gate}
    yield "search_guidelines", {"words": "diabetes statin blood pressure"}


def answers(context: ToolContext) -> Iterator[tuple[str, ToolResult]]:
    """A formula may refuse: its inputs are missing, questionable or outside of what it covers."""
    for name, arguments in calls(context):
        try:
            yield name, asked(name, context, **arguments)
        except ToolRefused:
            if name != "calculate":
                raise


def check(chart: Chart) -> set[str]:
    """Steps: (1) every id can be had; (2) numbers that are told stand in the resource; (3) no name of the patient."""
    context = context_over(chart, shipped_pack())
    names = patient_names(chart)
    found: set[str] = set()
    for name, result in answers(context):
        found.add(name)
        known = {member for query in result.queries for member in chart.read(query, context.pack.value_sets).members}
        known |= set(result.readings) | {one.id for one in result.calculations} | {chart.patient_fact().id}
        # (1)
        assert set(named_ids(result)) <= known, name
        # (2)
        if name == "list_labs":
            for line in result.lines:
                if line.evidence[0].startswith("fact"):
                    assert stands_there(line.text, chart.fact(line.evidence[0]), chart)
        # (3)
        if name not in ("search_notes", "read_note"):
            assert [one for one in names if one in all_text(result)] == [], name
    return found


def patient_names(chart: Chart) -> set[str]:
    """Family names and numbers, long enough not to be part of a word."""
    resource = parse_json(chart.slice_of(chart.patient_fact().source.sha256))
    assert isinstance(resource, dict)
    families = {str(name["family"]) for name in resource.get("name", []) if "family" in name}
    numbers = {str(one["value"]) for one in resource.get("identifier", []) if len(str(one.get("value", ""))) > 6}
    return families | numbers


def stands_there(text: str, fact: Fact, chart: Chart) -> bool:
    """Whether the number of a line is the number of its resource, digit by digit."""
    element = fact.element("value")
    if element is None or not isinstance(element.value, Decimal):
        return True
    told = re.sub("«[^«»]*»", "", text)
    return format(element.value, "f") in told and str(element.value).encode() in chart.slice_of(fact.source.sha256)


@pytest.fixture(scope="module")
def synthea(shared_data: Path) -> list[Path]:
    return sorted(path for path in (shared_data / "fhir-synthea-r4").glob("*.json") if path.name != "manifest.json")


def of(synthea: list[Path], start: str) -> ToolContext:
    (path,) = (path for path in synthea if path.name.startswith(start))
    return context_over(fhir.read_chart(path), shipped_pack())


@pytest.mark.parametrize("part", range(6), ids=lambda part: f"sixth no. {part + 1}")
def test_every_tool_over_synthetic_charts(synthea: list[Path], part: int) -> None:
    found: set[str] = set()
    for path in synthea[part::6]:
        found |= check(fhir.read_chart(path))
    assert {"list_labs", "list_medications", "check_medication", "timeline"} <= found


def test_every_tool_over_a_real_stay_with_local_codes(shared_data: Path) -> None:
    source = fhir.source(shared_data / "fhir-mimic-iv-demo", bytes_max=2_000_000_000)
    for patient in source.patients()[:2]:
        assert "list_labs" in check(asyncio.run(source.chart(patient, "latest")))


def test_notes_are_found_and_read(shared_data: Path) -> None:
    folder = shared_data / "fhir-synthea-bulk-notes"
    read = 0
    for patient in fhir.source(folder).patients()[:4]:
        context = context_over(fhir.read_chart(folder, patient), shipped_pack())
        hits = [line for line in asked("search_notes", context, words="history").lines if "first at" in line.text]
        for hit in hits[:2]:
            result = asked("read_note", context, note=hit.evidence[0], length=6000)
            (attached, *_) = context.chart.texts(hit.evidence[0])
            for line in result.lines[1:]:
                offset, _, said = line.text.partition(": ")
                first = said.strip("«»").split()[0]
                assert attached.text[int(offset) :].split()[0].startswith(first[:3])
                read += 1
    assert read > 20


def test_a_contradictory_and_an_implausible_value_are_told_as_that(synthea: list[Path]) -> None:
    """clinical: 7. Josue Sipes: two creatinine values at one instant, and an HbA1c below what is plausible."""
    context = of(synthea, "Josue_Sipes")
    creatinine = texts(asked("list_labs", context, analyte="creatinine"))
    assert sum("contradictory: another value at this time differs" in line for line in creatinine[:3]) == 2
    assert "no change is stated" in creatinine[0]
    hba1c = texts(asked("list_labs", context, analyte="hba1c"))
    assert "questionable: outside of what is plausible" in hba1c[1]
    results = asked("calculate", context, formula="ckd-epi-2021")
    assert len(results.calculations) == 2
    assert "Contradictory" in all_text(results)


def test_a_drug_on_a_list_is_only_listed(synthea: list[Path]) -> None:
    """clinical: 8. Josue Sipes: metformin."""
    (line,) = texts(asked("list_medications", of(synthea, "Josue_Sipes"), words="metformin"))
    assert ": listed, MedicationRequest since " in line


def test_no_allergy_recorded_is_not_no_allergies(synthea: list[Path]) -> None:
    """clinical: 12"""
    context = of(synthea, "Josue_Sipes")
    assert "Whether there are allergies is unknown" in all_text(asked("list_allergies", context))
    assert "allergy: unknown" in all_text(asked("check_medication", context, drug="statins"))


def test_a_screening_long_ago_is_found_with_its_date(synthea: list[Path]) -> None:
    """Ángela Guzmán: the last cervical smear is of 2012."""
    context = of(synthea, "Ángela_Guzmán")
    result = asked("search_chart", context, kind="procedure", value_set="cervical-cytology")
    assert " 2012-" in texts(result)[0]
