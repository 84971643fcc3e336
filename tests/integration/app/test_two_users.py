"""Two users, each trying every operation on what the other has: it is as if it did not exist."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.server import OPERATIONS
from app.services import Services
from broker.messages import send_chunks
from catalog.database.connection import now
from catalog.flows.lookup import labels_of
from catalog.rows.accounts import NewKeys
from catalog.store import Catalog
from config.settings import settings
from identity.keys import hash_of
from tests.integration.app.api_in_process import Serve
from tests.request_signer import bearer

SHOP, PRODUCT, IMAGE = "小店", "boot-1", "front"
PATHS = [pytest.param(o.name, path, id=path) for o in OPERATIONS for path in o.paths]


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (201, 201), (200, 30, 30)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@dataclass
class User:
    """A user with the calls that it makes."""

    name: str
    client: FlaskClient

    def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
        sent = {**bearer(f"key of {self.name}"), **headers}
        response = self.client.post(path, json=body, headers=sent)
        told = response.get_json()
        return response.status_code, told.get("result", told["code"])

    def call(self, operation: str, **body: Any) -> dict[str, Any]:
        status, result = self.post(f"/v1/{operation}", body)
        assert (status, result["code"]) == (200, 0), result
        found: dict[str, Any] = result
        return found

    def picture(self, collection: str = SHOP) -> int:
        query = {"collection_name": collection, "product_id": PRODUCT, "image_id": IMAGE}
        headers = bearer(f"key of {self.name}")
        return self.client.get("/v1/picture", query_string=query, headers=headers).status_code

    def fill(self, catalog: Catalog) -> str:
        """Make a collection with a product that has an image; return the id of its task."""
        product = {"product_id": PRODUCT, "product_name": f"of {self.name}", "category": "鞋靴"}
        self.call("create_product", collection_name=SHOP, product_list=[product])
        image = {"product_id": PRODUCT, "image_id": IMAGE, "image_content": picture()}
        added = self.call("add_image", collection_name=SHOP, image_list=[image])
        collection = catalog.collections.find(self.name, SHOP)
        assert collection is not None
        labels = list(labels_of(catalog, collection.generation, [(PRODUCT, IMAGE)]).values())
        catalog.images.succeed(labels)
        catalog.pictures.put(dict.fromkeys(labels, b"a picture"))
        task_id: str = added["task_id"]
        # No worker is there that notes the end of a task; a poll that sees it does.
        assert self.call("task_status", task_id=task_id)["task_status"] == "FINISHED"
        return task_id

    def sees(self, task_id: str) -> list[Any]:
        """Everything that this user can see of what it has."""
        return [
            self.call("list_collections"),
            self.call("list_products", collection_name=SHOP),
            self.call("image_info", collection_name=SHOP, product_id=PRODUCT),
            self.call("list_tasks"),
            self.call("task_status", task_id=task_id),
            self.picture(),
        ]


@pytest.fixture
def users(serve: Serve, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> tuple[User, User]:
    # No worker is there, and none of another test shall find these messages.
    monkeypatch.setattr(f"app.operations.ingestion.{send_chunks.__name__}", lambda *_: None)
    client = serve(collections_per_user=0)
    for name in ("alice", "bob"):
        keys = NewKeys(f"AK-{name}", b"sealed", hash_of(f"key of {name}"))
        assert catalog.accounts.add(name, keys, None, None)
    return User("alice", client), User("bob", client)


#: A call of each operation on a collection, a task and a cursor of a user.
Attempt = Callable[[str, str], dict[str, Any]]
_NAMES = {"product_id": PRODUCT, "image_id": IMAGE}
ATTEMPTS: dict[str, Attempt] = {
    "create_product": lambda shop, _: {
        "collection_name": shop,
        "product_list": [{"product_id": PRODUCT, "product_name": "mine", "category": "其他"}],
    },
    "add_image": lambda shop, _: {
        "collection_name": shop,
        "image_list": [{**_NAMES, "image_content": picture()}],
    },
    "task_status": lambda _, task_id: {"task_id": task_id},
    "product_search": lambda shop, _: {"collection_name": shop, "image_content": picture()},
    "image_info": lambda shop, _: {"collection_name": shop, "product_id": PRODUCT},
    "delete_image": lambda shop, _: {"collection_name": shop, "image_id_list": [_NAMES]},
    "delete_product": lambda shop, _: {"collection_name": shop, "product_id_list": [PRODUCT]},
    "delete_collection": lambda shop, _: {"collection_name": shop},
    "list_collections": lambda *_: {},
    "list_products": lambda shop, _: {"collection_name": shop},
    "list_tasks": lambda shop, _: {"collection_name": shop},
    "update_image": lambda shop, _: {"collection_name": shop, **_NAMES, "image_info": "mine"},
    "update_product": lambda shop, _: {
        "collection_name": shop,
        "product_id": PRODUCT,
        "product_name": "mine",
    },
}
#: What is answered where there is nothing of that name; every other operation answers 1030.
OTHERWISE = {
    "create_product": 0,
    "task_status": 1004,
    "list_collections": 0,
    "list_tasks": 0,
}


def test_every_operation_is_tried_here() -> None:
    assert set(ATTEMPTS) == {operation.name for operation in OPERATIONS}


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_what_another_user_has_is_as_if_it_did_not_exist(
    users: tuple[User, User], catalog: Catalog, name: str, path: str
) -> None:
    alice, bob = users
    task_id = alice.fill(catalog)
    before = alice.sees(task_id)
    missing = "alice/没有/1581417512.274598"
    on_hers = bob.post(path, ATTEMPTS[name](SHOP, task_id))
    on_nothing = bob.post(path, ATTEMPTS[name]("没有", missing))
    if name == "list_collections":
        on_nothing = (
            200,
            {"code": 0, "message": "SUCCESS", "collection_list": [], "next_cursor": None},
        )
    assert on_hers == on_nothing
    assert on_hers[0] == 200
    assert on_hers[1]["code"] == OTHERWISE.get(name, 1030)
    assert "alice" not in json.dumps(on_hers[1])
    assert alice.sees(task_id) == before


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_what_a_user_does_to_its_own_of_the_same_names_touches_nobody_elses(
    users: tuple[User, User], catalog: Catalog, name: str, path: str
) -> None:
    alice, bob = users
    hers, his = alice.fill(catalog), bob.fill(catalog)
    before = alice.sees(hers)
    if name == "product_search":
        # No worker is there; what he deleted is gone for him, though hers has the name.
        bob.call("delete_collection", collection_name=SHOP)
    status, result = bob.post(path, ATTEMPTS[name](SHOP, his))
    expected = {"product_search": 1030, "add_image": 3019}.get(name, 0)
    assert (status, result["code"]) == (200, expected)
    assert "alice" not in json.dumps(result)
    assert bob.post("/v1/task_status", {"task_id": hers})[1]["code"] == 1004
    assert alice.sees(hers) == before


def test_a_picture_of_another_user_is_not_found(users: tuple[User, User], catalog: Catalog) -> None:
    alice, bob = users
    alice.fill(catalog)
    assert (alice.picture(), bob.picture(), bob.picture("没有")) == (200, 404, 404)


@pytest.mark.parametrize("name", ["list_products", "list_tasks", "list_collections"])
def test_a_cursor_of_another_user_leads_nowhere(
    users: tuple[User, User], catalog: Catalog, name: str
) -> None:
    alice, bob = users
    tasks = [alice.fill(catalog)]
    more = [{"product_id": f"p{n}", "product_name": "n", "category": "其他"} for n in range(2)]
    alice.call("create_product", collection_name=SHOP, product_list=more)
    image = {"product_id": "p0", "image_id": "other", "image_content": picture()}
    tasks.append(alice.call("add_image", collection_name=SHOP, image_list=[image])["task_id"])
    alice.call("create_product", collection_name="a", product_list=more)
    body = {} if name == "list_collections" else {"collection_name": SHOP}
    cursor = alice.call(name, limit=1, **body)["next_cursor"]
    assert cursor
    bob.fill(catalog)
    _, told = bob.post(f"/v1/{name}", {**body, "cursor": cursor})
    if name == "list_collections":
        # It says after which name to go on, and goes on among his own.
        his = [row["collection_name"] for row in bob.call(name)["collection_list"]]
        assert {row["collection_name"] for row in told["collection_list"]} <= set(his)
        assert told["code"] == 0
    else:
        assert told == {
            "code": 5001,
            "message": "INVALID_PARAMETER_JSON",
            "detail": "cursor must be the next_cursor of the page before",
        }


def test_an_idempotency_key_of_another_user_says_nothing(
    users: tuple[User, User], catalog: Catalog
) -> None:
    alice, bob = users
    alice.fill(catalog)
    bob.fill(catalog)
    images = [{"product_id": PRODUCT, "image_id": "new", "image_content": picture()}]
    body = {"collection_name": SHOP, "image_list": images}
    under_way, _ = catalog.keys.take("alice", "under way", "another body")
    assert under_way.due_at > now() + timedelta(seconds=10)
    status, hers = alice.post("/v1/add_image", body, **{"Idempotency-Key": "k"})
    assert (status, hers["code"]) == (200, 0)
    for key in ("k", "under way"):
        status, his = bob.post("/v1/add_image", body, **{"Idempotency-Key": key})
        assert (status, his["code"]) == (200, 0)
        assert his["task_id"].startswith("bob/")
        images[0]["image_id"] = "newer"
    assert bob.post("/v1/task_status", {"task_id": hers["task_id"]})[1]["code"] == 1004


def test_limits_of_collections_count_for_each_user_alone(
    users: tuple[User, User], catalog: Catalog, made: list[Services], serve: Serve
) -> None:
    alice, bob = users
    client = serve(collections_per_user=1)
    alice, bob = User("alice", client), User("bob", client)
    product = ATTEMPTS["create_product"]
    assert alice.post("/v1/create_product", product("one", ""))[1]["code"] == 0
    assert alice.post("/v1/create_product", product("two", ""))[1]["code"] == 2013
    assert bob.post("/v1/create_product", product("two", ""))[1]["code"] == 0


def test_the_fallback_user_of_before_any_key_is_a_user_as_any_other(
    users: tuple[User, User], catalog: Catalog
) -> None:
    alice, _ = users
    alice.fill(catalog)
    assert alice.client.post("/v1/list_collections", json={}).status_code == 401
    keys = NewKeys("AK-default", b"sealed", hash_of("key of default"))
    assert catalog.accounts.add("default", keys, None, None)
    assert User("default", alice.client).call("list_collections")["collection_list"] == []
    rows = catalog.client[settings().mongo_database]["access_keys"]
    rows.delete_many({})
    assert alice.client.post("/v1/list_collections", json={}).status_code == 401


def test_a_user_that_adopts_has_what_was_made_without_a_key(serve: Serve, catalog: Catalog) -> None:
    client = serve()
    product = ATTEMPTS["create_product"](SHOP, "")
    assert client.post("/v1/create_product", json=product).get_json()["code"] == "10000"
    for name, data_of in (("carol", "default"), ("dave", None)):
        keys = NewKeys(f"AK-{name}", b"sealed", hash_of(f"key of {name}"))
        assert catalog.accounts.add(name, keys, None, None, data_of)
    (found,) = User("carol", client).call("list_collections")["collection_list"]
    assert found["collection_name"] == SHOP
    assert User("dave", client).call("list_collections")["collection_list"] == []
