# SPDX-License-Identifier: Apache-2.0
"""What the documents say of settings, commands and targets is what there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from medagent.settings import Settings
from medagent_workflows.command_line import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "INTENDED_USE.md", "SECURITY.md", "CHANGELOG.md")
ROW = re.compile(r"^\| `(MEDAGENT_[A-Z_]+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def variable(field: str) -> str:
    return f"MEDAGENT_{field.upper()}"


def told_default(field: str) -> str:
    """As the tables write it; none where they say so in words."""
    match Settings.model_fields[field].default:
        case None:
            return "none"
        case bool() as default:
            return f"`{str(default).lower()}`"
        case default:
            return f"`{default:.9g}`"


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if name.startswith("model")])
def test_every_setting_of_the_model_stands_in_the_readme_with_its_default(field: str) -> None:
    rows = {found[1]: found[3] for found in ROW.finditer(text_of("README.md"))}
    assert rows[variable(field)].startswith(told_default(field))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_names_a_setting_that_is_not_there(name: str) -> None:
    named = set(re.findall(r"MEDAGENT_[A-Z][A-Z_]*[A-Z]", text_of(name)))
    assert named <= {variable(field) for field in Settings.model_fields}


def commands() -> set[str]:
    """Every command as one types it."""
    top = typer.main.get_command(app)
    assert isinstance(top, typer.core.TyperGroup)
    names = set()
    for name, command in top.commands.items():
        below = command.commands if isinstance(command, typer.core.TyperGroup) else {"": command}
        names |= {f"{name} {one}".strip() for one in below}
    return names


def named_commands(text: str) -> Iterator[str]:
    """Commands as code shows them; `audit list|show` names two."""
    for words in re.findall(r"(?:`|bin/|^|: )medagent ([a-z]+(?: [a-z][a-z|-]*)?)", text, re.MULTILINE):
        first, _, rest = words.partition(" ")
        yield from (f"{first} {one}".strip() for one in rest.split("|"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_names_a_command_that_is_not_there(name: str) -> None:
    known = commands()
    assert [one for one in named_commands(text_of(name)) if one not in known] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_names_a_target_that_is_not_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text_of(name))) <= targets
