# SPDX-License-Identifier: Apache-2.0
"""The keys of the vault: apart from the key of the records, because they may be exchanged and that one may not.

What they encrypt lives for hours. So a site rotates them by naming a new one first, and takes the old one out when
everything under it has expired; taken out earlier, it ends what it encrypted, which is what a leaked key calls for.
"""

import base64
import secrets
from collections.abc import Sequence
from typing import Self

from medagent.errors import SettingsError
from medagent.settings import Settings
from medagent.store.cipher import KEY_BYTES, Cipher
from medagent.store.file_lock import file_lock
from medagent.store.keys import key_bytes, private_folder, secret_file


class TokenKeys:
    """Encrypts under the newest key and finds the one that a row was encrypted under."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        ciphers = [Cipher(key) for key in keys]
        self.newest = ciphers[0]
        self._by_id = {cipher.key_id: cipher for cipher in ciphers}

    def get(self, key_id: str) -> Cipher | None:
        """The key of this id. None: it was taken out, or belongs to another machine."""
        return self._by_id.get(key_id)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Reads the keys of the settings; generates one where there is no file yet."""
        if settings.token_keys is not None:
            return cls(_keys(settings.token_keys.get_secret_value().split(","), "MEDAGENT_TOKEN_KEYS"))
        path = settings.token_key_file
        private_folder(settings.home)
        with file_lock(settings.home / "keys.lock"):
            text = secret_file(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n", True)
        return cls(_keys(text.decode("ascii", "replace").splitlines(), f"The file {path}"))


def _keys(texts: Sequence[str], origin: str) -> list[bytes]:
    keys = [key_bytes(text, origin) for text in texts if text.strip()]
    if not keys:
        raise SettingsError(f"{origin} holds no key: {KEY_BYTES} bytes in base64, the newest key first")
    return keys
