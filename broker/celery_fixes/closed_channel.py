"""Let a worker survive a connection to Redis that breaks while it works.

A worker that loses Redis closes its channels, and then may still acknowledge or put back messages
through one of them. kombu 5.7 no longer finds the address of the connection and raises
AttributeError, which ends the worker; a ConnectionError would be logged, and the worker go on. No
work is lost by that: the sweep sends again what has an expired lease or a lost message.

For kombu 5.7; no issue upstream is known to us. May go when a closed channel raises a
ConnectionError; test_broken_broker_connection.py fails then.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that raises ConnectionError when it is used after its connection was closed."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection of this channel was closed")
        return super()._connparams(asynchronous)


class Transport(redis.Transport):  # type: ignore[misc]
    """Celery's transport over Redis with such channels."""

    Channel = Channel


def install() -> None:
    """Use this transport for every URL of Redis."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
