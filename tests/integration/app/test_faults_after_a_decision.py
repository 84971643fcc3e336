"""After the write that decides, a call is answered with what was decided, whatever fails."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from app.operations import ingestion
from app.services import Services
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog
from config.settings import settings
from tests.integration.app.api_in_process import Serve, result
from workers.maintenance import sweep

PRODUCT = {"product_id": "p", "product_name": "P", "category": "鞋靴"}


@pytest.fixture
def client(serve: Serve) -> FlaskClient:
    """The API on a collection with an empty product."""
    client = serve()
    assert create(client)["failed_list"] == []
    return client


def create(client: FlaskClient, *product_ids: str) -> dict[str, Any]:
    products = [PRODUCT | {"product_id": one} for one in product_ids or ("p",)]
    return result(client, "create_product", collection_name="c", product_list=products)


def call(client: FlaskClient, operation: str, key: str | None = None, **body: Any) -> Any:
    """Return what a call on the collection answers, the system code where that is not 10000."""
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.post(f"/v1/{operation}", json={"collection_name": "c"} | body, headers=headers)
    found = answer.get_json()
    return found["result"] if found["code"] == "10000" else found["code"]


def add(client: FlaskClient, key: str | None = None) -> Any:
    image = {"product_id": "p", "image_id": "a", "image_content": "http://127.0.0.1:9/a.jpg"}
    return call(client, "add_image", key, image_list=[image])


def delete_image(client: FlaskClient) -> Any:
    names = [{"product_id": "p", "image_id": "a"}]
    return call(client, "delete_image", image_id_list=names)


def delete_product(client: FlaskClient) -> Any:
    return call(client, "delete_product", product_id_list=["p"])


def lost(*_: object, **__: object) -> None:
    raise AutoReconnect("primary stepped down")


def is_due(catalog: Catalog, table: str, field: str) -> None:
    """Let the time come at which the sweep looks at what has this field."""
    rows = catalog.client[settings().mongo_database][table]
    assert rows.update_many({field: {"$gt": 0}}, {"$set": {field: 1}}).matched_count


def collection_of(catalog: Catalog) -> CollectionRow:
    collection = catalog.collections.find("default", "c")
    assert collection is not None
    return collection


@pytest.mark.parametrize("part", ["marking", "sending", "looking again"])
def test_a_task_that_was_opened_is_the_answer_and_the_sweep_sends_it(
    client: FlaskClient,
    catalog: Catalog,
    redis_client: redis.Redis,
    made: list[Services],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    with monkeypatch.context() as patch:
        if part == "marking":
            patch.setattr(made[0].catalog.chunks, "mark_sent", lost)
        elif part == "sending":
            patch.setattr(ingestion, "send_chunks", lost)
        else:
            patch.setattr(ingestion, "fail_vanished", lost)
        answer = add(client, "key")
    assert answer["code"] == 0
    assert add(client, "key") == answer
    assert [task["task_id"] for task in call(client, "list_tasks")["task_list"]] == [
        answer["task_id"]
    ]
    if part == "marking":
        is_due(catalog, "chunks", "start_at")
    elif part == "sending":
        is_due(catalog, "chunks", "fetch_sent_at")
    sweep()
    assert redis_client.llen("fetch") == 1


def test_a_task_is_the_answer_where_only_the_answer_to_its_opening_was_lost(
    client: FlaskClient, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = made[0].catalog.tasks.open

    def open_and_lose(*arguments: Any, **named: Any) -> None:
        opening(*arguments, **named)
        lost()

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(made[0].catalog.tasks, "open", open_and_lose)
        answer = add(client, "key")
    assert answer["code"] == 0
    (told,) = [line for line in lines if line["log_level"] == "warning"]
    assert (told["event"], told["exc_info"]) == (
        "a task was opened though its opening failed",
        True,
    )
    assert add(client, "key") == answer
    (task,) = call(client, "list_tasks")["task_list"]
    assert task["task_id"] == answer["task_id"]


def test_a_task_that_could_not_be_opened_leaves_nothing_and_its_key_works(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.tasks, "open", lost)
        assert add(client, "key") == "10020"
    for table in ("tasks", "chunks", "images", "image_names"):
        assert catalog.client[settings().mongo_database][table].find_one() is None, table
    assert add(client)["failed_list"] == []


def test_images_that_were_flagged_are_deleted_and_the_sweep_releases_their_names(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client)
    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.names, "release_each", lost)
        assert delete_image(client)["failed_list"] == []
    names = catalog.client[settings().mongo_database]["image_names"]
    assert names.find_one() is not None
    is_due(catalog, "images", "index_at")
    sweep()
    assert names.find_one() is None
    assert add(client)["failed_list"] == []


def test_a_product_whose_images_were_flagged_is_deleted_and_the_sweep_removes_it(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client)
    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.products, "end_deletion", lost)
        assert delete_product(client)["failed_list"] == []
    is_due(catalog, "products", "deleted_at")
    sweep()
    assert catalog.client[settings().mongo_database]["products"].find_one() is None
    assert collection_of(catalog).product_count == 0


def test_a_deletion_of_a_product_that_did_not_reach_its_images_is_ended_by_a_repeat(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client)
    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.images, "delete", lost)
        assert delete_product(client) == "10020", "a search may answer its images"
    assert delete_product(client) == {
        "code": 0,
        "message": "SUCCESS",
        "successful_list": ["p"],
        "failed_list": [],
    }
    rows = catalog.client[settings().mongo_database]
    assert rows["products"].find_one() is None
    assert {row["deleted_at"] is None for row in rows["images"].find()} == {False}
    assert delete_product(client)["failed_list"] != []


def test_a_collection_whose_row_is_gone_is_deleted_and_its_purge_gives_back_its_slot(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.collections, "forget_name", lost)
        assert call(client, "delete_collection")["code"] == 0
    users = catalog.client[settings().mongo_database]["users"]
    assert users.find_one() == {"_id": "default", "collections": ["c"]}
    rows = catalog.client[settings().mongo_database]["purges"]
    for _ in range(2):
        rows.update_many({}, {"$set": {"due_at": 1, "deleted_at": 1}})
        sweep()
    assert users.find_one() == {"_id": "default", "collections": []}


def test_products_that_were_written_are_told_though_the_count_could_not_be_put_right(
    client: FlaskClient, catalog: Catalog, made: list[Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_products = made[0].catalog.collections.add_products
    find = made[0].catalog.products.find

    def add_or_lose(key: str, generation: str, count: int) -> int:
        if count <= 0:
            lost()
        return add_products(key, generation, count)

    with monkeypatch.context() as patch:
        patch.setattr(made[0].catalog.collections, "add_products", add_or_lose)
        # As another call sees it that looked before "p" was there.
        patch.setattr(made[0].catalog.products, "find", lambda g, ids: find(g, set(ids) - {"p"}))
        answer = create(client, "p", "q")
    assert answer["successful_list"] == ["q"]
    assert collection_of(catalog).product_count == 3
    for field in ("recount_at", "changed_at"):
        is_due(catalog, "collections", field)
    sweep()
    assert collection_of(catalog).product_count == 2
