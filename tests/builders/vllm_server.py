# SPDX-License-Identifier: Apache-2.0
"""A real vLLM server with one of the small models, for as long as a test needs it.

`make vllm` sets up what it starts (tests/vllm/install.py). By hand, until Ctrl-C:

    cd tests && ../.venv/bin/python -m builders.vllm_server qwen3_vl
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

HOME = Path(__file__).resolve().parents[2] / ".vllm"
ABSENT = "needs vLLM: make vllm"
ONE_AT_A_TIME = pytest.mark.xdist_group("vllm")
"""With `--dist loadgroup` one process runs all of these tests, so that each server is started once."""

START = 600.0  # seconds; 25 to 60 on two idle cores, four minutes on busy ones
STOP = 20.0  # seconds between asking and killing
TURN = 1800.0  # seconds to wait while tests of another process hold the server's turn
ANSWER = 120.0  # seconds for one answer
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Environment:
    """What `make vllm` made."""

    program: Path
    models: Path
    home: Path
    """Where the lock and the caches lie."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is served."""

    window: int = 32_768  # tokens
    cache: int = 256 * MEBIBYTE  # bytes for keys and values, 1 KiB per token of a tiny model
    images: int = 4  # per request
    threads: int = 1  # a tiny model gains nothing from a second, and waits for it where cores are busy


SERVED: Mapping[str, Serving] = {
    "gemma3": Serving(),
    "qwen3_vl": Serving(),
    "qwen2_5_vl": Serving(),
    "llava": Serving(),
    "blip2": Serving(window=2048, images=1),
    "smolvlm": Serving(),
    "smollm2": Serving(window=8192, cache=2048 * MEBIBYTE, images=0, threads=2),  # 45 KiB per token
}


class ServerError(Exception):
    """The server cannot be used. The message ends with what it logged last."""


def vllm_environment(home: Path = HOME) -> Environment | None:
    """None: `make vllm` was not run or did not end well; skip with `ABSENT`."""
    complete = all((home / part / ".complete").exists() for part in ("venv", "models"))
    return Environment(home / "venv" / "bin" / "vllm", home / "models", home) if complete else None


class VllmServer:
    """Serves one model on a free port of the loopback interface. A context manager.

    1. Waits for its turn: two servers at once would starve each other, and time-outs would lie.
    2. Starts in a process group of its own, with its log in a file.
    3. Is ready when /health says so.
    4. Ends the group that it started, and waits until it is gone.
    """

    def __init__(
        self, environment: Environment, model: str, folder: Path | None = None, *, more: Sequence[str] = ()
    ) -> None:
        self.environment = environment
        self.model = model
        """Also the name under which requests ask for it."""
        self.log = (folder or environment.home / "logs") / f"{model}.log"
        """Kept, so that it can be read after the tests."""
        self.started_in = 0.0
        """Seconds until it was ready."""
        self._more = more
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_turn(self.environment.home / "turn.lock"))  # (1)
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            self._process = stack.enter_context(self._started(port))  # (2), (4)
            self.client = stack.enter_context(_client(self.url))
            self._wait(self._process)  # (3)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def process(self) -> int:
        """The id of the process, which is also that of its group."""
        if self._process is None:
            raise ServerError("the server was not started: enter it first")
        return self._process.pid

    @property
    def serving(self) -> Serving:
        """How it is served."""
        return SERVED[self.model]

    def chat(self, *messages: Mapping[str, object], **more: object) -> dict[str, Any]:
        """The answer to a chat completion; fails with the server's words where it gives none."""
        body = {"model": self.model, "messages": messages, "max_tokens": 64, **more}
        response = self.client.post("/v1/chat/completions", json=body)
        if response.is_error:
            raise ServerError(f"{response.status_code} {response.text}")
        answer: dict[str, Any] = response.json()
        return answer

    def counter(self, name: str) -> float:
        """A counter of /metrics, over all its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        if not found:
            raise ServerError(f"/metrics has no {name}")
        return sum(found)

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def arguments(self, port: int) -> list[str]:
        """The command that serves the model."""
        serving = self.serving
        grammar = {"backend": "xgrammar", "disable_any_whitespace": True}
        options: dict[str, object] = {
            "--host": "127.0.0.1",
            "--port": port,
            "--served-model-name": self.model,
            "--dtype": "float32",  # bfloat16 answers otherwise in other batches
            "--max-model-len": serving.window,
            "--max-num-batched-tokens": serving.window,
            "--max-num-seqs": 32,
            "--kv-cache-memory-bytes": serving.cache,
            "--structured-outputs-config": json.dumps(grammar),
            "--tool-call-parser": "hermes",
            "--tool-strict-level": "parameter",  # else arguments are not held to their schema
        }
        if serving.images:
            options["--limit-mm-per-prompt"] = json.dumps({"image": serving.images})
        flags = ["--enforce-eager", "--enable-auto-tool-choice", "--enable-prompt-tokens-details"]
        flags.append("--no-enable-chunked-prefill")  # in parts, a prompt with a seed ends the server of a CPU
        named = [str(part) for option in options.items() for part in option]
        folder = self.environment.models / self.model
        return [str(self.environment.program), "serve", str(folder), *named, *flags, *self._more]

    @contextmanager
    def _started(self, port: int) -> Iterator[subprocess.Popen[bytes]]:
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the program that make vllm installed
                self.arguments(port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_variables(self.environment.home / "cache", self.serving.threads),
                start_new_session=True,
            )
        with _guarded(process):
            yield process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        began = time.monotonic()
        while not self._healthy():
            self.started_in = time.monotonic() - began
            if process.poll() is not None:
                raise ServerError(f"vLLM ended with status {process.returncode} while starting:\n{self.tail()}")
            if self.started_in > START:
                raise ServerError(f"vLLM was not ready after {START:.0f} s:\n{self.tail()}")
            time.sleep(0.2)

    def _healthy(self) -> bool:
        try:
            return self.client.get("/health").is_success
        except httpx.TransportError:
            return False


def _client(url: str) -> httpx.Client:
    once = httpx.Limits(max_keepalive_connections=0)  # vLLM closes idle connections, at times just as we ask again
    return httpx.Client(base_url=url, timeout=ANSWER, trust_env=False, limits=once)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _variables(cache: Path, threads: int) -> dict[str, str]:
    """Of this process, and what keeps vLLM offline, silent about its users, and inside its folder."""
    own = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return {
        **own,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(cache / "hub"),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TORCH_COMPILE_DISABLE": "1",  # the first request for logprobs would compile for 20 seconds
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads bound to a core that another process uses stall
    }


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Holds the lock. The system releases it when this process ends, however it ends."""
    deadline = time.monotonic() + TURN
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ServerError(f"another process holds {lock.name} for {TURN:.0f} s") from error
                time.sleep(0.2)
        yield


@contextmanager
def _guarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the whole group, for the engine is a process of its own; also where this process is killed.

    The guard reads from a pipe that only this process holds open: the system closes it when we are gone.
    """
    program = f"read -r line; kill -s KILL -- -{process.pid}"
    with subprocess.Popen(["/bin/sh", "-c", program], stdin=subprocess.PIPE, start_new_session=True) as guard:  # noqa: S603 - the text above
        try:
            yield
        finally:
            _end(process)
            guard.kill()  # before the pipe is closed: by then the number may be somebody else's


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def main(model: str) -> None:
    """Serves until interrupted."""
    environment = vllm_environment()
    if environment is None:
        raise SystemExit(ABSENT)
    with VllmServer(environment, model) as server:
        print(f"{server.model} at {server.url} after {server.started_in:.0f} s; log: {server.log}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["qwen3_vl"])
