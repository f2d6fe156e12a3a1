# SPDX-License-Identifier: Apache-2.0
"""Tools over the chart: what they list, what they say of absence, and in which pages."""

from typing import Any

import pytest
from builders import fhir
from builders.screening import has
from builders.tools import all_text, asked, context_of, named_ids, texts

from medagent.errors import ToolRefused

SNOMED_OF = {"asthma": "195967001", "fracture": "125605004"}


def drug(state: str, **fields: Any) -> fhir.Json:
    return has(f"medication_{state}", "metformin", **fields)


def test_a_problem_is_told_once_with_its_state_and_its_onset() -> None:
    first = has("condition", "diabetes", onset="2012-03")
    again = has("condition", "diabetes", onset="2019-05-01")
    result = asked("list_problems", context_of(first, again))
    (line,) = texts(result)
    assert line == "(SNOMED 44054006): active, onset 2019-05-01, 2 entries"
    assert len(list(named_ids(result))) == 3, "the reading and both entries"


@pytest.mark.parametrize(
    ("fields", "state", "told"),
    [
        pytest.param({"onset": "2025-12-20"}, "active", "active", id="an acute problem of last month is active"),
        pytest.param({"onset": "2025-01-20"}, "active", None, id="an acute problem of last year is not active"),
        pytest.param(
            {"onset": "2025-01-20"}, "recorded", "over: acute, not believed active 90 days after", id="and why"
        ),
        pytest.param(
            {"onset": None}, "active", "active, onset undated", id="an undated acute problem is still believed"
        ),
        pytest.param({"clinical_status": "resolved"}, "active", None, id="a resolved one is not active"),
        pytest.param(
            {"verification_status": "unconfirmed"},
            "active",
            "unknown whether active, unconfirmed",
            id="an unconfirmed one is unknown",
        ),
        pytest.param(
            {"verification_status": "refuted"}, "recorded", "not active, refuted", id="a refuted one is told as that"
        ),
    ],
)
def test_states_of_problems(fields: dict[str, Any], state: str, told: str | None) -> None:
    """clinical: 8"""
    (line,) = texts(asked("list_problems", context_of(has("condition", "bronchitis", **fields)), state=state))
    assert line.startswith("None found in 1 entries") if told is None else told in line


def test_void_entries_are_counted_and_not_told() -> None:
    void = has("condition", "diabetes", verification_status="entered-in-error")
    result = asked("list_problems", context_of(void), state="recorded")
    assert texts(result) == ["None found in 1 entries examined."]
    assert "1 of them entered in error or cancelled, left out" in result.lines[0].text


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        pytest.param(
            drug("dispense", time="2025-06-01"), "confirmed, MedicationDispense of 2025-06-01", id="dispensed lately"
        ),
        pytest.param(
            drug("statement", time="2025-06-01"), "confirmed, MedicationStatement of", id="stated as taken lately"
        ),
        pytest.param(drug("dispense", time="2023-06-01"), None, id="dispensed long ago is over"),
        pytest.param(
            drug("request", authored="2015-06-01"), "listed, MedicationRequest since 2015-06-01", id="active on a list"
        ),
        pytest.param(drug("request", status="stopped"), None, id="stopped is over"),
        pytest.param(drug("dispense", time="2024"), "unknown whether confirmed", id="a year that straddles is unknown"),
    ],
)
def test_drugs_are_confirmed_or_only_listed(resource: fhir.Json, told: str | None) -> None:
    """clinical: 8"""
    context = context_of(resource)
    (line,) = texts(asked("list_medications", context))
    assert line.startswith("None found") if told is None else told in line
    (anyhow,) = texts(asked("list_medications", context, state="all"))
    assert "«metformin»" in anyhow


def test_a_drug_is_told_once_by_what_decides() -> None:
    result = asked(
        "list_medications",
        context_of(drug("request", authored="2015-06-01"), drug("dispense", time="2025-11-01")),
    )
    (line,) = texts(result)
    assert "confirmed, MedicationDispense of 2025-11-01, 2 entries" in line


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        pytest.param((), "unknown: none is listed as active, and nothing says that there is none", id="an empty list"),
        pytest.param((has("allergy", "no-known-allergy"),), "No known allergy: an entry says so", id="none is known"),
        pytest.param(
            (has("allergy", "penicillin-allergy", clinical_status="resolved"),),
            "unknown: none is listed as active",
            id="only one that is over",
        ),
    ],
)
def test_whether_no_allergy_is_known(resources: tuple[fhir.Json, ...], told: str) -> None:
    """clinical: 12"""
    result = asked("list_allergies", context_of(*resources))
    (line,) = [line for line in result.lines if told in line.text]
    assert result.readings[0] in line.evidence


def test_no_known_allergy_beside_an_allergy_is_not_believed() -> None:
    result = asked(
        "list_allergies", context_of(has("allergy", "no-known-allergy"), has("allergy", "penicillin-allergy"))
    )
    assert "No known allergy" not in all_text(result)
    assert result.heading.startswith("Allergies and intolerances: 1 active of 2 entries.")


def test_a_list_that_was_cut_short_says_nothing_of_absence() -> None:
    """clinical: 5"""
    result = asked("list_allergies", context_of(has("allergy", "no-known-allergy"), partial=True))
    assert "unknown: the list could not be read completely" in all_text(result)
    assert "the source was declared partial" in result.heading
    nothing = asked("list_problems", context_of(partial=True))
    assert texts(nothing) == ["None found in 0 entries examined. The reading is incomplete: this is unknown."]
    assert nothing.lines[-1].evidence == nothing.readings


def conditions() -> list[fhir.Json]:
    names = [("asthma", "2012-03-04"), ("asthma", "2019-05-06"), ("fracture", "2016"), ("fracture", None)]
    return [
        fhir.condition(SNOMED_OF[name], text=f"{name} no. {place}", onset=onset)
        for place, (name, onset) in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        pytest.param({}, [1, 2, 0, 3], id="all, newest first and undated last"),
        pytest.param({"words": "ASTHMÁ"}, [1, 0], id="by words, whatever case and accents"),
        pytest.param({"words": "no asth"}, [1, 0], id="by beginnings of words in any order"),
        pytest.param({"words": "sthma"}, [], id="not by ends of words"),
        pytest.param({"words": ".*"}, [], id="words are no pattern"),
        pytest.param({"code": "195967001"}, [1, 0], id="by code alone"),
        pytest.param({"code": "SNOMED 195967001"}, [1, 0], id="by code with its system"),
        pytest.param({"code": "http://snomed.info/sct|195967001"}, [1, 0], id="by code with its system's address"),
        pytest.param({"code": "LOINC 195967001"}, [], id="not by a code of another system"),
        pytest.param({"since": "2016-07"}, [1, 2], id="a year that may lie in the window counts"),
        pytest.param({"until": "2016"}, [2, 0], id="until the end of a year"),
        pytest.param({"since": "2012-03-04", "until": "2012-03-04"}, [0], id="both ends are included"),
        pytest.param({"words": "fracture", "since": "2016"}, [2], id="words and window"),
        pytest.param({"words": "", "code": None}, [1, 2, 0, 3], id="what is empty was not given"),
    ],
)
def test_searching_the_chart(arguments: dict[str, Any], found: list[int]) -> None:
    result = asked("search_chart", context_of(*conditions()), kind="condition", **arguments)
    told = [line for line in texts(result) if line.startswith("Condition")]
    assert [line[line.index("no. ") + 4] for line in told] == [str(place) for place in found]


def test_a_window_says_how_many_undated_entries_it_leaves_out() -> None:
    result = asked("search_chart", context_of(*conditions()), kind="condition", since="2000")
    assert "3 statements match, in 4 entries examined. 1 undated entries are left out." in result.heading


def test_a_value_set_of_the_pack_narrows_the_reading() -> None:
    context = context_of(has("condition", "diabetes"), *conditions())
    result = asked("search_chart", context, kind="condition", value_set="diabetes")
    assert [query.value_set for query in result.queries] == ["diabetes"]
    assert result.total == 2


def test_a_code_is_looked_for_by_the_set_of_the_pack_that_knows_it() -> None:
    """Whoever states something of it needs the pack's limits, units and expiry."""
    context = context_of(fhir.observation("4548-4", "7.1", "%"), fhir.observation("718-7", "13", "g/dL"))
    known = asked("search_chart", context, kind="observation", code="4548-4")
    unknown = asked("search_chart", context, kind="observation", code="718-7")
    assert [query.value_set for query in known.queries] == ["hba1c"]
    assert [query.value_set for query in unknown.queries] == ["observation:http://loinc.org|718-7"]
    assert (known.total, unknown.total) == (2, 2)


def test_a_code_of_icd_means_all_below_it_too() -> None:
    below, beside = (fhir.condition(code, system=fhir.ICD10CM, text=code) for code in ("E11.9", "E10.9"))
    result = asked("search_chart", context_of(below, beside), kind="condition", code="ICD-10-CM E11")
    assert [line for line in texts(result) if line.startswith("Condition")] == [
        "Condition: 2020-01-15, «E11.9» (ICD-10-CM E11.9), active"
    ]


def test_what_was_searched_by_words_is_not_said_to_be_absent() -> None:
    """clinical: 5. Another word or code may say the same."""
    result = asked("search_chart", context_of(*conditions()), kind="condition", words="diabetes")
    assert texts(result) == ["None found in 4 entries examined. What is called or coded otherwise is not found so."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({"value_set": "nothing"}, "no value set of this id", id="a value set that is not there"),
        pytest.param({"value_set": "hba1c"}, "is of kind observation, not condition", id="a value set of another kind"),
        pytest.param({"value_set": "diabetes", "code": "1"}, "give one of them", id="a value set and a code"),
        pytest.param({"code": "SNOMED «1»"}, "no code of a system", id="a code that is none"),
        pytest.param({"since": "2020-13"}, "no such day", id="a month that is none"),
        pytest.param({"since": "2020", "until": "2019"}, "ends before it starts", id="a window that ends first"),
        pytest.param({"since": "2027"}, "lies after the date that is asked about", id="a window in the future"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolRefused, match=said):
        asked("search_chart", context_of(*conditions()), kind="condition", **arguments)


def test_pages_tell_every_line_once() -> None:
    resources = [fhir.condition(str(100 + place), onset=f"2{place:03d}-01-01"[:10]) for place in range(7)]
    context = context_of(*resources)
    whole = asked("search_chart", context, kind="condition", limit=50)
    pages = [asked("search_chart", context, kind="condition", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [line for page in pages for line in page.lines] == list(whole.lines)
    assert {page.total for page in pages} == {whole.total}
    assert [page.offset for page in pages] == [0, 3, 6, 9]


def test_the_timeline_tells_encounters_and_procedures() -> None:
    context = context_of(
        fhir.encounter("IMP", start="2021-05-01T08:00:00Z", end="2021-05-04T10:00:00Z"),
        fhir.encounter("EMER", start="2024-03-01", end=None, status="planned"),
        fhir.procedure("73761001", at="2021-05-02"),
        fhir.procedure("80146002", at="2011-05-02", status="not-done"),
    )
    assert texts(asked("timeline", context, since="2021")) == [
        "2024-03-01, encounter (emergency) (ActCode EMER), planned, not done",
        "2021-05-02, procedure (SNOMED 73761001)",
        "2021-05-01 to 2021-05-04, encounter (inpatient) (ActCode IMP)",
    ]
    assert "2 encounters and 2 procedures" in asked("timeline", context).heading
