# SPDX-License-Identifier: Apache-2.0
"""Every setting, with its meaning, its unit and the reason for its default.

Each field is read from the environment under `MEDAGENT_` and its name in capitals (`MEDAGENT_HOME`). The wiring
reads them once (`Settings.load()`) and hands the frozen object on; nothing else looks at the environment.
Importing this module stays cheap: `medagent --help` needs it, and no database driver.
"""

import os
import sys
from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as ForeignSettingsError

from medagent.errors import SettingsError

_PREFIX = "MEDAGENT_"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FOLLOWS = "default_factory_not_called"  # pydantic's complaint about a default that rests on another field


def _default_home() -> Path:
    """Where the platform keeps the data of one user's programs."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "MedAgent"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "MedAgent"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "medagent"


def sqlite_url(path: Path) -> SecretStr:
    """The URL of an SQLite file. What has a meaning in URLs is escaped, or the file would lie somewhere else."""
    return SecretStr("sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F"))


def _database_in_home(fields: Mapping[str, object]) -> SecretStr:
    home = fields["home"]
    assert isinstance(home, Path)
    return sqlite_url(home / "medagent.db")


class Settings(BaseSettings):
    """What a site decides. Secrets are `SecretStr`, so that neither a log nor a traceback prints them."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,  # a bound that is none would only show where it is recorded
        hide_input_in_errors=True,  # a wrong value may be a secret
        use_attribute_docstrings=True,
        validate_default=True,
    )

    home: Path = Field(default_factory=_default_home)
    """Folder of the embedded database, the generated keys and the kept checkpoints. Created with mode 0700."""

    database_url: SecretStr = Field(default_factory=_database_in_home)
    """SQLAlchemy URL of the records and the log; it may hold a password. Default: an SQLite file in `home`."""

    encryption_key: SecretStr | None = None
    """Key of the records at rest: 32 bytes in base64. None: it is read from `encryption_key_file`."""

    encryption_key_file: Path = Field(default_factory=lambda fields: fields["home"] / "keys" / "encryption.key")
    """File of the encryption key, generated on first use with mode 0600. Without it no record can be read."""

    signing_key_file: Path = Field(default_factory=lambda fields: fields["home"] / "keys" / "log-signing.pem")
    """File of the Ed25519 key (PKCS #8, PEM) that signs checkpoints of the log; generated like the other."""

    token_keys: SecretStr | None = None
    """Keys of the tokens and sessions at rest: each 32 bytes in base64, the newest first, separated by commas. The
    first encrypts, all of them decrypt; one that is taken out ends what it encrypted. Machines that share a database
    share them. None: they are read from `token_key_file`."""

    token_key_file: Path = Field(default_factory=lambda fields: fields["home"] / "keys" / "tokens.keys")
    """File of the same keys, one a line, generated on first use with mode 0600. To rotate, add a line at its top and
    remove the last one once the longest session under it has ended."""

    smart_key_folder: Path = Field(default_factory=lambda fields: fields["home"] / "keys" / "smart")
    """Folder of the keys that sign assertions to authorization servers, current and previous; their public halves are
    at `/.well-known/jwks.json`."""

    log_origin: str = Field(default="medagent", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")
    """Name of this installation in its checkpoints, before the tenant. A site that publishes checkpoints puts its
    own domain here; it must never change afterwards."""

    tenant: str = Field(default="local", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The site on whose behalf this process works."""

    time_zone: str = "UTC"
    """IANA name of the site's time zone: `--as-of 2024-03-01` means the end of that day there."""

    stage: Literal["demo", "shadow", "care"] = "demo"
    """How far this installation may be trusted; stands in every output. `demo`, until a site decides otherwise."""

    broker_url: SecretStr | None = None
    """Celery broker; it may hold a password. None: tasks run in this process."""

    model_url: str | None = None
    """Base URL of an OpenAI-compatible server such as vLLM. None is a normal state: the guideline engine alone."""

    model: str | None = None
    """Name under which `model_url` serves the model."""

    model_api_key: SecretStr | None = None
    """Key that the server asks for. It goes to the origin of `model_url` and nowhere else."""

    model_revision: str | None = Field(default=None, max_length=200)
    """Revision of the weights, as the site installed them; recorded with every call. vLLM does not report it."""

    model_weights_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the weights, as the site computed it; recorded with every call."""

    model_adapter: str | None = Field(default=None, max_length=200)
    """Name of a LoRA adapter that the server has loaded, for every request of this process."""

    model_tools: bool = True
    """Whether the model is offered tools. False for a served model without a tool parser: it then drafts from the
    overview alone."""

    model_steps_max: int = Field(default=6, ge=0, le=64)
    """Turns in which the model may call tools, before it is asked for its draft."""

    model_tool_calls_max: int = Field(default=24, ge=0, le=256)
    """Tool calls of one run, over all turns."""

    model_tokens_max: int = Field(default=200_000, gt=0)
    """Tokens of one run, prompts (cached ones, too) and answers together."""

    model_images_max: int = Field(default=0, ge=0, le=64)
    """Images that the model may be shown in one run. 0: image analysis is off, as intended use has it."""

    model_image_side_max: int = Field(default=1_024, ge=64, le=4_096)
    """Pixels of the longer side, to which a larger image is scaled down before it is shown."""

    model_seconds_max: float = Field(default=120.0, gt=0)
    """Seconds of one run that the model's part may take; then the guideline engine's recommendations go on alone."""

    model_overview_tokens_max: int = Field(default=2_500, ge=200)
    """Tokens of the overview of the chart; what does not fit is left to the tools and stated in the dossier."""

    model_tool_tokens_max: int = Field(default=1_200, ge=100)
    """Tokens of one tool's answer; what is cut says so and how to go on."""

    model_reply_tokens_max: int = Field(default=512, gt=0)
    """Tokens of one turn of the model in which it may call tools."""

    model_draft_tokens_max: int = Field(default=1_536, gt=0)
    """Tokens of the model's draft."""

    model_samples: int = Field(default=1, ge=1, le=16)
    """How many drafts are sampled. From 2 on, only what a majority of them says is verified, the rest is dropped."""

    model_temperature: float = Field(default=0.0, ge=0, le=2)
    """Sampling temperature. Several samples need one above 0 to differ."""

    model_seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of the sampling; the second sample takes the next one."""

    model_concurrency: int = Field(default=32, ge=1, le=1_024)
    """Requests that this process sends to the model's server at once; vLLM batches them."""

    fhir_url: str | None = None
    """Base URL of the site's FHIR R4 server. None: charts come from files."""

    ehrs_file: Path | None = None
    """TOML file of the EHRs that may launch us or be asked by us, one `[[ehr]]` each. None: nobody may launch us, and
    only servers that ask for no authorization are read."""

    public_url: str | None = None
    """URL under which browsers and EHRs reach this installation, such as https://medagent.example; `/callback` behind
    it is the redirect URI that is registered with each EHR. None: it cannot be launched."""

    sensitivity_file: Path | None = None
    """TOML file of the codes that this site withholds, and of who may see them. None: only what carries a security
    label is withheld."""

    fhir_concurrency: int = Field(default=8, ge=1, le=256)
    """Calls that this process has under way at one FHIR server, all charts together: more of them make an EHR slower
    for the people who work with it."""

    fhir_connect_seconds: float = Field(default=5.0, gt=0)
    """Seconds until a FHIR or authorization server must have taken the connection: one that is up does in one."""

    fhir_seconds: float = Field(default=30.0, gt=0)
    """Seconds of one attempt of a call to a FHIR or authorization server, until its answer is there."""

    fhir_chart_seconds: float = Field(default=120.0, gt=0)
    """Seconds of all calls of one chart, waiting and repeating included; what was not read until then is said to be
    missing."""

    fhir_attempts_max: int = Field(default=4, ge=1, le=10)
    """Attempts of one reading call, the first one included, where the server is overloaded or cannot be reached."""

    fhir_page: int = Field(default=250, ge=1, le=10_000)
    """Resources per page that are asked for (`_count`). Servers may send fewer."""

    fhir_pages_max: int = Field(default=1_000, ge=1)
    """Pages of one search: a server whose pages never end is not followed further."""

    fhir_body_bytes_max: int = Field(default=64_000_000, gt=0)
    """Bytes of one answer, unpacked: bounds the memory of `fhir_concurrency` answers at once."""

    fhir_attachment_bytes_max: int = Field(default=20_000_000, gt=0)
    """Bytes of all attachments that are fetched for one chart, the newest document first; the rest is said to be
    missing. While they are fetched they hold less than twice as much."""

    fhir_ca_file: Path | None = None
    """PEM file of the certificate authorities that FHIR and authorization servers are trusted by, for a site with its
    own; an EHR of the registry may name another. None: those that the system trusts."""

    launch_seconds: float = Field(default=600.0, gt=0, le=3_600)
    """Seconds in which somebody must have finished a launch, signing in included."""

    session_seconds: float = Field(default=28_800.0, gt=0)
    """Seconds after which a launched session ends, however often its token was refreshed: a working day's shift."""

    dicomweb_url: str | None = None
    """Base URL of the site's image archive. None: images come from files, or there are none."""

    input_bytes_max: int = Field(default=150_000_000, gt=0)
    """Bytes of the largest source that is read, all files together and unpacked. Above its own 130 MB a run peaks at
    less than six times that where resources are as long as servers write them (measured: 5.0 times at 1.8 KB each, 6.4
    where rules ask for nearly every entry), but at 16 to 19 times where they are as short as can be (300 bytes): most
    of that is what the verifier keeps of each resource. The default is for 3 GB per worker, whatever the chart."""

    seal_interval_seconds: float = Field(default=1.0, gt=0)
    """Seconds between two checkpoints of the log in a running service: what an attacker who holds the database
    could still rewrite unseen is what came after the last one."""

    @field_validator(
        "home",
        "encryption_key_file",
        "signing_key_file",
        "token_key_file",
        "smart_key_folder",
        "ehrs_file",
        "sensitivity_file",
        "fhir_ca_file",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        try:
            return path.expanduser().absolute()
        except RuntimeError as error:  # pathlib knows no home of that user
            raise ValueError("names the home folder of nobody; write the whole path") from error

    @field_validator("model_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http or https URL; write it like http://127.0.0.1:8000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than a server and a path; a key belongs into MEDAGENT_MODEL_API_KEY")
        return url

    @field_validator("public_url")
    @classmethod
    def _secure_url(cls, url: str | None) -> str | None:
        """Codes come back to it, so nobody on the way may read along."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no https URL; write it like https://medagent.example")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("needs https; http is for this machine alone (http://127.0.0.1:8000)")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than a server and a path")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.model_samples > 1 and self.model_temperature == 0:
            raise ValueError("MEDAGENT_MODEL_SAMPLES: several samples at temperature 0 are one; raise the temperature")
        return self

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
            raise ValueError("is no IANA time zone; write it like Europe/Berlin") from error
        return name

    @property
    def zone(self) -> tzinfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def checkpoint_folder(self) -> Path:
        """Where the newest checkpoint of each tenant is kept, outside of the database."""
        return self.home / "checkpoints"

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Reads the environment; `overrides` win. Raises SettingsError that names the variable, never its value."""
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # pydantic checks what the caller overrides
        except ValidationError as error:
            causes = (detail for detail in error.errors() if detail["type"] != _FOLLOWS)
            raise SettingsError("; ".join(map(_complaint, causes))) from None
        except ForeignSettingsError as error:
            raise SettingsError(f"The environment cannot be read: {error}") from None


def _complaint(detail: Mapping[str, object]) -> str:
    location = detail["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else "settings"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message if message.startswith(_PREFIX) else f"{_PREFIX}{name.upper()}: {message}"
