# SPDX-License-Identifier: Apache-2.0
"""How well runs side by side keep a real vLLM server busy, and how much of their prompts its prefix cache serves.

    make vllm
    pytest -m bench -s tests/bench/bench_model_server.py

Aims: at least 0.95 of the tokens per second of bare vLLM at 8 and at 32 requests at once, and at least 80 % of the
prompts' tokens from the cache from a run's second call on. Bare vLLM means the very bytes that a pass of the agent
sent, sent again by httpx and nothing else: as many chains at once, each chain in its order, for a call needs what the
one before it left in the cache. Both begin with an empty prefix cache and with the schemas' grammars compiled, and
take turns.

Rates are those of SmolLM2-135M on one core of a processor, so that the agent has another, as it has where a server
has a device of its own: real text and real counts of tokens, but answers are short and slow, so that a pass takes a
minute. A faster server leaves the agent less time for each token, longer answers more. SmolLM2 calls no tools: the tiny
Qwen3-VL, whose words are noise, does, and shows what tools' answers leave of the prefix.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import getloadavg
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
from bench.bench_run import SAMPLES
from bench.measuring import percent, show
from builders.runs import Runner, runner
from builders.vllm_server import ABSENT, ONE_AT_A_TIME, SERVED, Serving, VllmServer, vllm_environment

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
    "model_overview_tokens_max": 800,
    "model_reply_tokens_max": 64,
    "model_draft_tokens_max": 96,
    "model_seconds_max": 3_600.0,
}
WITH_TOOLS: Mapping[str, Any] = {
    "model_temperature": 1.0,  # at 0 a random model says the same again and again, and calls nothing
    "model_reply_tokens_max": 256,
    "model_draft_tokens_max": 512,
    "model_seconds_max": 3_600.0,
}

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
        return _cached(run[1:] for run in self.calls)


async def by_the_agent(at: Runner, at_once: int, first_seed: int = 0) -> Pass:
    """As many runs at once, each about another question or chart, and with a seed of its own."""
    services = at.services
    async with open_models(services) as models:
        assert models is not None

        async def one(number: int) -> tuple[Chain, tuple[ModelCall, ...]]:
            noting = Noting(models.model, str(services.settings.model))
            recorded = await recommend(
                services,
                at.source(SAMPLES / f"{CHARTS[number % len(CHARTS)]}.json"),
                patient=None,
                as_of="latest",
                actor="user/benchmark",
                question=f"What should be looked at first in view of goal {number}?",
                models=replace(models, model=noting, bounds=replace(models.bounds, seed=first_seed + number)),
            )
            assert recorded.dossier.reasoning is not None
            return tuple(noting.sent), recorded.dossier.reasoning.model_calls

        started = time.perf_counter()
        done = await asyncio.gather(*map(one, range(at_once)))
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


class OnOneCore(VllmServer):
    """A server that leaves a core to whoever asks it."""

    @property
    def serving(self) -> Serving:
        """As it is, but with one thread."""
        return replace(super().serving, threads=1)


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
        with OnOneCore(environment, name, more=whole) as server:
            yield server


@pytest.mark.parametrize("at_once", [8, 32])
@pytest.mark.parametrize("vllm_server", ["smollm2"], indirect=True)
def test_tokens_per_second_beside_bare_vllm(vllm_server: VllmServer, at_once: int, tmp_path: Path) -> None:
    mine: list[Pass] = []
    bare: list[Pass] = []
    load = getloadavg()[0]
    with runner(tmp_path, model_url=vllm_server.url, model=vllm_server.model, **SHORT) as at:
        asyncio.run(by_the_agent(at, len(CHARTS)))  # loads the guidelines, and has each chart's grammar compiled
        for _ in range(ROUNDS):
            _forget(vllm_server)
            mine.append(asyncio.run(by_the_agent(at, at_once)))
            _forget(vllm_server)
            bare.append(asyncio.run(by_httpx(vllm_server.url, mine[-1].chains)))
    rows = []
    for name, passes in (("bare", bare), ("the agent", mine)):
        ratios = [one.rate / theirs.rate for one, theirs in zip(passes, bare, strict=True)]
        cached = percent([one.cached_later for one in passes]) if passes[0].calls else ""
        tokens, seconds = median(one.generated for one in passes), median(one.seconds for one in passes)
        rate = f"{median(one.rate for one in passes):.1f}"
        shown = f"{median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
        rows.append((name, f"{tokens:,.0f}", f"{seconds:.1f}", rate, shown, cached))
    show(
        f"{vllm_server.model}, {at_once} at once, {sum(map(len, mine[0].chains))} requests in a pass",
        ("", "tokens", "seconds", "tokens/s", "/ bare", "cached from the 2nd call on"),
        rows,
        f"Median of {ROUNDS} rounds in turns (least–greatest). Aims: at least 0.95, at least 80 %. {_load(load)}",
    )


@pytest.mark.parametrize("vllm_server", ["qwen3_vl"], indirect=True)
def test_prompt_tokens_from_the_prefix_cache_with_tools(vllm_server: VllmServer, tmp_path: Path) -> None:
    rows = []
    with runner(tmp_path, model_url=vllm_server.url, model=vllm_server.model, **WITH_TOOLS) as at:
        for at_once in (1, 8):
            passes = []
            for number in range(ROUNDS):
                _forget(vllm_server)
                passes.append(asyncio.run(by_the_agent(at, at_once, first_seed=number * at_once)))
            runs = [run for one in passes for run in one.calls]
            purposes = Counter(call.purpose for run in runs for call in run)
            rows.append(
                (
                    str(at_once),
                    ", ".join(f"{purposes[purpose]} {purpose}" for purpose in ("reason", "draft", "repair")),
                    f"{median(run[-1].prompt_tokens for run in runs):,.0f}",
                    f"{_cached(run[:1] for run in runs):.1%}",
                    percent([one.cached_later for one in passes]),
                )
            )
    show(
        f"Prompt tokens that the prefix cache serves, runs with tools: {vllm_server.model} with random weights",
        ("at once", "calls", "last prompt", "of first calls", "from the 2nd call on"),
        rows,
        f"{ROUNDS} passes, each from an empty cache: median (least–greatest). Aim: at least 80 %.",
    )


def _cached(runs: Iterable[Sequence[ModelCall]]) -> float:
    """The share of the prompts' tokens that the cache served."""
    calls = [call for run in runs for call in run]
    return sum(call.cached_tokens or 0 for call in calls) / sum(call.prompt_tokens for call in calls)


def _load(before: float) -> str:
    return f"Load before: {before:.1f}."
