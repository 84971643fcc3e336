"""The fetch stage: what is ready goes on, what may get better waits, what can't be had fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import redis
from celery.signals import worker_shutting_down
from structlog.testing import capture_logs

from broker.staged_bytes import StagedBytes
from catalog.database.connection import now
from catalog.flows.removal import delete_images
from catalog.rows.chunks import Chunk, Stage, State
from catalog.store import Catalog
from config.settings import Settings, settings
from download.batch import fetch_all
from tests.integration.workers.counting_files import serving
from tests.integration.workers.waiting import until
from workers import fetch as fetch_stage
from workers.support.resources import room_notice, staged_bytes
from workers.support.stage import stopping


@pytest.fixture
def files() -> Iterator[tuple[str, list[str]]]:
    with serving() as served:
        yield served


def current(catalog: Catalog, chunk_id: str) -> Chunk:
    (found,) = catalog.chunks.find([chunk_id])
    return found


def test_bytes_wait_for_vision_under_their_labels(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, _ = files
    (chunk,) = take("a", url=f"{base}/200").chunks
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert current(catalog, chunk.id).stage is Stage.VISION
    assert staged_bytes().get(chunk.labels) == {chunk.labels[0]: b"bytes of /200"}


def test_what_is_missing_for_good_fails_at_once(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, asked = files
    (chunk,) = take("a", url=f"{base}/404").chunks
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert catalog.images.find(chunk.labels)[chunk.labels[0]].outcome == "BROKEN_BASE64_OR_URL"
    assert current(catalog, chunk.id).stage is Stage.VISION, "the last stage always runs"
    assert asked == ["/404"]


def test_a_fault_that_may_pass_is_tried_as_often_as_the_setting_says_and_then_fails(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, asked = files
    taken = take("a", url=f"{base}/503")
    label = taken.labels[0]
    chunk = taken.chunks[0]
    for number in range(1, settings().fetch_passes + 1):
        assert catalog.images.find([label])[label].outcome is None
        if chunk.state is State.WAITING:
            resent = catalog.chunks.resend(chunk)
            assert resent is not None
            chunk = resent
        fetch_stage.fetch(chunk.id, chunk.attempt)
        assert len(asked) == number
        task = catalog.tasks.find(taken.task.task_id)
        assert task is not None
        waiting = [c for c in catalog.chunks.find(task.chunk_ids) if c.state is State.WAITING]
        chunk = waiting[0] if waiting else chunk
    assert waiting == []
    assert catalog.images.find([label])[label].outcome == "BROKEN_BASE64_OR_URL"


def test_one_that_waits_does_not_hold_up_its_neighbours(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, _ = files
    good = take("good", url=f"{base}/200-good")
    (chunk,) = take("slow", url=f"{base}/503").chunks
    merged = Chunk(
        id="chunk-of-both",
        task_id=good.task.task_id,
        collection=chunk.collection,
        generation=chunk.generation,
        items=(*good.chunks[0].items, *chunk.items),
        stage=Stage.FETCH,
    )
    catalog.chunks.insert([catalog.chunks.as_sent(merged)])
    fetch_stage.fetch(merged.id, merged.attempt)
    advanced = current(catalog, merged.id)
    assert advanced.stage is Stage.VISION
    assert advanced.labels == good.labels


def test_what_waits_in_redis_is_not_fetched_again(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, asked = files
    (chunk,) = take("a", url=f"{base}/200").chunks
    staged_bytes().put({chunk.labels[0]: b"earlier"})
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert asked == []
    assert staged_bytes().get(chunk.labels) == {chunk.labels[0]: b"earlier"}


def test_a_deleted_image_is_not_fetched(
    catalog: Catalog, take: Any, files: tuple[str, list[str]]
) -> None:
    base, asked = files
    (chunk,) = take("a", url=f"{base}/200").chunks
    delete_images(catalog, chunk.labels)
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert asked == []


@pytest.fixture
def full(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> StagedBytes:
    """Staged bytes that have no room until label 0 is removed."""
    staged = StagedBytes(redis_client, budget=100, seconds=60, catalogue=catalog.identity.get())
    staged.put({0: b"x" * 100})
    monkeypatch.setattr(fetch_stage, "staged_bytes", lambda: staged)
    monkeypatch.setattr(fetch_stage, "LOOK_SECONDS", 0.05)
    return staged


@contextmanager
def fetching(chunk: Chunk) -> Iterator[threading.Thread]:
    """Run the stage in a thread, until it waits for room."""
    thread = threading.Thread(target=fetch_stage.fetch, args=(chunk.id, chunk.attempt))
    thread.start()
    assert until(lambda: room_notice().seconds() is not None, 10)
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def test_results_that_fill_redis_do_not_keep_a_chunk_from_being_fetched(
    catalog: Catalog,
    redis_client: redis.Redis,
    take: Any,
    files: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, asked = files
    redis_client.set("celery-task-meta-of-others", b"x" * 100_000)
    staged = StagedBytes(redis_client, budget=100_000, seconds=60, catalogue="c")
    monkeypatch.setattr(fetch_stage, "staged_bytes", lambda: staged)
    (chunk,) = take("a", url=f"{base}/200").chunks
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert asked == ["/200"]
    assert current(catalog, chunk.id).stage is Stage.VISION


def test_without_room_a_chunk_waits_with_its_lease_renewed_and_goes_on_when_room_comes(
    catalog: Catalog, take: Any, files: tuple[str, list[str]], full: StagedBytes
) -> None:
    base, asked = files
    (chunk,) = take("a", url=f"{base}/200").chunks
    with fetching(chunk):
        end = now() + 1.5 * timedelta(seconds=settings().lease_seconds)
        while now() < end:
            found = current(catalog, chunk.id)
            assert (found.stage, found.state, found.attempt) == (Stage.FETCH, State.RUNNING, 1)
            assert found.due_at is not None
            assert found.due_at > now()
            time.sleep(0.1)
        assert asked == []
        full.remove([0])
    found = current(catalog, chunk.id)
    assert (found.stage, found.attempt, found.unclean) == (Stage.VISION, 1, 0)
    assert asked == ["/200"]


def test_a_worker_that_stops_ends_its_wait_for_room_at_once(
    catalog: Catalog,
    take: Any,
    files: tuple[str, list[str]],
    full: StagedBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, asked = files
    monkeypatch.setattr(fetch_stage, "LOOK_SECONDS", 60)
    (chunk,) = take("a", url=f"{base}/200").chunks
    try:
        with fetching(chunk) as thread:
            worker_shutting_down.send(sender=None)
            thread.join(2)
            assert not thread.is_alive()
    finally:
        stopping.clear()
    found = current(catalog, chunk.id)
    assert (found.stage, found.state, found.unclean) == (Stage.FETCH, State.WAITING, 0)
    assert found.due_at is not None
    assert found.due_at <= now()
    assert asked == []


def test_a_chunk_that_waits_for_room_too_long_starts_again_and_nothing_counts_against_it(
    catalog: Catalog,
    take: Any,
    files: tuple[str, list[str]],
    full: StagedBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, asked = files
    monkeypatch.setattr(fetch_stage, "WAIT_SHARE", 0)
    (chunk,) = take("a", url=f"{base}/200").chunks
    fetch_stage.fetch(chunk.id, chunk.attempt)
    found = current(catalog, chunk.id)
    assert (found.stage, found.state, found.unclean) == (Stage.FETCH, State.WAITING, 0)
    assert asked == []


def test_chunks_that_wait_for_room_say_so_once_as_a_warning(
    take: Any,
    files: tuple[str, list[str]],
    full: StagedBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, _ = files
    monkeypatch.setattr(fetch_stage, "WAIT_SHARE", 0)
    with capture_logs() as lines:
        for name in ("a", "b"):
            (chunk,) = take(name, url=f"{base}/200").chunks
            fetch_stage.fetch(chunk.id, chunk.attempt)
    waits = [line for line in lines if line["event"] == "no room for fetched bytes, chunk waits"]
    assert [line["log_level"] for line in waits] == ["warning"]


def test_the_wait_for_room_leaves_half_of_the_time_limit_for_a_pass() -> None:
    limits = Settings()
    wait = limits.time_limit_seconds * fetch_stage.WAIT_SHARE
    assert wait + limits.fetch_pass_seconds + 10 < limits.time_limit_seconds


def test_a_redis_that_is_full_of_something_else_counts_against_no_image(
    catalog: Catalog,
    redis_client: redis.Redis,
    take: Any,
    files: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, _ = files
    (chunk,) = take("a", url=f"{base}/200").chunks

    def filling(*arguments: Any, **options: Any) -> Any:
        redis_client.config_set("maxmemory", 1)
        return fetch_all(*arguments, **options)

    monkeypatch.setattr(fetch_stage, "fetch_all", filling)
    try:
        fetch_stage.fetch(chunk.id, chunk.attempt)
    finally:
        redis_client.config_set("maxmemory", 0)
    found = current(catalog, chunk.id)
    assert (found.stage, found.state, found.unclean) == (Stage.FETCH, State.WAITING, 0)


def test_a_worker_that_woke_up_after_the_end_of_an_image_leaves_no_bytes(
    catalog: Catalog, take: Any, files: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = files
    (chunk,) = take("deleted", "embedded", "at work", url=f"{base}/200").chunks
    deleted, embedded, at_work = chunk.labels

    def stopped(*arguments: Any, **options: Any) -> Any:
        fetched = fetch_all(*arguments, **options)
        (held,) = catalog.chunks.find([chunk.id])
        assert catalog.chunks.expire(held) is not None
        delete_images(catalog, [deleted])
        catalog.vectors.put("model", {embedded: np.ones(3, np.float32)})
        return fetched

    monkeypatch.setattr(fetch_stage, "fetch_all", stopped)
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert staged_bytes().present(chunk.labels) == {at_work}


def test_a_worker_that_lost_its_lease_splits_nothing_off(
    catalog: Catalog, take: Any, files: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task may be finished by then, and would get chunks that are not."""
    base, _ = files
    taken = take("busy", url=f"{base}/503")
    (chunk,) = taken.chunks

    def stopped(*arguments: Any, **options: Any) -> Any:
        fetched = fetch_all(*arguments, **options)
        (held,) = catalog.chunks.find([chunk.id])
        assert catalog.chunks.expire(held) is not None
        return fetched

    monkeypatch.setattr(fetch_stage, "fetch_all", stopped)
    fetch_stage.fetch(chunk.id, chunk.attempt)
    task = catalog.tasks.find(taken.task.task_id)
    assert task is not None
    assert task.chunk_ids == (chunk.id,)
    found = current(catalog, chunk.id)
    assert (found.state, found.attempt) == (State.WAITING, 2)
