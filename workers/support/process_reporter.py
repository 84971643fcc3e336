"""Let every worker process report on its machine; see broker.reports.process_reports."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_process_init, worker_ready

from broker.celery_app import app
from broker.queues import QUEUES
from broker.redis_connection import redis_client
from broker.reports.process_reports import ProcessReporter, ProcessReports
from config.settings import settings
from workers.support.resources import catalog


def kind_of_worker() -> str:
    """Return the first queue that this worker consumes, or "worker" if it consumes none of ours."""
    consumed = app.amqp.queues.consume_from
    return next((queue for queue in QUEUES if queue in consumed), "worker")


@worker_process_init.connect
def _in_a_child(**_: Any) -> None:
    _start()


@worker_ready.connect
def _in_a_pool_of_threads(sender: Any = None, **_: Any) -> None:
    # The parent of child processes must not connect to MongoDB, which does not survive a fork.
    if "thread" in type(sender.pool).__module__:
        _start()


def _start() -> None:
    catalog()  # its heartbeats measure the offset
    reports = ProcessReports(redis_client())
    ProcessReporter(kind_of_worker(), reports, settings().data_dir).start()
