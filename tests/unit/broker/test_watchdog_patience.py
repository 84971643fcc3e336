"""When a worker counts as stuck: messages wait, it is idle, and that for many looks in a row."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from celery.worker import state
from structlog.testing import capture_logs

from broker.celery_fixes import stuck_consumer as watchdog
from broker.celery_fixes.stuck_consumer import (
    END_SECONDS,
    LOOKS,
    RECONNECT_SECONDS,
    ConsumerCheck,
    IdleChecks,
)

CONSUMING = {"fetch": True}
RECONNECTING = {"fetch": False}


@pytest.fixture
def patience() -> IdleChecks:
    """Three looks, five while it is not connected; it has looked once, at an empty queue."""
    made = IdleChecks(3, 5)
    assert made.stuck({}, busy=False, done=7) == []
    return made


def looks(
    patience: IdleChecks, count: int, waiting: dict[str, bool], **seen: Any
) -> list[list[str]]:
    return [patience.stuck(waiting, **{"busy": False, "done": 7, **seen}) for _ in range(count)]


def test_an_idle_worker_that_lets_messages_wait_is_stuck(patience: IdleChecks) -> None:
    assert looks(patience, 3, CONSUMING) == [[], [], ["fetch"]]


def test_the_queue_that_is_stuck_is_named(patience: IdleChecks) -> None:
    looks(patience, 2, {"index": True})
    assert looks(patience, 1, {"index": True, "neighbours": True}) == [["index"]]


def test_a_queue_that_was_empty_for_a_look_is_consumed(patience: IdleChecks) -> None:
    looks(patience, 2, CONSUMING)
    assert looks(patience, 1, {}) == [[]]
    assert looks(patience, 3, CONSUMING) == [[], [], ["fetch"]]


def test_a_busy_worker_is_not_stuck(patience: IdleChecks) -> None:
    assert looks(patience, 20, CONSUMING, busy=True) == [[]] * 20
    assert looks(patience, 3, CONSUMING) == [[], [], ["fetch"]], "it counts from its last work on"


def test_a_worker_that_took_something_between_two_looks_is_not_stuck(patience: IdleChecks) -> None:
    for done in range(8, 20):
        assert patience.stuck(CONSUMING, busy=False, done=done) == []


def test_a_worker_that_tries_to_connect_has_more_time(patience: IdleChecks) -> None:
    assert looks(patience, 5, RECONNECTING) == [[], [], [], [], ["fetch"]]


def test_a_worker_that_has_just_connected_again_has_its_whole_time(patience: IdleChecks) -> None:
    assert looks(patience, 4, RECONNECTING) == [[]] * 4
    assert looks(patience, 3, CONSUMING) == [[], [], ["fetch"]]


@pytest.fixture
def consumer() -> Any:
    """What the watchdog reads of a consumer that should take from two queues."""
    return SimpleNamespace(
        app=SimpleNamespace(
            amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"index": 1, "neighbours": 1}))
        ),
        connection=object(),
        task_consumer=SimpleNamespace(consuming_from=lambda _: True),
    )


class CountedLooks(threading.Event):
    """An event that is set after so many looks, without waiting."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture(autouse=True)
def idle() -> None:
    state.reset_state()


def test_messages_of_one_of_its_queues_are_enough(
    consumer: Any, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.lpush("neighbours", "message")
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(LOOKS)) == [], (
        "the first look has nothing to compare with"
    )
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(LOOKS + 1)) == [
        "neighbours"
    ]


def test_messages_of_other_queues_are_nothing_to_it(
    consumer: Any, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.lpush("fetch", "message")
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(200)) == []


def test_a_queue_that_an_operator_cancelled_may_hold_messages(
    consumer: Any, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.lpush("neighbours", "message")
    del consumer.app.amqp.queues.consume_from["neighbours"]
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(200)) == []


def test_nobody_is_stuck_while_redis_is_down(consumer: Any) -> None:
    server = fakeredis.FakeServer()
    with fakeredis.FakeRedis(server=server) as client:
        client.lpush("index", "message")
        server.connected = False
        assert ConsumerCheck(consumer, client, 30.0).watch(CountedLooks(200)) == []


@pytest.mark.parametrize("lost", ["connection", "task_consumer"])
def test_a_worker_that_never_gets_its_connection_back_is_stuck(
    consumer: Any, redis_client: fakeredis.FakeRedis, lost: str
) -> None:
    redis_client.lpush("index", "message")
    setattr(consumer, lost, None)
    patience = LOOKS + int(RECONNECT_SECONDS / 3)
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(patience)) == []
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(CountedLooks(patience + 1)) == [
        "index"
    ]


def test_a_worker_that_is_being_stopped_is_left_alone(
    consumer: Any, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.lpush("index", "message")
    stopping = threading.Event()
    stopping.set()
    assert ConsumerCheck(consumer, redis_client, 30.0).watch(stopping) == []


def test_a_worker_that_does_not_end_when_it_is_told_is_killed(
    consumer: Any, monkeypatch: pytest.MonkeyPatch, environment: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    environment.setenv("SNAPSKU_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(ConsumerCheck, "watch", lambda *_: ["index"])
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append((pid, number)))
    monkeypatch.setattr(time, "sleep", done.append)
    with capture_logs() as lines:
        watchdog._guard(consumer)
    assert done == [(os.getpid(), signal.SIGTERM), END_SECONDS, (os.getpid(), signal.SIGKILL)]
    assert [(line["log_level"], line["queues"]) for line in lines] == [("critical", ["index"])]
