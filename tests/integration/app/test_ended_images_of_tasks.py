"""An image that a client was told had ended stays so, whatever is removed before its chunk ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from app.services import Services
from catalog.database.connection import databases
from catalog.flows.removal import fail_images, purge_piece
from catalog.flows.retention import forget_images
from catalog.rows.chunks import Chunk
from catalog.rows.images import Failure
from catalog.store import Catalog
from config.settings import settings
from contract.errors import BrokenBase64OrUrl
from tests.integration.app.api_in_process import Serve, result
from workers.support.chunk_end import conclude

PRODUCT = {"product_id": "p", "product_name": "P", "category": "鞋靴"}
NAMES = ("good", "bad", "open")


def delete_product(client: FlaskClient, catalog: Catalog, chunk: Chunk) -> None:
    """Delete the product, and forget its images when their hour is over."""
    result(client, "delete_product", collection_name="c", product_id_list=["p"])
    forget_images(catalog, list(catalog.images.find(chunk.labels).values()))


def delete_images(client: FlaskClient, catalog: Catalog, chunk: Chunk) -> None:
    named = [{"product_id": "p", "image_id": name} for name in NAMES]
    result(client, "delete_image", collection_name="c", image_id_list=named)
    forget_images(catalog, list(catalog.images.find(chunk.labels).values()))


def delete_collection(client: FlaskClient, catalog: Catalog, chunk: Chunk) -> None:
    result(client, "delete_collection", collection_name="c")
    (purge,) = catalog.purges.due(10)
    while purge_piece(catalog, purge, 2):
        pass
    assert catalog.images.find(chunk.labels) == {}


Remove = Callable[[FlaskClient, Catalog, Chunk], None]


def take(client: FlaskClient, catalog: Catalog) -> Chunk:
    result(client, "create_product", collection_name="c", product_list=[PRODUCT])
    images = [
        {"product_id": "p", "image_id": name, "image_content": f"http://127.0.0.1:9/{name}.jpg"}
        for name in NAMES
    ]
    task_id = result(client, "add_image", collection_name="c", image_list=images)["task_id"]
    task = catalog.tasks.find(task_id)
    assert task is not None
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    return chunk


def told(client: FlaskClient, task_id: str) -> dict[str, str]:
    answer = result(client, "task_status", task_id=task_id)
    return {
        image["image_id"]: image.get("message", state)
        for state in ("succeeded", "failed", "pending")
        for image in answer[f"{state}_list"]
    }


def end(catalog: Catalog, chunk: Chunk) -> None:
    held = catalog.chunks.claim(chunk.id, chunk.stage, chunk.attempt)
    assert held is not None
    conclude(catalog, held)


@pytest.mark.parametrize("remove", [delete_product, delete_images, delete_collection])
def test_ended_images_of_a_chunk_at_work_stay_as_they_were_told(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve, remove: Remove
) -> None:
    client = serve()
    chunk = take(client, catalog)
    good, bad, _ = chunk.labels
    catalog.images.succeed([good])
    fail_images(catalog, {bad: BrokenBase64OrUrl()}, "vision")
    ended = {"good": "succeeded", "bad": BrokenBase64OrUrl.message}
    assert told(client, chunk.task_id) == ended | {"open": "pending"}
    remove(client, catalog, chunk)
    assert told(client, chunk.task_id) == ended | {"open": "pending"}
    end(catalog, chunk)
    assert told(client, chunk.task_id).items() >= ended.items()
    redis_client.flushdb()
    assert told(client, chunk.task_id).items() >= ended.items()


@pytest.mark.parametrize("remove", [delete_product, delete_images, delete_collection])
def test_a_task_that_was_told_to_be_finished_stays_so_while_its_chunk_is_at_work(
    catalog: Catalog, redis_client: redis.Redis, serve: Serve, remove: Remove
) -> None:
    client = serve()
    chunk = take(client, catalog)
    good, bad, third = chunk.labels
    catalog.images.succeed([good, third])
    fail_images(catalog, {bad: BrokenBase64OrUrl()}, "vision")
    ended = {"good": "succeeded", "bad": BrokenBase64OrUrl.message, "open": "succeeded"}
    assert told(client, chunk.task_id) == ended
    remove(client, catalog, chunk)
    assert told(client, chunk.task_id) == ended
    end(catalog, chunk)
    assert told(client, chunk.task_id) == ended
    (task,) = result(client, "list_tasks")["task_list"]
    assert (task["succeeded"], task["failed"], task["pending"]) == (2, 1, 0)


def test_an_image_that_fails_while_its_row_is_being_removed_is_told_to_have_failed(
    catalog: Catalog,
    redis_client: redis.Redis,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = serve()
    chunk = take(client, catalog)
    result(client, "delete_collection", collection_name="c")
    (purge,) = catalog.purges.due(10)
    remove = catalog.pictures.remove

    def failed_meanwhile(labels: Any) -> None:
        remove(labels)
        catalog.images.fail(chunk.labels, Failure(message=BrokenBase64OrUrl.message))

    with monkeypatch.context() as patch:
        patch.setattr(catalog.pictures, "remove", failed_meanwhile)
        assert purge_piece(catalog, purge, 10)
    ended = dict.fromkeys(NAMES, BrokenBase64OrUrl.message)
    assert told(client, chunk.task_id) == ended
    assert purge_piece(catalog, purge, 10)
    assert catalog.images.find(chunk.labels) == {}
    assert told(client, chunk.task_id) == ended


def test_an_outcome_that_moves_from_the_row_to_the_task_between_two_reads_is_seen(
    catalog: Catalog,
    redis_client: redis.Redis,
    serve: Serve,
    made: list[Services],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = serve()
    chunk = take(client, catalog)
    fail_images(catalog, dict.fromkeys(chunk.labels[:2], BrokenBase64OrUrl()), "vision")
    images = made[-1].catalog.images
    find = images.find

    def removed_just_before(labels: Any) -> Any:
        monkeypatch.undo()
        delete_product(client, catalog, chunk)
        return find(labels)

    monkeypatch.setattr(images, "find", removed_just_before)
    assert told(client, chunk.task_id) == {
        **dict.fromkeys(NAMES[:2], BrokenBase64OrUrl.message),
        "open": "pending",
    }
    rows = databases(catalog.client, settings().mongo_database)[0]
    assert rows["images"].count_documents({}) == 1
