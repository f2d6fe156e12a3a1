# SPDX-License-Identifier: Apache-2.0
"""A site that works with simulated hospitals under SMART App Launch, and the browser of one of its users.

with hospital(smart=Smart(clock=clock)) as ehr, site(home, ehr, clock=clock) as ours:
    session = ours.launched(ehr.launch("patient-1"))
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from builders.hospital import Hospital
from builders.hospital_clients import REDIRECT
from builders.hospital_wire import Asked
from builders.store import TENANT, Records, settings_in
from builders.vault import StandingClock
from medagent.clock import Clock
from medagent.store import Store
from medagent.vault import Vault
from medagent_fhir.smart import Ehr, EhrRegistry, Launcher, SigningKeys, SmartLimits, SmartSession

BROWSER = "browser-of-the-user-4f1d2a"
SECRET = "secret-canary of 7+ signs: &%"  # noqa: S105 - a test's own
READING = ("patient/Patient.rs", "patient/Observation.rs", "patient/Condition.rs")
SCOPES = ("openid", "fhirUser", "offline_access", *READING)
SYSTEM = ("system/Patient.rs", "system/Observation.rs")

Pairs = list[tuple[str, str]]


def an_ehr(issuer: str = "https://ehr.example.org/fhir", **fields: Any) -> Ehr:
    """An entry of the registry, public unless said otherwise."""
    given: dict[str, Any] = {
        "name": "north",
        "issuer": issuer,
        "client_id": "medagent",
        "authentication": {"kind": "public"},
        "scopes": SCOPES,
    }
    return Ehr.model_validate(given | fields)


@dataclass(frozen=True)
class Site:
    """An installation of ours, as one process of it sees things."""

    launcher: Launcher
    registry: EhrRegistry
    vault: Vault

    @property
    def ehr(self) -> Ehr:
        """The first of the registry."""
        return next(iter(self.registry))

    def begun(self, hospital: Hospital, launch: str | None, browser: str = BROWSER) -> str:
        """Where the browser is sent."""
        return asyncio.run(self.launcher.begin(hospital.url, launch, browser))

    def callback(self, hospital: Hospital, launch: str | None, browser: str = BROWSER) -> Pairs:
        """With what the browser comes back, its user having said yes."""
        return pairs(hospital.approve(self.begun(hospital, launch, browser)))

    def finished(self, parameters: Pairs, browser: str = BROWSER) -> SmartSession:
        """The session that it opens."""
        return asyncio.run(self.launcher.finish(parameters, browser))

    def launched(self, hospital: Hospital, patient: str | None = "patient-1", **context: Any) -> SmartSession:
        """A whole launch from the EHR."""
        return self.finished(self.callback(hospital, hospital.launch(patient, **context)))


@contextmanager
def site(
    records: Records,
    ehrs: Sequence[Ehr],
    *,
    keys: SigningKeys | None = None,
    clock: Clock | None = None,
    limits: SmartLimits = SmartLimits(),  # noqa: B008  # frozen
) -> Iterator[Site]:
    """A site that knows these EHRs, with the vault of these records."""
    clock = clock or StandingClock()
    where: dict[str, object] = {} if records.url is None else {"database_url": records.url}
    with Store.open(settings_in(records.home, **where), clock) as store:
        registry, vault = EhrRegistry(tuple(ehrs)), store.vault(TENANT)
        keys = keys or SigningKeys(records.home / "smart", clock)
        yield Site(Launcher(registry, keys, vault, clock, REDIRECT, limits), registry, vault)


def secret_file(folder: Path, text: str = SECRET) -> Path:
    """A file of a shared secret, as a site keeps one."""
    path = folder / "client.secret"
    path.write_text(text + "\n", "utf-8")
    path.chmod(0o600)
    return path


def pairs(url: str) -> Pairs:
    """The parameters of a URL."""
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


def to_token(hospital: Hospital) -> list[Asked]:
    """What came to the token endpoint."""
    return [asked for asked in hospital.requests if asked.path == "/oauth/token"]


def changed(parameters: Pairs, **values: str | None) -> Pairs:
    """A callback with other values; None: without."""
    others = [(name, value) for name, value in parameters if name not in values]
    return others + [(name, value) for name, value in values.items() if value is not None]
