"""gunicorn's own configuration, from the settings: `gunicorn -c app/serving/configuration.py`."""

from typing import Any

from gunicorn.glogging import Logger

from app.services import await_secret_key
from broker.process_reports import ProcessReporter, ProcessReports
from broker.redis_connection import connect_redis
from catalog.schema.version import await_schema
from config.logging import configure_logging
from config.settings import settings

_settings = settings()


class _OurLogger(Logger):  # type: ignore[misc]
    """gunicorn's lines, written as all others are."""

    def setup(self, cfg: Any) -> None:
        """Write nothing itself; hand every line on."""
        super().setup(cfg)
        configure_logging(_settings)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


def on_starting(_server: Any) -> None:
    """Compare schema and secret key in the parent, where a refusal ends the whole API."""
    await_schema(
        _settings.mongo_url.get_secret_value(),
        _settings.mongo_database,
        _settings.mongo_timeout_seconds,
    )
    await_secret_key(_settings)


def post_worker_init(_worker: Any) -> None:
    """Report on this machine, from each process that serves."""
    connection = connect_redis(
        _settings.redis_url.get_secret_value(),
        _settings.redis_timeout_seconds,
        _settings.redis_timeout_seconds,
    )
    ProcessReporter("api", ProcessReports(connection), _settings.data_dir).start()


logger_class = _OurLogger

wsgi_app = "app.server:create_app()"
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"
workers = _settings.api_processes
worker_class = "app.serving.worker.ApiWorker"
threads = _settings.api_threads
worker_connections = max(_settings.clients_per_process, 2 * _settings.api_threads)
# The query of /v1/picture is the longest: three names, each character as nine at most.
limit_request_line = 4_094
limit_request_fields = 64
limit_request_field_size = 8_190
timeout = 60
graceful_timeout = 30
keepalive = 15
accesslog = None
loglevel = _settings.log_level.lower()
proc_name = "snapsku api"
# Its path is one for all stacks of a user, and nobody here controls gunicorn that way.
control_socket_disable = True
