"""The time of the database, which every process uses in place of its machine's clock.

Rows are written on one machine and compared on another, so their times come from one clock:
that of the primary server. Every answer to `hello` has it; pymongo sends `hello` before the
first operation of a client and every ten seconds after it. In between, the monotonic clock of
the machine is added, so setting the wall clock changes nothing.
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

from config.steady_clock import STEADY_CLOCK

#: Microseconds: the server tells its time in whole milliseconds.
RESOLUTION = 1000

_EPOCH = datetime.fromtimestamp(0, UTC)


def _wall() -> int:
    return time.time_ns() // 1000


def _steady() -> int:
    return time.clock_gettime_ns(STEADY_CLOCK) // 1000


class DatabaseTime:
    """A clock that is set by measurements; before the first one it is the wall clock.

    A forked child keeps what its parent measured. The state is one number and needs no lock,
    which a fork could leave locked for ever.
    """

    def __init__(
        self, wall: Callable[[], int] = _wall, steady: Callable[[], int] = _steady
    ) -> None:
        """Take two clocks in microseconds: `wall` since 1970, `steady` monotonic."""
        self._wall = wall
        self._steady = steady
        self._ahead: int | None = None  #: database time minus the steady clock

    def microseconds(self) -> int:
        """Return the time of the database in microseconds since 1970."""
        return self._current()

    def offset_seconds(self) -> float:
        """Return how far the wall clock of this machine is ahead of the database, for reports."""
        return (self._wall() - self._current()) / 1_000_000

    def steady(self) -> int:
        """Return the monotonic clock in microseconds, as `measure` takes it."""
        return self._steady()

    def measure(self, told: datetime, asked_at: int) -> None:
        """Set the clock by the time that the server told when asked at `asked_at` of `steady`.

        The server read its clock at some moment since then, so its present time lies in an
        interval, also if this process was suspended between the arrival of the answer and this
        call. A clock that is within the interval is left alone: rows written in quick
        succession would change their order otherwise.
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
        """Ask the server for its time now, and set the clock by it. Raises PyMongoError."""
        asked_at = self._steady()
        self.take(client.admin.command("hello"), asked_at)

    def listener(self) -> ServerHeartbeatListener:
        """Return a listener that sets the clock with every heartbeat of a client."""
        return _Heartbeats(self)

    def take(self, answer: Mapping[str, Any], asked_at: int) -> None:
        """Set the clock by an answer to `hello`; ignore it unless it is the primary's."""
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
        """Note when a server is asked; one thread asks each server."""
        self._asked_at[event.connection_id] = self._time.steady()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Set the clock by an answer, unless the server delayed it on purpose."""
        if not event.awaited:
            self._time.take(event.reply.document, self._asked_at[event.connection_id])

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Keep the last measurement."""


#: The clock of this process.
DATABASE_TIME = DatabaseTime()
