"""Celery's transport over Redis, which survives that its connection breaks in the middle of work.

A worker that loses Redis closes its channels twice. kombu 5.7 then tries to put messages that
are not acknowledged back through a connection that has no address any more, and the worker ends
with an AttributeError. Nothing is lost by not trying: the sweep sends again what has a lease or
a message that got lost.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES, redis


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that puts messages back only while it has a connection."""

    @property
    def do_restore(self) -> bool:
        """Whether messages that are not acknowledged are put back when it closes."""
        return self.connection is not None and self.connection.client is not None


class Transport(redis.Transport):  # type: ignore[misc]
    """The transport with such channels."""

    Channel = Channel


def install() -> None:
    """Have every URL of Redis use this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
