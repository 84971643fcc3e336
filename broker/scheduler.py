"""The scheduler of beat: Celery's own, kept in memory, that a stop ends at any moment."""

from __future__ import annotations

import json
from typing import Any, cast

import structlog
from celery import beat
from redis.exceptions import RedisError

from broker.queues import MAINTENANCE, PROBE
from broker.redis_connection import redis_client

log = structlog.get_logger(__name__)

#: More messages than that in the queue of the background work mean that none is taken.
FEW = 12


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's scheduler, which sends nothing whose like waits already.

    A SIGTERM ends its process even in the middle of a send.
    """

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send what is due, unless it would pile up."""
        queue = entry.options.get("queue", MAINTENANCE)
        try:
            piles_up = _waits(entry.task, queue)
        except (RedisError, ValueError, LookupError, TypeError) as error:
            # Redis is away, as the send will say, too; or a message is none of ours.
            log.debug("queue not looked at", queue=queue, fault=str(error))
            piles_up = False
        if piles_up:
            log.debug("not sent, its like waits", task=entry.task, queue=queue)
        else:
            super().apply_entry(entry, producer=producer)

    def close(self) -> None:
        """Do nothing: there is no file to write, and the connection ends with the process.

        Beat's handler of SIGTERM calls this and then raises SystemExit. Were the connection closed
        here, under a send that waits for its answer, redis-py would fail on the closed buffer, and
        beat would log that error in place of the SystemExit, and go on.
        """


def _waits(task: str, queue: str) -> bool:
    """Return whether a message waits that does what one of this task would.

    Any message proves consumption when it is taken, as a probe does.
    """
    if task == PROBE or queue != MAINTENANCE:
        return bool(redis_client().llen(queue))
    waiting = cast("list[bytes]", redis_client().lrange(queue, 0, FEW - 1))
    return len(waiting) >= FEW or any(
        json.loads(message)["headers"].get("task") == task for message in waiting
    )
