"""Structured logs for every process: one event a line, with its bound ids.

Never log a secret, a picture, Base64 or the query of a URL; `config.redaction` is there only for
what a library or an exception repeats.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType
from typing import Any

import structlog

from config.redaction import clean_event
from config.settings import Settings

#: Set by supervisord to the name of the process that it started.
PROCESS_VARIABLE = "SUPERVISOR_PROCESS_NAME"

log = structlog.get_logger(__name__)


def configure_logging(settings: Settings) -> None:
    """Send the log lines of the project and of libraries through one formatter to stderr."""
    process = os.environ.get(PROCESS_VARIABLE)

    def name_process(_logger: Any, _method: str, event: Any) -> Any:
        if process:
            event.setdefault("process", process)
        return event

    shared: list[Any] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks as plain text: structlog's own format shows local variables, such as pictures.
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                clean_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Their lines for each message sent, received and done repeat what our own lines say.
    for noisy in ("celery.worker.strategy", "celery.app.trace", "celery.beat", "urllib3", "PIL"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    # Keep a hook that is already set, such as a test runner's.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("process ends by an error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(fault: threading.ExceptHookArgs) -> None:
    if fault.exc_value is None or isinstance(fault.exc_value, SystemExit):
        return
    name = None if fault.thread is None else fault.thread.name
    trace = (fault.exc_type, fault.exc_value, fault.exc_traceback)
    log.critical("thread ends by an error", thread=name, exc_info=trace)
