# SPDX-License-Identifier: Apache-2.0
"""How the tests start and end a server, shown on a stand-in for `vllm`: this needs no vLLM."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders.vllm_server import Environment, ServerError, VllmServer, vllm_environment

TESTS = Path(__file__).resolve().parents[1]

STAND_IN = f"""#!{sys.executable}
import http.server, subprocess, sys
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("engine", engine.pid, flush=True)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""
FAILING = f"""#!{sys.executable}
print("no weights in this folder")
raise SystemExit(3)
"""
HELD = """
import sys, time
from pathlib import Path
from builders.vllm_server import Environment, VllmServer
program = Path(sys.argv[1])
with VllmServer(Environment(program, program.parent, program.parent), "qwen3_vl") as server:
    print(server.process, flush=True)
    time.sleep(600)
"""


def standing_in(folder: Path, text: str) -> Environment:
    """An environment whose `vllm` is a short program."""
    program = folder / "vllm"
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return Environment(program, folder, folder)


def gone(group: int) -> bool:
    """Whether nobody is left in a process group; waits a little."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_server_is_ready_when_entered_and_gone_with_its_engine_when_left(tmp_path: Path) -> None:
    with VllmServer(standing_in(tmp_path, STAND_IN), "qwen3_vl") as server:
        assert server.client.get("/health").is_success
        assert server.log.read_text(encoding="utf-8").startswith("engine ")
    assert gone(server.process)


def test_a_server_that_ends_while_starting_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = VllmServer(standing_in(tmp_path, FAILING), "qwen3_vl")
    with pytest.raises(ServerError, match=r"status 3 while starting:\nno weights in this folder"):
        server.__enter__()
    assert gone(server.process)


def test_a_server_ends_with_the_process_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    program = standing_in(tmp_path, STAND_IN).program
    with subprocess.Popen(  # noqa: S603 - our interpreter, our text
        [sys.executable, "-c", HELD, str(program)], stdout=subprocess.PIPE, text=True, cwd=TESTS
    ) as holder:
        assert holder.stdout is not None
        group = int(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
    assert gone(group)


def test_servers_take_turns(tmp_path: Path) -> None:
    """The lock is held as long as a server runs, and by nobody afterwards."""
    environment = standing_in(tmp_path, STAND_IN)
    held = [sys.executable, "-c", HELD, str(environment.program)]
    with VllmServer(environment, "qwen3_vl"):
        waiting = subprocess.Popen(held, stdout=subprocess.PIPE, text=True, cwd=TESTS)  # noqa: S603 - as above
        time.sleep(2)
        started = [path for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == waiting.pid]
        assert started == []
    with waiting:
        assert waiting.stdout is not None
        assert int(waiting.stdout.readline()) > 0
        waiting.kill()


def _parent(status: Path) -> int | None:
    """The parent of a process. None: it has ended meanwhile."""
    try:
        return int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.mark.parametrize("finished", [[], ["venv"], ["models"]], ids=["nothing", "no models", "no server"])
def test_half_an_environment_is_none(tmp_path: Path, finished: list[str]) -> None:
    for part in finished:
        (tmp_path / part).mkdir()
        (tmp_path / part / ".complete").touch()
    assert vllm_environment(tmp_path) is None
