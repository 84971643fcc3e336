"""task_status answers the same from Celery's results as from the rows once they are gone."""

from __future__ import annotations

from typing import Any

import redis

from broker.results import read_outcomes, store_outcomes
from catalog.flows.task_standing import Outcome
from catalog.store import Catalog
from config.settings import settings
from tests.integration.app.api_in_process import Serve, result

PRODUCT = {"product_id": "p", "product_name": "P", "category": "鞋靴"}
OUTCOMES = ("SUCCEEDED", "BROKEN_BASE64_OR_URL")


def poll(serve: Serve, task_id: str) -> dict[str, Any]:
    return result(serve(), "task_status", task_id=task_id)


def test_a_task_is_answered_the_same_after_its_results_expired(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve
) -> None:
    client = serve()
    result(client, "create_product", collection_name="c", product_list=[PRODUCT])
    images = [
        {"product_id": "p", "image_id": name, "image_content": f"http://127.0.0.1:9/{name}.jpg"}
        for name in ("good", "bad")
    ]
    task_id = result(client, "add_image", collection_name="c", image_list=images)["task_id"]
    task = catalog.tasks.find(task_id)
    assert task is not None
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
