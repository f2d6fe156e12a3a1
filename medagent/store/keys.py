# SPDX-License-Identifier: Apache-2.0
"""The two secrets of an installation: the key of the records and the key that signs the log.

Both are generated into files that only their owner may read. A file that others may read is refused instead of
quietly corrected: whoever could read it may have done so, and somebody should know.
"""

import base64
import binascii
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from medagent.errors import SettingsError, StoreError
from medagent.log.checkpoint import Signer
from medagent.settings import Settings
from medagent.store.cipher import KEY_BYTES, Cipher
from medagent.store.file_lock import file_lock


@dataclass(frozen=True, slots=True)
class Keys:
    """The opened secrets."""

    cipher: Cipher
    signing_key: Ed25519PrivateKey
    log_origin: str

    def signer(self, tenant: str) -> Signer:
        """Who signs the checkpoints of a tenant's log."""
        return Signer(f"{self.log_origin}/{tenant}", self.signing_key)

    def ids(self, tenant: str) -> dict[str, str]:
        """The ids of the keys by purpose, as the database keeps them."""
        return {"encryption": self.cipher.key_id, "signing": self.signer(tenant).verifier_key.key_id.hex()}


def open_keys(settings: Settings, *, may_generate: bool) -> Keys:
    """Reads both keys; generates those that have no file yet, where nothing was recorded under an earlier one."""
    private_folder(settings.home)
    with file_lock(settings.home / "keys.lock"):  # else eight first starts generate eight keys
        if settings.encryption_key is not None:
            key = key_bytes(settings.encryption_key.get_secret_value(), "MEDAGENT_ENCRYPTION_KEY")
        else:
            path = settings.encryption_key_file
            text = secret_file(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n", may_generate)
            key = key_bytes(text.decode("ascii", "replace"), f"The file {path}")
        signing_key = _signing_key(settings.signing_key_file, may_generate)
    return Keys(Cipher(key), signing_key, settings.log_origin)


def private_folder(path: Path) -> None:
    """Creates a folder that only its owner may enter. One that is there already stays as it is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The folder {path} cannot be made ({error.strerror}); is MEDAGENT_HOME right?") from error


def key_bytes(text: str, origin: str) -> bytes:
    """A key out of its base64 text. Raises SettingsError that names `origin` and nothing of the text."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{origin} does not hold an encryption key: {KEY_BYTES} bytes in base64")
    return key


def secret_file(path: Path, fresh: bytes, may_generate: bool) -> bytes:
    """The content of a key file, which is created with `fresh` where it is absent and may be created."""
    try:
        _refuse_access_of_others(path)
        return path.read_bytes()
    except FileNotFoundError:
        if not may_generate:
            message = f"The key file {path} is missing, but the database holds records under that key: restore it"
            raise SettingsError(message) from None
    except OSError as error:
        raise SettingsError(f"The key file {path} cannot be read: {error.strerror}") from error
    private_folder(path.parent)
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)  # left by a process that died while it wrote
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(fresh)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return fresh


def _signing_key(path: Path, may_generate: bool) -> Ed25519PrivateKey:
    fresh = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        key = load_pem_private_key(secret_file(path, fresh, may_generate), password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"The file {path} does not hold a signing key: Ed25519, PKCS #8, PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"The file {path} holds a key of another kind than Ed25519")
    return key


def _refuse_access_of_others(path: Path) -> None:
    if os.name != "posix":
        return  # elsewhere the mode says nothing about access
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"Other users may read or write the key file {path}; run: chmod 600 {path}")
    if path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(f"Other users may replace the key file {path}; run: chmod 700 {path.parent}")
