"""A call of add_image that goes on after its submission was undone leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from catalog.flows.submission import Draft, NewImage, Written, abandon, begin, open_task, write
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from config.settings import settings
from workers.maintenance import sweep


def rows_of(catalog: Catalog) -> Any:
    return catalog.client[settings().mongo_database]


def is_due(catalog: Catalog, table: str, field: str) -> None:
    rows_of(catalog)[table].update_many({field: {"$gt": 0}}, {"$set": {field: 1}})


@pytest.fixture
def collection(catalog: Catalog, redis_client: redis.Redis) -> CollectionRow:
    collection = catalog.collections.find_or_create("user", "shop", 0)
    catalog.products.insert(
        collection, [ProductFields(product_id="shoe", product_name="Shoe", category="鞋靴")]
    )
    return collection


def begun(catalog: Catalog, collection: CollectionRow) -> Draft:
    products = catalog.products.find(collection.generation, ["shoe"])
    image = NewImage(product_id="shoe", image_id="a", image_info="", url=None, payload=b"picture")
    return begin(catalog, collection, {0: image}, products)


def written(catalog: Catalog, draft: Draft) -> Written:
    return write(catalog, draft, images_per_product=30, chunk_images=16)


def nothing_is_left(catalog: Catalog, draft: Draft) -> None:
    for table in ("tasks", "chunks", "images", "image_names"):
        assert rows_of(catalog)[table].find_one() is None, table
    assert catalog.payloads.get(list(draft.labels.values())) == {}
    found = catalog.products.find(draft.collection.generation, ["shoe"])
    assert found["shoe"].image_count == 0


def test_a_call_that_fails_after_its_submission_was_undone_undoes_what_it_wrote_since(
    catalog: Catalog, collection: CollectionRow
) -> None:
    draft = begun(catalog, collection)
    is_due(catalog, "tasks", "submission_at")
    sweep()
    assert catalog.tasks.submission(draft.submission.task_id) is None
    written(catalog, draft)
    assert abandon(catalog, draft.submission) is None
    nothing_is_left(catalog, draft)


def test_a_call_that_dies_after_its_submission_was_undone_leaves_nothing_for_long(
    catalog: Catalog, collection: CollectionRow, redis_client: redis.Redis
) -> None:
    draft = begun(catalog, collection)
    is_due(catalog, "tasks", "submission_at")
    sweep()
    written(catalog, draft)
    is_due(catalog, "chunks", "start_at")
    sweep()
    nothing_is_left(catalog, draft)
    assert redis_client.llen("vision") == 0, "none of it is ingested"


def test_a_chunk_of_a_submission_that_is_under_way_is_neither_sent_nor_dropped(
    catalog: Catalog, collection: CollectionRow, redis_client: redis.Redis
) -> None:
    draft = begun(catalog, collection)
    made = written(catalog, draft)
    is_due(catalog, "chunks", "start_at")
    sweep()
    assert redis_client.llen("vision") == 0
    open_task(catalog, draft, made)
    sweep()
    assert redis_client.llen("vision") == 1


def test_a_chunk_whose_task_was_forgotten_takes_nothing_from_images_that_ended(
    catalog: Catalog, collection: CollectionRow
) -> None:
    draft = begun(catalog, collection)
    made = written(catalog, draft)
    task = open_task(catalog, draft, made)
    catalog.images.succeed(list(draft.labels.values()))
    catalog.tasks.remove(task.task_id)
    is_due(catalog, "chunks", "start_at")
    sweep()
    assert rows_of(catalog)["chunks"].find_one() is None
    assert rows_of(catalog)["image_names"].find_one() is not None
    (image,) = catalog.images.find(list(draft.labels.values())).values()
    assert image.is_findable
