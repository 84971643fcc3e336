"""The time of the database, which every process goes by, whatever its own clock says.

Rows are written on one machine and compared on another, so their times come from one clock:
that of the server that takes the writes. Every answer to `hello` tells it, and pymongo asks that
before the first operation of a client and every ten seconds after it. In between the steady
clock of the machine is added, so a wall clock that is set changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

#: The server tells whole milliseconds; in microseconds.
RESOLUTION = 1000

_EPOCH = datetime.fromtimestamp(0, UTC)

#: The steady clock that goes on while the machine sleeps, where the system has one.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _wall() -> int:
    return time.time_ns() // 1000


def _steady() -> int:
    return time.clock_gettime_ns(_STEADY) // 1000


class DatabaseTime:
    """A clock that is set by measurements; the wall clock of the machine before the first.

    A forked child goes on with what its parent measured. There is no lock, which a fork could
    leave locked for ever: the state is one number.
    """

    def __init__(
        self, wall: Callable[[], int] = _wall, steady: Callable[[], int] = _steady
    ) -> None:
        """Take both clocks in microseconds; `wall` since 1970, `steady` since any moment."""
        self._wall = wall
        self._steady = steady
        self._ahead: int | None = None  #: of the steady clock

    def microseconds(self) -> int:
        """Return the time of the database in microseconds since 1970."""
        return self._current()

    def offset_seconds(self) -> float:
        """Return how far the wall clock of this machine is ahead of the database; for people."""
        return (self._wall() - self._current()) / 1_000_000

    def measure(self, told: datetime, round_trip_seconds: float) -> None:
        """Take in an answer that has just arrived: what time it told, how long it was awaited.

        The server wrote it at some moment of the round trip, so its time is in an interval by
        now. A clock that stands in it stays as it is: rows written within a moment would change
        their order otherwise.
        """
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        low = (told - _EPOCH) // timedelta(microseconds=1)
        high = low + round(round_trip_seconds * 1_000_000) + RESOLUTION
        steady, current = self._steady(), self._current()
        if not low <= current <= high:
            current = (low + high) // 2
        elif self._ahead is not None:
            return
        self._ahead = current - steady

    def ask(self, client: MongoClient[Any]) -> None:
        """Measure at this moment, for what must not be judged by a clock that was just set.

        Raises PyMongoError.
        """
        started = time.monotonic()
        answer = client.admin.command("hello")
        self._take(answer, time.monotonic() - started)

    def listener(self) -> ServerHeartbeatListener:
        """Return what measures with every heartbeat of a client."""
        return _Heartbeats(self._take)

    def _take(self, answer: dict[str, Any], round_trip_seconds: float) -> None:
        takes_writes = answer.get("isWritablePrimary", answer.get("ismaster"))
        told = answer.get("localTime")
        if takes_writes and isinstance(told, datetime):
            self.measure(told, round_trip_seconds)

    def _current(self) -> int:
        ahead = self._ahead
        return self._wall() if ahead is None else self._steady() + ahead


class _Heartbeats(ServerHeartbeatListener):
    def __init__(self, take: Callable[[dict[str, Any], float], None]) -> None:
        self._take = take

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Wait for the answer."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Take the time from an answer, unless the server held it back."""
        if not event.awaited:
            self._take(dict(event.reply.document), event.duration)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Go on with the last answer."""


#: The clock of this process.
DATABASE_TIME = DatabaseTime()
