"""A real fetch worker all of whose threads wait for room: it lives, and ends its wait in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

import workers
from broker.messages import send_chunks
from broker.reports.heartbeats import Consumption
from broker.staged_bytes import StagedBytes
from catalog.rows.chunks import Chunk, Stage, State
from catalog.store import Catalog
from tests.integration.workers.counting_files import serving
from tests.integration.workers.waiting import until
from workers.support.resources import room_notice

STALLED_SECONDS = 2.0
THREADS = 4
BUDGET = 200


@contextmanager
def fetch_worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    root = Path(workers.__file__).parents[1]
    command = "celery --quiet -A workers.fetch worker --without-mingle --without-gossip"
    rest = f"-Q fetch -P threads -c {THREADS} -n waiting@test"
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.split(), *rest.split()],
            cwd=root,
            env={
                **os.environ,
                "PYTHONPATH": str(root),
                "SNAPSKU_PROBE_SECONDS": "1",
                "SNAPSKU_STALLED_SECONDS": str(STALLED_SECONDS),
                "SNAPSKU_STAGED_BYTES": str(BUDGET),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def staged(catalog: Catalog, redis_client: redis.Redis) -> StagedBytes:
    """Staged bytes that fill the budget, until label 0 is removed."""
    found = StagedBytes(redis_client, BUDGET, 600, catalog.identity.get())
    found.put({0: b"x" * BUDGET})
    return found


def test_a_worker_whose_threads_all_wait_for_room_is_alive_and_goes_on_when_room_comes(
    catalog: Catalog, redis_client: redis.Redis, take: Any, staged: StagedBytes, tmp_path: Path
) -> None:
    consumption = Consumption(redis_client, STALLED_SECONDS)
    with serving() as (base, asked), fetch_worker(tmp_path) as process:
        ids = []
        for number in range(THREADS + 3):
            taken = take(f"image-{number}", url=f"{base}/200")
            send_chunks(catalog, taken.chunks)
            ids += [chunk.id for chunk in taken.chunks]

        def chunks() -> list[Chunk]:
            return catalog.chunks.find(ids)

        def running() -> int:
            return sum(chunk.state is State.RUNNING for chunk in chunks())

        assert until(lambda: running() == THREADS, 30), (tmp_path / "worker.log").read_text()
        assert not until(lambda: process.poll() is not None, 2 * STALLED_SECONDS)
        # The heartbeat goes on, however busy the machine is at this moment.
        assert until(lambda: not consumption.is_stalled(consumption.ages(["fetch"])["fetch"]), 30)
        assert {chunk.attempt for chunk in chunks()} == {1}
        assert redis_client.llen("fetch") == 3
        assert asked == []
        waited = room_notice().seconds()
        assert waited is not None
        assert waited >= 2 * STALLED_SECONDS
        staged.remove([0])
        assert until(lambda: all(chunk.stage is Stage.VISION for chunk in chunks()), 20)
        assert {(chunk.attempt, chunk.unclean) for chunk in chunks()} == {(1, 0)}
        assert len(asked) == len(ids)


def test_a_worker_that_waits_for_room_ends_soon_after_it_was_told_to(
    catalog: Catalog, redis_client: redis.Redis, take: Any, staged: StagedBytes, tmp_path: Path
) -> None:
    with fetch_worker(tmp_path) as process:
        taken = take("a")
        send_chunks(catalog, taken.chunks)

        def chunk() -> Chunk:
            (found,) = catalog.chunks.find([taken.chunks[0].id])
            return found

        assert until(lambda: chunk().state is State.RUNNING, 30)
        process.send_signal(signal.SIGTERM)
        assert until(lambda: process.poll() is not None, 20)
        found = chunk()
        assert (found.stage, found.state, found.unclean) == (Stage.FETCH, State.WAITING, 0)
