"""Flower's configuration, made from the settings; Flower reads it through broker/flower_conf.py.

It has Flower show what is true: every queue, dead workers, and what failed in a stage. And it
guards against two leaks. Flower serves /metrics and /healthcheck without a log-in: here they get
the log-in of its pages. And its pages show what it finds in events: messages carry ids only, and
anything else that an argument, a result or a traceback may contain is masked there. Its /api/tasks
masks nothing; without a password Flower closes it.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from flower.api.tasks import GetQueueLengths
from flower.urls import handlers
from flower.views import BaseHandler
from flower.views.broker import BrokerView
from flower.views.monitor import Healthcheck, Metrics
from tornado.web import authenticated, url

from broker.flower_password import password_file, serving_password
from broker.queues import QUEUES
from config.logging import configure_logging
from config.redaction import clean_text
from config.refusal import refuse
from config.settings import Settings


class _Metrics(Metrics):  # type: ignore[misc]
    """Flower's metrics, under the same log-in as its pages; open if no password is set."""

    @authenticated
    async def get(self) -> None:
        """Return the metrics to an authenticated client."""
        await super().get()


class _Healthcheck(Healthcheck):  # type: ignore[misc]
    """Flower's health check, under the same log-in as its pages; open if no password is set."""

    @authenticated
    async def get(self) -> None:
        """Return OK to an authenticated client."""
        await super().get()


class _AllQueues(BaseHandler):  # type: ignore[misc]
    """Names every queue of ours, whatever Flower has heard.

    Flower asks the workers once, when it starts, and keeps the answers of those that were there.
    """

    def get_active_queue_names(self) -> list[str]:
        """Return our queues, and then any other that a worker consumes."""
        return list(dict.fromkeys((*QUEUES, *super().get_active_queue_names())))


class _Broker(_AllQueues, BrokerView):  # type: ignore[misc]
    """Flower's page about the broker."""


class _QueueLengths(_AllQueues, GetQueueLengths):  # type: ignore[misc]
    """The same for programs."""


#: By the handler of Flower: the one that takes its place, see `flower_settings`.
_REPLACED = {
    Metrics: _Metrics,
    Healthcheck: _Healthcheck,
    BrokerView: _Broker,
    GetQueueLengths: _QueueLengths,
}

#: How long Flower shows a worker that is dead: a weekend, and some.
DEAD_WORKER_SECONDS = 7 * 24 * 3600

#: What the event of a failed stage says, as `repr` writes it; see `workers.support.stage`.
_STAGE_FAILED = re.compile(r"""StageFailedError\((['"])(?P<text>.*)\1\)""", re.DOTALL)

#: An id or the name of a category: short, and no URL, since it has no slash.
_WORD = re.compile(r"[\w .:~-]{0,80}")


def _words(value: object) -> str:
    """Return an argument as text. Raises ValueError if it is nothing that we send."""
    # Celery cuts the arguments in an event after 1,024 characters, and writes `...` for the rest.
    if value is Ellipsis:
        return "..."
    if value is None or isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, tuple | list):
        return ", ".join(_words(item) for item in value)
    raise ValueError


def _arguments(text: str | None) -> str | None:
    """Return the repr of arguments as plain text; "(not shown)" if it is not what we send."""
    if text in (None, "", "()", "{}", "None"):
        return text
    try:
        return _words(ast.literal_eval(str(text)))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return "(not shown)"


def _format_task(task: Any) -> Any:
    """Change a task before Flower shows it: arguments as text, such as `chunk-12, 1`, no secrets.

    Flower calls this with a copy of the task, and shows the task unmasked if this raises.
    """
    task.args = _arguments(task.args)
    task.kwargs = _arguments(task.kwargs)
    failed = _STAGE_FAILED.fullmatch(task.exception or "")
    if failed:
        # Not a fault of a program, so its lines of code would lead astray.
        task.exception, task.traceback = failed["text"], None
    for name in ("result", "exception", "traceback"):
        text = getattr(task, name)
        if text is not None:
            setattr(task, name, clean_text(str(text), 4_000))
    return task


def _replaced(rule: Any) -> Any:
    """Return a rule of Flower's, a tuple or a `url`, with our handler in place of Flower's."""
    if isinstance(rule, url):
        handler = _REPLACED.get(rule.handler_class)
        return url(rule.regex.pattern, handler, rule.kwargs, rule.name) if handler else rule
    return (rule[0], _REPLACED.get(rule[1], rule[1]), *rule[2:])


def flower_settings(chosen: Settings) -> dict[str, Any]:
    """Return Flower's settings by name, and put our handlers in place of some of Flower's.

    Ends the process if Flower would listen beyond this machine, no password is set and none can be
    made.
    """
    configure_logging(chosen)
    # Flower builds its application from this list after it has read these settings.
    handlers[:] = [_replaced(rule) for rule in handlers]
    found = {
        "address": chosen.host,
        "port": chosen.flower_port,
        "purge_offline_workers": DEAD_WORKER_SECONDS,
        "max_tasks": chosen.flower_tasks,
        # Flower logs through our formatter; "none" keeps Tornado from installing its own.
        "logging": "none",
        "tasks_columns": "name,uuid,args,state,exception,received,started,runtime,worker",
        "format_task": _format_task,
    }
    try:
        password = serving_password(chosen)
    except OSError as error:
        refuse(
            f"{password_file(chosen)} can't be used ({error.strerror}), and Flower would listen on "
            f"{chosen.host} for everybody; set SNAPSKU_FLOWER_PASSWORD"
        )
    if password:
        found["basic_auth"] = [f"{chosen.flower_user}:{password}"]
    return found
