"""task_status answers the same from Celery's results as from the rows once they are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from broker.results import read_outcomes, store_outcomes
from catalog.database.connection import now
from catalog.flows.splitting import split_off
from catalog.flows.task_standing import Outcome, find_standing
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog
from config.settings import settings
from contract.errors import QueryTaskStatusError
from tests.integration.app.api_in_process import Serve, result

PRODUCT = {"product_id": "p", "product_name": "P", "category": "鞋靴"}
OUTCOMES = ("SUCCEEDED", "BROKEN_BASE64_OR_URL")


def poll(serve: Serve, task_id: str) -> dict[str, Any]:
    return result(serve(), "task_status", task_id=task_id)


def taken(client: FlaskClient, catalog: Catalog, *names: str) -> TaskRow:
    """The task of images that are still to be fetched."""
    result(client, "create_product", collection_name="c", product_list=[PRODUCT])
    images = [
        {"product_id": "p", "image_id": name, "image_content": f"http://127.0.0.1:9/{name}.jpg"}
        for name in names
    ]
    task_id = result(client, "add_image", collection_name="c", image_list=images)["task_id"]
    task = catalog.tasks.find(task_id)
    assert task is not None
    return task


def test_a_task_is_answered_the_same_after_its_results_expired(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve
) -> None:
    task = taken(serve(), catalog, "good", "bad")
    task_id = task.task_id
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert held is not None
    assert catalog.chunks.finish(held, OUTCOMES)
    store_outcomes(
        chunk.id,
        [
            Outcome(item.label, item.product_id, item.image_id, outcome)
            for item, outcome in zip(chunk.items, OUTCOMES, strict=True)
        ],
    )
    (key,) = redis_client.scan_iter(match="celery-task-meta-*")
    assert settings().result_seconds == 3_600
    assert 3_500 < redis_client.ttl(key) <= 3_600
    assert set(read_outcomes(redis_client, [chunk.id])) == {chunk.id}
    from_results = poll(serve, task_id)
    assert from_results["task_status"] == "FINISHED"
    assert [image["image_id"] for image in from_results["succeeded_list"]] == ["good"]
    assert [image["image_id"] for image in from_results["failed_list"]] == ["bad"]
    redis_client.delete(key)  # as its expiry does
    assert read_outcomes(redis_client, [chunk.id]) == {}
    assert poll(serve, task_id) == from_results


def test_a_task_is_answered_whole_whose_chunk_is_split_at_every_read(
    catalog: Catalog, serve: Serve
) -> None:
    names = [f"image-{number}" for number in range(8)]
    task = taken(serve(), catalog, *names)
    (chunk_id,) = task.chunk_ids

    def split_one_off(_: Sequence[str]) -> dict[str, list[Outcome]]:
        """Do what a fetch worker does with a URL that may work later, between two of our reads."""
        (chunk,) = catalog.chunks.find([chunk_id])
        held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
        assert held is not None
        first, *rest = held.items
        split_off(catalog, held, {first: now()}, 1)
        assert catalog.chunks.advance(held, chunk.stage, rest) is not None
        return {}

    standing = find_standing(catalog, task.task_id, split_one_off)
    assert standing is not None
    assert sorted(one.outcome.image_id for one in standing.images.values()) == names
    assert not standing.is_finished


def test_a_task_that_lacks_images_is_not_answered(catalog: Catalog, serve: Serve) -> None:
    task = taken(serve(), catalog, "i")
    catalog.chunks.remove(task.chunk_ids)
    with pytest.raises(QueryTaskStatusError):
        find_standing(catalog, task.task_id, lambda _: {})
