"""The Celery application: its queues, and the names of its tasks.

Importing it loads no stage: the API sends messages by name, and each kind of
worker imports its own stage only.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import setup_logging

from catalog.chunks import Stage
from config.logging import configure_logging
from config.settings import settings

#: Queues besides those of the stages.
SEARCH = "search"
NEIGHBOURS = "neighbours"
MAINTENANCE = "maintenance"
QUEUES = (*(stage.value for stage in Stage), SEARCH, NEIGHBOURS, MAINTENANCE)


def task_name(queue: str) -> str:
    """Give the name of the task that does the work of a queue."""
    return f"workers.{queue}"


#: Tasks that share a queue with the one that it is named after.
REMOVE = "workers.remove"
PROBE = "workers.probe"
SWEEP = "workers.sweep"


@setup_logging.connect
def _log_as_we_do(**_: Any) -> None:
    configure_logging(settings())


app = Celery("snapsku")
# By name, so that it is read at the first use and not by everybody who imports this module.
app.config_from_object("workers.celery_conf")
