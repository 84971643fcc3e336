"""The API in one process on a real catalogue: limits as a caller meets them, and rare outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from flask.testing import FlaskClient
from pydantic import ValidationError
from pymongo.errors import BulkWriteError

from app.http.details import told
from app.services import Services
from catalog.database.connection import now
from catalog.flows.removal import fail_images
from catalog.rows.collections import MOST_COLLECTIONS
from catalog.rows.products import MOST_IMAGES
from catalog.store import Catalog
from config.settings import Settings, settings
from contract.errors import (
    ContractError,
    InsertImageError,
    InsertProductError,
    NoAvailableFeature,
)
from tests.integration.app.api_in_process import Serve, result
from workers.support.chunk_end import conclude

T = TypeVar("T")


def products(*product_ids: str) -> list[dict[str, str]]:
    return [{"product_id": one, "product_name": "n", "category": "其他"} for one in product_ids]


@pytest.mark.answers("create_product", "COLLECTION_COUNT_EXCEEDS_LIMIT")
def test_a_user_has_as_many_collections_as_allowed(serve: Serve) -> None:
    client = serve(collections_per_user=2)

    def create(name: str, product_id: str) -> int:
        answer = result(
            client, "create_product", collection_name=name, product_list=products(product_id)
        )
        return int(answer["code"])

    assert [create("a", "p"), create("b", "p")] == [0, 0]
    refused = result(client, "create_product", collection_name="c", product_list=products("p"))
    assert refused == {
        "code": 2013,
        "message": "COLLECTION_COUNT_EXCEEDS_LIMIT",
        "detail": "a user may have 2 collections; delete one first",
    }
    assert create("b", "q") == 0, "a collection that is there takes more"
    assert result(client, "delete_collection", collection_name="a")["code"] == 0
    assert create("c", "p") == 0, "a deleted one makes room"


@pytest.mark.answers("create_product", items=("PRODUCT_NUM_EXCEED_LIMIT",))
def test_a_collection_takes_as_many_products_as_allowed(serve: Serve) -> None:
    client = serve(products_per_collection=3)

    def create(*product_ids: str) -> dict[str, Any]:
        return result(
            client, "create_product", collection_name="c", product_list=products(*product_ids)
        )

    assert create("a", "b")["failed_list"] == []
    answer = create("a", "c", "d")
    assert answer["successful_list"] == ["c"]
    assert [(item["product_id"], item["message"]) for item in answer["failed_list"]] == [
        ("a", "EXISTING_PRODUCT"),
        ("d", "PRODUCT_NUM_EXCEED_LIMIT"),
    ]
    assert answer["failed_list"][1]["detail"].endswith("a collection may have 3 products")
    assert result(client, "delete_product", collection_name="c", product_id_list=["a"])["code"] == 0
    assert create("d")["successful_list"] == ["d"]


CALLERS = 50


def at_once(client: FlaskClient, call: Callable[[FlaskClient, int], T]) -> list[T]:
    """Return what each of many callers is answered who call at the same moment."""
    barrier = threading.Barrier(CALLERS)

    def run(number: int) -> T:
        with client.application.test_client() as own:
            barrier.wait(30)
            return call(own, number)

    with ThreadPoolExecutor(CALLERS) as threads:
        return list(threads.map(run, range(CALLERS)))


def test_fifty_callers_at_once_never_give_a_product_one_image_too_many(serve: Serve) -> None:
    client = serve(images_per_product=30)
    result(client, "create_product", collection_name="c", product_list=products("p"))

    def add(own: FlaskClient, number: int) -> list[str]:
        images = [
            {
                "product_id": "p",
                "image_id": f"image-{number}-{position}",
                "image_content": "http://127.0.0.1:9/x.jpg",
            }
            for position in range(2)
        ]
        answer = result(own, "add_image", collection_name="c", image_list=images)
        assert answer["code"] in (0, 3019), answer
        failed = {image["image_id"]: image["message"] for image in answer["failed_list"]}
        assert all(fault == ["IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"] for fault in failed.values())
        return [image["image_id"] for image in images if image["image_id"] not in failed]

    taken = [image_id for ids in at_once(client, add) for image_id in ids]
    assert 0 < len(taken) <= 30
    (listed,) = result(client, "list_products", collection_name="c")["product_list"]
    assert listed["image_count"] == len(taken)
    (collection,) = result(client, "list_collections")["collection_list"]
    assert collection["image_count"] == len(taken)


def test_a_product_without_a_limit_takes_as_many_images_as_its_row_carries(
    serve: Serve, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.rows.products.MOST_IMAGES", 3)
    client = serve(images_per_product=0)
    result(client, "create_product", collection_name="c", product_list=products("p"))

    def add(*image_ids: str) -> list[tuple[str, list[str]]]:
        url = "http://127.0.0.1:9/x.jpg"
        images = [{"product_id": "p", "image_id": i, "image_content": url} for i in image_ids]
        answer = result(client, "add_image", collection_name="c", image_list=images)
        return [(image["image_id"], image["message"]) for image in answer["failed_list"]]

    full = ["IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"]
    assert add("a", "b") == []
    assert add("c", "d") == [("d", full)], "where it is written"
    assert add("e") == [("e", full)], "where it is judged"
    row = catalog.client[settings().mongo_database]["products"].find_one()
    assert row is not None
    assert len(row["places"]) == 3


def test_a_user_without_a_limit_has_as_many_collections_as_a_row_carries(
    serve: Serve, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.rows.collections.MOST_COLLECTIONS", 2)
    client = serve(collections_per_user=0)

    def create(name: str) -> int:
        answer = result(client, "create_product", collection_name=name, product_list=products("p"))
        return int(answer["code"])

    assert [create("a"), create("b"), create("c"), create("a")] == [0, 0, 2013, 0]
    row = catalog.client[settings().mongo_database]["users"].find_one()
    assert row is not None
    assert row["collections"] == ["a", "b"]


@pytest.mark.parametrize(
    ("setting", "most"),
    [("images_per_product", MOST_IMAGES), ("collections_per_user", MOST_COLLECTIONS)],
)
def test_a_setting_says_and_allows_what_its_row_carries(setting: str, most: int) -> None:
    field = Settings.model_fields[setting]
    assert f"0 stands for {most}" in (field.description or "")
    Settings.model_validate({setting: most})
    with pytest.raises(ValidationError):
        Settings.model_validate({setting: most + 1})


def test_fifty_callers_at_once_never_give_a_collection_one_product_too_many(serve: Serve) -> None:
    client = serve(products_per_collection=100)

    def create(own: FlaskClient, number: int) -> list[str]:
        wanted = products(*(f"p-{number}-{position}" for position in range(5)))
        answer = result(own, "create_product", collection_name="c", product_list=wanted)
        assert answer["code"] == 0, answer
        created: list[str] = answer["successful_list"]
        return created

    created = [product_id for ids in at_once(client, create) for product_id in ids]
    assert 0 < len(created) <= 100
    listed = result(client, "list_products", collection_name="c", limit=200)["product_list"]
    assert {product["product_id"] for product in listed} == set(created)
    (collection,) = result(client, "list_collections")["collection_list"]
    assert collection["product_count"] == len(created)


def test_fifty_callers_at_once_never_give_a_user_one_collection_too_many(serve: Serve) -> None:
    client = serve(collections_per_user=10)

    def create(own: FlaskClient, number: int) -> str | None:
        name = f"c-{number}"
        answer = result(own, "create_product", collection_name=name, product_list=products("p"))
        assert answer["code"] in (0, 2013), answer
        return name if answer["code"] == 0 else None

    created = {name for name in at_once(client, create) if name is not None}
    assert 0 < len(created) <= 10
    listed = result(client, "list_collections")["collection_list"]
    assert {collection["collection_name"] for collection in listed} == created


class FaultyRows:
    """Rows of a server that could not write the second document that it was given."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def insert_many(self, documents: list[dict[str, Any]], ordered: bool) -> None:
        self._rows.insert_many(documents[:1] + documents[2:], ordered=ordered)
        raise BulkWriteError({"writeErrors": [{"index": 1, "code": 14031, "errmsg": "disk full"}]})


@pytest.mark.answers("create_product", items=("INSERT_PRODUCT_ERROR",))
def test_a_product_that_could_not_be_written_fails_alone(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, made: list[Services]
) -> None:
    client = serve()
    rows = FaultyRows(made[0].catalog.products._rows)
    monkeypatch.setattr(made[0].catalog.products, "_rows", rows)
    answer = result(
        client, "create_product", collection_name="c", product_list=products("a", "b", "c")
    )
    assert (answer["code"], answer["successful_list"]) == (0, ["a", "c"])
    assert answer["failed_list"] == [{"product_id": "b", **told(InsertProductError, Settings())}]
    (listed,) = result(client, "list_collections")["collection_list"]
    assert listed["product_count"] == 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.answers("task_status", items=(fault.message,)))
        for fault in (NoAvailableFeature, InsertImageError)
    ],
)
@pytest.mark.parametrize("is_concluded", [False, True])
def test_task_status_tells_how_a_worker_ended_an_image(
    serve: Serve, made: list[Services], fault: type[ContractError], is_concluded: bool
) -> None:
    client = serve()
    result(client, "create_product", collection_name="c", product_list=products("p"))
    images = [
        {"product_id": "p", "image_id": name, "image_content": f"http://shop.example/{name}.jpg"}
        for name in ("a", "b")
    ]
    task_id = result(client, "add_image", collection_name="c", image_list=images)["task_id"]
    catalog = made[0].catalog
    task = catalog.tasks.find(task_id)
    assert task is not None
    (chunk,) = catalog.chunks.find(task.chunk_ids)
    first, second = chunk.labels
    fail_images(catalog, {first: fault()}, "vision")
    if is_concluded:
        fail_images(catalog, {second: fault()}, "vision")
        conclude(catalog, chunk)
    status = result(client, "task_status", task_id=task_id)
    for one in status["failed_list"]:
        seconds = now() - datetime.fromisoformat(one.pop("failed_at"))
        assert timedelta(0) <= seconds < timedelta(minutes=10)
    failed = [
        {
            "product_id": "p",
            "image_id": name,
            "message": fault.message,
            "detail": "",
            "retryable": None,
            "stage": "vision",
        }
        for name in ("a", "b")[: 2 if is_concluded else 1]
    ]
    assert status["failed_list"] == failed
    assert [one["image_id"] for one in status["pending_list"]] == ([] if is_concluded else ["b"])
    assert status["task_status"] == ("FINISHED" if is_concluded else "PROCESSING")
