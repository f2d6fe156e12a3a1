# SPDX-License-Identifier: Apache-2.0
"""Settings: where they come from, what is refused, and that no secret is ever printed."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from medagent.errors import SettingsError
from medagent.settings import Settings

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MEDAGENT_{name.upper()}", raising=False)
    monkeypatch.setenv("MEDAGENT_HOME", str(tmp_path / "home"))


def test_everything_embedded_lies_in_the_home_folder(tmp_path: Path) -> None:
    settings = Settings.load()
    home = tmp_path / "home"
    assert settings.database_url.get_secret_value() == f"sqlite:///{home}/medagent.db"
    assert settings.encryption_key_file == home / "keys" / "encryption.key"
    assert settings.signing_key_file == home / "keys" / "log-signing.pem"
    assert settings.token_key_file == home / "keys" / "tokens.keys"
    assert settings.smart_key_folder == home / "keys" / "smart"
    assert settings.checkpoint_folder == home / "checkpoints"


def test_nothing_else_is_configured_and_that_is_normal() -> None:
    settings = Settings.load()
    assert (settings.model, settings.model_url, settings.fhir_url, settings.dicomweb_url) == (None,) * 4
    assert (settings.ehrs_file, settings.public_url, settings.sensitivity_file, settings.fhir_ca_file) == (None,) * 4
    assert (settings.stage, settings.tenant, settings.time_zone) == ("demo", "local", "UTC")


def test_the_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAGENT_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("MEDAGENT_STAGE", "shadow")
    settings = Settings.load(stage="care")
    assert settings.stage == "care"
    assert datetime(2024, 7, 1, 12, tzinfo=settings.zone).isoformat().endswith("+02:00")


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAGENT_MODEL", "")
    assert Settings.load().model is None


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        pytest.param("TIME_ZONE", "Mars/Olympus", "MEDAGENT_TIME_ZONE: is no IANA", id="an unknown time zone"),
        pytest.param("TIME_ZONE", "../../etc/passwd", "MEDAGENT_TIME_ZONE: is no IANA", id="a path as time zone"),
        pytest.param("TIME_ZONE", "America", "MEDAGENT_TIME_ZONE: is no IANA", id="a folder of time zones"),
        pytest.param("STAGE", "live", "MEDAGENT_STAGE: Input should be 'demo'", id="an unknown stage"),
        pytest.param("TENANT", "a/b", "MEDAGENT_TENANT: ", id="a tenant that is no file name"),
        pytest.param("LOG_ORIGIN", "two words", "MEDAGENT_LOG_ORIGIN: ", id="an origin with a space"),
        pytest.param("INPUT_BYTES_MAX", "0", "MEDAGENT_INPUT_BYTES_MAX: ", id="a limit of nothing"),
        pytest.param("MODEL_SECONDS_MAX", "inf", "MEDAGENT_MODEL_SECONDS_MAX: ", id="a bound that is none"),
        pytest.param("MODEL_TEMPERATURE", "nan", "MEDAGENT_MODEL_TEMPERATURE: ", id="a temperature that is none"),
        pytest.param("PUBLIC_URL", "ward.example", "MEDAGENT_PUBLIC_URL: is no https", id="a host that is no URL"),
        pytest.param("PUBLIC_URL", "http://medagent.example", "PUBLIC_URL: needs https", id="a public URL without TLS"),
        pytest.param("PUBLIC_URL", "https://a:b@ward.example", "PUBLIC_URL: holds more", id="a URL with a password"),
        pytest.param("PUBLIC_URL", "https://medagent.example/?a=1", "PUBLIC_URL: holds more", id="a URL with a query"),
        pytest.param("FHIR_CONCURRENCY", "1000", "MEDAGENT_FHIR_CONCURRENCY: ", id="more calls than an EHR bears"),
        pytest.param("FHIR_SECONDS", "inf", "MEDAGENT_FHIR_SECONDS: ", id="a call without an end"),
        pytest.param("EHRS_FILE", "~nobody-here/x", "MEDAGENT_EHRS_FILE: names the home", id="a file of nobody's home"),
        pytest.param("SEAL_INTERVAL_SECONDS", "soon", "MEDAGENT_SEAL_INTERVAL_SECONDS: ", id="an interval in words"),
    ],
)
def test_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str) -> None:
    monkeypatch.setenv(f"MEDAGENT_{name}", value)
    with pytest.raises(SettingsError, match=complaint) as refusal:
        Settings.load()
    assert value == "0" or value not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        pytest.param("https://medagent.example/", "https://medagent.example", id="without the slash at its end"),
        pytest.param("https://site.example/medagent/", "https://site.example/medagent", id="with a path"),
        pytest.param("http://127.0.0.1:8000", "http://127.0.0.1:8000", id="without TLS on this machine"),
        pytest.param("http://localhost:8000", "http://localhost:8000", id="by the name of this machine"),
    ],
)
def test_the_public_url_is_kept(url: str, kept: str) -> None:
    assert Settings.load(public_url=url).public_url == kept


def test_files_of_a_site_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDAGENT_EHRS_FILE", "ehrs.toml")
    monkeypatch.setenv("MEDAGENT_FHIR_CA_FILE", "/site/authorities.pem")
    settings = Settings.load()
    assert settings.ehrs_file == tmp_path / "ehrs.toml"
    assert settings.fhir_ca_file == Path("/site/authorities.pem")


def test_a_home_folder_that_is_no_path_is_refused_once() -> None:
    with pytest.raises(SettingsError, match="MEDAGENT_HOME: ") as refusal:
        Settings.load(home=5)
    assert str(refusal.value).count("MEDAGENT_HOME") == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these platforms have other places")
def test_without_a_home_folder_the_platform_says_where_data_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDAGENT_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data/of/somebody")
    assert Settings.load().home == Path("/data/of/somebody/medagent")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert Settings.load().home == Path.home() / ".local" / "share" / "medagent"


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="MEDAGENT_COLOUR: Extra inputs"):
        Settings.load(colour="red")


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAGENT_ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("MEDAGENT_TOKEN_KEYS", f"{KEY},{KEY}")
    monkeypatch.setenv("MEDAGENT_DATABASE_URL", "postgresql://medagent:hunter2@db.example/medagent")
    monkeypatch.setenv("MEDAGENT_BROKER_URL", "amqp://medagent:hunter2@queue.example/")
    settings = Settings.load()
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in text
        assert "hunter2" not in text


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().stage = "care"  # type: ignore[misc]  # what is tested


def test_every_setting_says_what_it_is() -> None:
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_reading_settings_loads_no_database() -> None:
    code = "import sys, medagent.settings; print('sqlalchemy' in sys.modules or 'alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "False"
