"""The claim, the lease, and the ways out of a stage."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import redis
from celery import states
from pymongo.errors import AutoReconnect
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.queues import QUEUES
from catalog.database.connection import now
from catalog.flows.removal import delete_images
from catalog.rows.chunks import Chunk, Chunks, Stage, State
from catalog.store import Catalog
from config.settings import settings
from contract.errors import ContractError, ImageTooSmall, InvalidImageContent
from workers import fetch
from workers.support import probe
from workers.support.resources import consumption
from workers.support.stage import move_on, run_stage


def the_chunk(catalog: Catalog, chunk: Chunk) -> Chunk:
    (found,) = catalog.chunks.find([chunk.id])
    return found


def test_a_message_that_comes_twice_is_worked_on_once(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks
    runs: list[str] = []
    for _ in range(2):
        run_stage(Stage.FETCH, chunk.id, chunk.attempt, lambda found: runs.append(found.id))
    assert runs == [chunk.id]


def test_a_message_of_an_older_attempt_is_dropped(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks
    assert catalog.chunks.resend(chunk) is not None
    run_stage(Stage.FETCH, chunk.id, chunk.attempt, lambda _: pytest.fail("worked on"))


def test_a_message_for_another_stage_is_dropped(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks
    run_stage(Stage.INDEX, chunk.id, chunk.attempt, lambda _: pytest.fail("worked on"))


def test_a_fault_of_ours_hands_the_chunk_back_and_counts(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks

    def work(_: Chunk) -> None:
        raise ZeroDivisionError

    told = run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean, found.attempt) == (State.WAITING, 1, 2)
    assert told == "the stage failed, its chunk was handed back: ZeroDivisionError"


def test_a_stage_tells_how_many_images_failed_in_it_and_why(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a", "b", "c", "d").chunks
    first, second, third, _ = chunk.labels
    faults: dict[int, ContractError] = {
        first: InvalidImageContent(),
        second: ImageTooSmall(),
        third: InvalidImageContent(),
    }
    told = run_stage(Stage.FETCH, chunk.id, chunk.attempt, lambda _: faults)
    assert told == "3 of 4 images failed: 1 IMAGE_TOO_SMALL, 2 INVALID_IMAGE_CONTENT"


def test_a_stage_in_which_no_image_failed_tells_nothing(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks
    assert run_stage(Stage.FETCH, chunk.id, chunk.attempt, lambda _: {}) is None


def test_a_worker_ends_the_task_of_a_stage_in_which_something_failed_as_failed(
    process_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "run_stage", lambda *_: "1 of 2 images failed: 1 IMAGE_TOO_SMALL")
    ended = fetch.fetch.apply(args=("chunk-1", 1))
    assert ended.state == states.FAILURE
    assert ended.result.args == ("1 of 2 images failed: 1 IMAGE_TOO_SMALL",)
    assert isinstance(ended.result, fetch.fetch.throws), "otherwise Celery logs a traceback"
    monkeypatch.setattr(fetch, "run_stage", lambda *_: None)
    assert fetch.fetch.apply(args=("chunk-1", 1)).state == states.SUCCESS


@pytest.mark.parametrize("fault", [AutoReconnect("down"), RedisConnectionError("down")])
def test_a_dependency_that_is_down_counts_against_nobody(
    catalog: Catalog, take: Any, fault: Exception
) -> None:
    (chunk,) = take("a").chunks

    def work(_: Chunk) -> None:
        raise fault

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.WAITING, 0)


def test_while_the_database_is_away_a_chunk_is_handed_back_later_and_nothing_counts(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks
    monkeypatch.setattr("workers.support.stage.RETRY_SECONDS", 0.01)
    hand_back, refused = Chunks.hand_back, iter([AutoReconnect("down"), AutoReconnect("down")])

    def unreachable_at_first(*arguments: Any, **options: Any) -> Any:
        for fault in refused:
            raise fault
        return hand_back(*arguments, **options)

    monkeypatch.setattr(Chunks, "hand_back", unreachable_at_first)

    def work(_: Chunk) -> None:
        raise AutoReconnect("down")

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.WAITING, 0)


def test_a_worker_that_is_stopped_gives_its_chunk_back_at_once(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks

    def work(_: Chunk) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.WAITING, 0)
    assert [due.id for due in catalog.chunks.due(State.WAITING, 10, now())] == [chunk.id]


def test_long_work_keeps_its_lease(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks

    def work(found: Chunk) -> None:
        time.sleep(1.5)  # the lease of these tests is 1 s
        assert catalog.chunks.due(State.RUNNING, 10, now()) == []
        assert catalog.chunks.advance(found, Stage.VISION, found.items) is not None

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    assert the_chunk(catalog, chunk).stage is Stage.VISION


@pytest.mark.parametrize(("limit", "noted"), [(120, True), (0, False)])
def test_long_work_counts_as_consumption_of_its_queue_until_it_must_be_hanging(
    catalog: Catalog,
    redis_client: redis.Redis,
    take: Any,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    noted: bool,
) -> None:
    (chunk,) = take("a").chunks
    monkeypatch.setattr(probe, "_noted", {})
    chosen = settings().model_copy(update={"time_limit_seconds": limit})
    monkeypatch.setattr("workers.support.stage.settings", lambda: chosen)

    def work(_: Chunk) -> None:
        time.sleep(0.5)  # leases are renewed every 0.2 s in these tests
        ages = consumption().ages(QUEUES)
        consumed = {queue for queue, age in ages.items() if not consumption().is_stalled(age)}
        assert consumed == ({"fetch"} if noted else set())

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    assert the_chunk(catalog, chunk).unclean == 0, "what the work asserted held"


def test_a_claim_whose_answer_got_lost_is_made_again_and_counts_against_nobody(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks
    rows = catalog.chunks._rows
    change = rows.find_one_and_update
    lost = [True]

    def answer_lost(*arguments: Any, **options: Any) -> Any:
        found = change(*arguments, **options)
        if lost.pop() if lost else False:
            raise AutoReconnect("the database ended before it answered")
        return found

    monkeypatch.setattr(rows, "find_one_and_update", answer_lost)
    monkeypatch.setattr("workers.support.stage.RETRY_SECONDS", 0.05)
    worked: list[Chunk] = []
    run_stage(Stage.FETCH, chunk.id, chunk.attempt, worked.append)
    assert [found.id for found in worked] == [chunk.id]
    assert catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt, "somebody else") is None
    assert the_chunk(catalog, chunk).unclean == 0


def test_a_database_that_goes_away_right_after_a_claim_counts_against_nobody(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks

    def gone(*_: object) -> None:
        raise AutoReconnect("the database went away")

    monkeypatch.setattr(catalog.queues, "started", gone)
    run_stage(Stage.FETCH, chunk.id, chunk.attempt, lambda _: None)
    found = the_chunk(catalog, chunk)
    assert (found.state, found.attempt, found.unclean) == (State.WAITING, 2, 0)


def test_a_stage_that_hangs_loses_its_lease_and_then_changes_nothing(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks
    chosen = settings().model_copy(update={"time_limit_seconds": 0.3})
    monkeypatch.setattr("workers.support.stage.settings", lambda: chosen)

    def work(found: Chunk) -> None:
        time.sleep(1.6)  # the lease of these tests is 1 s
        (due,) = catalog.chunks.due(State.RUNNING, 10, now())
        assert catalog.chunks.expire(due) is not None
        assert catalog.chunks.advance(found, Stage.VISION, found.items) is None

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    found = the_chunk(catalog, chunk)
    assert (found.stage, found.attempt, found.unclean) == (Stage.FETCH, 2, 1)


def test_a_lease_is_renewed_though_redis_is_down(
    catalog: Catalog, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks
    monkeypatch.setattr(probe, "_noted", {})

    def down(*_: object) -> None:
        raise RedisConnectionError("down")

    monkeypatch.setattr(consumption(), "note", down)

    def work(_: Chunk) -> None:
        time.sleep(1.5)  # the lease of these tests is 1 s
        assert catalog.chunks.due(State.RUNNING, 10, now()) == []

    run_stage(Stage.FETCH, chunk.id, chunk.attempt, work)
    assert the_chunk(catalog, chunk).unclean == 0, "what the work asserted held"


def test_a_worker_that_woke_up_too_late_changes_nothing(catalog: Catalog, take: Any) -> None:
    (chunk,) = take("a").chunks
    claimed = catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
    assert claimed is not None
    time.sleep(1.1)
    (due,) = catalog.chunks.due(State.RUNNING, 10, now())
    assert catalog.chunks.expire(due) is not None
    assert catalog.chunks.advance(claimed, Stage.VISION, claimed.items) is None
    assert catalog.chunks.finish(claimed, ["SUCCEEDED"]) is False
    assert catalog.chunks.renew(claimed) is False


def test_a_chunk_that_moves_on_is_sent_to_its_next_stage(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a", "b").chunks
    claimed = catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
    assert claimed is not None
    before = redis_client.llen("vision")
    assert move_on(claimed, Stage.VISION, claimed.items[1:]) is None
    found = the_chunk(catalog, chunk)
    assert (found.stage, found.state, found.items) == (Stage.VISION, State.SENT, chunk.items[1:])
    assert redis_client.llen("vision") == before + 1


def test_a_chunk_that_lost_its_lease_does_not_move_on_and_clears_what_ended(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a", "b").chunks
    claimed = catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
    assert claimed is not None
    assert catalog.chunks.expire(claimed) is not None
    deleted, kept = chunk.labels
    delete_images(catalog, [deleted])
    catalog.vectors.put("m", dict.fromkeys(chunk.labels, np.ones(3, np.float32)))
    before = redis_client.llen("vision")
    assert move_on(claimed, Stage.VISION, claimed.items) == [deleted]
    assert catalog.vectors.present(chunk.labels) == {kept}
    assert the_chunk(catalog, chunk).stage is Stage.FETCH
    assert redis_client.llen("vision") == before
