"""A worker that runs but takes no message any more ends itself, and its supervisor starts it anew.

A consumer can lose its place in the event loop when its connection is lost at a bad moment
(celery issues 8030 and 10205, kombu 2492 and 2629): it answers `inspect`, holds its
connection, and never reads from it again. No supervisor sees that, so the worker looks at
itself, from a thread of its parent process.

For celery 5.7 and kombu 5.7. May go when those issues are closed.
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

#: Looks in a row that must find messages waiting and the worker idle.
LOOKS = 10

#: kombu's longest pause between two tries to connect, and some more: whoever tries is not stuck.
RECONNECT_SECONDS = 45.0

#: A worker that does not end on SIGTERM within this time is killed; the index saves meanwhile.
END_SECONDS = 30.0

_stopping = threading.Event()


class Patience:
    """For how many looks in a row each queue had messages that an idle worker did not take.

    Looks are counted, not seconds: a process that was suspended had no chance meanwhile.
    """

    def __init__(self, looks: int, looks_of_reconnecting: int) -> None:
        """So many looks make a worker stuck, so many one that is not connected."""
        self._looks = looks
        self._looks_of_reconnecting = looks_of_reconnecting
        self._waited: dict[tuple[str, bool], int] = {}
        self._done = -1

    def stuck(self, waiting: Mapping[str, bool], busy: bool, done: int) -> list[str]:
        """Take note of a look, and give the queues on which the worker is stuck.

        `waiting` are the queues that it should take from and that hold messages, each with
        whether it believes to do so; `done` is how many messages it ever took.
        """
        if busy or done != self._done:
            self._waited = {}
        else:
            # Who has just connected again begins anew.
            self._waited = {look: self._waited.get(look, 0) + 1 for look in waiting.items()}
        self._done = done
        return [
            queue
            for (queue, consuming), looks in self._waited.items()
            if looks >= (self._looks if consuming else self._looks_of_reconnecting)
        ]


class Watchdog:
    """What is looked at: a consumer of Celery, its queues in Redis, its worker's counters."""

    def __init__(self, consumer: Any, client: redis.Redis, stalled_seconds: float) -> None:
        self._consumer = consumer
        self._client = client
        self._pause = stalled_seconds / LOOKS
        self._patience = Patience(LOOKS, LOOKS + round(RECONNECT_SECONDS / self._pause))

    def watch(self, stopping: threading.Event) -> list[str]:
        """Look again and again; give the queues on which the worker is stuck, none if stopped."""
        while not stopping.wait(self._pause):
            stuck = self._look()
            if stuck:
                return stuck
        return []

    def _look(self) -> list[str]:
        # One that an operator cancelled is not among these; one of a lost connection is.
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
            # Nobody can take a message then, and whoever tries finds out by itself.
            return []
        return [queue for queue, length in zip(queues, lengths, strict=True) if length]


def install() -> None:
    """Have this worker look at itself from when it is ready until it shuts down."""
    worker_ready.connect(_begin, weak=False)
    worker_shutting_down.connect(_stop, weak=False)


def _begin(sender: Any = None, **_: Any) -> None:
    threading.Thread(target=_guard, args=(sender,), name="watchdog", daemon=True).start()


def _stop(**_: Any) -> None:
    _stopping.set()


def _guard(consumer: Any) -> None:
    chosen = settings()
    # Of its own: this is the parent of a pool whose children may be forked at any moment.
    client = connect_redis(
        chosen.redis_url.get_secret_value(),
        chosen.redis_timeout_seconds,
        chosen.redis_timeout_seconds,
    )
    stuck = Watchdog(consumer, client, chosen.stalled_seconds).watch(_stopping)
    if not stuck:
        return
    log.critical("messages wait and none is taken, worker ends itself", queues=sorted(stuck))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
