"""What every worker does before it takes a message: install repairs and check the schema."""

from __future__ import annotations

from typing import Any

from celery.signals import celeryd_init

from broker.celery_fixes import result_wait, stuck_consumer
from catalog.schema.version import await_schema
from config.logging import configure_logging
from config.settings import settings

result_wait.install()
stuck_consumer.install()


@celeryd_init.connect
def _begin(**_: Any) -> None:
    chosen = settings()
    # Celery sets up the log later, but a refusal or a wait must be logged now.
    configure_logging(chosen)
    await_schema(
        chosen.mongo_url.get_secret_value(), chosen.mongo_database, chosen.mongo_timeout_seconds
    )
