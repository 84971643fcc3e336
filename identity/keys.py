"""The keys of a user: an access key with its secret, and an API key for scripts."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

#: Prefixes by which people and secret scanners recognise a leaked key.
ACCESS_PREFIX = "SK"
API_PREFIX = "snapsku_"

_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: The caller's name as long as no key was ever made.
DEFAULT_USER = "default"


@dataclass(frozen=True)
class KeyPair:
    """New keys of a user; `secret_key` and `api_key` are shown once and never stored as they are.

    The secret is stored encrypted, the API key as a hash.
    """

    access_key: str
    secret_key: str
    api_key: str


def make_keys() -> KeyPair:
    """Return new random keys; the secret key and the API key have 256 random bits each."""
    return KeyPair(
        access_key=ACCESS_PREFIX + secrets.token_hex(15).upper(),
        secret_key=secrets.token_hex(32),
        api_key=API_PREFIX + secrets.token_hex(32),
    )


def hash_of(api_key: str) -> str:
    """Return the SHA-256 of an API key in hex, as it is stored.

    A plain hash is enough: 256 random bits can't be found by trying.
    """
    return hashlib.sha256(api_key.encode()).hexdigest()


def is_user_name(name: str) -> bool:
    """Return whether a name is 1 to 64 ASCII letters, digits, dots, hyphens and underscores.

    A slash is not allowed, since task ids are user/collection/time.
    """
    return _USER.fullmatch(name) is not None
