"""Quotas are exact for however many threads count at once."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from app.auth.quotas import Charge, Quotas
from app.http.envelope import UNLIMITED, SystemCode
from broker.redis_connection import connect_redis

CALLS = 60


@pytest.fixture
def quotas(redis_client: redis.Redis) -> Quotas:
    return Quotas(redis_client)


def at_once(quotas: Quotas, per_second: int, per_day: int) -> list[Charge]:
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(quotas.charge, "u", per_second, per_day) for _ in range(CALLS)]
    return [call.result() for call in calls]


def test_without_limits_every_call_passes_and_nothing_is_counted_down(quotas: Quotas) -> None:
    assert set(at_once(quotas, 0, 0)) == {Charge(UNLIMITED)}


def test_of_many_calls_at_once_a_day_takes_exactly_its_number(quotas: Quotas) -> None:
    charges = at_once(quotas, 0, 25)
    assert Counter(charge.refusal for charge in charges) == {
        None: 25,
        SystemCode.QUOTA_USED_UP: CALLS - 25,
    }
    refused = [charge for charge in charges if charge.refusal is not None]
    assert {charge.remaining for charge in refused} == {0}
    assert all(86_000 < charge.retry_after_seconds <= 86_400 for charge in refused)


def test_what_is_left_of_a_day_counts_down_to_zero(quotas: Quotas) -> None:
    assert [quotas.charge("u", 0, 3).remaining for _ in range(4)] == [2, 1, 0, 0]


def test_of_many_calls_at_once_a_second_takes_no_more_than_its_number(quotas: Quotas) -> None:
    started = time.monotonic()
    charges = at_once(quotas, 10, 0)
    begun_seconds = 1 + int(time.monotonic() - started)
    passed = sum(charge.refusal is None for charge in charges)
    assert 10 <= passed <= 10 * begun_seconds < CALLS
    assert {charge.refusal for charge in charges} == {None, SystemCode.OVER_QPS}
    assert {charge.retry_after_seconds for charge in charges if charge.refusal} == {1}
    time.sleep(1.1)
    assert quotas.charge("u", 10, 0).refusal is None


def test_a_call_over_the_limit_of_a_second_costs_nothing_of_the_day(quotas: Quotas) -> None:
    charges = [quotas.charge("u", 1, 9) for _ in range(3)]
    assert [charge.refusal for charge in charges] == [
        None,
        SystemCode.OVER_QPS,
        SystemCode.OVER_QPS,
    ]
    assert [charge.remaining for charge in charges] == [8, 8, 8]


def test_users_do_not_share_a_quota(quotas: Quotas) -> None:
    assert quotas.charge("u", 1, 1).refusal is None
    assert quotas.charge("u", 1, 1).refusal is not None
    assert quotas.charge("v", 1, 1) == Charge(0)


def test_without_redis_calls_pass_and_are_counted_as_unchecked() -> None:
    quotas = Quotas(connect_redis("redis://127.0.0.1:1/0", 0.2, 0.2))
    assert quotas.charge("u", 1, 1) == Charge(UNLIMITED)
    assert quotas.charge("u", 1, 1) == Charge(UNLIMITED)
    assert quotas.unchecked == 2


def test_a_second_is_the_same_on_machines_whose_clocks_are_apart(
    quotas: Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: real() + 25)
        assert [_after(pause, quotas) for pause in (0.0, 0.6)] == [None, None]
    assert _after(0.6, quotas) is None, "one call in the last second, of two"
    assert _after(0.0, quotas) is SystemCode.OVER_QPS


def _after(seconds: float, quotas: Quotas) -> SystemCode | None:
    time.sleep(seconds)
    return quotas.charge("u", 2, 0).refusal
