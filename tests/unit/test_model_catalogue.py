# SPDX-License-Identifier: Apache-2.0
"""The catalogue of models: complete, consistent, and honest about what nobody checked."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from medagent.errors import UsageError
from medagent.model.catalogue import (
    Catalogue,
    CatalogueEntry,
    KeyValueCache,
    chat_template,
    find,
    load_catalogue,
    serve_command,
)

ENTRIES = load_catalogue().entries
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def option(command: tuple[str, ...], name: str) -> str:
    """The value that follows the flag, which stands there once."""
    assert command.count(name) == 1, name
    return command[command.index(name) + 1]


@pytest.mark.parametrize(
    "family",
    [
        "medgemma-4b",
        "medgemma-27b",
        "gemma-3-",
        "qwen3-vl-",
        "qwen2.5-vl-",
        "llava-1.5-",
        "llava-next-",
        "llava-med-",
        "blip2-",
        "smolvlm2-",
        "idefics3-",
        "internvl3-",
        "phi-3.5-vision",
        "phi-4-multimodal",
    ],
)
def test_a_family_that_hospitals_ask_for_is_in_the_catalogue(family: str) -> None:
    assert any(entry.name.startswith(family) for entry in ENTRIES)


@each_entry
def test_every_entry_says_that_it_is_no_medical_device_and_what_nobody_checked(entry: CatalogueEntry) -> None:
    assert "Not a medical device" in entry.intended_use
    assert all(entry.checked)
    assert all(entry.unchecked)


@each_entry
def test_every_command_serves_this_machine_alone_and_what_the_entry_says(entry: CatalogueEntry) -> None:
    command = serve_command(entry, port=8123)
    assert command[:3] == ("vllm", "serve", entry.repository)
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--port") == "8123"
    assert option(command, "--max-model-len") == str(entry.served_context_tokens)
    media = json.loads(option(command, "--limit-mm-per-prompt"))
    assert media == {"image": entry.images} | dict.fromkeys(entry.other_media, 0)
    assert json.loads(option(command, "--structured-outputs-config"))["backend"] == "xgrammar"
    assert option(command, "--generation-config") == "vllm"
    assert "--enable-prompt-tokens-details" in command


@each_entry
def test_tools_come_with_a_parser_a_strict_grammar_and_a_template_that_tells_of_them(entry: CatalogueEntry) -> None:
    command = serve_command(entry, port=8000)
    if entry.tools == "none":
        assert not {"--enable-auto-tool-choice", "--tool-call-parser", "--chat-template"} & set(command)
        return
    assert "--enable-auto-tool-choice" in command
    assert option(command, "--tool-call-parser") == entry.tool_parser
    assert option(command, "--tool-strict-level") == "parameter"
    if entry.tools == "shipped":
        template = Path(option(command, "--chat-template")).read_text(encoding="utf-8")
        assert "<tool_call>" in template
        assert "tool_response" in template


@each_entry
def test_more_prompts_at_once_take_more_memory_than_the_weights_alone(entry: CatalogueEntry) -> None:
    assert entry.weights_gib < entry.memory_gib(1) < entry.memory_gib(8)


def test_memory_is_weights_cache_and_working_space_over_what_vllm_takes() -> None:
    entry = find("qwen3-vl-8b")
    weights = 8.8e9 * 2
    cache = 36 * 2 * 8 * 128 * 2 * 32_768  # layers, key and value, heads, dimensions, bytes, tokens
    assert entry.memory_gib(2) == pytest.approx((weights + 2 * cache + 2 * 2**30) / 0.92 / 2**30)


def test_layers_with_a_window_hold_no_more_than_the_window() -> None:
    plain = KeyValueCache(layers=6, key_value_heads=1, head_size=8)
    windowed = KeyValueCache(layers=6, key_value_heads=1, head_size=8, windowed_layers=5, window=100)
    assert windowed.size(100) == plain.size(100)
    assert windowed.size(1_100) == plain.size(100) + 1_000 * plain.size(1) // 6


def test_weights_of_a_folder_are_served_under_the_name_of_the_repository() -> None:
    command = serve_command(find("medgemma-4b"), port=8000, weights=Path("/models/medgemma"))
    assert command[2] == "/models/medgemma"
    assert option(command, "--served-model-name") == "google/medgemma-4b-it"


def test_flags_of_the_site_come_last_so_that_they_win() -> None:
    assert serve_command(find("qwen3-vl-8b"), port=8000, further=["--host", "::1"])[-2:] == ("--host", "::1")


@pytest.mark.parametrize("name", ["medgemma-4b", "MedGemma-4B", "google/medgemma-4b-it"])
def test_a_model_is_found_by_its_name_or_its_repository(name: str) -> None:
    assert find(name).name == "medgemma-4b"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("medgemma", "did you mean medgemma-1.5-4b or medgemma-27b or medgemma-4b?"),
        ("qwen3vl-8b", "qwen3-vl-8b"),
        ("phi-4", "phi-4-multimodal"),
        ("", "see: medagent model list"),
        ("gpt", "see: medagent model list"),
    ],
)
def test_an_unknown_name_is_refused_with_what_comes_near(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        find(name)
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"served_context_tokens": 1_000_000}, "more than context_tokens"),
        ({"images": 3, "images_most": 2}, "more than images_most"),
        ({"tool_parser": None}, "tool_parser"),
        ({"chat_template": "other.jinja"}, "chat_template"),
        ({"converted": True}, "preparation"),
        ({"unchecked": ()}, "unchecked"),
        ({"favourite": True}, "favourite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_an_entry_that_contradicts_itself_is_refused(change: dict[str, object], problem: str) -> None:
    said = find("qwen3-vl-8b").model_dump()
    with pytest.raises(ValidationError, match=problem):
        CatalogueEntry.model_validate(said | change)


def test_two_entries_of_one_name_are_refused() -> None:
    entry = find("qwen3-vl-8b")
    with pytest.raises(ValidationError, match="two share"):
        Catalogue(vllm="0.32.0", entries=(entry, entry))


def test_chat_templates_lie_where_the_package_is_installed() -> None:
    assert chat_template("gemma3.jinja").is_file()
