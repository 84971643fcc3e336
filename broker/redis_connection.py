"""The connection to Redis that every process makes."""

from __future__ import annotations

from functools import cache

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import settings


def connect_redis(url: str, connect_seconds: float, read_seconds: float) -> redis.Redis:
    """Return a client that fails at once, without a retry, if Redis can't be reached.

    `read_seconds` must be more than the longest wait for a reply.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_seconds,
        socket_timeout=read_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )


@cache
def redis_client() -> redis.Redis:
    """Return the client that this process shares; a read may last as long as a search."""
    chosen = settings()
    return connect_redis(
        chosen.redis_url.get_secret_value(),
        chosen.redis_timeout_seconds,
        chosen.search_seconds + chosen.redis_timeout_seconds,
    )
