"""How much work waits in each queue, and how long the oldest has waited.

Probes and background work, which beat sends to idle queues, are not counted: they are no work that
anything waits for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from broker.celery_app import SENT_HEADER
from broker.queues import PROBE, SWEEP, SWEEPS
from catalog.database.connection import now, stamp

#: Beat skips a message while one of its kind waits, so all that it sent are among so many oldest.
OLDEST = 16

#: The tasks of messages that are no work.
UNCOUNTED = frozenset({PROBE, SWEEP, *SWEEPS})

#: At most one process logs what waits, so often.
LOG_SECONDS = 60


@dataclass(frozen=True)
class Waiting:
    """What waits in a queue. Messages that a worker took and has not ended are not in it."""

    messages: int
    #: Since the oldest was sent, by the database's clock; None if nothing waits, or a release
    #: that did not write the time sent it.
    oldest_seconds: float | None

    def __str__(self) -> str:
        age = "" if self.oldest_seconds is None else f", the oldest for {self.oldest_seconds:.0f} s"
        return f"{self.messages} waiting{age}"


def queued_work(client: redis.Redis, queues: Sequence[str]) -> dict[str, Waiting]:
    """Return what waits, by queue, in one round trip. Raises RedisError."""
    with client.pipeline(transaction=True) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
            pipeline.lrange(queue, -OLDEST, -1)
        told = pipeline.execute()
    return {
        queue: _waiting(length, oldest)
        for queue, length, oldest in zip(queues, told[::2], told[1::2], strict=True)
    }


def take_turn_to_log(client: redis.Redis) -> bool:
    """Return whether this process is the one to log what waits now. Raises RedisError."""
    return bool(client.set("queued:logged", 1, nx=True, ex=LOG_SECONDS))


def _waiting(length: int, oldest: list[bytes]) -> Waiting:
    """Return what waits in a queue of `length`, whose last messages, oldest last, are `oldest`."""
    headers = [_headers(message) for message in reversed(oldest)]
    work = [found for found in headers if found.get("task") not in UNCOUNTED]
    sent_at = work[0].get(SENT_HEADER) if work else None
    age = None
    if isinstance(sent_at, int):
        age = round(max((stamp(now()) - sent_at) / 1000, 0.0), 1)
    return Waiting(length - len(headers) + len(work), age)


def _headers(message: bytes) -> dict[str, Any]:
    try:
        headers = json.loads(message)["headers"]
    except (ValueError, LookupError, TypeError):
        headers = None
    return headers if isinstance(headers, dict) else {}  # else another program's
