# SPDX-License-Identifier: Apache-2.0
"""Loading a pack: what is wrong with one is said at once, with file, entry, field and what to do."""

from datetime import date
from pathlib import Path

import pytest

from medagent.errors import RuleError
from medagent_tools.guidelines.pack import Pack, load_pack, shipped_pack

VALUE_SETS = """
value_sets:
  - {id: diabetes, title: diabetes, kind: condition, source: the tests, codes: {ICD-10-CM: [E11]}}
  - id: hba1c
    title: HbA1c
    kind: observation
    source: the tests
    codes: {LOINC: [4548-4]}
    analyte: hba1c
    unit: "%"
    plausible: {low: 3.5, high: 20.0, unit: "%"}
  - {id: creatinine, title: creatinine, kind: observation, source: the tests, codes: {LOINC: [2160-0]}, unit: mg/dL}
  - {id: count, title: a count, kind: observation, source: the tests, codes: {LOINC: [1-8]}}
  - {id: statins, title: statin, kind: medication, source: the tests, codes: {}, names: [atorvastatin]}
  - {id: statin-allergy, title: statin allergy, kind: allergy, source: the tests, codes: {}, names: [statin]}
"""

GATES = """
gates:
  - medication: statins
    source: the tests
    refuse_if: {allergy: {allergy: {in: statin-allergy}}}
    not_needed: {interaction: none, renal: none, pregnancy: none, duplicate: none}
"""

GUIDELINE = """
guideline:
  id: example
  title: An example
  publisher: The tests
  edition: "2025"
  published: 2025-01-01
  in_force_from: 2025-02-01
  retired_on: null
  jurisdiction: US
  url: https://example.org
  checked: nothing
rules:
  - id: high-hba1c
    title: HbA1c at or above 7.10 %
    section: "1"
    url: https://example.org/1
    summary: What it says.
    strength: {scale: the tests, grade: A}
    category: treatment_gap
    urgency: info
    age: {at_least: 18}
    population: {condition: {in: diabetes}}
    criteria: {latest: {in: hba1c, at_least: 7.10, max_age: 12 months}}
    action: {id: start-statin, direction: start, option: a statin, medication: statins}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack in which nothing is wrong."""
    (tmp_path / "value_sets").mkdir()
    (tmp_path / "value_sets" / "all.yaml").write_text(VALUE_SETS)
    (tmp_path / "medication_gate.yaml").write_text(GATES)
    (tmp_path / "example.yaml").write_text(GUIDELINE)
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    file.write_text(text.replace(old, new))


def complaint(folder: Path) -> str:
    with pytest.raises(RuleError) as caught:
        load_pack(folder)
    return str(caught.value)


def test_a_pack_is_what_its_files_say(folder: Path) -> None:
    pack = load_pack(folder)
    (rule,) = pack.rules
    assert rule.guideline.published == date(2025, 1, 1)
    assert rule.criteria.model_dump(exclude_none=True)["at_least"].as_tuple().digits == (7, 1, 0), "digits are kept"
    assert set(pack.value_sets) == {"diabetes", "hba1c", "creatinine", "count", "statins", "statin-allergy"}
    assert set(pack.gates) == {"statins"}


def test_the_digest_is_of_the_content_and_not_of_the_files(folder: Path) -> None:
    before = load_pack(folder)
    sets = folder / "value_sets" / "all.yaml"
    sets.write_text("# a comment\n" + sets.read_text())
    sets.rename(folder / "value_sets" / "renamed.yaml")
    same = load_pack(folder)
    assert (same.digest, same.id) == (before.digest, before.id)
    edit(folder / "example.yaml", "at_least: 7.10,", "at_least: 7.20,")
    assert load_pack(folder).digest != before.digest


RULE = "example.yaml, rule high-hba1c"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "in: hba1c,", "in: hba1, ", f"{RULE}, criteria > latest > in: no value set 'hba1'", id="value set"
        ),
        pytest.param("in: hba1c,", "in: hba1, ", "did you mean 'hba1c'?", id="value set, with the closest name"),
        pytest.param("max_age: 12 months", "max_age: a year", f"{RULE}, criteria > latest > max_age", id="duration"),
        pytest.param(
            ", max_age: 12 months", "", f"{RULE}, criteria > latest > max_age: is missing", id="no maximum age"
        ),
        pytest.param("latest: {in", "newest: {in", f"{RULE}, criteria: a criterion is one of", id="unknown criterion"),
        pytest.param("in: hba1c, ", "in: hba1c, unit: mg/dL, ", f"{RULE}, criteria > latest > unit", id="other unit"),
        pytest.param(
            "in: hba1c, ", "in: hba1c, unit: procent, ", "not a UCUM code of the unit table", id="no such unit"
        ),
        pytest.param(
            "in: hba1c,", "in: count,", "its bound has no unit and 'count' has none either", id="no unit at all"
        ),
        pytest.param("at_least: 7.10,", "at_least: 7, at_most: 6,", "no value lies between its bounds", id="bounds"),
        pytest.param("at_least: 7.10,", "at_least: 7, above: 7,", "two bounds on one side", id="two lower bounds"),
        pytest.param("at_least: 7.10, ", "", "give bounds", id="no bound"),
        pytest.param(
            "category: treatment_gap",
            "category: harm\n    contraindications: {condition: {in: diabetes}}",
            f"{RULE}, contraindications: a warning of harm is never withheld",
            id="something that withholds a warning of harm",
        ),
        pytest.param(
            "    action: {id: start-statin, direction: start, option: a statin, medication: statins}",
            "    contraindications: {condition: {in: pregnancy}}\n"
            "    action: {id: confirm, direction: confirm, option: a second test}",
            f"{RULE}, contraindications: pregnancy is no reason not to confirm",
            id="a pregnancy that withholds a confirmation",
        ),
        pytest.param("medication: statins", "medication: diabetes", "needs a gate for it", id="no gate"),
        pytest.param(", medication: statins", "", f"{RULE}, action > medication: is missing", id="starts nothing"),
        pytest.param(
            "urgency: info", "urgency: high", f"{RULE}, urgency: must be 'info', 'warning' or 'critical'", id="word"
        ),
        pytest.param("urgency: info", "urgent: info", f"{RULE}, urgent: no such field", id="forbidden field"),
        pytest.param('section: "1"', "section: 1", f"{RULE}, section: must be a text", id="a number for a text"),
        pytest.param(
            "in_force_from: 2025-02-01", "in_force_from: 2024-12-01", "before it was published", id="in force early"
        ),
        pytest.param(
            "retired_on: null", "retired_on: 2025-02-01", "guideline > retired_on", id="retired before in force"
        ),
        pytest.param("published: 2025-01-01", "published: 2025-02-30", "no calendar has", id="no such day"),
        pytest.param("age: {at_least: 18}", "age: {at_least: 18, below: 18}", "nobody is within it", id="nobody's age"),
        pytest.param(
            "urgency: info", "urgency: info\n    urgency: warning", "'urgency' stands twice", id="named twice"
        ),
        pytest.param("urgency: info", "urgency: info\n    guideline: x", "given by the file", id="guideline in a rule"),
        pytest.param(
            "checked: nothing", "checked: nothing\n  seen: x", "guideline example, seen: no such field", id="field"
        ),
        pytest.param(
            "condition: {in: diabetes}",
            "at_least: {count: 2, of: [{condition: {in: diabetes}}]}",
            "population > at_least: asks for 2 of 1",
            id="more than there are",
        ),
        pytest.param("condition: {in: diabetes}", "pregnant: {}", "no value set 'pregnancy'", id="pregnancy sets"),
        pytest.param(
            "latest: {in: hba1c, at_least: 7.10,",
            "calculated: {formula: egfr, inputs: {creatinine: creatinine}, below: 60,",
            "no such formula; use one of body-mass-index, ckd-epi-2021",
            id="no such formula",
        ),
        pytest.param(
            "latest: {in: hba1c, at_least: 7.10,",
            "calculated: {formula: body-mass-index, inputs: {weight: creatinine}, below: 60,",
            "takes more than one measured value",
            id="formula of two values",
        ),
        pytest.param(
            "latest: {in: hba1c, at_least: 7.10,",
            "calculated: {formula: ckd-epi-2021, inputs: {creatinine: hba1c}, below: 60,",
            "inputs > creatinine",
            id="formula of another value",
        ),
        pytest.param(
            "latest: {in: hba1c, at_least: 7.10, max_age: 12 months}",
            "trend: {in: hba1c, direction: rising, least_change: 0, unit: '%', window: 1 year, least_values: 1}",
            "a trend needs two values",
            id="trend of one value",
        ),
    ],
)
def test_what_is_wrong_with_a_guideline_is_said(folder: Path, old: str, new: str, said: str) -> None:
    edit(folder / "example.yaml", old, new)
    assert said in complaint(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("id: count", "id: 'urn:x|1'", "has the form of a single code", id="the name of a single code"),
        pytest.param("id: count", "id: hba1c", "value set hba1c: stands in value_sets/all.yaml already", id="id taken"),
        pytest.param("low: 3.5", "low: 35.0", "plausible: low must be less than high", id="limits"),
        pytest.param('high: 20.0, unit: "%"', "high: 20.0, unit: mg/dL", "plausible > unit", id="unit of the limits"),
        pytest.param("codes: {LOINC: [1-8]}", "codes: {}", "nothing could match", id="no codes and no names"),
        pytest.param(
            "kind: condition", "kind: disease", "value_sets/all.yaml, value set diabetes, kind: must be", id="kind"
        ),
        pytest.param("[E11]", "[11]", "must be a text; put it in quotes", id="a code that YAML takes for a number"),
    ],
)
def test_what_is_wrong_with_a_value_set_is_said(folder: Path, old: str, new: str, said: str) -> None:
    edit(folder / "value_sets" / "all.yaml", old, new)
    assert said in complaint(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(", duplicate: none", "", "gate statins: name each of allergy, interaction", id="four checks"),
        pytest.param("in: statin-allergy", "in: allergy", "refuse_if > allergy > allergy > in", id="value set"),
        pytest.param("gates:", "gate:", "medication_gate.yaml, gates: must be a list", id="no gates"),
    ],
)
def test_what_is_wrong_with_a_gate_is_said(folder: Path, old: str, new: str, said: str) -> None:
    edit(folder / "medication_gate.yaml", old, new)
    assert said in complaint(folder)


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    edit(folder / "example.yaml", "in: hba1c,", "in: hba1,")
    edit(folder / "example.yaml", "retired_on: null", "retired_on: 2020-01-01")
    edit(folder / "value_sets" / "all.yaml", "low: 3.5", "low: 35.0")
    assert len(complaint(folder).splitlines()) == 3


def test_a_rule_of_one_id_stands_once(folder: Path) -> None:
    (folder / "other.yaml").write_text(GUIDELINE.replace("id: example", "id: other"))
    assert "other.yaml, rule high-hba1c: stands in example.yaml already" in complaint(folder)


def test_a_guideline_of_one_id_stands_once(folder: Path) -> None:
    (folder / "other.yaml").write_text(GUIDELINE.replace("id: high-hba1c", "id: other"))
    assert "other.yaml, guideline example, id: is taken by example.yaml" in complaint(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"rules: [", "broken.yaml: cannot be read in line", id="not YAML"),
        pytest.param(b"- a list", "broken.yaml: must be one mapping", id="not a mapping"),
        pytest.param(b"\xff\xfe", "broken.yaml: ", id="not text"),
        pytest.param(b"rules: !!python/object/apply:os.getcwd []", "broken.yaml: cannot be read", id="code is refused"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, content: bytes, said: str) -> None:
    (folder / "broken.yaml").write_bytes(content)
    assert said in complaint(folder)


def test_a_folder_without_a_rule_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / "value_sets").mkdir()
    assert "holds no rule" in complaint(tmp_path)
    assert "no such folder" in complaint(tmp_path / "absent")


def test_the_shipped_pack_loads_and_is_read_once() -> None:
    pack = shipped_pack()
    assert isinstance(pack, Pack)
    assert pack.rules
    assert shipped_pack() is pack
    assert [rule.id for rule in pack.rules] == sorted(rule.id for rule in pack.rules)
