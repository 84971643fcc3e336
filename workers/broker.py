"""The Celery application: its queues, and the names of its tasks.

Importing it loads no stage: the API sends messages by name, and each kind of
worker imports its own stage only.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, Task
from celery.signals import before_task_publish, setup_logging

from catalog.chunks import Stage
from config.logging import configure_logging
from config.settings import settings
from workers import transport

log = structlog.get_logger(__name__)

#: Queues besides those of the stages.
SEARCH = "search"
NEIGHBOURS = "neighbours"
MAINTENANCE = "maintenance"
QUEUES = (*(stage.value for stage in Stage), SEARCH, NEIGHBOURS, MAINTENANCE)


def task_name(queue: str) -> str:
    """Give the name of the task that does the work of a queue."""
    return f"workers.{queue}"


#: Tasks that share a queue with the one that it is named after.
REFRESH = "workers.refresh"
DROP = "workers.drop"
SWITCH = "workers.switch"
RETIRE = "workers.retire"
PROBE = "workers.probe"

#: The background work, each on the maintenance queue; beat sends them every few seconds.
RECOVERY = "workers.recovery"
DELETIONS = "workers.deletions"
RETENTION = "workers.retention"
RECOUNTS = "workers.recounts"
MODEL_CHANGES = "workers.model_changes"
SWEEPS = (RECOVERY, DELETIONS, RETENTION, RECOUNTS, MODEL_CHANGES)
#: All of it in one, as beat of the release before sends it.
SWEEP = "workers.sweep"


#: The form of the messages. Raise it when arguments change in a way that a worker of the
#: release before would misread.
MESSAGE_VERSION = 1
VERSION_HEADER = "snapsku_version"


class VersionedTask(Task):  # type: ignore[misc]
    """A task that takes no message of a form that it does not know.

    It is acknowledged undone: the rows know better than any message what is to be done,
    and the sweep sends it again.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work, unless the message is of another version."""
        version = self.request.get(VERSION_HEADER, MESSAGE_VERSION)
        if version != MESSAGE_VERSION:
            log.warning(
                "message of another version dropped",
                task=self.name,
                message=self.request.id,
                version=version,
            )
            return None
        return self.run(*args, **kwargs)


@before_task_publish.connect
def _write_version(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.setdefault(VERSION_HEADER, MESSAGE_VERSION)


@setup_logging.connect
def _log_as_we_do(**_: Any) -> None:
    configure_logging(settings())


transport.install()
app = Celery("snapsku", task_cls=VersionedTask)
# By name, so that it is read at the first use and not by everybody who imports this module.
app.config_from_object("workers.celery_conf")
