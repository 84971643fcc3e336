"""A real beat that is stopped, also while it waits for Redis, ends at once and well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

import workers
from broker.queues import MAINTENANCE, PROBE, QUEUES, SWEEPS
from config.settings import settings
from tests.integration.workers.waiting import until

COMMAND = "-m celery -A workers.maintenance beat --pidfile="
PAUSE_SECONDS = 30


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "beat.log"


@contextmanager
def running_beat(
    client: redis.Redis, log: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run beat, which has sent its first probes."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *COMMAND.split(), *arguments],
            cwd=Path(workers.__file__).parents[1],
            env={
                **os.environ,
                "SNAPSKU_DATA_DIR": str(log.parent),
                "SNAPSKU_REDIS_URL": settings().redis_url.get_secret_value(),
                "SNAPSKU_PROBE_SECONDS": "1",
                "SNAPSKU_SWEEP_SECONDS": "0.5",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert until(lambda: bool(client.llen(MAINTENANCE)), 30), log.read_text()
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def beat(redis_client: redis.Redis, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running_beat(redis_client, log) as process:
        yield process


def test_what_beat_sends_does_not_pile_up_and_does_not_expire_while_it_is_not_taken(
    beat: subprocess.Popen[bytes], redis_client: redis.Redis
) -> None:
    time.sleep(3)  # six times the background work, three times the probes
    assert beat.poll() is None
    for queue in QUEUES:
        waiting = [json.loads(message)["headers"] for message in redis_client.lrange(queue, 0, -1)]
        tasks = [headers["task"] for headers in waiting]
        assert len(tasks) == len(set(tasks)), queue
        assert {headers["expires"] for headers in waiting} <= {None}
        if queue == MAINTENANCE:
            assert set(SWEEPS) <= set(tasks)
        else:
            assert tasks == [PROBE]


def test_beat_sends_a_probe_again_when_the_one_before_was_taken(
    beat: subprocess.Popen[bytes], redis_client: redis.Redis
) -> None:
    assert until(lambda: redis_client.rpop("fetch") is not None, 10)
    assert until(lambda: redis_client.rpop("fetch") is not None, 10)


def test_beat_that_is_stopped_between_two_sends_ends_well(
    beat: subprocess.Popen[bytes], log: Path
) -> None:
    beat.terminate()
    assert beat.wait(5) == 0, log.read_text()


def test_beat_that_is_stopped_while_a_send_waits_for_redis_ends_well(
    beat: subprocess.Popen[bytes], redis_client: redis.Redis, log: Path
) -> None:
    redis_client.client_pause(PAUSE_SECONDS * 1000, all=False)
    try:
        time.sleep(2)  # The next probe was due within one second, and has no answer.
        assert beat.poll() is None
        beat.terminate()
        assert beat.wait(5) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        redis_client.client_unpause()


def test_celerys_own_beat_goes_on_if_it_is_stopped_while_a_send_waits_for_redis(
    redis_client: redis.Redis, log: Path
) -> None:
    """If this fails, Celery was repaired, and `close` in broker/scheduler.py may go."""
    with running_beat(redis_client, log, "--scheduler", "celery.beat:Scheduler") as process:
        redis_client.client_pause(PAUSE_SECONDS * 1000, all=False)
        try:
            time.sleep(2)  # The next message was due within half a second, and has no answer.
            process.terminate()
            assert until(lambda: "Message Error" in log.read_text(), 20), log.read_text()
            assert process.poll() is None
        finally:
            redis_client.client_unpause()
