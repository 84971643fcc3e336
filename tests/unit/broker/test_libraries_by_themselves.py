"""Why the broker repairs its libraries: what each does where it is not repaired.

A test that fails tells that the library has changed: read the module that it names, which may go.
"""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, beat
from celery.schedules import schedule
from celery.worker.loops import asynloop
from flower.views import BaseHandler
from flower.views.broker import BrokerView
from flower.views.monitor import Healthcheck, Metrics
from kombu.transport.redis import MultiChannelPoller

from broker.queues import QUEUES


@pytest.fixture
def app() -> Celery:
    """An application with Celery's own settings, and a broker in memory."""
    found = Celery("by itself", broker="memory://", set_as_current=False)
    found.conf.task_create_missing_queues = True
    return found


def printed(program: str) -> list[str]:
    """Return what a program prints in a process into which nothing of ours is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_billiards_child_waits_half_a_minute_for_a_parent_that_reads_no_more() -> None:
    """See broker/celery_fixes/result_wait.py.

    That a parent which stops reads no more is a race; how long the child waits then is not.
    """
    program = """
from types import SimpleNamespace
from billiard import pool
waits = []
pool.time = SimpleNamespace(sleep=waits.append)
child = SimpleNamespace(on_ready_counter=SimpleNamespace(value=6))
print(pool.Worker._ensure_messages_consumed(child, completed=7), round(sum(waits)))
"""
    assert printed(program) == ["False", "30"]


@pytest.mark.parametrize("code", ["MISCONF", "NOREPLICAS"])
def test_redis_py_has_no_class_for_a_server_that_stopped_writes(code: str) -> None:
    """See broker/availability.py."""
    program = f"""
from redis._parsers import BaseParser
print(type(BaseParser.parse_error("{code} no writes")).__name__)
"""
    assert printed(program) == ["ResponseError"]


def test_the_code_in_which_a_consumer_can_get_lost_is_the_one_that_is_watched() -> None:
    """See broker/celery_fixes/stuck_consumer.py.

    The fault is a race between a lost connection and the event loop, so nothing shows it at will.
    With a new digest, read the issues that the module names, and put the digest here if they are
    open.
    """
    sources = "".join(map(inspect.getsource, (asynloop, MultiChannelPoller)))
    assert hashlib.sha256(sources.encode()).hexdigest()[:12] == "4ad9d18e0b5d"


def test_celerys_schedule_sends_nothing_for_as_long_as_the_clock_was_set_back(app: Celery) -> None:
    """See broker/celery_fixes/steady_schedule.py."""
    every_second = schedule(1.0, app=app)
    last_run = app.now()
    hour_before = last_run.replace(year=last_run.year - 1)
    app.now = lambda: hour_before
    is_due, seconds = every_second.is_due(last_run)
    assert not is_due
    assert seconds > 3600


def test_celerys_beat_sends_a_message_though_one_like_it_waits(app: Celery) -> None:
    """See broker/scheduler.py."""
    scheduler = beat.Scheduler(app, lazy=True)
    entry = beat.ScheduleEntry("often", "often", schedule=schedule(1.0, app=app), app=app)
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection)
        for _ in range(2):
            scheduler.apply_entry(entry, producer=producer)
        queue = app.amqp.queues["celery"].bind(connection.default_channel)
        assert queue.queue_declare(passive=True).message_count == 2
        queue.purge()


def test_celery_announces_a_message_of_a_task_that_sends_no_events(app: Celery) -> None:
    """See setup_schedule in broker/scheduler.py."""
    app.conf.task_send_sent_event = True

    @app.task(name="quiet", send_events=False)
    def quiet() -> None:
        return

    announced: list[Any] = []
    app.amqp._event_dispatcher = SimpleNamespace(
        publish=lambda kind, *_, **__: announced.append(kind)
    )
    quiet.apply_async(ignore_result=True)
    assert announced == ["task-sent"]


def test_flower_names_the_queues_of_the_workers_that_it_asked_and_no_others() -> None:
    """See _AllQueues in broker/flower_settings.py."""
    asked = {"fetch@here": {"active_queues": [{"name": "fetch"}]}}
    conf = SimpleNamespace(
        task_default_queue="maintenance",
        task_queues=[SimpleNamespace(name=name) for name in QUEUES],
    )
    page = SimpleNamespace(
        application=SimpleNamespace(workers=asked), capp=SimpleNamespace(conf=conf)
    )
    assert BaseHandler.get_active_queue_names(page) == ["fetch"]


@pytest.mark.parametrize("handler", [Metrics, Healthcheck])
def test_flower_serves_its_metrics_and_health_to_everybody(handler: Any) -> None:
    """See _Metrics in broker/flower_settings.py."""
    assert hasattr(BrokerView.get, "__wrapped__"), "tornado's `authenticated` leaves this mark"
    assert not hasattr(handler.get, "__wrapped__")
