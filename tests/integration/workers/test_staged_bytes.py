"""Fetched bytes in Redis: they come back as they were left, and are counted exactly."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from broker import staged_bytes as module
from broker.results import store_outcomes
from broker.staged_bytes import StagedBytes
from catalog.flows.task_standing import Outcome

BIG_LABEL = 2**62


def staged(client: redis.Redis, budget: int = 0, seconds: int = 60) -> StagedBytes:
    return StagedBytes(client, budget, seconds, "c")


def test_staged_bytes_come_back_by_label(redis_client: redis.Redis) -> None:
    kept = staged(redis_client)
    kept.put({1: b"one", BIG_LABEL: b"\x00\xff"})
    assert kept.get([BIG_LABEL, 1, 2]) == {BIG_LABEL: b"\x00\xff", 1: b"one"}
    assert kept.present([2, 1]) == {1}


def test_every_key_of_staged_bytes_expires(redis_client: redis.Redis) -> None:
    staged(redis_client).put({1: b"one", 2: b"two"})
    lasting = {key: redis_client.ttl(key) for key in redis_client.scan_iter()}
    assert len(lasting) == 4
    assert all(0 < seconds <= 120 for seconds in lasting.values())
    assert all(seconds <= 60 for key, seconds in lasting.items() if key.startswith(b"bytes:"))


def test_staged_bytes_are_removed_by_label(redis_client: redis.Redis) -> None:
    kept = staged(redis_client)
    kept.put({1: b"one", 2: b"two"})
    kept.remove([1, 3])
    assert kept.present([1, 2, 3]) == {2}


def test_no_labels_are_no_error(redis_client: redis.Redis) -> None:
    kept = staged(redis_client)
    kept.put({})
    kept.remove([])
    assert kept.get([]) == {}
    assert kept.present([]) == set()
    assert redis_client.keys() == []


@pytest.mark.parametrize(("budget", "room"), [(1001, True), (1000, False), (0, True)])
def test_there_is_room_below_the_budget(redis_client: redis.Redis, budget: int, room: bool) -> None:
    kept = staged(redis_client, budget)
    assert kept.has_room()
    kept.put({1: b"x" * 400, 2: b"y" * 600})
    assert kept.has_room() is room


def test_a_label_that_is_put_again_counts_once_and_by_its_last_size(
    redis_client: redis.Redis,
) -> None:
    kept = staged(redis_client)
    kept.put({1: b"x" * 400})
    kept.put({1: b"x" * 300, 2: b"y"})
    assert staged(redis_client).total() == 301


def test_what_is_removed_counts_no_more_however_often_it_is_removed(
    redis_client: redis.Redis,
) -> None:
    kept = staged(redis_client)
    kept.put({1: b"x" * 400, 2: b"y" * 7})
    for _ in range(2):
        kept.remove([1, 3])
    assert staged(redis_client).total() == 7
    kept.remove([2])
    assert staged(redis_client).total() == 0


def test_what_expires_counts_no_more(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few entries one script forgets."""
    monkeypatch.setattr(module, "PURGED_AT_ONCE", 2)
    staged(redis_client, seconds=1).put(dict.fromkeys(range(5), b"x" * 100))
    staged(redis_client).put({9: b"y"})
    assert staged(redis_client).total() == 501
    deadline = time.monotonic() + 50
    while redis_client.exists("bytes:c:0"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert staged(redis_client, budget=2).has_room()
    assert staged(redis_client).total() == 1
    assert redis_client.zcard("staged:c:expiries") == 1
    assert redis_client.hlen("staged:c:sizes") == 2


def test_a_redis_that_lost_everything_has_room_and_counts_anew(redis_client: redis.Redis) -> None:
    kept = staged(redis_client, budget=5)
    kept.put({1: b"x" * 400})
    assert not kept.has_room()
    redis_client.flushdb()
    assert kept.has_room()
    kept.put({2: b"abc"})
    assert staged(redis_client).total() == 3


def test_another_catalogue_has_a_count_of_its_own(redis_client: redis.Redis) -> None:
    StagedBytes(redis_client, 0, 60, "other").put({1: b"x" * 400})
    assert staged(redis_client).total() == 0


def test_results_take_nothing_of_the_budget(redis_client: redis.Redis) -> None:
    before = redis_client.info("memory")["used_memory"]
    budget = 100_000
    for number in range(400):
        outcomes = [
            Outcome(number * 16 + n, "product", f"image-{n}", "SUCCEEDED") for n in range(16)
        ]
        store_outcomes(f"chunk-{number}", outcomes)
    assert redis_client.info("memory")["used_memory"] - before > budget
    assert staged(redis_client, budget).has_room()


def test_asking_putting_and_removing_take_a_round_trip_each(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.ping()
    trips = 0
    connection = redis_client.connection_pool.get_connection()
    redis_client.connection_pool.release(connection)
    send: Callable[..., None] = connection.send_packed_command

    def counting(*arguments: object, **options: object) -> None:
        nonlocal trips
        trips += 1
        send(*arguments, **options)

    monkeypatch.setattr(connection, "send_packed_command", counting)
    kept = staged(redis_client, budget=10)
    kept.has_room()
    kept.put({1: b"x", 2: b"y"})
    kept.remove([1, 2])
    assert trips == 3


def test_a_redis_that_is_full_lets_bytes_go_and_counts_what_expired(
    redis_client: redis.Redis,
) -> None:
    kept, expiring = staged(redis_client), staged(redis_client, budget=5, seconds=1)
    kept.put({1: b"one", 2: b"two"})
    expiring.put({3: b"three"})
    assert not expiring.has_room()
    time.sleep(1.1)
    redis_client.config_set("maxmemory", 1)
    try:
        kept.remove([1, 2])
        assert kept.present([1, 2]) == set()
        assert expiring.has_room()
        assert kept.total() == 0
    finally:
        redis_client.config_set("maxmemory", 0)
