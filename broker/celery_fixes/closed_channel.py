"""Celery's transport over Redis, whose workers survive that a connection breaks at work.

A worker that loses Redis closes its channels, and then may still acknowledge or put back
messages through one of them. kombu 5.7 does not find the address of the connection any more and
raises AttributeError, which ends the worker; a ConnectionError it would log and go on. Nothing is
lost by that: the sweep sends again what has a lease that ran out or a message that got lost.

For kombu 5.7; no issue upstream is known to us. May go when a closed channel raises a
ConnectionError.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that says what is wrong when it is used after its end."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection of this channel was closed")
        return super()._connparams(asynchronous)


class Transport(redis.Transport):  # type: ignore[misc]
    """The transport with such channels."""

    Channel = Channel


def install() -> None:
    """Have every URL of Redis use this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
