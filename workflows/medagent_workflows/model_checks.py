# SPDX-License-Identifier: Apache-2.0
"""What a running model server must be able to do for MedAgent: a finding for each ability, and what to do about it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from pydantic import SecretStr

from medagent.clock import SystemClock
from medagent.errors import ModelError
from medagent.model.breaker import Breaker
from medagent.model.vllm import VllmModel, replies
from medagent.model.vllm.channel import Channel, Question, Retries, server_root
from medagent_workflows import model_proofs as proofs
from medagent_workflows.findings import Finding, Status
from medagent_workflows.model_proofs import Needs, Subject, Unproven

_LIST_SECONDS = 15.0


def _always(_: Needs) -> bool:
    return True


def _never(_: Needs) -> bool:
    return False


def _with_tools(needs: Needs) -> bool:
    return needs.tools


def _with_images(needs: Needs) -> bool:
    return needs.images > 0


def _with_adapter(needs: Needs) -> bool:
    return needs.adapter is not None


@dataclass(frozen=True, slots=True)
class Check:
    """One ability."""

    name: str
    title: str
    remedy: str
    needed: Callable[[Needs], bool] = _always

    def holds(self, needs: Needs, detail: str) -> Finding:
        """It was proven."""
        return self._finding(needs, "holds", detail)

    def fails(self, needs: Needs, detail: str) -> Finding:
        """It was not."""
        return self._finding(needs, "fails" if self.needed(needs) else "lacks", detail, self.remedy)

    def untried(self, needs: Needs) -> Finding:
        """What it rests on is not there."""
        return self._finding(needs, "untried", "not tried")

    def _finding(
        self,
        needs: Needs,
        status: Status,
        detail: str,
        remedy: str | None = None,
    ) -> Finding:
        needed = self.needed(needs)
        return Finding(check=self.name, title=self.title, status=status, needed=needed, detail=detail, remedy=remedy)


_WITHOUT_TOOLS = "or set MEDAGENT_MODEL_TOOLS=false: it then drafts from the overview alone"
_PARSER = (
    "start vLLM with --enable-auto-tool-choice --tool-call-parser PARSER --tool-strict-level parameter, "
    + _WITHOUT_TOOLS
)
_TEMPLATE = f"start vLLM with a --chat-template that tells of tools (see: medagent model serve), {_WITHOUT_TOOLS}"
_XGRAMMAR = """start vLLM with --structured-outputs-config '{"backend":"xgrammar","disable_any_whitespace":true}'"""
_CACHE = "start vLLM with --enable-prefix-caching --enable-prompt-tokens-details"

_REACHABLE = Check("reachable", "Server", "start it (medagent model serve NAME), or correct MEDAGENT_MODEL_URL")
_SERVED = Check("model", "Model", "correct MEDAGENT_MODEL, or serve the model under that name")
_CHECKS: tuple[tuple[Check, Callable[[Subject], Awaitable[str]]], ...] = (
    (Check("version", "Version", "upgrade it; another server is used at the site's own risk", _never), proofs.version),
    (Check("tokenizer", "Token counts", "serve with vLLM, whose /tokenize is the model's own"), proofs.tokenizer),
    (Check("context", "Context", "serve with a larger --max-model-len, or a model that has one"), proofs.context),
    (Check("chat", "Chat", "serve an instruction-tuned model that has a chat template"), proofs.chat),
    (
        Check("image", "Image", "serve a model for images, or set MEDAGENT_MODEL_IMAGES_MAX=0", _with_images),
        proofs.image,
    ),
    (
        Check("images", "Images per prompt", """start vLLM with --limit-mm-per-prompt '{"image":N}'""", _with_images),
        proofs.images,
    ),
    (Check("schema", "Answer bound by a schema", _XGRAMMAR), proofs.schema),
    (Check("tools_told", "Tools, told of", _TEMPLATE, _with_tools), proofs.tools_told),
    (Check("tools_required", "Tool, required", _PARSER, _with_tools), proofs.tools_required),
    (Check("tools_auto", "Tools, left to the model", _PARSER, _with_tools), proofs.tools_auto),
    (Check("tools_answered", "Answers of tools", _TEMPLATE, _with_tools), proofs.tools_answered),
    (Check("draft", "Draft as a run asks for it", f"{_XGRAMMAR}, or serve a larger model"), proofs.draft),
    (
        Check("parallel", "Requests side by side", "lower MEDAGENT_MODEL_CONCURRENCY"),
        proofs.parallel,
    ),
    (Check("too_long", "Prompt that is too long", "let nothing between cut prompts"), proofs.too_long),
    (Check("seed", "Seed", "for runs that repeat exactly serve with --dtype float32", _never), proofs.seed),
    (Check("logprobs", "Log probabilities", "serve with --max-logprobs 1 or more", _never), proofs.logprobs),
    (Check("streaming", "Streaming", "let nothing between change answers", _never), proofs.streaming),
    (Check("prefix_cache", "Prefix cache", _CACHE, _never), proofs.prefix_cache),
    (
        Check("adapters", "Adapters", "start vLLM with --enable-lora --lora-modules NAME=FOLDER", _with_adapter),
        proofs.adapters,
    ),
)
"""In the order in which one rests on another."""


async def examine(url: str, name: str | None, api_key: SecretStr | None, needs: Needs) -> AsyncIterator[Finding]:
    """Each finding as it is made.

    (1) The server answers. (2) It serves the model, or one only where none is named. Without either, the rest is not
    tried. (3) Each ability is proven by itself.
    """
    # (1)
    try:
        names = await _names(url, api_key)
    except ModelError as error:
        yield _REACHABLE.fails(needs, str(error))
        for check in (_SERVED, *(check for check, _ in _CHECKS)):
            yield check.untried(needs)
        return
    yield _REACHABLE.holds(needs, f"answers at {server_root(url)}")
    # (2)
    try:
        model = VllmModel(url, _chosen(names, name), api_key=api_key, retries=Retries(attempts=2))
        async with model:
            subject = Subject(model, await model.served(), needs)
            yield _SERVED.holds(needs, f"{model.name}, loaded from {subject.served.root or 'where it does not say'}")
            # (3)
            for check, prove in _CHECKS:
                yield await _proven(check, prove, subject)
    except (ModelError, Unproven) as error:
        yield _SERVED.fails(needs, str(error))
        for check, _ in _CHECKS:
            yield check.untried(needs)


async def _proven(check: Check, prove: Callable[[Subject], Awaitable[str]], subject: Subject) -> Finding:
    try:
        return check.holds(subject.needs, await prove(subject))
    except (ModelError, Unproven) as error:
        return check.fails(subject.needs, str(error))


async def _names(url: str, api_key: SecretStr | None) -> tuple[str, ...]:
    """The models that are served; the seam knows only the one that it was made for."""
    once = Retries(attempts=1)
    channel = Channel(server_root(url), api_key, clock=SystemClock(), retries=once, breaker=Breaker(), connections=1)
    try:
        body, _ = await channel.ask(
            Question("GET", "/v1/models"), lambda response: response.aread(), seconds=_LIST_SECONDS, late="unavailable"
        )
    finally:
        await channel.aclose()
    return tuple(card.id for card in replies.read(body, replies.Cards, "/v1/models").data if card.parent is None)


def _chosen(names: tuple[str, ...], name: str | None) -> str:
    listed = ", ".join(names) or "nothing"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise Unproven(f"none is named, and served is {listed}")
    if name not in names:
        raise Unproven(f"{name} is not served; served is {listed}")
    return name
