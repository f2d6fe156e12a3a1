# SPDX-License-Identifier: Apache-2.0
"""What `medagent model` does: the catalogue as people read it, the command that serves, servers that lack something."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders.model_server import Ability, Asked, ModelServer, Turn, call, draft, model_server, say, status
from pydantic import SecretStr

from medagent.model.catalogue import load_catalogue
from medagent.settings import Settings
from medagent_workflows.findings import Finding
from medagent_workflows.model_checks import examine
from medagent_workflows.model_proofs import Needs

PROGRAM = Path(sys.executable).with_name("medagent")
MEASURED = {"analyte": "potassium", "result": 4, "unit": "mmol/L", "flags": []}
CONTEXT = 12_000  # tokens; enough for a run, and quick to exceed
NOTHING = {"abstain": "nothing_to_add", "propositions": [], "notes": ""}

Medagent = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def medagent(tmp_path: Path) -> Medagent:
    """Runs the program. `path`: where it looks for vLLM, which no test machine need have."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("MEDAGENT_")}
    environment = own | {"MEDAGENT_HOME": str(tmp_path / "home"), "COLUMNS": "100", "NO_COLOR": "1"}

    def run(*arguments: str | Path, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program, arguments of our own tests
            [PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment | {"PATH": str(path or tmp_path)} | variables,
        )

    return run


def vllm_in(folder: Path) -> Path:
    """A program named vllm that tells how it was called."""
    program = folder / "vllm"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nprint(sys.argv[1:], os.environ['DO_NOT_TRACK'])\n")
    program.chmod(0o755)
    return folder


def capable(asked: Asked) -> Turn:
    """Does all that is asked of a model."""
    if asked.schema is not None:
        return draft(NOTHING if "propositions" in asked.schema["properties"] else MEASURED)
    if asked.body.get("tool_choice") == "required":
        return call("record_result", **MEASURED)
    return say("Creatinine.")


def but(where: Callable[[Asked], bool], turn: Turn) -> Callable[[Asked], Turn]:
    """A capable model, except for some requests."""
    return lambda asked: turn if where(asked) else capable(asked)


def needs(**settings: object) -> Needs:
    """Of an installation with these settings."""
    return Needs.of(Settings.load(**settings))


def findings(
    server: ModelServer, wanted: Needs | None = None, *, name: str | None = None, key: str | None = None
) -> dict[str, Finding]:
    """All of them, by their check."""

    async def examined() -> list[Finding]:
        secret = SecretStr(key) if key is not None else None
        return [one async for one in examine(server.url, name, secret, wanted or needs())]

    return {finding.check: finding for finding in asyncio.run(examined())}


def not_held(found: dict[str, Finding]) -> dict[str, str]:
    """What does not hold, with its status. The scripted server is no vLLM, so its version never does."""
    return {name: one.status for name, one in found.items() if one.status != "holds" and name != "version"}


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_shows_every_model_within_eighty_columns(medagent: Medagent) -> None:
    ended = medagent("model", "list", COLUMNS="80")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    for entry in load_catalogue().entries:
        assert entry.name in ended.stdout
    assert "None is a medical device" in ended.stdout


def test_list_as_json_is_one_document_with_licence_memory_and_what_was_not_checked(medagent: Medagent) -> None:
    listed = json.loads(medagent("model", "list", "--format", "json").stdout)
    assert len(listed["models"]) == len(load_catalogue().entries)
    for model in listed["models"]:
        assert model["licence"]["terms"]
        assert model["unchecked"]
        assert model["gpu_gib_by_prompts"]["1"] < model["gpu_gib_by_prompts"]["8"]
        assert model["command"][:2] == ["vllm", "serve"]


# --- serve ------------------------------------------------------------------------------------------------------------


def test_serve_prints_the_command_where_vllm_is_not_installed(medagent: Medagent) -> None:
    ended = medagent("model", "serve", "qwen3-vl-8b", "--port", "8123", "--", "--seed", "7")
    assert ended.returncode == 0
    assert ended.stdout.count("\n") == 1
    assert ended.stdout.startswith("VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 vllm serve Qwen/Qwen3-VL-8B-Instruct ")
    assert ended.stdout.endswith(" --seed 7\n")
    for said in ("Memory: 16 GiB of weights", "Not a medical device", "Apache-2.0", "not on PATH"):
        assert said in ended.stderr
    assert "MEDAGENT_MODEL_URL=http://127.0.0.1:8123 MEDAGENT_MODEL=Qwen/Qwen3-VL-8B-Instruct" in ended.stderr


def test_serve_becomes_vllm_where_it_is_installed(medagent: Medagent, tmp_path: Path) -> None:
    ended = medagent("model", "serve", "qwen3-vl-8b", path=vllm_in(tmp_path))
    assert ended.returncode == 0
    assert ended.stdout.startswith("['serve', 'Qwen/Qwen3-VL-8B-Instruct', '--host', '127.0.0.1',")
    assert ended.stdout.endswith("] 1\n")


def test_serve_only_prints_where_it_is_told_to(medagent: Medagent, tmp_path: Path) -> None:
    ended = medagent("model", "serve", "qwen3-vl-8b", "--print", path=vllm_in(tmp_path))
    assert ended.stdout.startswith("VLLM_NO_USAGE_STATS=1")
    assert "not on PATH" not in ended.stderr


def test_serve_fails_where_it_shall_run_and_vllm_is_not_there(medagent: Medagent) -> None:
    ended = medagent("model", "serve", "qwen3-vl-8b", "--run")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "medagent[vllm]" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["medgema-4b"], "did you mean medgemma-"),
        (["nothing-like-it"], "see: medagent model list"),
        (["llava-med-7b"], "--weights"),
        (["qwen3-vl-8b", "--weights", "absent"], "there is no folder absent"),
        (["qwen3-vl-8b", "--port", "0"], "--port"),
    ],
    ids=["a name misspelt", "a name unknown", "weights that must be converted", "weights that are not there", "port"],
)
def test_serve_refuses_what_cannot_be_meant(medagent: Medagent, arguments: Sequence[str], said: str) -> None:
    ended = medagent("model", "serve", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["phi-4-multimodal"], "Python that comes with the weights runs"),
        (["llava-1.5-7b"], "MEDAGENT_MODEL_TOOLS=false"),
        (["smolvlm2-2.2b"], "num2words"),
        (["qwen3-vl-8b", "--", "--host", "::"], "answers whoever reaches it"),
    ],
    ids=["remote code", "no tools", "a package besides", "open to the network"],
)
def test_serve_warns_of(medagent: Medagent, arguments: Sequence[str], said: str) -> None:
    assert said in medagent("model", "serve", *arguments).stderr


def test_serve_says_nothing_of_the_network_where_a_key_is_asked_for(medagent: Medagent) -> None:
    ended = medagent("model", "serve", "qwen3-vl-8b", "--", "--host=::", "--api-key", "made-up")
    assert "answers whoever reaches it" not in ended.stderr


# --- check ------------------------------------------------------------------------------------------------------------


def test_all_holds_on_a_capable_server() -> None:
    with model_server(capable, context_tokens=CONTEXT) as server:
        found = findings(server)
    assert not_held(found) == {}
    assert found["version"].status == "lacks"
    assert len(found) == 21


def test_nothing_of_a_chart_is_sent_and_every_answer_is_bounded() -> None:
    with model_server(capable, context_tokens=CONTEXT) as server:
        findings(server)
        assert all(body["max_completion_tokens"] <= 1536 for body in server.bodies)


@pytest.mark.parametrize(
    ("ability", "checks"),
    [
        ("images", {"image": "lacks", "images": "lacks"}),
        ("logprobs", {"logprobs": "lacks"}),
        ("schema", {"schema": "fails", "draft": "fails"}),
        ("stream", {"streaming": "lacks"}),
        ("tokenize", {"tokenizer": "fails", "context": "fails", "tools_told": "fails", "tools_answered": "fails"}),
        (
            "tools",
            {"tools_required": "fails", "tools_auto": "fails", "tools_answered": "fails", "draft": "fails"},
        ),
        ("usage", {"image": "lacks", "prefix_cache": "lacks"}),
        ("cached_tokens", {"prefix_cache": "lacks"}),
    ],
)
def test_a_server_without_it_is_found_out(ability: Ability, checks: dict[str, str]) -> None:
    with model_server(capable, context_tokens=CONTEXT, lacks=[ability]) as server:
        found = findings(server)
    assert not_held(found) == checks
    assert all(found[name].remedy for name in checks)


def asks_for_tools(asked: Asked) -> bool:
    return asked.body.get("tool_choice") == "required"


def asks_for_draft(asked: Asked) -> bool:
    return asked.schema is not None and "propositions" in asked.schema["properties"]


def asks_for_schema(asked: Asked) -> bool:
    return asked.schema is not None and not asks_for_draft(asked)


def tells_an_answer(asked: Asked) -> bool:
    return bool(asked.messages[-1]["role"] == "tool")


def asks_anything(_: Asked) -> bool:
    return True


@pytest.mark.parametrize(
    ("where", "turn", "check", "said"),
    [
        (asks_for_schema, say("{"), "schema", "not valid"),
        (asks_for_schema, draft(MEASURED | {"unit": "stone"}), "schema", "unit"),
        (asks_for_schema, draft(MEASURED | {"extra": 1}), "schema", "extra"),
        (asks_for_draft, draft({"abstain": None}), "draft", "propositions"),
        (asks_for_draft, say('{"abs', finish="length"), "draft", "no end within"),
        (asks_for_draft, status(500), "draft", "status 500"),
        (asks_for_tools, say("No."), "tools_required", "none is called"),
        (asks_for_tools, call("record_result", analyte="gold"), "tools_required", "analyte"),
        (asks_for_tools, call("delete_chart"), "tools_required", "not offered"),
        (tells_an_answer, status(400, "roles must alternate"), "tools_answered", "status 400"),
        (asks_anything, say(""), "chat", "nothing"),
    ],
    ids=[
        "JSON that ends early",
        "a choice that does not exist",
        "a slot too many",
        "a draft without its slots",
        "a draft without an end",
        "a schema that breaks the server",
        "a tool that is not called",
        "arguments that do not fit",
        "a tool that nobody offered",
        "a chat template that knows no tools",
        "silence",
    ],
)
def test_a_flaw_is_found_and_named(where: Callable[[Asked], bool], turn: Turn, check: str, said: str) -> None:
    with model_server(but(where, turn), context_tokens=CONTEXT, lacks=["usage"]) as server:
        finding = findings(server)[check]
    assert finding.status == "fails"
    assert said in finding.detail


def test_a_seed_that_does_not_repeat_and_a_stream_that_differs_are_found() -> None:
    def counting(asked: Asked) -> Turn:
        return capable(asked) if asked.schema is not None else say(f"Number {asked.turn}.")

    with model_server(counting, context_tokens=CONTEXT) as server:
        found = findings(server, needs(model_tools=False))
    assert not_held(found) == {"seed": "lacks", "streaming": "lacks", "tools_required": "lacks"}


def test_a_prompt_that_is_cut_in_silence_is_found() -> None:
    announced = Turn(fault="garbage", body=json.dumps({"data": [{"id": "scripted", "max_model_len": CONTEXT}]}))
    with model_server(capable, context_tokens=10 * CONTEXT, metadata=announced) as server:
        assert findings(server)["too_long"].status == "fails"


def test_a_context_that_no_run_fits_is_found() -> None:
    with model_server(capable, context_tokens=CONTEXT // 2) as server:
        finding = findings(server)["context"]
    assert finding.status == "fails"
    assert "a run needs at least" in finding.detail


@pytest.mark.parametrize(
    ("wanted", "status_of_images"), [(0, "holds"), (2, "holds"), (3, "fails")], ids=["none needed", "enough", "too few"]
)
def test_images_per_prompt_are_counted_and_held_to_the_settings(wanted: int, status_of_images: str) -> None:
    refused = status(400, "At most 2 image(s) may be provided in one prompt.")
    with model_server(but(lambda asked: asked.pictures > 2, refused), context_tokens=CONTEXT) as server:
        finding = findings(server, needs(model_images_max=wanted))["images"]
    assert finding.status == status_of_images
    assert "2" in finding.detail


def test_tools_are_not_needed_where_the_settings_turn_them_off() -> None:
    with model_server(capable, context_tokens=CONTEXT, lacks=["tools"]) as server:
        found = findings(server, needs(model_tools=False))
    assert not_held(found) == {"tools_required": "lacks", "tools_auto": "lacks", "tools_answered": "lacks"}


@pytest.mark.parametrize(("wanted", "expected"), [("radiology", "holds"), ("dermatology", "fails"), (None, "holds")])
def test_an_adapter_that_the_settings_name_must_be_loaded(wanted: str | None, expected: str) -> None:
    with model_server(capable, context_tokens=CONTEXT, adapters=["radiology"]) as server:
        finding = findings(server, needs(model_adapter=wanted))["adapters"]
    assert finding.status == expected
    assert "radiology" in finding.detail


def test_without_a_server_the_rest_is_not_tried() -> None:
    with model_server(capable, context_tokens=CONTEXT) as server:
        pass  # its port is closed from here on
    found = findings(server)
    assert found.pop("reachable").status == "fails"
    assert {finding.status for finding in found.values()} == {"untried"}


@pytest.mark.parametrize("name", ["medgemma", None])
def test_a_model_that_is_not_served_is_named_with_what_is(name: str | None) -> None:
    served = Turn(fault="garbage", body=json.dumps({"data": [{"id": "first"}, {"id": "second"}]}))
    with model_server(capable, metadata=served) as server:
        found = findings(server, name=name)
    assert found["model"].status == "fails"
    assert "first, second" in found["model"].detail
    assert found["chat"].status == "untried"


def test_a_key_that_is_missing_is_named() -> None:
    with model_server(capable, context_tokens=CONTEXT, api_key="made-up") as server:
        assert "API key" in findings(server)["reachable"].detail
        assert not_held(findings(server, key="made-up")) == {}


def report(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(ended.stdout)
    return parsed


def test_check_exits_with_0_where_all_that_is_needed_holds(medagent: Medagent) -> None:
    with model_server(capable, context_tokens=CONTEXT) as server:
        text = medagent("model", "check", "--url", server.url)
        said = report(medagent("model", "check", "--url", server.url, "--format", "json"))
    assert (text.returncode, text.stderr) == (0, "")
    assert "✔ Draft as a run asks for it" in text.stdout
    assert "→ optional: upgrade it" in text.stdout
    assert "All that MedAgent needs" in text.stdout
    assert said["ok"] is True
    assert {check["status"] for check in said["checks"]} == {"holds", "lacks"}


def test_check_exits_with_1_and_says_what_to_do(medagent: Medagent) -> None:
    with model_server(capable, context_tokens=CONTEXT, lacks=["schema"]) as server:
        text = medagent("model", "check", MEDAGENT_MODEL_URL=server.url)
        ended = medagent("model", "check", "--url", server.url, "--format", "json")
    assert text.returncode == ended.returncode == 1
    assert "✘ Answer bound by a schema" in text.stdout
    assert "--structured-outputs-config" in text.stdout
    assert report(ended)["ok"] is False


@pytest.mark.parametrize(
    ("variables", "status_expected", "said"),
    [
        ({}, 2, "--url"),
        ({"MEDAGENT_MODEL_URL": "ftp://somewhere"}, 1, "MEDAGENT_MODEL_URL"),
        ({"MEDAGENT_MODEL_URL": "http://user:secret@localhost"}, 1, "MEDAGENT_MODEL_URL"),
    ],
    ids=["no server named", "no web address", "a password in the address"],
)
def test_check_refuses_addresses_that_cannot_be_meant(
    medagent: Medagent, variables: dict[str, str], status_expected: int, said: str
) -> None:
    ended = medagent("model", "check", **variables)
    assert (ended.returncode, ended.stdout) == (status_expected, "")
    assert said in ended.stderr
    assert "secret" not in ended.stderr
