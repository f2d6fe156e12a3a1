# SPDX-License-Identifier: Apache-2.0
"""Measured values as a tool tells them: all of an analyte, their course, and what is doubtful."""

from typing import Any

import pytest
from builders import fhir
from builders.fhir import Json
from builders.screening import has
from builders.tools import all_text, asked, context_of, texts

from medagent.errors import ToolRefused


def hba1c(value: str, time: str | None, unit: str | None = "%", **fields: Any) -> Json:
    return has("observation", "hba1c", value=value, unit=unit, time=time, **fields)


COURSE = (hba1c("6.1", "2019-02-01"), hba1c("6.80", "2024-05-01"), hba1c("7.9", "2025-12-01"))


def test_values_are_told_as_the_chart_has_them_newest_first() -> None:
    result = asked("list_labs", context_of(*COURSE), analyte="hba1c")
    assert result.heading == "hba1c [hba1c], newest first: 3 of 3 values recorded at any time."
    assert texts(result) == [
        "Course: first 6.1 % (2019-02-01), last 7.9 % (2025-12-01); change +1.8 % over 3 usable values.",
        "2025-12-01, (LOINC 4548-4), 7.9 %",
        "2024-05-01, (LOINC 4548-4), 6.80 %",
        "2019-02-01, (LOINC 4548-4), 6.1 %",
    ]
    course = next(line for line in result.lines if line.text.startswith("Course"))
    assert course.evidence[0] == result.readings[0], "a trend rests on the reading"


@pytest.mark.parametrize(
    "analyte",
    ["hba1c", "4548-4", "LOINC 4548-4", "http://loinc.org 4548-4", "http://loinc.org|4548-4", "A1c in blood"],
)
def test_an_analyte_goes_by_its_set_its_code_or_its_words(analyte: str) -> None:
    named = has("observation", "hba1c", value="7.9", unit="%", time="2025-12-01", code="LOINC 4548-4", text="HbA1c")
    named["code"]["coding"][0]["display"] = "Hemoglobin A1c in Blood"
    named["code"].pop("text")
    other = fhir.observation("718-7", "13", "g/dL", at="2025-01-01")
    result = asked("list_labs", context_of(named, other), analyte=analyte)
    assert [query.value_set for query in result.queries] == ["hba1c"], "so that its limits and units are known"
    assert len(texts(result)) == 2


def test_an_analyte_that_no_rule_names_is_read_by_its_code() -> None:
    result = asked("list_labs", context_of(fhir.observation("718-7", "13", "g/dL", at="2025-01-01")), analyte="718-7")
    assert [query.value_set for query in result.queries] == ["observation:http://loinc.org|718-7"]
    assert texts(result)[-1] == "2025-01-01, (LOINC 718-7), 13 g/dL"


def test_words_that_fit_several_list_what_to_ask_for() -> None:
    blood, urine = fhir.observation("718-7", "13", "g/dL"), fhir.observation("5794-3", "negative")
    for resource, words in ((blood, "Hemoglobin in blood"), (urine, "Hemoglobin in urine")):
        resource["code"]["text"] = words
    result = asked("list_labs", context_of(blood, urine, *COURSE), analyte="hemoglobin")
    assert sorted(texts(result)) == [
        "«Hemoglobin in blood» (LOINC 718-7): 1 value since 2024-03-01, newest 13 g/dL (2024-03-01)",
        "«Hemoglobin in urine» (LOINC 5794-3): 1 value since 2024-03-01, newest «negative» (2024-03-01)",
    ]
    assert "ask for one by the name or code" in result.heading


def test_without_an_analyte_each_is_told_once() -> None:
    pressure = fhir.observation(
        "85354-9",
        at="2025-06-01",
        components=[fhir.component("8480-6", 148, "mm[Hg]"), fhir.component("8462-4", 74, "mm[Hg]")],
    )
    result = asked("list_labs", context_of(pressure, *COURSE))
    assert texts(result)[0] == "(LOINC 4548-4) [hba1c]: 3 values since 2019-02-01, newest 7.9 % (2025-12-01)"
    assert sorted(texts(result)[1:]) == [
        "(LOINC 8462-4) [diastolic]: 1 value since 2025-06-01, newest 74 mm[Hg] (2025-06-01)",
        "(LOINC 8480-6) [systolic]: 1 value since 2025-06-01, newest 148 mm[Hg] (2025-06-01)",
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param(
            (hba1c("2.87", "2025-12-01"),), "2.87 %, questionable: outside of what is plausible", id="implausible"
        ),
        pytest.param(
            (hba1c("6.1", "2025-12-01"), hba1c("7.2", "2025-12-01")),
            "contradictory: another value at this time differs",
            id="two values at one time",
        ),
        pytest.param((hba1c("6.1", None),), "undated, (LOINC 4548-4), 6.1 %, cannot be placed in time", id="undated"),
        pytest.param((hba1c("6.1", "1975-01-01"),), "measured in childhood", id="of childhood"),
        pytest.param((hba1c("6.1", "2025-12-01", status="preliminary"),), "6.1 %, preliminary", id="preliminary"),
        pytest.param((hba1c("6.1", "2025-12-01", unit=""),), "6.1 (no unit)", id="without a unit"),
        pytest.param((hba1c("6.1", "2025-12-01", comparator="<"),), "<6.1 %", id="known on one side only"),
    ],
)
def test_what_is_doubtful_is_marked(values: tuple[Json, ...], told: str) -> None:
    """clinical: 2, 6, 7, 10"""
    assert told in all_text(asked("list_labs", context_of(*values), analyte="hba1c"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param((hba1c("5.0", "2020-01-01"), hba1c("2.87", "2025-12-01")), "questionable", id="questionable end"),
        pytest.param(
            (hba1c("5.0", "2020-01-01"), hba1c("6.1", "2025-12-01"), hba1c("7.2", "2025-12-01")),
            "values of one time differ",
            id="contradictory end",
        ),
        pytest.param(
            (hba1c("5.0", "2020-01-01"), hba1c("6.1", "2025-12-01", unit="kg")), "cannot be compared", id="other units"
        ),
        pytest.param(
            (hba1c("5.0", "2020-01-01"), hba1c("6.1", "2025-12-01", comparator=">")),
            "cannot be compared",
            id="an open end",
        ),
    ],
)
def test_no_change_is_stated_of_what_is_doubtful(values: tuple[Json, ...], told: str) -> None:
    """clinical: 7, 10"""
    (course,) = [
        line for line in texts(asked("list_labs", context_of(*values), analyte="hba1c")) if line.startswith("Course")
    ]
    assert told in course
    assert "; change" not in course


def test_a_change_is_stated_in_one_unit() -> None:
    """clinical: 10"""
    values = hba1c("48", "2020-01-01", unit="mmol/mol"), hba1c("7.0", "2025-12-01")
    (course, *_) = texts(asked("list_labs", context_of(*values), analyte="hba1c"))
    assert course.startswith("Course: first 48 mmol/mol (2020-01-01), last 7.0 % (2025-12-01); change +0.4")


def test_a_window_counts_back_from_the_date_asked_about() -> None:
    result = asked("list_labs", context_of(*COURSE), analyte="hba1c", within="2 years")
    assert "in the 2 years before the date asked about, newest first: 2 of 3 values" in result.heading
    straddling = asked("list_labs", context_of(hba1c("6.1", "2024")), analyte="hba1c", within="2 years")
    assert texts(straddling)[-1].endswith("may lie outside of the window")


def test_nothing_measured_in_a_window_rests_on_the_reading() -> None:
    """clinical: 5"""
    result = asked("list_labs", context_of(*COURSE), analyte="hba1c", within="1 week")
    assert texts(result) == ["None found in 3 entries examined."]
    assert result.lines[-1].evidence == result.readings


def test_a_name_that_is_no_code_is_refused() -> None:
    with pytest.raises(ToolRefused, match="no code of a system"):
        asked("list_labs", context_of(*COURSE), analyte="observation:nowhere|1 2")
