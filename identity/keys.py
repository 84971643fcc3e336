"""What a user is given: an access key with its secret, and an API key for scripts."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

#: Beginnings that tell a key which was found somewhere, by person or program.
ACCESS_PREFIX = "SK"
API_PREFIX = "snapsku_"

_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class KeyPair:
    """New keys of a user; `secret_key` and `api_key` are shown once and kept nowhere so."""

    access_key: str
    secret_key: str
    api_key: str


def make_keys() -> KeyPair:
    """Make keys of which nobody can guess one: 256 random bits in each that is secret."""
    return KeyPair(
        access_key=ACCESS_PREFIX + secrets.token_hex(15).upper(),
        secret_key=secrets.token_hex(32),
        api_key=API_PREFIX + secrets.token_hex(32),
    )


def hash_of(api_key: str) -> str:
    """Return what is kept of an API key: its SHA-256 in hex.

    A plain hash is enough for 256 random bits, which nobody can try out.
    """
    return hashlib.sha256(api_key.encode()).hexdigest()


def is_user_name(name: str) -> bool:
    """Return whether a user may be called so: 1 to 64 letters, digits, dots, hyphens, underscores.

    No slash, since the ids of tasks are user/collection/time.
    """
    return _USER.fullmatch(name) is not None
