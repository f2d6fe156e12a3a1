# SPDX-License-Identifier: Apache-2.0
"""Encryption of records at rest: zlib, then AES-256-GCM with a random 96-bit nonce.

Each ciphertext is bound to the place that it was written for (table, tenant, id): a row that was moved or exchanged
does not decrypt. From the site's one key two others are derived, so that the key which encrypts never serves as the
key of the patient index.
"""

import hashlib
import hmac
import secrets
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medagent.canonical import canonical_json
from medagent.errors import IntegrityError

KEY_BYTES = 32
_NONCE_BYTES = 12  # random: one key is good for 2**32 records (NIST SP 800-38D, section 8.3)
_COMPRESSION = 3  # zlib level: JSON shrinks to a quarter at 100 MB/s; higher levels cost more than they save


class Cipher:
    """Encrypts and decrypts records under one key, and computes the patient index."""

    def __init__(self, key: bytes) -> None:
        self.key_id = hashlib.sha256(b"medagent key id\n" + key).hexdigest()[:16]
        """Tells keys apart without telling anything about them."""
        self._records = AESGCM(_derived(key, b"records"))
        self._patients = _derived(key, b"patient index")

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Nonce and ciphertext. Opens only under the same `associated` bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._records.encrypt(nonce, zlib.compress(plaintext, _COMPRESSION), associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """The plaintext, or IntegrityError."""
        try:
            compressed = self._records.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
            return zlib.decompress(compressed)
        # ValueError: cut off below the length of a nonce. TypeError: SQLite takes any type in any column.
        except (InvalidTag, ValueError, TypeError, zlib.error) as error:
            raise IntegrityError("its encrypted bytes or the columns that they are bound to were changed") from error

    def patient_index(self, tenant: str, patient: str) -> str:
        """What a patient is found by: equal for one patient of one tenant, meaningless without the key."""
        message = canonical_json([tenant, patient])
        return hmac.new(self._patients, message, hashlib.sha256).hexdigest()


def place(table: str, tenant: str, row_id: str) -> bytes:
    """The associated bytes of a record: where its ciphertext belongs."""
    return canonical_json({"table": table, "tenant": tenant, "id": row_id, "schema": 1})


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"medagent 1 " + purpose).derive(key)
