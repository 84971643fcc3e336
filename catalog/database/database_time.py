"""The time of the database, which every process goes by, whatever its own clock says.

Rows are written on one machine and compared on another, so their times come from one clock:
that of the server that takes the writes. Every answer to `hello` tells it, and pymongo asks that
before the first operation of a client and every ten seconds after it. In between the steady
clock of the machine is added, so a wall clock that is set changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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


def steady_seconds() -> float:
    """Return seconds that no setting of a clock moves and that pass while the machine sleeps."""
    return time.clock_gettime(_STEADY)


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

    def steady(self) -> int:
        """Return the steady clock of this machine in microseconds, for `measure`."""
        return self._steady()

    def measure(self, told: datetime, asked_at: int) -> None:
        """Take in what time the server told after it was asked, at `asked_at` by `steady`.

        It wrote that at some moment since, so its time is in an interval by now, also where
        this process was suspended between the arrival of the answer and this call. A clock that
        stands in the interval stays as it is: rows written within a moment would change their
        order otherwise.
        """
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        low = (told - _EPOCH) // timedelta(microseconds=1)
        steady = self._steady()
        current = self._wall() if self._ahead is None else steady + self._ahead
        high = low + steady - asked_at + RESOLUTION
        if not low <= current <= high:
            current = (low + high) // 2
        elif self._ahead is not None:
            return
        self._ahead = current - steady

    def ask(self, client: MongoClient[Any]) -> None:
        """Measure at this moment, for what must not be judged by a clock that was just set.

        Raises PyMongoError.
        """
        asked_at = self._steady()
        self.take(client.admin.command("hello"), asked_at)

    def listener(self) -> ServerHeartbeatListener:
        """Return what measures with every heartbeat of a client."""
        return _Heartbeats(self)

    def take(self, answer: Mapping[str, Any], asked_at: int) -> None:
        """Measure by an answer to `hello`, if it is from the server that takes the writes."""
        takes_writes = answer.get("isWritablePrimary", answer.get("ismaster"))
        told = answer.get("localTime")
        if takes_writes and isinstance(told, datetime):
            self.measure(told, asked_at)

    def _current(self) -> int:
        ahead = self._ahead
        return self._wall() if ahead is None else self._steady() + ahead


class _Heartbeats(ServerHeartbeatListener):
    def __init__(self, time_of_database: DatabaseTime) -> None:
        self._time = time_of_database
        self._asked_at: dict[tuple[str, int | None], int] = {}

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Note when a server is asked; each has one thread that asks it."""
        self._asked_at[event.connection_id] = self._time.steady()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Take the time from an answer, unless the server held it back."""
        if not event.awaited:
            self._time.take(event.reply.document, self._asked_at[event.connection_id])

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Go on with the last answer."""


#: The clock of this process.
DATABASE_TIME = DatabaseTime()
