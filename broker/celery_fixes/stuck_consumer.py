"""End a worker that runs but takes no messages, so that its supervisor starts it again.

A consumer can drop out of the event loop when its connection is lost at a bad moment (celery issues
8030 and 10205, kombu 2492 and 2629): it answers `inspect`, holds its connection, and never reads
from it again. No supervisor sees that, so a thread of the worker's parent process checks.

Every kind of worker installs it (`workers.support.start`). For celery 5.7 and kombu 5.7; it may be
removed when those issues are closed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import redis
import structlog
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state
from redis.exceptions import RedisError

from broker.redis_connection import connect_redis
from config.settings import settings

log = structlog.get_logger(__name__)

#: Consecutive checks that must find messages waiting and the worker idle.
LOOKS = 10

#: More than kombu's longest pause between two tries to connect: a worker that still tries is not
#: stuck.
RECONNECT_SECONDS = 45.0

#: A worker that has not ended this long after SIGTERM is killed; the index saves meanwhile.
END_SECONDS = 30.0

_stopping = threading.Event()


class IdleChecks:
    """Counts the consecutive checks in which an idle worker left messages in a queue.

    Checks are counted, not seconds: a process that was suspended made none meanwhile.
    """

    def __init__(self, looks: int, looks_of_reconnecting: int) -> None:
        """Consecutive idle checks before a connected (disconnected) worker counts as stuck."""
        self._looks = looks
        self._looks_of_reconnecting = looks_of_reconnecting
        self._waited: dict[tuple[str, bool], int] = {}
        self._done = -1

    def stuck(self, waiting: Mapping[str, bool], busy: bool, done: int) -> list[str]:
        """Record a check, and return the queues on which the worker is stuck.

        `waiting` are the queues that hold messages and that it should take from, each with whether
        it believes that it does; `busy` is whether it works; `done` is how many messages it ever
        took.
        """
        if busy or done != self._done:
            self._waited = {}
        else:
            # By queue and connection: after a reconnection the count begins anew.
            self._waited = {look: self._waited.get(look, 0) + 1 for look in waiting.items()}
        self._done = done
        return [
            queue
            for (queue, consuming), looks in self._waited.items()
            if looks >= (self._looks if consuming else self._looks_of_reconnecting)
        ]


class ConsumerCheck:
    """Checks a consumer of Celery: its queues in Redis, and its worker's counters."""

    def __init__(self, consumer: Any, client: redis.Redis, stalled_seconds: float) -> None:
        self._consumer = consumer
        self._client = client
        self._pause = stalled_seconds / LOOKS
        self._patience = IdleChecks(LOOKS, LOOKS + round(RECONNECT_SECONDS / self._pause))

    def watch(self, stopping: threading.Event) -> list[str]:
        """Check until the worker is stuck and return those queues; return [] once stopped."""
        while not stopping.wait(self._pause):
            stuck = self._look()
            if stuck:
                return stuck
        return []

    def _look(self) -> list[str]:
        # Without a queue that an operator cancelled, but with one whose connection was lost.
        queues = list(self._consumer.app.amqp.queues.consume_from)
        return self._patience.stuck(
            {queue: self._believes_to_consume(queue) for queue in self._with_messages(queues)},
            busy=bool(len(state.reserved_requests)),
            done=state.all_total_count[0],
        )

    def _believes_to_consume(self, queue: str) -> bool:
        consumer = self._consumer.task_consumer
        return bool(self._consumer.connection and consumer and consumer.consuming_from(queue))

    def _with_messages(self, queues: Collection[str]) -> list[str]:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for queue in queues:
                    pipeline.llen(queue)
                lengths = pipeline.execute()
        except RedisError:
            # No worker can take a message then, and the consumer notices that by itself.
            return []
        return [queue for queue, length in zip(queues, lengths, strict=True) if length]


def install() -> None:
    """Watch this worker from when it is ready until it shuts down."""
    worker_ready.connect(_begin, weak=False)
    worker_shutting_down.connect(_stop, weak=False)


def _begin(sender: Any = None, **_: Any) -> None:
    threading.Thread(target=_guard, args=(sender,), name="watchdog", daemon=True).start()


def _stop(**_: Any) -> None:
    _stopping.set()


def _guard(consumer: Any) -> None:
    """End this process if its consumer is stuck: by SIGTERM, then by SIGKILL."""
    chosen = settings()
    # A client of its own: this is the parent of a pool, whose children may be forked any time.
    client = connect_redis(
        chosen.redis_url.get_secret_value(),
        chosen.redis_timeout_seconds,
        chosen.redis_timeout_seconds,
    )
    stuck = ConsumerCheck(consumer, client, chosen.stalled_seconds).watch(_stopping)
    if not stuck:
        return
    log.critical("messages wait and none is taken, worker ends itself", queues=sorted(stuck))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
