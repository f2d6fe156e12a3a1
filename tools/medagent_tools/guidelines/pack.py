# SPDX-License-Identifier: Apache-2.0
"""A pack: guidelines, their rules, the value sets that they name and the medication gate, read from YAML.

A folder holds `value_sets/*.yaml` (`value_sets: [...]`), one `<guideline>.yaml` per guideline edition (`guideline:` and
`rules: [...]`) and `medication_gate.yaml` (`gates: [...]`). Guideline texts that a site keeps, and whose words may be
quoted, lie in `texts/*.txt`, named by their SHA-256 in `texts:` of their edition. Case tables lie in `cases/`, which is
not read here. The types are those of `medagent.rules` and `medagent.value_sets`. Everything that is wrong is reported
at once, with file, entry, field and what to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError

from medagent.canonical import canonical_json, sha256_hex
from medagent.errors import RuleError
from medagent.evidence import Record
from medagent.rules import Gate, Guideline, Rule
from medagent.value_sets import ValueSet
from medagent_tools.guidelines.pack_checks import GATE_FILE, Placed, check_pack
from medagent_tools.guidelines.pack_problems import Problems
from medagent_tools.guidelines.pack_yaml import read_mapping

_Entry = TypeVar("_Entry", bound=Record)
_Folder: TypeAlias = Traversable | Path


@dataclass(frozen=True, slots=True)
class Pack:
    """What a screening screens for. Made by `load_pack`, so what it names exists and its units convert."""

    rules: tuple[Rule, ...]
    """By id."""
    value_sets: Mapping[str, ValueSet]
    gates: Mapping[str, Gate]
    """By value set of the drugs."""
    digest: str
    """SHA-256 over the canonical form of all three, texts by their hash: the same content has the same digest, in
    whatever files."""
    texts: Mapping[str, str] = dataclass_field(default_factory=dict)
    """Kept guideline texts by SHA-256 of their UTF-8."""

    @property
    def id(self) -> str:
        """A short name for the content."""
        return f"pack-{self.digest[:12]}"


@cache
def shipped_pack() -> Pack:
    """The pack that comes with MedAgent. It has had no clinical review."""
    return load_pack(files("medagent_tools.guidelines").joinpath("pack"))


def load_pack(folder: Traversable | Path) -> Pack:
    """Reads a folder. Raises RuleError with everything that is wrong in it.

    Steps: (1) value sets, (2) gates, (3) guidelines and their rules, each with its fields checked; (4) what they say of
    each other: names, units, dates, durations, formulas; (5) the texts that editions keep.
    """
    problems = Problems()
    # (1)
    value_sets = dict(_named(_value_sets(folder, problems), "value set", problems))
    # (2)
    gates = dict(_named(_gates(folder, problems), "gate", problems))
    # (3)
    rules = dict(_named(_rules(folder, problems), "rule", problems))
    if not rules and not problems:
        problems.add("", "", "", "holds no rule: give the folder of a pack with at least one <guideline>.yaml")
    # (4)
    check_pack(rules, value_sets, gates, problems)
    # (5)
    texts = _texts(folder, rules, problems)
    problems.refuse()
    ordered = tuple(rules[rule].entry for rule in sorted(rules))
    by_id = {name: value_sets[name].entry for name in sorted(value_sets)}
    gate_by_drug = {name: gates[name].entry for name in sorted(gates)}
    content = {"rules": ordered, "value_sets": by_id, "gates": gate_by_drug}
    return Pack(ordered, by_id, gate_by_drug, sha256_hex(canonical_json(content)), texts)


def _value_sets(folder: _Folder, problems: Problems) -> Iterator[tuple[str, Placed[ValueSet]]]:
    for file, content in _files(folder.joinpath("value_sets"), "value_sets/", problems):
        for entry in _entries(file, content, "value_sets", problems):
            value_set = _parsed(ValueSet, file, "value set", entry, "id", problems)
            if value_set is not None:
                yield value_set.id, Placed(file, value_set)


def _gates(folder: _Folder, problems: Problems) -> Iterator[tuple[str, Placed[Gate]]]:
    for file, content in _files(folder, "", problems):
        if file == GATE_FILE:
            for entry in _entries(file, content, "gates", problems):
                gate = _parsed(Gate, file, "gate", entry, "medication", problems)
                if gate is not None:
                    yield gate.medication, Placed(file, gate)


def _rules(folder: _Folder, problems: Problems) -> Iterator[tuple[str, Placed[Rule]]]:
    editions: dict[str, str] = {}
    for file, content in _files(folder, "", problems):
        if file == GATE_FILE:
            continue
        for field in content.keys() - {"guideline", "rules"}:
            problems.add(file, "", str(field), "no such field; a guideline's file has `guideline` and `rules`")
        guideline = _parsed(Guideline, file, "guideline", content.get("guideline"), "id", problems)
        if guideline is None:
            continue
        if guideline.id in editions:
            problems.add(
                file, f"guideline {guideline.id}", "id", f"is taken by {editions[guideline.id]}; give it its own"
            )
        editions[guideline.id] = file
        for entry in _entries(file, content, "rules", problems):
            for field in entry.keys() & {"guideline", "schema", "schema_version"}:
                problems.add(
                    file, f"rule {entry.get('id', '')}", field, "is given by the file, not by the rule; remove it"
                )
            rule = _parsed(Rule, file, "rule", {**entry, "guideline": guideline}, "id", problems)
            if rule is not None:
                yield rule.id, Placed(file, rule)


def _texts(folder: _Folder, rules: Mapping[str, Placed[Rule]], problems: Problems) -> dict[str, str]:
    """The kept texts by their hash. Each is named by an edition, and each that is named is there."""
    named: dict[str, tuple[str, str]] = {}
    for placed in rules.values():
        for digest in placed.entry.guideline.texts:
            named.setdefault(digest, (placed.file, placed.entry.guideline.id))
    found: dict[str, str] = {}
    for name, data in _text_files(folder.joinpath("texts")):
        digest = sha256_hex(data)
        if digest not in named:
            problems.add(name, "", "", f"no edition keeps it; add {digest} to `texts` of its guideline, or remove it")
        try:
            found[digest] = data.decode()
        except UnicodeDecodeError:
            problems.add(name, "", "", "is not UTF-8; save it as that and correct its hash in `texts`")
            found[digest] = ""
    for digest, (file, guideline) in named.items():
        if digest not in found:
            what = f"no file under texts/ has the SHA-256 {digest}; add the text as texts/*.txt, or remove the hash"
            problems.add(file, f"guideline {guideline}", "texts", what)
    return dict(sorted(found.items()))


def _text_files(folder: _Folder) -> Iterator[tuple[str, bytes]]:
    """Texts by name, with their exact bytes. A pack need not have any."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else ():
        if file.is_file() and file.name.endswith(".txt"):
            yield f"texts/{file.name}", file.read_bytes()


def _files(folder: _Folder, prefix: str, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    """The YAML files of a folder with their content, by name."""
    if not folder.is_dir():
        problems.add("", prefix or "the pack", "", "no such folder; give the folder of a pack")
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.is_file() and file.name.endswith((".yaml", ".yml")):
            try:
                yield prefix + file.name, read_mapping(prefix + file.name, file.read_bytes())
            except RuleError as error:
                problems.add_line(str(error))


def _entries(file: str, content: Mapping[str, Any], field: str, problems: Problems) -> Iterator[dict[str, Any]]:
    entries = content.get(field)
    if not isinstance(entries, list) or not entries:
        problems.add(file, "", field, "must be a list with at least one entry")
        return
    for place, entry in enumerate(entries, start=1):
        if isinstance(entry, dict):
            yield entry
        else:
            problems.add(file, "", f"{field} > no. {place}", "must be an entry with fields")


def _parsed(kind: type[_Entry], file: str, name: str, entry: object, key: str, problems: Problems) -> _Entry | None:
    """The entry as its type. None: it is not one, and the problems say why."""
    called = f"{name} {entry[key]}" if isinstance(entry, dict) and key in entry else name
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        problems.add_fields(file, called, error)
        return None


def _named(
    entries: Iterator[tuple[str, Placed[_Entry]]], name: str, problems: Problems
) -> Iterator[tuple[str, Placed[_Entry]]]:
    """Entries by their ids; an id that is taken is a problem."""
    seen: dict[str, str] = {}
    for key, placed in entries:
        if key in seen:
            problems.add(placed.file, f"{name} {key}", "", f"stands in {seen[key]} already; keep one, or rename it")
        else:
            seen[key] = placed.file
            yield key, placed
