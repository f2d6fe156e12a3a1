# SPDX-License-Identifier: Apache-2.0
"""A simulated hospital in a process of its own, so that a benchmark does not measure it together with its client.

    with hospital_alone(folder, page=1000) as url: ...

Also `python -m builders.hospital_alone --port-file FILE [--page COUNT] PATH…`, which serves until it is killed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builders.hospital import hospital

_SECONDS_TO_START = 120


@contextmanager
def hospital_alone(*paths: Path, page: int = 1000) -> Iterator[str]:
    """The FHIR base of a hospital with what these files or folders hold. It is open to all."""
    with tempfile.TemporaryDirectory(prefix="hospital-") as folder:
        port_file = Path(folder) / "port"
        environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[1])}
        options = ["--port-file", str(port_file), "--page", str(page), *map(str, paths)]
        command = [sys.executable, "-m", "builders.hospital_alone", *options]
        with subprocess.Popen(command, env=environment) as process:  # noqa: S603  # our own program
            try:
                end = time.monotonic() + _SECONDS_TO_START
                while not port_file.exists():
                    assert process.poll() is None, "The hospital ended before it answered"
                    assert time.monotonic() < end, "The hospital took too long to start"
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port_file.read_text('ascii')}/fhir"
            finally:
                process.kill()


def main() -> None:
    """Serves until it is killed. The port file appears, whole, once it answers."""
    parser = argparse.ArgumentParser(description="A simulated hospital on loopback")
    parser.add_argument("--port-file", required=True, type=Path)
    parser.add_argument("--page", type=int, default=1000, help="entries of a page at most")
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders of FHIR resources")
    options = parser.parse_args()
    with hospital(*options.paths, page=options.page) as ehr:
        partial = options.port_file.with_suffix(".partial")
        partial.write_text(ehr.root.rpartition(":")[2], encoding="ascii")
        partial.replace(options.port_file)
        threading.Event().wait()


if __name__ == "__main__":
    main()
