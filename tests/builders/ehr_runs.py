# SPDX-License-Identifier: Apache-2.0
"""Whole runs against a simulated hospital that knows us: by the right of our backend service, or of a launch.

    with site(home, *record, page=3) as at:
        at.ehr.on("Observation", status(403))
        said = document(at.run("patient-1"))                        # by the backend service
        session = at.launched("patient-1")
        recorded = at.run("patient-1", session=session)             # by the right of a launch

With `model=` a scripted model takes part, so that types are read on demand.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rich.console import Console

from builders.hospital import Asked, Client, Hospital, Loadable, Smart, hospital
from builders.launching import SYSTEM, ehr_toml
from builders.model_server import ModelServer
from builders.runs import instant_of
from medagent.clock import SystemClock
from medagent.settings import Settings
from medagent_fhir.smart import Launcher, SigningKeys, SmartSession
from medagent_workflows.ehrs import EhrSource, Entrance, launcher, open_launched, open_server, registry
from medagent_workflows.recommending import Recorded, recommend
from medagent_workflows.rendering.terminal import write_dossier
from medagent_workflows.wiring import Services, open_models, open_services

AS_OF = instant_of("2026-06-30T23:59:59+00:00")
REDIRECT = "http://127.0.0.1:8000/callback"
SCOPES = ("openid", "fhirUser", "offline_access", "patient/*.rs")
BROWSER = "a-browser-that-is-one-and-the-same-all-along"


@cache
def _keys() -> tempfile.TemporaryDirectory[str]:
    """Keys that all sites of this process sign with: making some takes a second."""
    return tempfile.TemporaryDirectory(prefix="site-keys-")


@dataclass(frozen=True, slots=True)
class Site:
    """An EHR, and our services as its site has configured them."""

    ehr: Hospital
    services: Services

    def run(self, patient: str, *, session: SmartSession | None = None, question: str | None = None) -> Recorded:
        """One request to its outcome."""

        async def whole() -> Recorded:
            has_model = self.services.settings.model_url is not None
            async with (
                open_models(self.services) as models,
                self._opened(patient, session, has_model=has_model) as source,
            ):
                return await recommend(
                    self.services,
                    source,
                    patient=patient,
                    as_of=AS_OF,
                    actor="test",
                    question=question,
                    models=models,
                )

        return asyncio.run(whole())

    def launched(self, patient: str, **context: Any) -> SmartSession:
        """The session of a launch from the EHR, browser and all."""

        async def launch() -> SmartSession:
            begun = await self.launcher.begin(self.ehr.url, self.ehr.launch(patient, **context), BROWSER)
            callback = urlsplit(self.ehr.approve(begun))
            return await self.launcher.finish(parse_qsl(callback.query), BROWSER)

        return asyncio.run(launch())

    @property
    def launcher(self) -> Launcher:
        """Of this site."""
        return launcher(self.services, registry(self.services.settings), REDIRECT)

    @property
    def asked_for_tokens(self) -> list[str]:
        """The grant types of the requests to the token endpoint, in order."""
        return [dict(one.form)["grant_type"] for one in self.ehr.requests if one.path == "/oauth/token"]

    def asked(self, resource_type: str) -> list[Asked]:
        """Requests for resources of a type."""
        return [one for one in self.ehr.requests if one.path.startswith(f"/fhir/{resource_type}")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of what stands in the audit log under a type."""
        store, tenant = self.services.store, self.services.settings.tenant
        found = [one.header for one in store.audit_events(tenant, limit=10_000) if one.header.type == kind]
        return [dict(store.audit_event(one.id, tenant, "test")[1]) for one in found]

    def _opened(
        self, patient: str, session: SmartSession | None, *, has_model: bool
    ) -> AbstractAsyncContextManager[EhrSource]:
        entrance = Entrance(actor="test", patient=f"Patient/{patient}", has_model=has_model)
        if session is None:
            return open_server(self.services, self.ehr.url, entrance)
        ehr = registry(self.services.settings).named(session.ehr)
        assert ehr is not None
        return open_launched(self.services, self.launcher, ehr, session, entrance)


@contextmanager
def site(
    home: Path,
    *record: Loadable,
    scopes: Sequence[str] = SCOPES,
    backend: Sequence[str] = SYSTEM,
    smart: dict[str, Any] | None = None,
    hospital_options: dict[str, Any] | None = None,
    page: int = 50,
    model: ModelServer | None = None,
    **settings: Any,
) -> Iterator[Site]:
    """A site whose records and registry lie in `home`."""
    folder = Path(_keys().name)
    keys = SigningKeys(folder, SystemClock())
    client = Client(kind="asymmetric", jwks=keys.jwks, backend=True, redirect_uris=(REDIRECT,))
    named = {} if model is None else {"model_url": model.url, "model": model.name}
    with hospital(*record, page=page, smart=Smart((client,), **(smart or {})), **(hospital_options or {})) as ehr:
        file = home / "ehrs.toml"
        file.write_text(ehr_toml(ehr, scopes=scopes, backend=backend), "utf-8")
        own = Settings.load(home=home / "records", ehrs_file=file, smart_key_folder=folder, **(named | settings))
        with open_services(own) as services:
            yield Site(ehr, services)


def on_screen(recorded: Recorded) -> str:
    """What a terminal shows of a run, without the breaks of its lines."""
    out = StringIO()
    write_dossier(Console(file=out, width=200), recorded.dossier)
    return " ".join(out.getvalue().split())


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is inside has to be over by then."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
