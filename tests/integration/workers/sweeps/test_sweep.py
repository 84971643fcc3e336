"""Every image that was taken ends, whatever died."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
import redis

from broker.messages import send_chunks
from catalog.database.connection import databases, now, stamp
from catalog.flows.removal import delete_images
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from config.settings import settings
from workers.maintenance import sweep


def messages(client: redis.Redis, queue: str) -> list[list[Any]]:
    """Return the arguments of the messages in a queue, oldest first."""
    found = [json.loads(raw) for raw in reversed(client.lrange(queue, 0, -1))]
    return [json.loads(__import__("base64").b64decode(message["body"]))[0] for message in found]


def the_chunk(catalog: Catalog, chunk: Chunk) -> Chunk:
    (found,) = catalog.chunks.find([chunk.id])
    return found


def die_in_stage(catalog: Catalog, chunk: Chunk) -> None:
    """Claim a chunk's message and never say a word again."""
    current = the_chunk(catalog, chunk)
    assert catalog.chunks.claim(current.id, current.stage, current.attempt) is not None
    time.sleep(1.05)  # the lease of these tests is 1 s


def test_a_chunk_whose_worker_died_is_sent_again(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a", "b").chunks
    die_in_stage(catalog, chunk)
    sweep()
    found = the_chunk(catalog, chunk)
    assert (found.state, found.unclean) == (State.SENT, 1)
    assert messages(redis_client, "fetch") == [[chunk.id, found.attempt]]


def test_a_message_that_waits_in_a_long_queue_is_not_sent_again(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a").chunks
    send_chunks(catalog, [chunk])
    time.sleep(1.05)
    sweep()
    assert len(messages(redis_client, "fetch")) == 1
    assert the_chunk(catalog, chunk) == chunk


def test_a_message_that_left_no_trace_is_sent_again(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a").chunks
    send_chunks(catalog, [chunk])
    redis_client.flushdb()
    time.sleep(1.05)
    sweep()
    found = the_chunk(catalog, chunk)
    assert messages(redis_client, "fetch") == [[chunk.id, found.attempt]]
    assert found.attempt == chunk.attempt + 1


def test_a_message_overtaken_by_later_ones_is_sent_again(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    lost = take("lost").chunks[0]
    time.sleep(0.01)
    later = take("later").chunks[0]
    send_chunks(catalog, [take("waits").chunks[0]])  # so that the queue is not empty
    assert later.sent_at is not None
    catalog.queues.started(Stage.FETCH, later.sent_at)
    for _ in range(3):  # the first look takes a sample, which must age before it proves anything
        time.sleep(1.05)
        sweep()
    assert [lost.id, 2] in messages(redis_client, "fetch")


def test_a_chunk_that_could_not_be_sent_is_sent_by_the_next_sweep(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a").chunks
    catalog.chunks.unsent([chunk])
    sweep()
    assert messages(redis_client, "fetch") == [[chunk.id, the_chunk(catalog, chunk).attempt]]


def test_a_waiting_chunk_is_not_sent_before_its_time(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("a").chunks
    claimed = catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
    assert claimed is not None
    catalog.chunks.hand_back(claimed, timedelta(seconds=60), unclean=False)
    sweep()
    assert messages(redis_client, "fetch") == []


def test_after_two_unclean_ends_the_images_go_on_one_by_one(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    taken = take("a", "b", "c")
    (chunk,) = taken.chunks
    die_in_stage(catalog, chunk)
    sweep()
    die_in_stage(catalog, chunk)
    sweep()
    task = catalog.tasks.find(taken.task.task_id)
    assert task is not None
    singles = [c for c in catalog.chunks.find(task.chunk_ids) if c.id != chunk.id]
    assert sorted(label for single in singles for label in single.labels) == taken.labels
    assert all(len(single.items) == 1 for single in singles)
    assert all(single.unclean == 0 for single in singles), "each counts for itself"
    assert the_chunk(catalog, chunk).items == (), "none is worked on twice"


def test_an_image_that_kills_its_worker_three_times_is_given_up(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    (chunk,) = take("poison").chunks
    for _ in range(3):
        die_in_stage(catalog, chunk)
        sweep()
    found = the_chunk(catalog, chunk)
    assert (found.state, found.outcomes) == (State.DONE, ("INSERT_IMAGE_ERROR",))
    assert catalog.images.find(chunk.labels)[chunk.labels[0]].outcome == "INSERT_IMAGE_ERROR"
    assert catalog.names.holders([f"{chunk.generation}/poison"]) == {}, "its name is free again"


def test_without_the_broker_nothing_is_judged_lost(
    catalog: Catalog, redis_client: redis.Redis, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chunk,) = take("a").chunks
    time.sleep(1.05)
    closed = redis.Redis(port=1, socket_connect_timeout=0.2)
    monkeypatch.setattr("workers.sweeps.recovery.redis_client", lambda: closed)
    sweep()
    assert the_chunk(catalog, chunk).attempt == chunk.attempt


def test_a_removal_that_got_lost_is_asked_for_again(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    taken = take("a")
    delete_images(catalog, taken.labels)
    sweep()
    assert messages(redis_client, "index") == []
    time.sleep(1.05)  # the lease of these tests is 1 s
    sweep()
    assert [taken.labels] in messages(redis_client, "index")


def test_a_deletion_of_a_product_that_was_interrupted_is_ended(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    taken = take("a")
    generation = taken.collection.generation
    catalog.collections.add_products(taken.collection.key, generation, 1)
    catalog.products.begin_deletion(list(catalog.products.find(generation, ["shoe"]).values()))
    sweep()
    assert catalog.images.find(taken.labels)[taken.labels[0]].deleted_at is None, "too soon"
    time.sleep(1.05)  # the lease of these tests is 1 s
    sweep()
    assert catalog.images.find(taken.labels)[taken.labels[0]].deleted_at is not None
    assert catalog.products.being_deleted(generation, ["shoe"]) == []
    assert (
        catalog.products.insert(
            taken.collection,
            [ProductFields(product_id="shoe", product_name="New", category="鞋靴")],
        )
        == {}
    )
    assert now() > taken.task.created_at


def test_a_collection_whose_deletion_was_cut_off_at_its_start_lives_on(
    catalog: Catalog, redis_client: redis.Redis, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take("a")
    catalog.purges.begin(taken.collection.generation, taken.collection.key)
    sweep()
    assert messages(redis_client, "index") == [], "the index keeps its shards"
    assert set(catalog.products.find(taken.collection.generation, ["shoe"])) == {"shoe"}
    assert catalog.images.find(taken.labels)[taken.labels[0]].is_open


def test_a_deletion_that_a_sweep_looked_at_halfway_is_purged_all_the_same(
    catalog: Catalog, redis_client: redis.Redis, take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.rows.purges.PAUSE", timedelta(0))
    taken = take("a")
    generation = taken.collection.generation
    catalog.purges.begin(taken.collection.generation, taken.collection.key)
    sweep()
    catalog.collections.remove(taken.collection.key, generation)
    sweep()
    assert [generation] in messages(redis_client, "index")
    assert catalog.images.find(taken.labels) == {}


def test_an_hour_of_backlog_before_a_slow_consumer_causes_no_second_message(
    catalog: Catalog, redis_client: redis.Redis, take: Any
) -> None:
    chunks = [take(f"image-{number}").chunks[0] for number in range(20)]
    send_chunks(catalog, chunks)
    rows = databases(catalog.client, settings().mongo_database)[0]["chunks"]
    for position, chunk in enumerate(chunks):
        sent_at = stamp(now() - timedelta(hours=1) + timedelta(seconds=position))
        rows.update_one({"_id": chunk.id}, {"$set": {"fetch_sent_at": sent_at}})
    for chunk in chunks[:4]:
        assert redis_client.rpop("fetch") is not None
        begun = catalog.chunks.claim(chunk.id, Stage.FETCH, chunk.attempt)
        assert begun is not None
        assert begun.sent_at is not None
        catalog.queues.started(Stage.FETCH, begun.sent_at)
        time.sleep(1.05)
        assert catalog.chunks.finish(begun, ["SUCCEEDED"])
        sweep()
    waiting = chunks[4:]
    assert messages(redis_client, "fetch") == [[chunk.id, chunk.attempt] for chunk in waiting]
    assert [the_chunk(catalog, chunk).attempt for chunk in waiting] == [1] * len(waiting)
