"""What waits in a queue is told as work, without the probes and sweeps that beat sends."""

from __future__ import annotations

import json

import fakeredis
import pytest

from broker.celery_app import SENT_HEADER
from broker.queues import MAINTENANCE, PROBE, RECOVERY, task_name
from broker.reports.queued_work import OLDEST, Waiting, queued_work, take_turn_to_log
from catalog.database.connection import now, stamp


def put(client: fakeredis.FakeRedis, queue: str, task: str, age: float | None = None) -> None:
    """Put a message at the end of a queue, where kombu puts what is sent."""
    headers: dict[str, object] = {"task": task}
    if age is not None:
        headers[SENT_HEADER] = stamp(now()) - round(age * 1000)
    client.lpush(queue, json.dumps({"headers": headers, "body": ""}))


def test_an_idle_queue_has_no_work(redis_client: fakeredis.FakeRedis) -> None:
    assert queued_work(redis_client, ["fetch"]) == {"fetch": Waiting(0, None)}


def test_probes_and_sweeps_are_no_work(redis_client: fakeredis.FakeRedis) -> None:
    put(redis_client, "fetch", PROBE, 500)
    put(redis_client, MAINTENANCE, RECOVERY, 500)
    put(redis_client, MAINTENANCE, PROBE, 500)
    assert queued_work(redis_client, ["fetch", MAINTENANCE]) == {
        "fetch": Waiting(0, None),
        MAINTENANCE: Waiting(0, None),
    }


def test_work_is_counted_with_the_age_of_the_oldest(redis_client: fakeredis.FakeRedis) -> None:
    put(redis_client, "fetch", PROBE, 900)
    put(redis_client, "fetch", task_name("fetch"), 300)
    put(redis_client, "fetch", task_name("fetch"), 20)
    found = queued_work(redis_client, ["fetch"])["fetch"]
    assert found.messages == 2
    assert found.oldest_seconds == pytest.approx(300, abs=5)
    assert str(found).startswith("2 waiting, the oldest for 30")


def test_a_long_queue_is_counted_whole(redis_client: fakeredis.FakeRedis) -> None:
    put(redis_client, "vision", PROBE, 900)
    for _ in range(10 * OLDEST):
        put(redis_client, "vision", task_name("vision"), 60)
    found = queued_work(redis_client, ["vision"])["vision"]
    assert found.messages == 10 * OLDEST
    assert found.oldest_seconds == pytest.approx(60, abs=5)


def test_a_message_of_a_release_that_wrote_no_time_has_no_age(
    redis_client: fakeredis.FakeRedis,
) -> None:
    put(redis_client, "index", task_name("index"))
    found = queued_work(redis_client, ["index"])["index"]
    assert found == Waiting(1, None)
    assert str(found) == "1 waiting"


def test_a_message_of_another_program_counts(redis_client: fakeredis.FakeRedis) -> None:
    redis_client.lpush("index", b"hello", b'{"headers": null}', b"[]")
    redis_client.rpush("index", json.dumps({"headers": {SENT_HEADER: "yesterday"}}))
    assert queued_work(redis_client, ["index"])["index"] == Waiting(4, None)


def test_a_clock_that_is_ahead_makes_no_negative_age(redis_client: fakeredis.FakeRedis) -> None:
    put(redis_client, "index", task_name("index"), -50)
    assert queued_work(redis_client, ["index"])["index"] == Waiting(1, 0.0)


def test_one_process_at_a_time_logs_what_waits(redis_client: fakeredis.FakeRedis) -> None:
    assert take_turn_to_log(redis_client)
    assert not take_turn_to_log(redis_client)
