"""The scheduler of beat, which `broker.celery_settings` names: Celery's own, with three changes.

It skips a message while one that does the same waits, since messages do not expire: a worker that
was away for an hour would find an hour of background work and probes in its queue. It can be
stopped at any moment. And it announces no message to Flower. It keeps its schedule in memory only.
"""

from __future__ import annotations

import json
from typing import Any, cast

import structlog
from celery import beat
from redis.exceptions import RedisError

from broker.queues import MAINTENANCE, PROBE
from broker.redis_connection import redis_client

log = structlog.get_logger(__name__)

#: With so many messages or more in the queue of the background work, beat sends nothing to it: its
#: workers are away or behind. Healthy, it has one of each of the five sweeps at most, and a probe.
FEW = 12


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's scheduler, which skips a message while one that does the same waits.

    A SIGTERM ends its process even in the middle of a send.
    """

    def setup_schedule(self) -> None:
        """Read the schedule, and announce nothing that this process sends.

        Workers send no events of these tasks either, see `task_annotations` in celery_settings.
        """
        self.app.conf.task_send_sent_event = False
        super().setup_schedule()

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send what is due, unless a message that does the same waits; try again when next due.

        Celery logs a send that fails.
        """
        queue = entry.options.get("queue", MAINTENANCE)
        try:
            piles_up = _waits(entry.task, queue)
        except (RedisError, ValueError, LookupError, TypeError, AttributeError) as error:
            # Redis is away, as the log line of the failed send will say; or a message is not ours.
            log.debug("length of a queue not read", queue=queue, fault=str(error))
            piles_up = False
        if piles_up:
            log.debug("not sent, a message of its kind waits", task=entry.task, queue=queue)
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

    For a probe that is any message, since each proves consumption when it is taken. Only probes go
    to other queues than MAINTENANCE. Raises RedisError; ValueError, LookupError, TypeError or
    AttributeError for a message that is not ours.
    """
    if task == PROBE or queue != MAINTENANCE:
        return bool(redis_client().llen(queue))
    waiting = cast("list[bytes]", redis_client().lrange(queue, 0, FEW - 1))
    return len(waiting) >= FEW or any(
        json.loads(message)["headers"].get("task") == task for message in waiting
    )
