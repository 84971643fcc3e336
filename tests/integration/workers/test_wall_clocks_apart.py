"""Machines whose wall clocks are apart: no lease ends early, and no search comes too late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from broker.search_exchange import Query
from catalog.database.connection import now
from catalog.rows.chunks import Chunk, State
from catalog.store import Catalog
from tests.integration.workers.any_feature import AnyFeature, picture
from workers import search as search_stage
from workers.index_process.neighbours import NoReplyError
from workers.maintenance import sweep
from workers.support.resources import exchange

HOUR = 3600.0
#: The lease of these tests is 1 s.
NEARLY_A_LEASE = 0.9

WallClock = Callable[[float], Any]


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Return a context in which the wall clock of this process is so many seconds off."""
    seconds, nanoseconds = time.time, time.time_ns

    @contextmanager
    def off_by(off: float) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: seconds() + off)
            patch.setattr(time, "time_ns", lambda: nanoseconds() + int(off * 1e9))
            yield

    return off_by


def the_chunk(catalog: Catalog, chunk: Chunk) -> Chunk:
    (found,) = catalog.chunks.find([chunk.id])
    return found


def test_a_worker_behind_the_sweeper_keeps_the_chunk_that_it_renews(
    catalog: Catalog, redis_client: redis.Redis, take: Any, wall_clock: WallClock
) -> None:
    chunk = take("a").chunks[0]
    sweep()
    with wall_clock(-NEARLY_A_LEASE):
        held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert held is not None
    for _ in range(6):
        time.sleep(0.15)
        sweep()
        with wall_clock(-NEARLY_A_LEASE):
            assert catalog.chunks.renew(held)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.attempt, found.unclean) == (State.RUNNING, held.attempt, 0)


def test_the_chunk_of_a_dead_worker_that_was_ahead_is_found_after_its_lease(
    catalog: Catalog, redis_client: redis.Redis, take: Any, wall_clock: WallClock
) -> None:
    chunk = take("a").chunks[0]
    sweep()
    with wall_clock(25.0):
        assert catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt) is not None
    time.sleep(1.05)
    sweep()
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.SENT, 1)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_wall_clock_that_jumps_in_one_process_changes_no_time_of_a_row(
    catalog: Catalog, redis_client: redis.Redis, take: Any, wall_clock: WallClock, step: float
) -> None:
    chunk = take("a").chunks[0]
    sweep()
    held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert held is not None
    before = now()
    with wall_clock(step):
        assert (now() - before).total_seconds() < 10
        sweep()
        assert catalog.chunks.renew(held)
        seconds = int(take("b").task.task_id.rpartition("/")[2].partition(".")[0])
    assert abs(seconds - before.timestamp()) < 10
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.RUNNING, 0)
    assert found.due_at is not None
    assert (found.due_at - before).total_seconds() < 10


@pytest.mark.parametrize("off", [25.0, -25.0], ids=["ahead", "behind"])
def test_a_search_is_given_what_its_asker_has_left_wherever_the_clock_of_the_worker_stands(
    catalog: Catalog,
    redis_client: redis.Redis,
    wall_clock: WallClock,
    monkeypatch: pytest.MonkeyPatch,
    off: float,
) -> None:
    left: list[float] = []

    def no_neighbours(*_: Any, deadline: float, **__: Any) -> None:
        left.append(deadline - time.monotonic())
        raise NoReplyError

    monkeypatch.setattr(search_stage, "pipeline", AnyFeature)
    monkeypatch.setattr(search_stage, "ask_neighbours", no_neighbours)
    query = Query(picture(), None, "g", None, 5, None, -1.0, False, "r")
    exchange().leave("query", query.pack(), 100.0)
    with wall_clock(off):
        search_stage.search("query")
    (seconds,) = left
    assert 90 < seconds <= 100
