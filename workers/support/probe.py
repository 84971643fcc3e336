"""The proof that a queue is consumed: any work on it, and a small probe while it is idle.

Every worker loads this module. A worker that lost its broker without noticing consumes no probe, so
/readyz reports its queue.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery.signals import task_prerun
from redis.exceptions import RedisError

from broker.celery_app import app
from broker.queues import PROBE
from workers.support.resources import consumption

log = structlog.get_logger(__name__)

#: Least seconds between two heartbeats of a queue.
NOTE_SECONDS = 2.0

_noted: dict[str, float] = {}


@app.task(name=PROBE)
def probe(queue: str) -> None:
    """Do nothing: a worker of `queue` took the message, which is the proof."""
    log.debug("probe", queue=queue)


@task_prerun.connect
def _note(task: Any = None, **_: Any) -> None:
    queue = (task.request.delivery_info or {}).get("routing_key")
    if queue:
        note_consumption(queue)


def note_consumption(queue: str) -> None:
    """Record that the queue is consumed, at most every NOTE_SECONDS; log a RedisError."""
    moment = time.monotonic()
    if moment - _noted.get(queue, float("-inf")) < NOTE_SECONDS:
        return
    _noted[queue] = moment
    try:
        consumption().note(queue)
    except RedisError as error:
        log.warning("consumption not noted", queue=queue, fault=str(error))
