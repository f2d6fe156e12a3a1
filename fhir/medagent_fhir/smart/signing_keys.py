# SPDX-License-Identifier: Apache-2.0
"""Our keys of client assertions, and the public half of them that EHRs fetch (standards 7, 8).

A key is published before it signs: an EHR that fetched the set a while ago would refuse what it cannot check. So a
rotation adds a key, which takes over once every fetched set is older than its `Cache-Control` lets it be, and the one
before stays published until the next rotation.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from medagent.clock import Clock
from medagent.errors import SettingsError
from medagent_fhir.smart.registry import ALGORITHMS, Algorithm

CACHE_CONTROL = "public, max-age=300"
"""With what the JWKS route answers: EHRs may keep the keys for this long."""

_PUBLISHED_FIRST = timedelta(minutes=15)  # well beyond the 300 s, for EHRs that fetch on a schedule
_RSA_BITS = 3_072
_CURVE = "P-384"
_NAME = re.compile(r"(?P<alg>RS384|ES384)-(?P<made>\d{8}T\d{12}Z)-[A-Za-z0-9_-]{43}\.pem")
_MADE = "%Y%m%dT%H%M%S%fZ"

_Private = RSAKey | ECKey


class _SigningKey(NamedTuple):
    path: Path
    alg: Algorithm
    made_at: datetime


class SigningKeys:
    """A folder of private keys (PKCS #8, PEM): for each algorithm the current one and, during rotation, another.

    Processes may share the folder; each sees at once what another added. Two that generate a first key at the same time
    add two, of which the older signs and both are published: no harm.
    """

    def __init__(self, folder: Path, clock: Clock, algorithms: Sequence[Algorithm] = ALGORITHMS) -> None:
        self._folder = folder
        self._clock = clock
        self._algorithms = tuple(algorithms)
        self._opened: dict[Path, _Private] = {}

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JWK Set; generates what is absent. Raises SettingsError."""
        return {"keys": [self._public(key) for alg in self._algorithms for key in self._published(alg)]}

    def signed(self, alg: Algorithm, claims: Mapping[str, Any]) -> str:
        """A JWT of these claims. Raises SettingsError."""
        published = self._published(alg)
        ready = [key for key in published if key.made_at + _PUBLISHED_FIRST <= self._clock.now()]
        key = self._open((ready or published[-1:])[0])
        return jwt.encode({"alg": alg, "kid": key.kid, "typ": "JWT"}, dict(claims), key, algorithms=[alg])

    def rotate(self) -> datetime:
        """Publishes a new key per algorithm and drops the one before the current. It signs once EHRs had the time to
        fetch it, which is when this returns. Raises SettingsError while an earlier rotation still waits for that."""
        made_at = self._clock.now()
        for alg in self._algorithms:
            found = self._found(alg)  # none: the first ones are made below
            if found and found[0].made_at + _PUBLISHED_FIRST > self._clock.now():
                when = found[0].made_at + _PUBLISHED_FIRST
                raise SettingsError(f"The newest {alg} key is not in use before {when:%H:%M:%S} UTC: rotate after that")
        for alg in self._algorithms:
            self._generate(alg)
            kept = self._published(alg)
            for key in self._found(alg):
                if key not in kept:
                    key.path.unlink(missing_ok=True)
                    self._opened.pop(key.path, None)
        return made_at + _PUBLISHED_FIRST

    def _published(self, alg: Algorithm) -> list[_SigningKey]:
        """The two newest keys, newest first; at least one."""
        if not (found := self._found(alg)):
            self._generate(alg)
            found = self._found(alg)
        return found[:2]

    def _found(self, alg: Algorithm) -> list[_SigningKey]:
        def keys() -> Iterator[_SigningKey]:
            for path in self._folder.iterdir():
                if (name := _NAME.fullmatch(path.name)) is not None and name["alg"] == alg:
                    yield _SigningKey(path, alg, datetime.strptime(name["made"], _MADE).replace(tzinfo=UTC))

        try:
            return sorted(keys(), key=lambda key: (key.made_at, key.path.name), reverse=True)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise SettingsError(f"The folder of signing keys {self._folder} cannot be read: {error}") from error

    def _generate(self, alg: Algorithm) -> None:
        fresh = RSAKey.generate_key(_RSA_BITS) if alg == "RS384" else ECKey.generate_key(_CURVE)
        path = self._folder / f"{alg}-{self._clock.now().astimezone(UTC).strftime(_MADE)}-{fresh.thumbprint()}.pem"
        unfinished = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(fresh.as_pem(private=True))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise SettingsError(f"The signing key {path} cannot be written: {error.strerror}") from error

    def _open(self, key: _SigningKey) -> _Private:
        """The private key itself, with its RFC 7638 thumbprint as `kid`. Kept: checking an RSA key takes a while."""
        if key.path not in self._opened:
            try:
                _refuse_access_of_others(key.path)
                kind = RSAKey if key.alg == "RS384" else ECKey
                opened = kind.import_key(key.path.read_bytes())
                if not opened.is_private or (isinstance(opened, ECKey) and opened.curve_name != _CURVE):
                    raise ValueError("of another kind")
            except OSError as error:
                raise SettingsError(f"The signing key {key.path} cannot be read: {error.strerror}") from error
            except (ValueError, TypeError, JoseError):
                raise SettingsError(f"The file {key.path} holds no {key.alg} key: private, PKCS #8, PEM") from None
            opened.ensure_kid()
            self._opened[key.path] = opened
        return self._opened[key.path]

    def _public(self, key: _SigningKey) -> dict[str, Any]:
        return dict(self._open(key).as_dict(private=False, use="sig", alg=key.alg))


def _refuse_access_of_others(path: Path) -> None:
    if os.name != "posix":
        return  # elsewhere the mode says nothing about access
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"Other users may read or write the signing key {path}; run: chmod 600 {path}")
    if path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(f"Other users may replace the signing key {path}; run: chmod 700 {path.parent}")
