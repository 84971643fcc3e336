"""A real worker that is made deaf ends itself; one that is idle, busy or without Redis does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import redis
from pydantic import SecretStr

import workers
from broker.celery_app import app
from broker.queues import MAINTENANCE, PROBE
from catalog.store import Catalog
from config.embedded import embedded_servers, valkey_command
from config.endpoints import read_endpoints
from config.settings import Settings, settings
from tests.integration.workers.waiting import until

STALLED_SECONDS = 2.0
LONG_TASK = "tests.take_long"
DEAF = "tests.integration.workers.processes.deaf_worker"
CRITICAL = "messages wait and none is taken, worker ends itself"


class Worker:
    """A maintenance worker, which loads nothing heavy, with a Redis of the test's choice."""

    def __init__(self, folder: Path, pool: str, redis_url: str) -> None:
        self.redis_url = redis_url
        self.node = f"watched-{pool}@test"
        command = "celery --quiet -A workers.maintenance worker --without-mingle --without-gossip"
        rest = f"--include {DEAF} -Q {MAINTENANCE} -c 1 -P {pool} -n {self.node}"
        root = Path(workers.__file__).parents[1]
        self._log = folder / "worker.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split(), *rest.split()],
                cwd=root,
                env={
                    **os.environ,
                    "PYTHONPATH": str(root),
                    "SNAPSKU_DATA_DIR": str(folder),
                    "SNAPSKU_REDIS_URL": redis_url,
                    "SNAPSKU_LOG_FORMAT": "json",
                    "SNAPSKU_LOG_LEVEL": "DEBUG",
                    "SNAPSKU_PROBE_SECONDS": "1",
                    "SNAPSKU_STALLED_SECONDS": str(STALLED_SECONDS),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    @property
    def waiting(self) -> int:
        """How many messages wait for it."""
        with redis.Redis.from_url(self.redis_url) as client:
            return int(cast("int", client.llen(MAINTENANCE)))

    @property
    def unacknowledged(self) -> int:
        """How many messages it, or another worker, took and has not acknowledged."""
        with redis.Redis.from_url(self.redis_url) as client:
            return int(cast("int", client.hlen("unacked")))

    def lines(self, level: str) -> list[dict[str, Any]]:
        # The worker may be in the middle of its last line.
        whole = self.log.rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line["level"] == level]

    def send(self, task: str, argument: object = MAINTENANCE) -> None:
        with app.connection_for_write(self.redis_url) as connection:
            app.send_task(task, (argument,), queue=MAINTENANCE, connection=connection)

    def tell(self, command: str, **arguments: Any) -> Any:
        with app.connection_for_write(self.redis_url) as connection:
            (answer,) = app.control.broadcast(
                command,
                arguments=arguments,
                destination=[self.node],
                connection=connection,
                reply=True,
                limit=1,
                timeout=10,
            )
        return answer[self.node]

    def takes_a_probe(self) -> bool:
        """Send a probe and see it taken."""
        before = self._probes
        self.send(PROBE)
        return until(lambda: self._probes > before, 100)

    @property
    def _probes(self) -> int:
        return sum(line["event"] == "probe" for line in self.lines("debug"))


@contextmanager
def running(folder: Path, pool: str, redis_url: str) -> Iterator[Worker]:
    worker = Worker(folder, pool, redis_url)
    try:
        assert worker.takes_a_probe(), worker.log
        # Redis must not go away under an acknowledgement, of which Celery has its own say.
        assert until(lambda: not worker.unacknowledged, 60), worker.log
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait(10)


@pytest.fixture
def redis_url(redis_client: redis.Redis) -> str:
    return settings().redis_url.get_secret_value()


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_that_became_deaf_ends_itself_in_time(
    catalog: Catalog, redis_url: str, tmp_path: Path, pool: str
) -> None:
    with running(tmp_path, pool, redis_url) as worker:
        assert worker.tell("deafen") == {"ok": "deaf"}
        for _ in range(3):
            worker.send(PROBE)
        assert worker.tell("ping") == {"ok": "pong"}, "it looks alive"
        assert until(lambda: not worker.runs, STALLED_SECONDS + 60), worker.log
        assert worker.process.returncode == 0, "a stop like any other, not a kill"
        (line,) = worker.lines("critical")
        assert (line["event"], line["queues"]) == (CRITICAL, [MAINTENANCE])
        assert worker.waiting >= 2


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_that_is_idle_busy_or_cancelled_goes_on(
    catalog: Catalog, redis_url: str, tmp_path: Path, pool: str
) -> None:
    with running(tmp_path, pool, redis_url) as worker:
        assert not until(lambda: not worker.runs, 1.5 * STALLED_SECONDS), "idle"

        for _ in range(2):
            worker.send(LONG_TASK, 1.5 * STALLED_SECONDS)
        started = time.monotonic()
        assert until(lambda: not worker.waiting, 100)
        assert time.monotonic() - started > STALLED_SECONDS, "a message waited for long enough"

        assert "ok" in worker.tell("cancel_consumer", queue=MAINTENANCE)
        assert until(lambda: not worker.tell("active"), 100)
        for _ in range(3):
            worker.send(PROBE)
        assert not until(lambda: not worker.runs, 2 * STALLED_SECONDS), worker.log
        assert worker.waiting >= 2
        assert "ok" in worker.tell("add_consumer", queue=MAINTENANCE)
        assert until(lambda: not worker.waiting, 100)
        assert worker.lines("critical") == []


def test_a_worker_whose_redis_was_away_is_left_to_reconnect(
    catalog: Catalog, tmp_path: Path
) -> None:
    """kombu tries after 2, 6 and 12 s, so messages wait for longer than a worker may idle."""
    own = Settings(
        data_dir=tmp_path / "own", mongo_url=settings().mongo_url, redis_url=SecretStr("")
    )
    with embedded_servers(own) as servers:
        found = read_endpoints(own.data_dir)
        assert found is not None
        with running(tmp_path, "threads", found.redis_url) as worker:
            servers["redis"].kill()
            servers["redis"].wait()
            assert not until(lambda: not worker.runs, 8), worker.log
            port = urlsplit(found.redis_url).port
            assert port is not None
            servers["redis"] = subprocess.Popen(
                valkey_command(own.data_dir, port), start_new_session=True
            )
            with redis.Redis.from_url(found.redis_url) as client:
                assert until(lambda: answers(client), 60)
            assert worker.takes_a_probe(), worker.log
            assert worker.runs
            assert worker.lines("critical") == []


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
