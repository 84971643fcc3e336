"""A host that does not answer is asked less, by all workers together."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker import host_states
from broker.host_states import HostPause, HostStates, PauseKind
from contract.causes import STATUS_FOR_NOW
from download.faults import TransientFetchError
from tests.integration.workers.waiting import until
from workers.support.host_gate import HostGate

HOST = "shop.example:443"
#: Long enough for the calls that a test makes within it, on a machine that stops now and then.
PAUSE = 1.0
DOWN = "shop.example failed several times in a row and is left alone for now"
MakeStates = Callable[[], HostStates]


@pytest.fixture
def make(redis_client: redis.Redis) -> MakeStates:
    """Return what makes the states of one more worker."""
    return lambda: HostStates(redis_client, faults=3, pause_seconds=PAUSE, try_seconds=30)


@pytest.fixture
def states(make: MakeStates) -> HostStates:
    return make()


def put_down(states: HostStates) -> HostPause:
    for _ in range(3):
        states.failed(HOST, "status 503")
    paused = states.pause(HOST)
    assert paused is not None
    return paused


def test_a_host_without_faults_is_asked_and_has_no_key(
    states: HostStates, redis_client: redis.Redis
) -> None:
    assert states.pause(HOST) is None
    states.answered(HOST)
    assert redis_client.keys() == []


def test_a_host_is_left_alone_after_faults_in_a_row_alone(states: HostStates) -> None:
    for _ in range(4):
        states.failed(HOST, "status 503")
        states.failed(HOST, "status 503")
        assert states.pause(HOST) is None
        states.answered(HOST)
    assert put_down(states).kind is PauseKind.DOWN


def test_all_workers_leave_it_alone_and_know_why_and_other_hosts_are_asked(
    states: HostStates, make: MakeStates
) -> None:
    put_down(states)
    paused = make().pause(HOST)
    assert paused is not None
    assert paused.reason == "status 503"
    assert 0 < paused.seconds <= PAUSE
    assert make().pause("other.example:443") is None


def test_after_the_pause_one_download_tries_it_and_its_fault_makes_a_longer_one(
    states: HostStates, make: MakeStates
) -> None:
    put_down(states)
    assert until(lambda: states.pause(HOST) is None, 20)
    waiting = make().pause(HOST)
    assert waiting is not None
    assert waiting.kind is PauseKind.TRIED
    assert 0 < waiting.seconds <= host_states.TRY_WAIT_SECONDS
    states.failed(HOST, "timeout")
    longer = make().pause(HOST)
    assert longer is not None
    assert (longer.kind, longer.reason) == (PauseKind.DOWN, "timeout")
    assert PAUSE < longer.seconds <= PAUSE * host_states.PAUSE_FACTOR


def test_an_answer_ends_the_pauses_of_all(
    states: HostStates, make: MakeStates, redis_client: redis.Redis
) -> None:
    put_down(states)
    states.answered(HOST)
    assert [make().pause(HOST) for _ in range(3)] == [None] * 3
    assert redis_client.exists(f"host:{HOST}") == 0


def test_a_try_whose_worker_died_is_made_by_another(redis_client: redis.Redis) -> None:
    states = HostStates(redis_client, faults=1, pause_seconds=0.01, try_seconds=0.5)
    states.failed(HOST, "status 503")
    time.sleep(0.02)
    assert states.pause(HOST) is None
    assert until(lambda: states.pause(HOST) is None, 20)


def test_faults_of_downloads_that_began_before_a_pause_make_it_no_longer(
    states: HostStates,
) -> None:
    before = put_down(states).seconds
    for _ in range(5):
        states.failed(HOST, "status 503")
    after = states.pause(HOST)
    assert after is not None
    assert after.seconds <= before


def test_no_pause_is_longer_than_the_longest(
    states: HostStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_states, "LONGEST_PAUSE_SECONDS", PAUSE)
    put_down(states)
    assert until(lambda: states.pause(HOST) is None, 20)
    states.failed(HOST, "status 503")
    paused = states.pause(HOST)
    assert paused is not None
    assert paused.seconds <= PAUSE


def test_a_host_that_asks_for_a_pause_gets_it_at_the_first_time(states: HostStates) -> None:
    states.failed(HOST, "status 429", asked_seconds=120)
    paused = states.pause(HOST)
    assert paused is not None
    assert paused.kind is PauseKind.ASKED_FOR
    assert 100 < paused.seconds <= 120


def test_states_expire_and_those_of_many_hosts_are_bounded(
    states: HostStates, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_states, "HOSTS_LIMIT", 3)
    for number in range(9):
        states.failed(f"{number}.example:80", "status 503")
    kept = {f"host:{number}.example:80".encode() for number in (6, 7, 8)}
    assert set(redis_client.keys()) == {*kept, b"hosts"}
    assert redis_client.zcard("hosts") == 3
    for key in (*kept, b"hosts"):
        assert 0 < redis_client.ttl(key) <= 2 * host_states.KEPT_SECONDS


@pytest.mark.parametrize(
    ("asked_seconds", "is_down", "sentence"),
    [
        (
            None,
            True,
            f"{DOWN}; the last time: {{}}",
        ),
        (120.0, False, "shop.example asked to be left alone for a while: {}"),
    ],
)
def test_what_an_image_is_told_that_waits_for_a_host(
    states: HostStates, asked_seconds: float | None, is_down: bool, sentence: str
) -> None:
    gate = HostGate(states)
    fault = STATUS_FOR_NOW.fault(host="shop.example", status=503)
    for _ in range(3):
        gate.failed(HOST, TransientFetchError(fault, asked_seconds))
    time.sleep(0.1)
    put_off = gate.put_off(HOST)
    assert put_off is not None
    assert put_off.fault.detail == sentence.format(fault.detail)
    assert put_off.fault.is_retryable
    assert (put_off.down_seconds >= 0.1) is is_down
    gate.answered(HOST)
    assert gate.put_off(HOST) is None


def test_a_host_is_down_since_its_first_fault_without_an_answer_after_it(
    states: HostStates,
) -> None:
    states.failed(HOST, "status 503")
    states.answered(HOST)
    put_down(states)
    time.sleep(0.3)
    states.failed(HOST, "status 503")
    paused = states.pause(HOST)
    assert paused is not None
    assert 0.3 <= paused.age_seconds < 100


def test_a_pause_of_nothing_is_none(states: HostStates) -> None:
    states.failed(HOST, "status 503", asked_seconds=0)
    assert states.pause(HOST) is None


def test_without_redis_every_host_is_asked() -> None:
    away = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    gate = HostGate(HostStates(away, faults=1, pause_seconds=1, try_seconds=1))
    gate.failed(HOST, TransientFetchError(STATUS_FOR_NOW.fault(host="shop.example", status=503)))
    assert gate.put_off(HOST) is None
