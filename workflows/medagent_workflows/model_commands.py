# SPDX-License-Identifier: Apache-2.0
"""Commands of `medagent model`: which models can be served, how one is served, and whether a running one will do."""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medagent.canonical import public_json
from medagent.errors import MedAgentError, UsageError
from medagent.model.catalogue import CatalogueEntry, find, load_catalogue, serve_command
from medagent.settings import Settings
from medagent_workflows.findings import Finding, hold, show
from medagent_workflows.model_checks import examine
from medagent_workflows.model_proofs import Needs
from medagent_workflows.streams import emit, terminal

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # nothing of a hospital is reported to vLLM's makers
_PROMPTS_AT_ONCE = 8  # of full length, for the second figure of memory
_TOOLS = {"own": "own", "shipped": "ours", "none": "no"}


def list_models(*, as_json: bool) -> None:
    """Writes the catalogue."""
    catalogue = load_catalogue()
    if as_json:
        listed = [_listed(entry) for entry in catalogue.entries]
        emit(public_json({"vllm": catalogue.vllm, "models": listed}, indent=True) + b"\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "GPU GiB", "context", "images", "tools", "licence"):
        table.add_column(heading, justify="right" if heading in ("GPU GiB", "context", "images") else "left")
    for entry in catalogue.entries:
        licence = f"{entry.licence.name} *" if entry.licence.bound else entry.licence.name
        memory = f"{entry.memory_gib():.0f}–{entry.memory_gib(_PROMPTS_AT_ONCE):.0f}"
        shape = (memory, f"{entry.served_context_tokens:,}", str(entry.images))
        table.add_row(*map(Text, (entry.name, *shape, _TOOLS[entry.tools], licence)))
    with terminal() as console:
        console.print(table)
        console.print(Text(_FOOT.format(many=_PROMPTS_AT_ONCE, vllm=catalogue.vllm)))


_FOOT = """
GPU GiB: an estimate for 1 to {many} prompts of full length at once, bfloat16.
tools: told of by the model's own chat template, or by ours.
*: terms bind clinical or commercial use. None is a medical device.
All that was checked with vLLM {vllm}, and what was not: --format json
Next: medagent model serve NAME, then: medagent model check"""


def serve(name: str, *, port: int, weights: Path | None, run: bool | None, further: Sequence[str]) -> None:
    """Becomes `vllm serve` with that model, or prints the command. `run` None: prints where vLLM is not installed."""
    entry = find(name)
    if entry.converted and weights is None:
        raise UsageError(f"{entry.name}: {entry.preparation} Then name their folder with --weights")
    if weights is not None and not weights.is_dir():
        raise UsageError(f"--weights: there is no folder {weights}")
    command = serve_command(entry, port=port, weights=weights, further=further)
    program = shutil.which("vllm")
    _advise(entry, port, further)
    if run is False or (run is None and program is None):
        if run is None:
            sys.stderr.write("vLLM is not on PATH here: run this where it is (pip install 'medagent[vllm]')\n")
        settings = " ".join(f"{variable}={value}" for variable, value in _QUIET.items())
        emit(f"{settings} {shlex.join(command)}\n".encode())
        return
    if program is None:
        raise MedAgentError("vLLM is not on PATH; on a GPU host: pip install 'medagent[vllm]'")
    sys.stderr.flush()
    os.execve(program, command, os.environ | _QUIET)  # noqa: S606 - what was asked for: this process becomes vLLM


def _advise(entry: CatalogueEntry, port: int, further: Sequence[str]) -> None:
    """Says, beside the command, what it takes and how MedAgent reaches it."""
    lines = [
        f"{entry.repository} ({entry.architecture}), {entry.licence.name}: {entry.licence.source}",
        f"  Terms: {entry.licence.terms}",
        f"  Use: {entry.intended_use}",
        f"  Memory: {entry.weights_gib:.0f} GiB of weights; about {entry.memory_gib():.0f} GiB for one prompt of "
        f"{entry.served_context_tokens:,} tokens, {entry.memory_gib(_PROMPTS_AT_ONCE):.0f} GiB for {_PROMPTS_AT_ONCE}",
        f"  Chat template: {entry.chat_template_notes}",
    ]
    if entry.preparation is not None:
        lines.append(f"  First: {entry.preparation}")
    if entry.remote_code:
        lines.append("  Beware: Python that comes with the weights runs on the server (--trust-remote-code)")
    if any(flag.split("=")[0] == "--host" for flag in further) and not any("--api-key" in flag for flag in further):
        lines.append("  Beware: it answers whoever reaches it; add --api-key, and set MEDAGENT_MODEL_API_KEY")
    tools = " MEDAGENT_MODEL_TOOLS=false" if entry.tools == "none" else ""
    lines.append(f"  MedAgent: MEDAGENT_MODEL_URL=http://127.0.0.1:{port} MEDAGENT_MODEL={entry.repository}{tools}")
    sys.stderr.write("\n".join(lines) + "\n")


def check(*, url: str | None, model: str | None, as_json: bool) -> bool:
    """Examines a running server and writes each finding; whether all that is needed holds."""
    given = {"model_url": url, "model": model}
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    if settings.model_url is None:
        raise UsageError("--url: name the server, like http://127.0.0.1:8000, or set MEDAGENT_MODEL_URL")
    if as_json:
        findings = asyncio.run(_examined(settings, settings.model_url, None))
        emit(public_json(_report(settings, findings), indent=True) + b"\n")
    else:
        with terminal() as console:
            findings = asyncio.run(_examined(settings, settings.model_url, console))
            _conclude(console, findings)
    return hold(findings)


async def _examined(settings: Settings, url: str, console: Console | None) -> list[Finding]:
    findings = []
    async for finding in examine(url, settings.model, settings.model_api_key, Needs.of(settings)):
        findings.append(finding)
        if console is not None:
            show(console, finding)
    return findings


def _conclude(console: Console, findings: Sequence[Finding]) -> None:
    failing = sum(finding.status == "fails" for finding in findings)
    if failing:
        console.print(Text(f"\nNot fit for MedAgent yet: of what it needs, {failing} did not hold.", "bold red"))
    else:
        console.print("\nAll that MedAgent needs of a server holds. What the model says is another question.")


def _report(settings: Settings, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "url": settings.model_url,
        "model": settings.model,
        "ok": hold(findings),
        "checks": [finding.model_dump() for finding in findings],
    }


def _listed(entry: CatalogueEntry) -> dict[str, Any]:
    """An entry with its estimates, and the command as of this machine."""
    said = entry.model_dump(mode="json")
    said["parameters"] = str(entry.parameters)
    estimated = {str(prompts): round(entry.memory_gib(prompts)) for prompts in (1, _PROMPTS_AT_ONCE)}
    return said | {"gpu_gib_by_prompts": estimated, "command": list(serve_command(entry, port=8000))}
