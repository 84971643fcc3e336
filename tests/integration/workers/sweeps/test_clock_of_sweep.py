"""A clock that jumps by an hour loses nothing, delays nothing, and counts as no unclean end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from broker.messages import send_chunks
from catalog.database.connection import databases, now, stamp
from catalog.database.durations import LONGEST_PAUSE
from catalog.flows.removal import delete_images
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.images import Failure
from catalog.rows.purges import LINGER
from catalog.store import Catalog
from config.settings import settings
from config.steady_clock import steady_seconds
from workers.maintenance import sweep

HOUR = 3600

Set = Callable[[float], None]


def the_chunk(catalog: Catalog, chunk: Chunk) -> Chunk:
    (found,) = catalog.chunks.find([chunk.id])
    return found


def begin(catalog: Catalog, chunk: Chunk) -> Chunk:
    claimed = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert claimed is not None
    return claimed


def after_a_lease() -> None:
    time.sleep(1.05)  # the lease of these tests is 1 s


def test_set_forward_a_living_worker_keeps_its_chunk_and_a_dead_one_is_found(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    alive, dead = begin(catalog, take("a").chunks[0]), begin(catalog, take("b").chunks[0])
    sweep()
    set_clock(HOUR)
    with capture_logs() as lines:
        sweep()
    assert [line["chunks"] for line in lines if "were extended" in line["event"]] == [2]
    assert catalog.chunks.renew(alive)
    assert the_chunk(catalog, dead).unclean == 0
    after_a_lease()
    assert catalog.chunks.renew(alive)
    with capture_logs() as lines:
        sweep()
    assert [line for line in lines if "were extended" in line["event"]] == [], "only once"
    assert (the_chunk(catalog, alive).state, the_chunk(catalog, alive).unclean) == ("running", 0)
    assert (the_chunk(catalog, dead).state, the_chunk(catalog, dead).unclean) == (State.SENT, 1)


def test_set_back_a_dead_worker_is_found_as_soon_as_ever(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    chunk = begin(catalog, take("a").chunks[0])
    sweep()
    set_clock(-HOUR)
    with capture_logs() as lines:
        sweep()
    (line,) = [line for line in lines if "set back" in line["event"]]
    assert line["seconds"] == pytest.approx(HOUR, abs=5)
    after_a_lease()
    sweep()
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.SENT, 1)


def test_set_back_what_waits_starts_no_later_than_one_that_begins_to_wait(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    chunk = begin(catalog, take("a").chunks[0])
    catalog.chunks.hand_back(chunk, timedelta(seconds=1), unclean=False)
    sweep()
    set_clock(-HOUR)
    sweep()
    waiting = the_chunk(catalog, chunk)
    assert waiting.state is State.WAITING
    assert waiting.due_at is not None
    assert waiting.due_at < now() + LONGEST_PAUSE + timedelta(minutes=1)


def test_set_back_a_message_in_a_long_queue_is_not_taken_for_lost(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    """Queues are judged by which message was sent first, and later ones now seem the earlier."""
    before = take("before").chunks[0]
    assert before.sent_at is not None
    begin(catalog, before)
    catalog.queues.started(Stage.FETCH, before.sent_at)
    catalog.queues.settled(Stage.FETCH)
    after_a_lease()
    assert catalog.queues.settled(Stage.FETCH) == before.sent_at
    catalog.clock.look(timedelta(seconds=10))
    set_clock(-HOUR)
    waiting = take("waiting").chunks[0]
    send_chunks(catalog, [waiting])
    for _ in range(3):
        sweep()
        after_a_lease()
    assert the_chunk(catalog, waiting).attempt == waiting.attempt


def test_set_back_other_work_that_has_a_time_is_done_at_it(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    taken = take("a")
    delete_images(catalog, taken.labels)
    other = catalog.collections.find_or_create("user", "other", 0)
    catalog.purges.begin(other.generation, other.key)
    (purge,) = catalog.purges.due(10)
    catalog.purges.found_nothing(purge)
    sweep()
    set_clock(-HOUR)
    assert catalog.images.waiting_for_index(now() + timedelta(minutes=2), 10) == []
    sweep()
    assert catalog.images.waiting_for_index(now() + timedelta(minutes=2), 10) != []
    rows, _ = databases(catalog.client, settings().mongo_database)
    (row,) = rows["purges"].find()
    assert row["due_at"] <= stamp(now() + LINGER)


def test_a_small_step_changes_nothing(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    chunk = begin(catalog, take("a").chunks[0])
    sweep()
    set_clock(-0.5)
    sweep()
    assert the_chunk(catalog, chunk).due_at == chunk.due_at


def as_the_other_saw_it(catalog: Catalog) -> Callable[[], None]:
    """Return a function that puts the note of the last look back, as another sweep has read it."""
    rows, _ = databases(catalog.client, settings().mongo_database)
    noted = rows["clock"].find_one()
    assert noted is not None

    def put_back() -> None:
        rows["clock"].replace_one({"_id": noted["_id"]}, noted)

    return put_back


def test_two_that_see_the_same_jump_mend_it_once(
    catalog: Catalog, redis_client: redis.Redis, take: Any, set_clock: Set
) -> None:
    chunk = begin(catalog, take("a").chunks[0])
    ended = take("b").task
    catalog.tasks.finish(ended.task_id, 1, 0)
    sweep()
    put_back = as_the_other_saw_it(catalog)
    set_clock(-HOUR)
    sweep()
    mended = the_chunk(catalog, chunk)
    assert mended.due_at is not None
    assert mended.due_at <= now() + timedelta(seconds=2)
    rows, _ = databases(catalog.client, settings().mongo_database)
    task = rows["tasks"].find_one({"_id": ended.task_id})
    assert task is not None
    assert task["remove_at"] <= stamp(now() + timedelta(days=7))
    put_back()
    sweep()
    later = the_chunk(catalog, chunk).due_at
    assert later == mended.due_at, "not moved a second time"
    assert rows["tasks"].find_one({"_id": ended.task_id}) == task


def test_a_clock_that_is_wrong_by_days_for_a_moment_makes_nothing_forgotten(
    catalog: Catalog,
    redis_client: redis.Redis,
    take: Any,
    set_clock: Set,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settle_for(seconds: float) -> None:
        chosen = settings().model_copy(update={"clock_settling_seconds": seconds})
        monkeypatch.setattr("workers.sweeps.retention.settings", lambda: chosen)

    taken = take("a")
    catalog.tasks.finish(taken.task.task_id, 1, 0)
    catalog.images.fail(taken.labels, Failure(message="BROKEN"))
    delete_images(catalog, taken.labels)
    catalog.images.schedule_removal(taken.labels)
    catalog.keys.take("user", "key", "body")
    settle_for(1.5)
    sweep()
    for days in (8, 0):
        set_clock(days * 24 * HOUR)
        sweep()
        sweep()
    assert catalog.tasks.find(taken.task.task_id) is not None
    assert catalog.images.find(taken.labels) != {}
    assert not catalog.keys.take("user", "key", "body")[1]
    set_clock(8 * 24 * HOUR)
    sweep()
    time.sleep(1.6)
    sweep()
    assert catalog.tasks.find(taken.task.task_id) is None, "the time is really over"
    assert catalog.images.find(taken.labels) == {}
    assert catalog.keys.take("user", "key", "body")[1]


@pytest.mark.parametrize("machine_slept", [True, False], ids=["silence", "jump"])
def test_a_long_silence_is_no_jump_and_keeps_nothing_from_being_forgotten(
    catalog: Catalog,
    redis_client: redis.Redis,
    set_clock: Set,
    monkeypatch: pytest.MonkeyPatch,
    machine_slept: bool,
) -> None:
    patience = timedelta(seconds=10)
    catalog.clock.look(patience)
    set_clock(HOUR)
    if machine_slept:
        steady = steady_seconds()
        monkeypatch.setattr("catalog.rows.row_clock.steady_seconds", lambda: steady + HOUR)
    look = catalog.clock.look(patience)
    assert look.unseen > timedelta(seconds=HOUR - 5)
    assert (look.steady > timedelta(seconds=HOUR - 5)) is machine_slept
