# SPDX-License-Identifier: Apache-2.0
"""The web application behind a real socket, the file of its EHRs, and a browser that keeps cookies.

with listening() as socket:
    with hospital(*record, smart=smart_for(socket)) as ehr, serving(home, socket, ehr) as web:
        page = web.browser().launched(ehr, "patient-1")
"""

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from builders.hospital import Client, Hospital, Smart
from medagent.settings import Settings
from medagent_workflows.ehrs import registry
from medagent_workflows.web.app import Web
from medagent_workflows.web.serving import server_of
from medagent_workflows.wiring import Services, open_services

SCOPES = ("openid", "fhirUser", "patient/*.rs")
SYSTEM = ("system/*.rs",)
PATIENCE = 60.0  # seconds

_PAGE = re.compile(r"/launched/[A-Za-z0-9_-]{22}")


def ehr_toml(*ehrs: Hospital, scopes: Sequence[str] = SCOPES, backend: Sequence[str] = (), name: str = "north") -> str:
    """The registry of a site that works with these; the first is called by the name."""
    return "\n".join(
        _entry(ehr.url, name if place == 0 else f"{name}-{place}", scopes, backend) for place, ehr in enumerate(ehrs)
    )


def _entry(issuer: str, name: str, scopes: Sequence[str], backend: Sequence[str]) -> str:
    kind = '{ kind = "asymmetric", alg = "ES384" }' if backend else '{ kind = "public" }'
    lines = [
        "[[ehr]]",
        f'name = "{name}"',
        f'issuer = "{issuer}"',
        'client_id = "medagent"',
        f"authentication = {kind}",
        f"scopes = {list(scopes)!r}",
        *([f"backend = {{ scopes = {list(backend)!r} }}"] if backend else []),
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket on loopback: its port is known before anybody has to register it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    """Where browsers reach who listens there."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def smart_for(listener: socket.socket, **more: Any) -> Smart:
    """How a hospital authorizes that knows us as a public client."""
    return Smart((Client(redirect_uris=(f"{url_of(listener)}/callback",)),), **more)


@dataclass(frozen=True, slots=True)
class Serving:
    """The application as it runs."""

    url: str
    services: Services
    closing: ExitStack

    def browser(self) -> "Browser":
        """Another one, without cookies."""
        client = httpx.Client(trust_env=False, timeout=PATIENCE, headers={"Accept": "text/html,application/xhtml+xml"})
        return Browser(self.url, self.closing.enter_context(client))

    def events(self) -> list[str]:
        """The types of what is on record, the oldest first."""
        found = self.services.store.audit_events(self.services.settings.tenant, limit=10_000)
        return [event.header.type for event in found][::-1]


@contextmanager
def serving(home: Path, listener: socket.socket, *ehrs: Hospital, **settings: Any) -> Iterator[Serving]:
    """Serves for these EHRs, with records in `home`."""
    file = home / "ehrs.toml"
    file.write_text(ehr_toml(*ehrs), "utf-8")
    own = Settings.load(home=home / "records", ehrs_file=file, **settings)
    with open_services(own) as services:
        url = url_of(listener)
        server = server_of(Web.of(services, registry(own), own.public_url or url))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web")
        thread.start()
        try:
            wait(lambda: server.started or not thread.is_alive())
            with ExitStack() as closing:
                yield Serving(url, services, closing)
        finally:
            server.should_exit = True
            thread.join()


@dataclass(slots=True)
class Browser:
    """Of one user. It follows no redirect by itself, so that each can be looked at."""

    url: str
    client: httpx.Client

    def get(self, path: str, **parameters: str) -> httpx.Response:
        """A page of ours."""
        return self.client.get(self.url + path, params=parameters or None)

    def post(self, path: str, **headers: str) -> httpx.Response:
        """A form of ours."""
        return self.client.post(self.url + path, headers=headers)

    def authorized(self, ehr: Hospital, launch: str | None) -> str:
        """The address of the callback that the EHR sends the browser to."""
        parameters = {"iss": ehr.url} | ({} if launch is None else {"launch": launch})
        begun = self.get("/launch", **parameters)
        assert begun.status_code == 303, begun.text
        return ehr.approve(begun.headers["location"])

    def called_back(self, callback: str) -> str:
        """The path of the launched page."""
        answer = self.client.get(callback)
        assert answer.status_code == 303, answer.text
        assert _PAGE.fullmatch(answer.headers["location"])
        return str(answer.headers["location"])

    def launched(self, ehr: Hospital, patient: str | None = "patient-1", **context: Any) -> httpx.Response:
        """The page after a launch from the EHR, once its run has come to an end."""
        return self.ended(self.called_back(self.authorized(ehr, ehr.launch(patient, **context))))

    def ended(self, path: str) -> httpx.Response:
        """A launched page, once its run has come to an end."""
        pages: list[httpx.Response] = []

        def is_done() -> bool:
            pages.append(self.get(path))
            return "In preparation" not in pages[-1].text

        wait(is_done)
        return pages[-1]


def wait(is_done: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not is_done():
        assert time.monotonic() < until, "nothing came of it in time"
        time.sleep(0.05)
