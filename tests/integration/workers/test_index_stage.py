"""The last stage: findable from its end on, never when deleted, and always with outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import redis

from catalog.chunks import Chunk, Stage, State
from catalog.endings import delete_images, delete_product
from catalog.models import ModelRow
from catalog.store import Catalog
from workers import index as index_stage
from workers.catalog_index import CatalogIndex
from workers.results import read_outcomes

DIMENSIONS = 8
MODEL = ModelRow("test-model", DIMENSIONS)


@pytest.fixture
def shards(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> CatalogIndex:
    fresh = CatalogIndex(lambda: catalog, shard_capacity=1000)
    monkeypatch.setattr(index_stage, "shards", fresh)
    catalog.models.adopt(MODEL)
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

    def add_then_delete(images: Any) -> set[int]:
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
    index_stage.remove(chunk.labels)
    assert outcomes(catalog, chunk) == ("SUCCEEDED",)
    assert found(shards, chunk, chunk.labels[0]) == []
    assert catalog.vectors.present(chunk.labels) == set()
    assert catalog.images.waiting_for_purge(catalog_far_future(), 10) == []


def catalog_far_future() -> Any:
    from datetime import timedelta

    from catalog.connection import now

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
    rebuilt = CatalogIndex(lambda: catalog, shard_capacity=1000)
    assert rebuilt.build() == 2
    assert set(found(rebuilt, chunk, chunk.labels[1])) == set(chunk.labels[1:])
