"""Background work goes on until nothing is due, and two that do it at once share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import redis

from catalog.coordination.turns import TURN
from catalog.database.connection import databases, now, stamp
from catalog.flows.removal import delete_collection, delete_images
from catalog.rows.chunks import SENT_FIELDS, Stage, State
from catalog.rows.purges import Purge
from catalog.store import Catalog
from config.settings import settings
from tests.integration.workers.waiting import until
from workers.maintenance import sweep
from workers.sweeps import model_changes, recovery
from workers.sweeps.deletions import MANY_MESSAGES, end_deletions
from workers.sweeps.model_changes import change_models
from workers.sweeps.recovery import recover
from workers.sweeps.step import Share, Step, take_steps, turn

PERIOD_SECONDS = 5.0


def insert_chunks(catalog: Catalog, count: int, **fields: Any) -> list[str]:
    """Write chunks of one image each, of a task that was opened."""
    task = catalog.tasks.open(catalog.tasks.begin("u", "u/c", "1f", []), [], 0, 0)
    assert task is not None
    ids = [f"many-{number}" for number in range(count)]
    rows = databases(catalog.client, settings().mongo_database)[0]["chunks"]
    rows.insert_many(
        [
            {
                "_id": chunk_id,
                "task_id": task.task_id,
                "collection": "u/c",
                "generation": "1f",
                "items": [[number + 1, "p", 1, f"image-{number}"]],
                "stage": "vision",
                "attempt": 1,
                "unclean": 0,
                "passes": 0,
                **fields,
            }
            for number, chunk_id in enumerate(ids)
        ]
    )
    return ids


def states(catalog: Catalog, ids: Sequence[str]) -> dict[State, int]:
    found = [chunk.state for chunk in catalog.chunks.find(ids)]
    return {state: found.count(state) for state in set(found)}


def test_a_dead_workers_chunk_is_found_at_once_behind_thousands_of_waiting_messages(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    sent_at = stamp(now() - timedelta(hours=1))
    waiting = insert_chunks(catalog, 3000, state="sent", **{SENT_FIELDS[Stage.VISION]: sent_at})
    redis_client.rpush("vision", "a message that waits")
    (dead,) = take("dead").chunks
    assert catalog.chunks.claim(dead.id, dead.stage, dead.attempt) is not None
    time.sleep(1.05)  # the lease of these tests is 1 s
    recover()
    (found,) = catalog.chunks.find([dead.id])
    assert (found.state, found.unclean) == (State.SENT, 1)
    assert {chunk.attempt for chunk in catalog.chunks.find(waiting)} == {1}


def test_a_step_goes_on_beyond_a_page(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweeps.step.ROWS", 20)
    monkeypatch.setattr("workers.sweeps.step.SLICE_SECONDS", 100.0)
    count = 3 * 20 + 5
    ids = insert_chunks(catalog, count, state="waiting", start_at=1)
    recover()
    assert states(catalog, ids) == {State.SENT: count}
    assert redis_client.llen("vision") == count


def test_a_row_that_can_not_be_handled_keeps_none_behind_it_from_its_turn(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = now()
    ids = insert_chunks(catalog, 10, state="waiting", start_at=1)
    restart = recovery._restart
    tried = []

    def fails_for_some(chunk: Any) -> None:
        tried.append(chunk.id)
        if chunk.id in ids[:6]:
            raise ValueError("this one is broken")
        restart(chunk)

    monkeypatch.setattr("workers.sweeps.step.ROWS", 3)
    work = partial(recovery._work_on_due, State.WAITING, fails_for_some)
    take_steps((Step("waiting chunks", work),), 20)
    assert states(catalog, ids) == {State.WAITING: 6, State.SENT: 4}
    assert sorted(tried) == sorted(ids), "each is tried once in a sweep"
    put_off = [chunk.due_at for chunk in catalog.chunks.find(ids[:6])]
    assert all(due_at is not None and due_at > begun for due_at in put_off)


def test_without_the_broker_a_step_ends_and_the_others_go_on(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = insert_chunks(catalog, 30, state="waiting", start_at=1)
    asked = []

    def down(*_: object) -> bool:
        asked.append(1)
        return False

    monkeypatch.setattr(recovery, "send_chunks", down)
    done = []
    take_steps((recovery.STEPS[2], Step("other", lambda _: done.append(1))), PERIOD_SECONDS)
    assert (len(asked), done) == (1, [1])
    assert states(catalog, ids)[State.WAITING] == 29


def test_a_step_with_endless_work_leaves_the_others_their_turn(catalog: Catalog) -> None:
    turns: list[str] = []

    def endless(share: Share) -> None:
        turns.append("endless")
        while share.goes_on():
            time.sleep(0.01)

    begun = time.monotonic()
    take_steps((Step("endless", endless), Step("short", lambda _: turns.append("short"))), 1.2)
    assert turns[:2] == ["endless", "short"]
    assert turns.count("endless") >= 2, "it goes on when the others had theirs"
    assert turns.count("short") == 1
    assert time.monotonic() - begun < 12


def test_a_step_that_fails_keeps_no_other_from_its_turn(catalog: Catalog) -> None:
    done = []

    def fails(_: Share) -> None:
        raise ValueError("broken")

    take_steps((Step("fails", fails), Step("other", lambda _: done.append(1))), 1)
    assert done == [1]


def test_a_change_of_the_model_that_takes_long_holds_no_recovery_up(
    catalog: Catalog, redis_client: redis.Redis, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, begun = threading.Event(), threading.Event()

    def drive(_: object) -> None:
        begun.set()
        over.wait(20)

    def slow(share: Share) -> None:
        share.go_through(lambda _: ["a change"], str, drive)

    monkeypatch.setattr(model_changes, "STEPS", (Step("model changes", slow),))
    (dead,) = take("dead").chunks
    assert catalog.chunks.claim(dead.id, dead.stage, dead.attempt) is not None
    thread = threading.Thread(target=change_models)
    thread.start()
    try:
        assert begun.wait(10)
        time.sleep(1.05)  # the lease of these tests is 1 s
        recover()
        (found,) = catalog.chunks.find([dead.id])
        assert found.unclean == 1
        change_models()  # another one does not wait for the turn
        assert thread.is_alive()
    finally:
        over.set()
        thread.join()


def test_two_sweeps_at_once_handle_each_row_once(
    catalog: Catalog, redis_client: redis.Redis
) -> None:
    handled: list[int] = []
    left = list(range(60))

    def work(share: Share) -> None:
        def handle(rows: Sequence[int]) -> None:
            handled.extend(rows)
            time.sleep(0.01)
            for row in rows:
                left.remove(row)

        share.go_through(lambda limit: left[:limit], lambda row: row, handle)

    threads = [
        threading.Thread(target=take_steps, args=((Step("shared", work),), PERIOD_SECONDS))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(handled) == list(range(60))


def test_while_another_has_the_turn_of_a_step_the_other_steps_are_done(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (dead,) = take("dead").chunks
    assert catalog.chunks.claim(dead.id, dead.stage, dead.attempt) is not None
    waiting = insert_chunks(catalog, 1, state="waiting", start_at=1)
    time.sleep(1.05)  # the lease of these tests is 1 s
    holder = catalog.turns.take("leases")
    assert holder is not None
    sweep()
    assert catalog.chunks.find([dead.id])[0].state is State.RUNNING
    assert states(catalog, waiting) == {State.SENT: 1}
    catalog.turns.give_back("leases", holder)
    sweep()
    assert catalog.chunks.find([dead.id])[0].state is State.SENT


def test_a_turn_is_one_processs_until_it_is_given_back(catalog: Catalog) -> None:
    holder = catalog.turns.take("step")
    assert holder is not None
    assert catalog.turns.take("step") is None
    assert catalog.turns.take("other") is not None
    assert catalog.turns.renew("step", holder)
    catalog.turns.give_back("step", holder)
    assert not catalog.turns.renew("step", holder)
    assert catalog.turns.take("step") is not None


@pytest.mark.parametrize("until", [timedelta(seconds=-1), timedelta(hours=1)])
def test_a_turn_of_a_dead_process_or_of_a_clock_that_was_set_back_is_overtaken(
    catalog: Catalog, until: timedelta
) -> None:
    dead = catalog.turns.take("step")
    rows = databases(catalog.client, settings().mongo_database)[0]["turns"]
    rows.update_one({"_id": "step"}, {"$set": {"until": stamp(now() + until)}})
    taken = catalog.turns.take("step")
    assert taken is not None
    assert dead is not None
    assert not catalog.turns.renew("step", dead)
    catalog.turns.give_back("step", dead)
    assert catalog.turns.take("step") is None, "the dead one gives back nothing that is not its own"


def test_a_step_that_takes_longer_than_a_turn_keeps_it_and_one_that_lost_it_ends(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.coordination.turns.TURN", timedelta(seconds=0.4))
    monkeypatch.setattr("workers.sweeps.step.TURN", timedelta(seconds=0.4))
    share = Share("a step")
    with turn("step", share) as is_mine:
        assert is_mine
        time.sleep(1)
        assert catalog.turns.take("step") is None
        rows = databases(catalog.client, settings().mongo_database)[0]["turns"]
        rows.update_one({"_id": "step"}, {"$set": {"holder": "another"}})
        assert until(lambda: not share.goes_on(), 5)
    assert rows.find_one({"_id": "step"}) is not None, "it is another's"
    assert timedelta(seconds=1) < TURN, "a slow round trip costs no turn"


def test_the_index_is_reminded_of_no_more_than_it_can_hear_soon(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    taken = take("a")
    delete_images(catalog, taken.labels)
    rows = databases(catalog.client, settings().mongo_database)[0]["images"]
    rows.update_many({}, {"$set": {"index_at": 1}})
    redis_client.rpush(Stage.INDEX.value, *["a message that waits"] * (MANY_MESSAGES + 1))
    end_deletions()
    assert redis_client.llen(Stage.INDEX.value) == MANY_MESSAGES + 1
    redis_client.delete(Stage.INDEX.value)
    end_deletions()
    assert redis_client.llen(Stage.INDEX.value) == 1


def test_a_purge_that_fails_keeps_no_other_from_its_turn(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = databases(catalog.client, settings().mongo_database)[0]
    collections = [catalog.collections.find_or_create("user", name, 0) for name in ("a", "b")]
    for due_at, collection in enumerate(collections):
        delete_collection(catalog, collection)
        due = {"$set": {"due_at": 1 + due_at}}
        tables["purges"].update_one({"_id": collection.generation}, due)
    purged: list[str] = []

    def purge_piece(_: Catalog, purge: Purge, __: int) -> bool:
        purged.append(purge.generation)
        if purge.generation == collections[0].generation:
            raise ValueError("broken")
        return False

    monkeypatch.setattr("workers.sweeps.deletions.purge_piece", purge_piece)
    end_deletions()
    assert purged == [collection.generation for collection in collections]
    end_deletions()
    assert len(purged) == 2, "the one that failed was put off"
