"""Heartbeats of the queues: their age is Redis's, and an old one counts as none."""

from __future__ import annotations

import fakeredis
import pytest

from broker.reports.heartbeats import Consumption


def stalled(consumption: Consumption, queues: list[str]) -> list[str]:
    ages = consumption.ages(queues)
    return [queue for queue, age in ages.items() if consumption.is_stalled(age)]


def test_a_queue_is_consumed_for_a_while_after_it_was_worked_on(
    redis_client: fakeredis.FakeRedis,
) -> None:
    consumption = Consumption(redis_client, stalled_seconds=300)
    assert stalled(consumption, ["fetch", "vision"]) == ["fetch", "vision"]
    consumption.note("vision")
    assert stalled(consumption, ["fetch", "vision"]) == ["fetch"]
    (key,) = redis_client.keys()
    redis_client.pexpire(key, redis_client.pttl(key) - 301_000)
    assert stalled(consumption, ["fetch", "vision"]) == ["fetch", "vision"]
    consumption.note("vision")
    assert stalled(consumption, ["fetch", "vision"]) == ["fetch"]


def test_the_age_of_the_last_work_is_told_long_after_a_queue_stalled(
    redis_client: fakeredis.FakeRedis,
) -> None:
    consumption = Consumption(redis_client, 30.0)
    consumption.note("vision")
    (key,) = redis_client.keys()
    redis_client.pexpire(key, redis_client.pttl(key) - 3_600_000)
    ages = consumption.ages(["fetch", "vision"])
    assert ages == {"fetch": None, "vision": pytest.approx(3600, abs=1)}
    assert stalled(consumption, ["vision"]) == ["vision"]


def test_a_clock_of_redis_that_was_set_back_proves_no_work(
    redis_client: fakeredis.FakeRedis,
) -> None:
    consumption = Consumption(redis_client, 30.0)
    consumption.note("vision")
    (key,) = redis_client.keys()
    redis_client.pexpire(key, redis_client.pttl(key) + 3_600_000)
    assert consumption.ages(["vision"]) == {"vision": None}
    assert stalled(consumption, ["vision"]) == ["vision"]
    consumption.note("vision")
    assert stalled(consumption, ["vision"]) == []
