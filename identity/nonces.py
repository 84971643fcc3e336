"""Nonces that were used, in Redis, so that a signed request works once.

Knows nothing of signatures: whoever calls has verified one.
"""

from __future__ import annotations

import hashlib

import redis

#: How far the date of a signature may be off, either way.
WINDOW_SECONDS = 300

#: A request dated five minutes ahead is good for ten; a minute to spare for clocks that differ.
KEPT_SECONDS = 2 * WINDOW_SECONDS + 60


class Nonces:
    """The nonces of the last minutes, by access key."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(self, access_key: str, nonce: bytes) -> bool:
        """Note a nonce; False where it was used before. Raises RedisError."""
        name = f"nonce:{access_key}:{hashlib.sha256(nonce).hexdigest()}"
        return bool(self._redis.set(name, 1, nx=True, ex=KEPT_SECONDS))
