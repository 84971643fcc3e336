"""The Celery application: its queues, and the names of its tasks.

Importing it loads no stage: the API sends messages by name, and each kind of
worker imports its own stage only.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, Task
from celery.signals import before_task_publish, setup_logging

from broker.celery_fixes import closed_channel
from broker.celery_settings import celery_settings
from catalog.database.connection import now, stamp
from config.logging import configure_logging
from config.settings import settings

log = structlog.get_logger(__name__)

#: Version of the messages' format. Raise it when arguments change in a way that a worker of the
#: release before would misread.
MESSAGE_VERSION = 1

VERSION_HEADER = "snapsku_version"

#: When a message was sent: milliseconds since 1970 by the database's clock.
SENT_HEADER = "snapsku_sent_at"


class VersionedTask(Task):  # type: ignore[misc]
    """A task that drops messages of another MESSAGE_VERSION.

    Such a message is acknowledged: the rows hold the work, and the sweep sends it again.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; for a message of another version, log it and return None."""
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
def _write_headers(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.setdefault(VERSION_HEADER, MESSAGE_VERSION)
        headers[SENT_HEADER] = stamp(now())


@setup_logging.connect
def _log_as_we_do(**_: Any) -> None:
    configure_logging(settings())


closed_channel.install()


app = Celery("snapsku", task_cls=VersionedTask)


# Called when the application is first used: importing this module reads no settings.
app.add_defaults(lambda: celery_settings(settings()))
