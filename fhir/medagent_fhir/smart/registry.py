# SPDX-License-Identifier: Apache-2.0
"""The EHRs that a site lets MedAgent work with: the allow-list of issuers, and the client that each one knows.

    [[ehr]]
    name = "north"
    issuer = "https://ehr.example.org/fhir/r4"
    client_id = "medagent"
    authentication = { kind = "asymmetric", alg = "ES384" }
    scopes = ["openid", "fhirUser", "offline_access", "patient/Patient.rs", "patient/Observation.rs"]
    backend = { scopes = ["system/Patient.rs", "system/Observation.rs"] }

It is a site's file, read once. Nothing else says where a launch, a token or a secret may go.
"""

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator

from medagent.errors import SettingsError
from medagent.evidence import Record
from medagent.scopes import parsed
from medagent_fhir.smart.addresses import safe_url

Algorithm = Literal["RS384", "ES384"]
"""Those that SMART names for client assertions."""
ALGORITHMS: tuple[Algorithm, ...] = ("RS384", "ES384")

_IDENTITY = frozenset({"openid", "fhirUser", "profile", "online_access", "offline_access", "launch/encounter"})
_OF_THE_LAUNCH = frozenset({"launch", "launch/patient"})


def _safe(url: str) -> str:
    if safe_url(url) is None:
        raise ValueError("must be an https URL (http only on loopback) without user, query and fragment")
    return url


_Url = Annotated[str, AfterValidator(_safe)]
_Words = Annotated[str, Field(pattern=r"^[!-~]{1,255}$")]


class Public(Record):
    """A client without a secret; PKCE alone holds it."""

    kind: Literal["public"]


class Symmetric(Record):
    """A client with a shared secret, sent as HTTP Basic."""

    kind: Literal["symmetric"]
    secret_file: Path
    """Holds the secret and nothing else; relative to the registry's folder. Nobody but its owner may read it."""

    def secret(self) -> SecretStr:
        """The secret, read anew each time, so that it can be exchanged while MedAgent runs. Raises SettingsError."""
        try:
            if os.name == "posix" and self.secret_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SettingsError(f"Other users may read {self.secret_file}; run: chmod 600 {self.secret_file}")
            text = self.secret_file.read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"secret_file {self.secret_file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable():
            raise SettingsError(f"secret_file {self.secret_file} does not hold a secret: one line of text")
        return SecretStr(text)


class Asymmetric(Record):
    """A client that signs an assertion with a key of ours (RFC 7523)."""

    kind: Literal["asymmetric"]
    alg: Algorithm


Authentication = Annotated[Public | Symmetric | Asymmetric, Field(discriminator="kind")]


class Backend(Record):
    """The backend service that the EHR knows; it always signs an assertion."""

    client_id: _Words | None = None
    """None: that of the launches."""
    alg: Algorithm | None = None
    """None: that of the launches, else ES384."""
    scopes: tuple[str, ...] = Field(min_length=1)
    """Of the context `system`: all that such a service can be granted."""

    @model_validator(mode="after")
    def _of_the_system(self) -> Self:
        for text in self.scopes:
            scope = parsed(text)
            if scope is None or scope.context != "system":
                raise ValueError(f"scopes: {text!r} is no system scope; write it like system/Observation.rs")
        return self


class Ehr(Record):
    """One EHR, by its FHIR base URL."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """What the site calls it."""
    issuer: _Url
    """FHIR base URL, exactly as the EHR gives it in `iss`."""
    client_id: _Words
    authentication: Authentication
    scopes: tuple[str, ...] = Field(min_length=1)
    """What a launch asks for. `launch` and `launch/patient` are added as the launch needs them."""
    backend: Backend | None = None
    """None: no run without a launch."""
    authorization_issuer: str | None = Field(default=None, pattern=r"^https?://[!-~]+$")
    """Issuer of the authorization server, as its `iss` parameter and id_tokens name it. None: what discovery says."""
    ca_file: Path | None = None
    """PEM file of the authorities that sign the EHR's certificates; relative to the registry's folder. None: those that
    the system trusts."""

    @property
    def base(self) -> str:
        """The FHIR base URL without a slash at its end."""
        return self.issuer.rstrip("/")

    @property
    def backend_client_id(self) -> str:
        """Under which client the backend service is known."""
        return (self.backend.client_id if self.backend is not None else None) or self.client_id

    @property
    def backend_alg(self) -> Algorithm:
        """How the backend service signs."""
        if self.backend is not None and self.backend.alg is not None:
            return self.backend.alg
        return self.authentication.alg if isinstance(self.authentication, Asymmetric) else "ES384"

    def asked_for(self, *, from_ehr: bool) -> tuple[str, ...]:
        """The scopes of an authorization request, by whether the EHR launches or MedAgent stands alone."""
        needed = "launch" if from_ehr else "launch/patient"
        return (needed, *(scope for scope in self.scopes if scope not in _OF_THE_LAUNCH))

    @model_validator(mode="after")
    def _of_a_launch(self) -> Self:
        for text in self.scopes:
            scope = parsed(text)
            known = text in _IDENTITY | _OF_THE_LAUNCH or (scope is not None and scope.context != "system")
            if not known:
                raise ValueError(f"scopes: {text!r} is none that a launch can ask for")
        return self


class _Registry(Record):
    ehr: tuple[Ehr, ...] = Field(min_length=1)


class EhrRegistry:
    """The EHRs of a site, found by issuer, by name or by FHIR base URL."""

    def __init__(self, ehrs: tuple[Ehr, ...] = ()) -> None:
        for what, values in (("name", [ehr.name for ehr in ehrs]), ("issuer", [ehr.base for ehr in ehrs])):
            if len(set(values)) != len(values):
                raise SettingsError(f"ehr: two EHRs share one {what}; each needs its own")
        self._ehrs = ehrs

    def __iter__(self) -> Iterator[Ehr]:
        return iter(self._ehrs)

    def __len__(self) -> int:
        return len(self._ehrs)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the file. Raises SettingsError that names file and field."""
        try:
            read = tomllib.loads(path.read_text("utf-8"))
            ehrs = _validated(read).ehr
            return cls(tuple(_beside(ehr, path.parent) for ehr in ehrs))
        except OSError as error:
            raise SettingsError(f"The EHR registry {path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"The EHR registry {path} is no TOML: {error}") from error
        except SettingsError as error:
            raise SettingsError(f"The EHR registry {path}: {error}") from None

    def of_issuer(self, issuer: str) -> Ehr | None:
        """The EHR of exactly this issuer. None: the site knows none."""
        return next((ehr for ehr in self._ehrs if ehr.issuer == issuer), None)

    def of_base(self, url: str) -> Ehr | None:
        """The EHR with this FHIR base URL; a slash at its end makes no difference."""
        return next((ehr for ehr in self._ehrs if ehr.base == url.rstrip("/")), None)

    def named(self, name: str) -> Ehr | None:
        """The EHR of that name."""
        return next((ehr for ehr in self._ehrs if ehr.name == name), None)


def _beside(ehr: Ehr, folder: Path) -> Ehr:
    """The EHR with its files found from the registry's folder; a secret that cannot be read is found out now."""
    changed: dict[str, Any] = {}
    if ehr.ca_file is not None:
        changed["ca_file"] = folder / ehr.ca_file.expanduser()
        if not changed["ca_file"].is_file():
            raise SettingsError(f"ehr {ehr.name}: ca_file: {changed['ca_file']} is no file")
    if isinstance(ehr.authentication, Symmetric):
        path = folder / ehr.authentication.secret_file.expanduser()
        changed["authentication"] = ehr.authentication.model_copy(update={"secret_file": path})
        try:
            changed["authentication"].secret()
        except SettingsError as error:
            raise SettingsError(f"ehr {ehr.name}: {error}") from None
    return ehr.model_copy(update=changed)


def _validated(read: dict[str, Any]) -> _Registry:
    """The file's contents. Raises SettingsError that says of each field what to write."""
    try:
        return _Registry.model_validate(read)
    except ValidationError as error:
        wrong = [detail for detail in error.errors() if detail["loc"] != ("ehr",)] or error.errors()
        raise SettingsError("; ".join(dict.fromkeys(_complaint(detail, read) for detail in wrong))) from None


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not among the fields of an EHR; check how it is spelt",
    "too_short": "is empty",
    "string_type": "write it in quotes",
    "tuple_type": "write a list in brackets",
    "model_type": "write a table in braces, as the example does",
    "model_attributes_type": "write a table in braces, as the example does",
    "union_tag_not_found": 'kind is missing; write "public", "symmetric" or "asymmetric"',
    "union_tag_invalid": 'kind is none of the three; write "public", "symmetric" or "asymmetric"',
}
"""What to do, by pydantic's type of error."""
_SPELT = {
    "name": "write small letters, digits, dots and dashes, such as north-clinic",
    "client_id": "write it as the EHR gave it, without spaces",
    "authorization_issuer": "is no URL",
}
"""What to do about a text of the wrong form, by field."""


def _complaint(detail: Any, read: dict[str, Any]) -> str:
    """One mistake: of which EHR, of which field, what to do."""
    place = [part for part in detail["loc"] if part not in ("asymmetric", "symmetric", "public")]
    if place[0] != "ehr" or len(place) == 1:
        return "ehr: write [[ehr]] in double brackets above the fields of each EHR"
    _, number, *field = place
    entry = read["ehr"][number]
    name = entry.get("name") if isinstance(entry, dict) else None
    where = [f"ehr {name if isinstance(name, str) and name else number + 1}"]
    where += [".".join(map(str, field))] if field else []
    kind, said = detail["type"], str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "write")
    if kind == "string_pattern_mismatch":
        said = _SPELT.get(str(field[-1]), said)
    return ": ".join([*where, _WORDS.get(kind, said)])
