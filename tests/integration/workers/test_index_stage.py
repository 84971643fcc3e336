"""The last stage: findable from its end on, never when deleted, and always with outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import redis

from broker.results import read_outcomes
from catalog.flows.product_copies import copy_product
from catalog.flows.removal import (
    delete_collection,
    delete_images,
    delete_product,
    fail_images,
    purge_piece,
)
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from contract.errors import InvalidImageContent
from indexer.vector_store import SetNotReadyError
from workers import index as index_stage
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.vector_engine import HnswEngine
from workers.support.resources import exchange

DIMENSIONS = 8
MODEL = ModelRow("test-model", DIMENSIONS)


@pytest.fixture
def shards(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> CatalogIndex:
    fresh = CatalogIndex(lambda: catalog, HnswEngine(1000))
    monkeypatch.setattr(index_stage, "shards", lambda: fresh)
    catalog.models.adopt(MODEL)
    fresh.restore()
    return fresh


def feature(label: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.random.default_rng(label).standard_normal(DIMENSIONS).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def embedded(catalog: Catalog, chunk: Chunk) -> Chunk:
    """Bring a chunk to the index stage with a feature for each image."""
    catalog.vectors.put(MODEL.model_id, {label: feature(label) for label in chunk.labels})
    advanced = catalog.chunks.resend(chunk, Stage.INDEX)
    assert advanced is not None
    return advanced


def found(shards: CatalogIndex, chunk: Chunk, label: int) -> list[int]:
    near = shards.search(chunk.generation, None, feature(label)[np.newaxis], 10)
    return [int(n) for n in near.labels]


def outcomes(catalog: Catalog, chunk: Chunk) -> tuple[str, ...]:
    (row,) = catalog.chunks.find([chunk.id])
    assert row.state is State.DONE
    return row.outcomes


def test_its_images_are_findable_and_the_result_says_so(
    catalog: Catalog, redis_client: redis.Redis, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a", "b", payload=b"bytes").chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("SUCCEEDED", "SUCCEEDED")
    for label in chunk.labels:
        assert found(shards, chunk, label)[0] == label
        assert catalog.images.find([label])[label].is_findable
    results = read_outcomes(redis_client, [chunk.id])
    assert [outcome.image_id for outcome in results[chunk.id]] == ["a", "b"]
    assert catalog.payloads.get(chunk.labels) == {}, "the payload has done its part"


def test_an_image_with_a_bad_vector_fails_and_the_others_of_its_chunk_succeed(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = take("a", "b").chunks[0]
    bad, good = chunk.labels
    catalog.vectors.put(MODEL.model_id, {bad: np.full(DIMENSIONS, np.nan, np.float32)})
    index_stage.index(chunk.id, embedded(catalog, chunk).attempt)
    assert outcomes(catalog, chunk) == ("INSERT_IMAGE_ERROR", "SUCCEEDED")
    assert found(shards, chunk, good) == [good]
    assert shards.health().bad_vectors == 0, "its image is gone"
    assert catalog.vectors.present(chunk.labels) == {good}


def test_the_stage_tells_what_failed_in_it_and_not_what_failed_before(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = take("a", "b", "c", "d").chunks[0]
    before, bad, deleted, _ = chunk.labels
    fail_images(catalog, {before: InvalidImageContent()}, "vision")
    catalog.vectors.put(MODEL.model_id, {bad: np.full(DIMENSIONS, np.nan, np.float32)})
    delete_images(catalog, [deleted])
    told = index_stage.index(chunk.id, embedded(catalog, chunk).attempt)
    assert told == "2 of 4 images failed: 1 INSERT_IMAGE_ERROR, 1 NO_RELATIVE_IMAGE"
    assert outcomes(catalog, chunk)[0] == "INVALID_IMAGE_CONTENT"


def test_an_image_fails_whose_vector_of_the_searched_model_is_bad_though_the_next_model_has_one(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take("a", "b")
    (chunk,) = taken.chunks
    bad, good = chunk.labels
    following = ModelRow("next-model", DIMENSIONS)
    catalog.models.adopt(MODEL, following)
    change = (taken.collection.key, MODEL.model_id, following.model_id)
    assert catalog.changes.begin(*change, accept_losses=False)
    catalog.vectors.put(following.model_id, {label: feature(label) for label in chunk.labels})
    catalog.vectors.put(MODEL.model_id, {bad: np.full(DIMENSIONS, np.nan, np.float32)})
    index_stage.index(chunk.id, embedded(catalog, chunk).attempt)
    assert outcomes(catalog, chunk) == ("INSERT_IMAGE_ERROR", "SUCCEEDED")
    assert found(shards, chunk, good) == [good]


def test_the_same_message_again_adds_nothing(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a").chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    index_stage.index(chunk.id, chunk.attempt)
    assert found(shards, chunk, chunk.labels[0]) == chunk.labels


def test_a_crash_after_the_shard_was_written_is_made_good_by_the_next_attempt(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a").chunks[0])
    shards.add(catalog.images.find(chunk.labels).values())
    index_stage.index(chunk.id, chunk.attempt)
    assert found(shards, chunk, chunk.labels[0]) == chunk.labels
    assert outcomes(catalog, chunk) == ("SUCCEEDED",)


def test_an_image_deleted_on_its_way_never_turns_up(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a", "b").chunks[0])
    deleted, other = chunk.labels
    delete_images(catalog, [deleted])
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("NO_RELATIVE_IMAGE", "SUCCEEDED")
    assert found(shards, chunk, deleted) == [other]
    assert catalog.vectors.present(chunk.labels) == {other}


def test_an_image_deleted_between_the_reads_never_turns_up(
    catalog: Catalog, take: Any, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = embedded(catalog, take("a").chunks[0])
    add = shards.add

    def add_then_delete(images: Any) -> dict[int, set[str]]:
        missing = add(images)
        delete_images(catalog, chunk.labels)
        return missing

    monkeypatch.setattr(shards, "add", add_then_delete)
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("NO_RELATIVE_IMAGE",)
    assert found(shards, chunk, chunk.labels[0]) == []


def test_an_image_whose_product_went_away_fails(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take("a")
    chunk = embedded(catalog, taken.chunks[0])
    products = list(catalog.products.find(chunk.generation, ["shoe"]).values())
    catalog.products.begin_deletion(products)
    delete_product(catalog, products[0])
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("NOT_EXISTING_PRODUCT",)
    assert found(shards, chunk, chunk.labels[0]) == []


def test_one_deleted_after_its_success_stays_succeeded_and_leaves_the_index(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a").chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    delete_images(catalog, chunk.labels)
    index_stage.refresh(chunk.labels)
    assert outcomes(catalog, chunk) == ("SUCCEEDED",)
    assert found(shards, chunk, chunk.labels[0]) == []
    assert catalog.vectors.present(chunk.labels) == set()
    assert catalog.images.waiting_for_index(catalog_far_future(), 10) == []


def catalog_far_future() -> Any:
    from datetime import timedelta

    from catalog.database.connection import now

    return now() + timedelta(days=1)


def test_an_image_without_a_feature_fails_as_a_fault_of_ours(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = catalog.chunks.resend(take("a").chunks[0], Stage.INDEX)
    assert chunk is not None
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("INSERT_IMAGE_ERROR",)


def test_shards_are_built_from_the_database_with_exactly_what_can_be_found(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    chunk = embedded(catalog, take("a", "b", "c").chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    delete_images(catalog, chunk.labels[:1])
    rebuilt = CatalogIndex(lambda: catalog, HnswEngine(1000))
    rebuilt.restore()
    assert set(found(rebuilt, chunk, chunk.labels[1])) == set(chunk.labels[1:])


def in_category(shards: CatalogIndex, chunk: Chunk, category: str, label: int) -> list[int]:
    near = shards.search(chunk.generation, category, feature(label)[np.newaxis], 10)
    return [int(n) for n in near.labels]


def change_category(catalog: Catalog, chunk: Chunk, category: str) -> None:
    (product,) = catalog.products.find(chunk.generation, ["shoe"]).values()
    changed = catalog.products.change(product, {"category": category})
    assert changed is not None
    copy_product(catalog, changed)


def test_a_product_of_another_category_takes_its_images_along(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take("a", "b")
    chunk = embedded(catalog, taken.chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    for category, other in (("服装", "鞋靴"), ("鞋靴", "服装"), ("服装", "鞋靴")):
        change_category(catalog, chunk, category)
        index_stage.refresh(chunk.labels)
        assert set(in_category(shards, chunk, category, chunk.labels[0])) == set(chunk.labels)
        assert in_category(shards, chunk, other, chunk.labels[0]) == []


def test_an_image_whose_category_changes_while_it_is_added_ends_in_its_set(
    catalog: Catalog, take: Any, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = embedded(catalog, take("a").chunks[0])
    add = shards.add

    def add_then_change(images: Any) -> dict[int, set[str]]:
        missing = add(images)
        change_category(catalog, chunk, "服装")
        return missing

    with monkeypatch.context() as patch:
        patch.setattr(shards, "add", add_then_change)
        index_stage.index(chunk.id, chunk.attempt)
    assert in_category(shards, chunk, "服装", chunk.labels[0]) == chunk.labels
    assert in_category(shards, chunk, "鞋靴", chunk.labels[0]) == []


def test_an_image_that_was_written_while_its_product_changed_ends_as_its_product(
    catalog: Catalog, take: Any, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded(catalog, take("a").chunks[0])
    insert = catalog.images.insert

    def change_then_insert(images: Any) -> None:
        change_category(catalog, first, "服装")
        insert(images)

    with monkeypatch.context() as patch:
        patch.setattr(catalog.images, "insert", change_then_insert)
        second = embedded(catalog, take("b").chunks[0])
    assert catalog.images.find(second.labels)[second.labels[0]].category == "鞋靴"
    index_stage.index(second.id, second.attempt)
    index_stage.index(first.id, first.attempt)
    both = {*first.labels, *second.labels}
    assert {row.category for row in catalog.images.find(list(both)).values()} == {"服装"}
    assert set(in_category(shards, first, "服装", first.labels[0])) == both
    assert in_category(shards, first, "鞋靴", first.labels[0]) == []


def test_images_of_a_collection_that_was_deleted_end_as_1030(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take("a")
    chunk = embedded(catalog, taken.chunks[0])
    delete_collection(catalog, taken.collection)
    (purge,) = catalog.purges.due(1)
    while purge_piece(catalog, purge, 10):
        pass
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("NO_RELATIVE_COLLECTION",)


def test_nothing_stays_of_an_image_that_was_embedded_after_its_collection_was_purged(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take("a")
    delete_collection(catalog, taken.collection)
    (purge,) = catalog.purges.due(1)
    while purge_piece(catalog, purge, 100):
        pass
    chunk = embedded(catalog, taken.chunks[0])
    catalog.pictures.put(dict.fromkeys(chunk.labels, b"kept"))
    index_stage.index(chunk.id, chunk.attempt)
    assert outcomes(catalog, chunk) == ("NO_RELATIVE_COLLECTION",)
    assert catalog.vectors.present(chunk.labels) == set()
    assert catalog.pictures.get(chunk.labels) == {}


def test_a_task_whose_last_chunk_is_done_notes_how_it_ended(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    taken = take(*(f"image-{n}" for n in range(20)))
    for number, chunk in enumerate(taken.chunks):
        task = catalog.tasks.find(taken.task.task_id)
        assert task is not None
        assert task.ending is None, f"{number} of {len(taken.chunks)} done"
        if number == 0:
            delete_images(catalog, chunk.labels[:1])
        ready = embedded(catalog, chunk)
        index_stage.index(ready.id, ready.attempt)
    task = catalog.tasks.find(taken.task.task_id)
    assert task is not None
    assert task.ending is not None
    assert (task.ending.succeeded, task.ending.failed) == (19, 1)


def test_a_search_of_a_set_that_is_not_ready_is_told_to_come_again(
    redis_client: redis.Redis, shards: CatalogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_ready(*_: Any, **__: Any) -> None:
        raise SetNotReadyError("loading")

    monkeypatch.setattr(shards, "search", not_ready)
    exchange().leave("q", {"vectors": feature(1).tobytes(), "count": "1"}, 5)
    index_stage.neighbours("q", "1", None, 5)
    assert exchange().wait("q", 1) == {"busy": True}


def test_an_index_drops_only_a_generation_that_is_being_removed(
    catalog: Catalog, take: Any, shards: CatalogIndex
) -> None:
    """A message that waited in Redis over a restore may name a collection that lives again."""
    taken = take("a")
    chunk = embedded(catalog, taken.chunks[0])
    index_stage.index(chunk.id, chunk.attempt)
    index_stage.drop(chunk.generation)
    assert found(shards, chunk, chunk.labels[0]) == chunk.labels
    delete_collection(catalog, taken.collection)
    index_stage.drop(chunk.generation)
    assert found(shards, chunk, chunk.labels[0]) == []
