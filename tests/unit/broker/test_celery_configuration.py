"""What every message and every worker obeys, as Celery reads it.

The configuration is made anew for each test and given to an application of the test's own: the
process's application must stay unread, since other tests give it other servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from broker.celery_settings import celery_settings
from broker.queues import MAINTENANCE, PROBE, QUEUES, SWEEPS, task_name
from catalog.rows.chunks import Stage
from config.settings import settings

Configure = Callable[[], dict[str, Any]]


@pytest.fixture
def configure(environment: pytest.MonkeyPatch) -> Configure:
    """Return a function that reads the configuration with the settings of that moment."""
    environment.setenv("SNAPSKU_REDIS_URL", "redis://127.0.0.1:1/0")

    def read() -> dict[str, Any]:
        settings.cache_clear()
        return celery_settings(settings())

    return read


@pytest.fixture
def memory_app(configure: Configure) -> Iterator[Celery]:
    """An application with this configuration, and a broker in memory."""
    known = set(Celery("names", set_as_current=False).conf)
    chosen = {name: value for name, value in configure().items() if name in known}
    chosen |= {
        "broker_url": "memory://",
        "broker_transport_options": {},
        "result_backend": None,
        "imports": (),
    }
    with Celery("test", set_as_current=False) as app:
        app.conf.update(chosen)
        yield app


def test_every_name_of_the_configuration_is_one_that_celery_knows(configure: Configure) -> None:
    known = set(Celery("names", set_as_current=False).conf)
    read_by_name = {"visibility_timeout"}  # kombu's name; the Redis result backend looks for it
    assert set(configure()) - known == read_by_name


def test_there_is_a_queue_for_each_stage_and_each_kind_of_work(configure: Configure) -> None:
    assert [queue.name for queue in configure()["task_queues"]] == list(QUEUES)
    assert len(set(QUEUES)) == len(QUEUES)
    assert {stage.value for stage in Stage} < set(QUEUES)


def test_every_queue_has_a_routing_key_of_its_own(configure: Configure) -> None:
    queues = configure()["task_queues"]
    assert {queue.name: queue.routing_key for queue in queues} == {name: name for name in QUEUES}


def lengths(app: Celery) -> dict[str, int]:
    with app.connection_for_read() as connection, connection.channel() as channel:
        return {
            queue.name: queue.bind(channel).queue_declare(passive=True).message_count
            for queue in app.amqp.queues.values()
        }


@pytest.mark.parametrize("target", QUEUES)
def test_a_message_to_one_queue_reaches_only_that_one(memory_app: Celery, target: str) -> None:
    with memory_app.connection_for_write() as connection, connection.channel() as channel:
        for queue in memory_app.amqp.queues.values():
            queue.bind(channel).declare()
            queue.bind(channel).purge()
        memory_app.send_task(
            task_name(target),
            args=("id", 1),
            queue=target,
            ignore_result=True,
            connection=connection,
        )
        assert lengths(memory_app) == {queue: int(queue == target) for queue in QUEUES}
        for queue in memory_app.amqp.queues.values():
            queue.bind(channel).purge()


def test_a_queue_that_is_not_known_takes_no_message(memory_app: Celery) -> None:
    with pytest.raises(Exception, match="fetsh"):
        memory_app.send_task("workers.fetch", queue="fetsh", ignore_result=True)


def test_a_message_is_acknowledged_when_its_work_is_done(configure: Configure) -> None:
    found = configure()
    assert found["task_acks_late"] is True
    assert found["task_reject_on_worker_lost"] is True
    assert found["worker_prefetch_multiplier"] == 1


def test_only_json_is_written_and_read(configure: Configure) -> None:
    found = configure()
    assert (found["task_serializer"], found["result_serializer"]) == ("json", "json")
    assert found["accept_content"] == ["json"]


def test_messages_of_dead_workers_are_looked_for_every_time(configure: Configure) -> None:
    assert configure()["broker_transport_options"]["unacked_restore_throttle"] == 1


def test_the_visibility_timeout_is_the_same_wherever_celery_looks_for_it(
    environment: pytest.MonkeyPatch, configure: Configure
) -> None:
    environment.setenv("SNAPSKU_VISIBILITY_SECONDS", "321")
    found = configure()
    assert found["broker_transport_options"]["visibility_timeout"] == 321
    assert found["result_backend_transport_options"]["visibility_timeout"] == 321
    assert found["visibility_timeout"] == 321


def test_times_come_from_the_settings(
    environment: pytest.MonkeyPatch, configure: Configure
) -> None:
    environment.setenv("SNAPSKU_RESULT_SECONDS", "61")
    environment.setenv("SNAPSKU_TIME_LIMIT_SECONDS", "62")
    environment.setenv("SNAPSKU_SWEEP_SECONDS", "0.5")
    found = configure()
    assert found["result_expires"] == timedelta(seconds=61)
    assert found["task_time_limit"] == 62
    assert all(found["beat_schedule"][name]["schedule"].seconds == 0.5 for name in SWEEPS)


def test_results_are_kept_only_where_a_stage_stores_them(configure: Configure) -> None:
    found = configure()
    assert found["task_ignore_result"] is True
    assert found["result_backend"] == found["broker_url"] == "redis://127.0.0.1:1/0"


def test_beat_sends_the_background_work_apart_and_probes_every_queue(
    configure: Configure,
) -> None:
    entries = configure()["beat_schedule"].values()
    queues = {e["task"]: e["options"]["queue"] for e in entries if e["task"] != PROBE}
    assert queues == dict.fromkeys(SWEEPS, MAINTENANCE)
    probed = [entry for entry in entries if entry["task"] == PROBE]
    assert [entry["options"]["queue"] for entry in probed] == list(QUEUES)
    assert [entry["args"] for entry in probed] == [(queue,) for queue in QUEUES]


def test_nothing_that_beat_sends_expires_by_the_clock_of_beat(configure: Configure) -> None:
    for entry in configure()["beat_schedule"].values():
        assert set(entry["options"]) == {"queue"}
