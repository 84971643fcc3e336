"""Encryption of users' secret keys, since checking a signature needs the secret itself.

The encryption key comes from the settings or from a file in the data directory, so that a stolen
database or backup alone reveals no secret.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from config.files import make_secret_file

KEY_FILE = "secret.key"

_NONCE_BYTES = 12
_PURPOSE = b"snapsku: secret keys of users, AES-256-GCM"


class VaultError(Exception):
    """A secret can't be encrypted or decrypted; the text is one line for an operator."""


class Vault:
    """Encrypts and decrypts secrets, each bound to its access key. Thread-safe."""

    def __init__(self, passphrase: str, data_dir: Path) -> None:
        """Take the passphrase; if it is empty, the key file in `data_dir` is used."""
        self._passphrase = passphrase
        self._path = data_dir / KEY_FILE
        self._opened: AESGCM | None = None
        self._opening = threading.Lock()

    def seal(self, access_key: str, secret: str) -> bytes:
        """Encrypt and return the secret of an access key; make the key file if it is needed.

        Raises VaultError if the file can't be made or read.
        """
        if not self._passphrase:
            self._make_file()
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, secret.encode(), access_key.encode())

    def open(self, access_key: str, sealed: bytes) -> str:
        """Decrypt and return the secret of an access key.

        Raises VaultError if it was encrypted with another key, or the key file can't be read.
        """
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher().decrypt(nonce, rest, access_key.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise VaultError(
                f"the secret of {access_key} can't be read: SNAPSKU_SECRET_KEY, or {self._path}, "
                "is not what it was when the key was made"
            ) from error

    def _cipher(self) -> AESGCM:
        with self._opening:
            if self._opened is None:
                key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE)
                self._opened = AESGCM(key.derive((self._passphrase or self._read_file()).encode()))
            return self._opened

    def _read_file(self) -> str:
        try:
            found = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(f"{self._path} can't be read, set SNAPSKU_SECRET_KEY") from error
        if len(found) < 32:
            raise VaultError(f"{self._path} is no key file")
        return found

    def _make_file(self) -> None:
        """Create the key file atomically, unless there is one."""
        try:
            make_secret_file(self._path)
        except OSError as error:
            raise VaultError(f"{self._path} can't be written: {error.strerror}") from error
