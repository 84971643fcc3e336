"""gunicorn's configuration, made from the settings; gunicorn reads it through gunicorn_conf.py."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from app.services import await_secret_key
from broker.redis_connection import connect_redis
from broker.reports.process_reports import ProcessReporter, ProcessReports
from catalog.schema.version import await_schema
from config.logging import configure_logging
from config.settings import Settings, settings


class _OurLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, whose lines go through our formatter."""

    def setup(self, cfg: Any) -> None:
        """Remove gunicorn's handlers and hand every line to the root logger."""
        super().setup(cfg)
        configure_logging(settings())
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


def _on_starting(_server: Any) -> None:
    """Check schema and secret key in the parent, where a refusal ends the whole API."""
    chosen = settings()
    await_schema(
        chosen.mongo_url.get_secret_value(),
        chosen.mongo_database,
        chosen.mongo_timeout_seconds,
    )
    await_secret_key(chosen)


def _post_worker_init(_worker: Any) -> None:
    """Start the reports of a process that serves."""
    chosen = settings()
    connection = connect_redis(
        chosen.redis_url.get_secret_value(),
        chosen.redis_timeout_seconds,
        chosen.redis_timeout_seconds,
    )
    ProcessReporter("api", ProcessReports(connection), chosen.data_dir).start()


def gunicorn_settings(chosen: Settings) -> dict[str, Any]:
    """Return gunicorn's settings by name."""
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    return {
        "logger_class": _OurLogger,
        "on_starting": _on_starting,
        "post_worker_init": _post_worker_init,
        "wsgi_app": "app.server:create_app()",
        "bind": f"{host}:{chosen.port}",
        "workers": chosen.api_processes,
        "worker_class": "app.serving.worker.ApiWorker",
        "threads": chosen.api_threads,
        "worker_connections": max(chosen.clients_per_process, 2 * chosen.api_threads),
        # The query of /v1/picture is the longest: three names, up to nine bytes a character.
        "limit_request_line": 4_094,
        "limit_request_fields": 64,
        "limit_request_field_size": 8_190,
        "timeout": 60,
        "graceful_timeout": 30,
        "keepalive": 15,
        "accesslog": None,
        "loglevel": chosen.log_level.lower(),
        "proc_name": "snapsku api",
        # All stacks of a user would share its path, and nothing here uses it.
        "control_socket_disable": True,
    }
