"""Retention: remove what has expired, once the clock is known to be right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from broker.celery_app import app
from broker.queues import RETENTION
from catalog.flows.retention import forget_images, forget_tasks
from catalog.rows.images import ImageRow
from catalog.rows.tasks import TaskRow
from config.settings import settings
from workers.support.resources import catalog
from workers.sweeps.step import Share, Step, take_steps

log = structlog.get_logger(__name__)

#: Tasks, images and keys removed in one call; in between, other work gets the database.
TASKS_AT_ONCE = 250
IMAGES_AT_ONCE = 1000
KEYS_AT_ONCE = 1000


@app.task(name=RETENTION)
def forget() -> None:
    """Remove finished tasks, rows of deleted images and idempotency keys that have expired."""
    take_steps(STEPS, settings().sweep_seconds)


def _time_to_forget(share: Share) -> datetime | None:
    """Return the time by which rows may expire, or None while the clock can't be trusted.

    A clock that was set to a wrong date for a moment must not end what is kept for days.
    """
    look = share.round.look
    settling = timedelta(seconds=settings().clock_settling_seconds)
    return look.at if look.steady >= settling else None


def _forget_tasks(share: Share) -> None:
    at = _time_to_forget(share)
    if at is None:
        return
    forgotten = 0

    def forget_some(tasks: Sequence[TaskRow]) -> None:
        nonlocal forgotten
        forget_tasks(catalog(), tasks)
        forgotten += len(tasks)

    share.go_through(
        partial(catalog().tasks.to_be_removed, at),
        lambda task: task.task_id,
        forget_some,
        TASKS_AT_ONCE,
    )
    if forgotten:
        log.info("expired rows removed", tasks=forgotten)


def _forget_images(share: Share) -> None:
    at = _time_to_forget(share)
    if at is None:
        return
    forgotten = 0

    def forget_some(images: Sequence[ImageRow]) -> None:
        nonlocal forgotten
        forgotten += forget_images(catalog(), images)

    share.go_through(
        partial(catalog().images.to_be_removed, at),
        lambda image: image.label,
        forget_some,
        IMAGES_AT_ONCE,
    )
    if forgotten:
        log.info("expired rows removed", images=forgotten)


def _forget_keys(share: Share) -> None:
    at = _time_to_forget(share)
    if at is not None:
        share.go_through(
            partial(catalog().keys.to_be_removed, at),
            str,
            lambda ids: catalog().keys.remove(ids, at),
            KEYS_AT_ONCE,
        )


STEPS = (
    Step("tasks", _forget_tasks),
    Step("images", _forget_images),
    Step("keys", _forget_keys),
)
