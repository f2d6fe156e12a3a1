# SPDX-License-Identifier: Apache-2.0
"""What a site sets of EHRs and launches is what runs and launches keep to; no setting is without effect."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from builders.hospital import Hospital, Smart, hospital
from builders.hospital_clients import REDIRECT
from builders.hospital_faults import slow
from builders.launching import ehr_toml
from builders.smart import BROWSER, pairs
from builders.vault import StandingClock

from medagent.errors import AuthorizationError, LaunchError
from medagent.settings import Settings
from medagent_fhir.smart import Launcher
from medagent_workflows.ehrs import launcher, registry
from medagent_workflows.wiring import open_services, unused_settings

_SOURCES = ("medagent", "fhir", "tools", "workflows")
_ROOT = Path(__file__).parents[2]


@contextmanager
def configured(home: Path, ehr: Hospital, clock: StandingClock, **settings: Any) -> Iterator[Launcher]:
    """The launcher as the wiring makes it of these settings."""
    file = home / "ehrs.toml"
    file.write_text(ehr_toml(ehr), "utf-8")
    own = Settings.load(home=home / "records", ehrs_file=file, **settings)
    with open_services(own, clock) as services:
        yield launcher(services, registry(own), REDIRECT)


def test_a_launch_and_its_session_last_as_long_as_the_site_says(tmp_path: Path) -> None:
    clock = StandingClock()
    with (
        hospital(smart=Smart(clock=clock)) as ehr,
        configured(tmp_path, ehr, clock, launch_seconds=30, session_seconds=90) as ours,
    ):
        callbacks = [
            pairs(ehr.approve(asyncio.run(ours.begin(ehr.url, ehr.launch("patient-1"), BROWSER)))) for _ in range(2)
        ]
        session = asyncio.run(ours.finish(callbacks[0], BROWSER))
        assert session.ends_at - clock.now() == timedelta(seconds=90)
        clock.go_on(30)
        with pytest.raises(LaunchError, match="over"):
            asyncio.run(ours.finish(callbacks[1], BROWSER))


def test_an_authorization_server_has_as_long_as_a_fhir_server(tmp_path: Path) -> None:
    clock = StandingClock()
    with hospital(smart=Smart(clock=clock)) as ehr, configured(tmp_path, ehr, clock, fhir_seconds=0.2) as ours:
        ehr.on("smart-configuration", slow(1.0))
        with pytest.raises(AuthorizationError, match=r"within 0\.2 s"):
            asyncio.run(ours.begin(ehr.url, None, BROWSER))


def test_every_setting_is_read_somewhere() -> None:
    """One that is not would be believed to be in force. What this version cannot do is named where it is asked for."""
    code = "\n".join(
        path.read_text("utf-8")
        for source in _SOURCES
        for path in (_ROOT / source).rglob("*.py")
        if path.name != "settings.py"
    )
    everything = Settings.load(broker_url="amqp://127.0.0.1", dicomweb_url="http://127.0.0.1")
    refused = {name.removeprefix("MEDAGENT_").lower() for name in unused_settings(everything)}
    unread = {name for name in Settings.model_fields if not re.search(rf"\bsettings\.{name}\b", code)}
    assert unread - refused == set()
