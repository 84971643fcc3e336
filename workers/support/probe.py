"""The proof that a queue is consumed: any work on it, and a small probe while it is idle.

Every worker loads this module. A worker that lost its broker and did not notice
consumes no probe, so /readyz tells.
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

#: A busy queue is noted no more often than this.
NOTE_SECONDS = 2.0

_noted: dict[str, float] = {}


@app.task(name=PROBE)
def probe(queue: str) -> None:
    """Do nothing; that a worker of `queue` took it is what counts."""
    log.debug("probe", queue=queue)


@task_prerun.connect
def _note(task: Any = None, **_: Any) -> None:
    queue = (task.request.delivery_info or {}).get("routing_key")
    if queue:
        note_consumption(queue)


def note_consumption(queue: str) -> None:
    """Note that a message of the queue is worked on at this moment; never raises RedisError."""
    moment = time.monotonic()
    if moment - _noted.get(queue, float("-inf")) < NOTE_SECONDS:
        return
    _noted[queue] = moment
    try:
        consumption().note(queue)
    except RedisError as error:
        log.warning("consumption not noted", queue=queue, fault=str(error))
