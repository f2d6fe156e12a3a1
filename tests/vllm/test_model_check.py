# SPDX-License-Identifier: Apache-2.0
"""The catalogue and `medagent model check` against real vLLM: names that it knows, and servers that pass.

Gemma 3 and Qwen2.5-VL are served with the chat templates that come with MedAgent, as `medagent model serve` does it.
"""

import asyncio
import json
import subprocess

import pytest
from builders.vllm_server import ONE_AT_A_TIME, Environment, VllmServer

from medagent.model.catalogue import chat_template, load_catalogue, serve_command
from medagent.settings import Settings
from medagent_workflows.findings import Finding
from medagent_workflows.model_checks import examine
from medagent_workflows.model_proofs import Needs

pytestmark = [pytest.mark.vllm, ONE_AT_A_TIME]

KNOWN = """
import json
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.model_executor.models.registry import ModelRegistry
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = ServeSubcommand().subparser_init(FlexibleArgumentParser().add_subparsers())
print(json.dumps({
    "architectures": sorted(ModelRegistry.get_supported_archs()),
    "parsers": sorted({*ToolParserManager.tool_parsers, *ToolParserManager.lazy_parsers}),
    "flags": sorted(parser._option_string_actions),
}))
"""


def shipped(template: str) -> list[str]:
    """The flags that serve with one of our chat templates."""
    return ["--chat-template", str(chat_template(template))]


def test_vllm_knows_every_architecture_parser_and_flag_of_the_catalogue(environment: Environment) -> None:
    python = environment.program.with_name("python")
    ended = subprocess.run([python, "-c", KNOWN], capture_output=True, text=True, timeout=120, check=True)  # noqa: S603 - what make vllm installed
    known = {name: set(values) for name, values in json.loads(ended.stdout.splitlines()[-1]).items()}
    entries = load_catalogue().entries
    assert {entry.architecture for entry in entries} <= known["architectures"]
    assert {entry.tool_parser for entry in entries if entry.tool_parser} <= known["parsers"]
    flags = {word for entry in entries for word in serve_command(entry, port=8000) if word.startswith("--")}
    assert flags <= known["flags"]


async def examined(server: VllmServer, needs: Needs) -> list[Finding]:
    return [finding async for finding in examine(server.url, server.model, None, needs)]


@pytest.mark.parametrize(
    "vllm_server",
    ["qwen3_vl", ("gemma3", *shipped("gemma3.jinja")), ("qwen2_5_vl", *shipped("qwen2_5_vl.jinja"))],
    ids=["qwen3_vl", "gemma3 with our template", "qwen2_5_vl with our template"],
    indirect=True,
)
def test_a_real_server_passes_every_check(vllm_server: VllmServer) -> None:
    """Except that nobody can make a random model end: the grammar must hold, the length may not."""
    needs = Needs.of(Settings.load(model_images_max=2))
    found = {finding.check: finding for finding in asyncio.run(examined(vllm_server, needs))}
    endless = {name for name in ("draft", "tools_required") if "no end within" in found[name].detail}
    assert {name: one.detail for name, one in found.items() if one.status != "holds" and name not in endless} == {}
