"""The nonces that were used, in Redis, so that a signed request is accepted only once.

Of a request whose nonce is not signed, the signature stands for it.
"""

from __future__ import annotations

import hashlib

import redis

#: How far the date of a signature may differ from the present, in either direction.
WINDOW_SECONDS = 300

#: How long a nonce is kept. A request dated five minutes ahead is valid for ten; one minute more
#: for clocks that differ.
KEPT_SECONDS = 2 * WINDOW_SECONDS + 60


class Nonces:
    """The used nonces of each access key."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(self, access_key: str, nonce: bytes) -> bool:
        """Store a nonce; return False if it was used before. Raises RedisError.

        The caller has verified the signature, so that no one else can use up nonces.
        """
        name = f"nonce:{access_key}:{hashlib.sha256(nonce).hexdigest()}"
        return bool(self._redis.set(name, 1, nx=True, ex=KEPT_SECONDS))
