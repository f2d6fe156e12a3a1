# SPDX-License-Identifier: Apache-2.0
"""How well runs side by side keep a real vLLM server busy, and how much of their prompts its prefix cache serves.

    make vllm
    pytest -m bench -s tests/bench/bench_model_server.py

Aims: at least 0.95 of the tokens per second of bare vLLM at 8 and at 32 requests at once, and at least 80 % of the
prompts' tokens from the cache from a run's second call on. Bare vLLM means the very bytes that a pass of the agent
sent, sent again by httpx and nothing else: as many chains at once, each chain in its order, for a call needs what the
one before it left in the cache. Both begin with an empty prefix cache and with the schemas' grammars compiled, and
take turns.

Rates are those of SmolLM2-135M: real text and real counts of tokens, but a small model on a processor that it shares
with the agent. What the agent computes it takes away from this server; a server with a device of its own loses none of
it, but is faster, so that the agent has less time to spare. SmolLM2 calls no tools: the tiny Qwen3-VL, whose words are
noise, does, and shows what tools' answers leave of the prefix.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
from bench.bench_run import SAMPLES
from bench.measuring import percent, show
from builders.runs import Runner, runner
from builders.vllm_server import ABSENT, ONE_AT_A_TIME, SERVED, VllmServer, vllm_environment

from medagent.canonical import sha256_hex
from medagent.model.exchange import ModelReply, ModelRequest, Served
from medagent.model.seam import Model
from medagent.model.vllm.bodies import completion_body
from medagent.records import ModelCall
from medagent_workflows.recommending import recommend
from medagent_workflows.wiring import open_models

pytestmark = [pytest.mark.bench, pytest.mark.vllm, ONE_AT_A_TIME]

ROUNDS = 3
CHARTS = ("diabetes-kidney", "allergies-interactions", "chest-ct-nodule", "contradictory-missing", "healthy")
SHORT: Mapping[str, Any] = {
    "model_reply_tokens_max": 128,
    "model_draft_tokens_max": 256,
    "model_overview_tokens_max": 1_000,
}
"""So that a pass takes a minute. Longer answers would leave the agent more time between two of its own steps."""

WITH_TOOLS: Mapping[str, Any] = {**SHORT, "model_temperature": 1.0, "model_reply_tokens_max": 256}
"""At temperature 0 a random model says the same again and again, and calls nothing."""

Chain = tuple[bytes, ...]
"""The bodies that one run sent, in order."""


@dataclass(slots=True)
class Noting:
    """A model that keeps what it sends."""

    model: Model
    name: str
    sent: list[bytes] = field(default_factory=list)

    async def served(self) -> Served:
        """As it is."""
        return await self.model.served()

    async def tokens(self, request: ModelRequest) -> int:
        """As it is."""
        return await self.model.tokens(request)

    async def text_tokens(self, text: str) -> int:
        """As it is."""
        return await self.model.text_tokens(text)

    async def answer(self, request: ModelRequest, *, seconds: float) -> ModelReply:
        """As it is, and kept."""
        body = completion_body(request, self.name, stream=False)
        reply = await self.model.answer(request, seconds=seconds)
        assert sha256_hex(body) == reply.request_sha256, "another body was sent than is kept here"
        self.sent.append(body)
        return reply


@dataclass(frozen=True, slots=True)
class Pass:
    """What so many at once got out of the server."""

    seconds: float
    generated: int
    """Tokens."""
    chains: tuple[Chain, ...] = ()
    calls: tuple[tuple[ModelCall, ...], ...] = ()
    """Of each run, in order."""

    @property
    def rate(self) -> float:
        """Generated tokens per second."""
        return self.generated / self.seconds

    @property
    def cached_later(self) -> float:
        """The share of the prompts' tokens that the cache served, of all calls but each run's first."""
        later = [call for run in self.calls for call in run[1:]]
        return sum(call.cached_tokens or 0 for call in later) / sum(call.prompt_tokens for call in later)


async def by_the_agent(at: Runner, at_once: int) -> Pass:
    """As many runs at once, each about another question or chart."""
    services = at.services
    asks = [
        (CHARTS[number % len(CHARTS)], f"What should be looked at first in view of goal {number}?")
        for number in range(at_once)
    ]
    async with open_models(services) as models:
        assert models is not None

        async def one(chart: str, question: str) -> tuple[Chain, tuple[ModelCall, ...]]:
            noting = Noting(models.model, str(services.settings.model))
            source = at.source(SAMPLES / f"{chart}.json")
            recorded = await recommend(
                services,
                source,
                patient=None,
                as_of="latest",
                actor="user/benchmark",
                question=question,
                models=replace(models, model=noting),
            )
            assert recorded.dossier.reasoning is not None
            return tuple(noting.sent), recorded.dossier.reasoning.model_calls

        started = time.perf_counter()
        done = await asyncio.gather(*(one(*ask) for ask in asks))
        seconds = time.perf_counter() - started
    calls = tuple(made for _, made in done)
    generated = sum(call.completion_tokens for run in calls for call in run)
    return Pass(seconds, generated, tuple(chain for chain, _ in done), calls)


async def by_httpx(url: str, chains: Sequence[Chain]) -> Pass:
    """The same bodies, and nothing else."""
    limits = httpx.Limits(max_connections=len(chains), max_keepalive_connections=len(chains), keepalive_expiry=4)
    async with httpx.AsyncClient(base_url=url, timeout=None, trust_env=False, limits=limits) as client:  # noqa: S113  # a busy server takes minutes

        async def one(chain: Chain) -> int:
            generated = 0
            for body in chain:
                answer = await client.post(
                    "/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}
                )
                answer.raise_for_status()
                generated += answer.json()["usage"]["completion_tokens"]
            return generated

        started = time.perf_counter()
        tokens = await asyncio.gather(*map(one, chains))
        return Pass(time.perf_counter() - started, sum(tokens))


def _forget(server: VllmServer) -> None:
    """Empties the prefix cache."""
    server.client.post("/reset_prefix_cache").raise_for_status()


@pytest.fixture(scope="module")
def vllm_server(request: pytest.FixtureRequest) -> Iterator[VllmServer]:
    """A server of the named model that lets its cache be emptied."""
    environment = vllm_environment()
    if environment is None:
        pytest.skip(ABSENT)
    name = request.param
    # On a processor a seeded request with a prompt of several prefills ends vLLM 0.32: prefill in one.
    whole = ("--max-num-batched-tokens", str(SERVED[name].window))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        with VllmServer(environment, name, more=whole) as server:
            yield server


@pytest.mark.parametrize("vllm_server", ["smollm2"], indirect=True)
def test_tokens_per_second_beside_bare_vllm(vllm_server: VllmServer, tmp_path: Path) -> None:
    rows = []
    for at_once in (8, 32):
        settings = {**SHORT, "model_seconds_max": 3_600.0}
        with runner(tmp_path / str(at_once), model_url=vllm_server.url, model=vllm_server.model, **settings) as at:
            first = asyncio.run(by_the_agent(at, at_once))  # compiles the grammars, and gives the chains
            mine, bare = [], []
            for _ in range(ROUNDS):
                _forget(vllm_server)
                bare.append(asyncio.run(by_httpx(vllm_server.url, first.chains)))
                _forget(vllm_server)
                mine.append(asyncio.run(by_the_agent(at, at_once)))
        ratios = [ours.rate / theirs.rate for ours, theirs in zip(mine, bare, strict=True)]
        rows.append(
            (
                str(at_once),
                f"{sum(map(len, first.chains))}",
                f"{median(one.generated for one in mine):,.0f}",
                f"{median(one.rate for one in bare):.1f}",
                f"{median(one.rate for one in mine):.1f}",
                f"{median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})",
                percent([one.cached_later for one in mine]),
            )
        )
    show(
        f"Tokens per second driven by runs at once, and by the same requests sent bare: {vllm_server.model}",
        ("at once", "calls", "tokens", "bare /s", "agent /s", "agent / bare", "cached from the 2nd call on"),
        rows,
        f"Median of {ROUNDS} rounds in turns (least–greatest). Aims: at least 0.95; at least 80 %.",
    )


@pytest.mark.parametrize("vllm_server", ["qwen3_vl"], indirect=True)
def test_prompt_tokens_from_the_prefix_cache_with_tools(vllm_server: VllmServer, tmp_path: Path) -> None:
    rows = []
    settings = {**WITH_TOOLS, "model_seconds_max": 3_600.0}
    with runner(tmp_path, model_url=vllm_server.url, model=vllm_server.model, **settings) as at:
        for at_once in (1, 8):
            passes = []
            for _ in range(ROUNDS):
                _forget(vllm_server)
                passes.append(asyncio.run(by_the_agent(at, at_once)))
            calls = [call for one in passes for run in one.calls for call in run]
            firsts = [run[0] for one in passes for run in one.calls]
            rows.append(
                (
                    str(at_once),
                    str(len(calls)),
                    f"{median(call.prompt_tokens for call in calls):,.0f}",
                    f"{sum(one.cached_tokens or 0 for one in firsts) / sum(one.prompt_tokens for one in firsts):.1%}",
                    percent([one.cached_later for one in passes]),
                )
            )
    show(
        f"Prompt tokens that the prefix cache serves, runs with tools: {vllm_server.model} with random weights",
        ("at once", "calls", "prompt tokens", "of first calls", "from the 2nd call on"),
        rows,
        f"{ROUNDS} passes, each from an empty cache: median (least–greatest). Aim: at least 80 %.",
    )
