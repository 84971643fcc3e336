"""The operations that the vendor's service never had: deletion of a collection, lists, updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.server import OPERATIONS
from config.embedded import free_port
from contract.errors import TABLE
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.faulty_pictures import truncated
from tests.e2e.stack import Stack
from tools.demo.manifest import load

MANIFEST = load()
MESSAGES = {error.code: error.message for error in TABLE if error.code not in (None, 3031)}
ANSWERS = {operation.name: operation.answer for operation in OPERATIONS}
#: Seconds in which a change reaches the index.
MOVE_SECONDS = 10.0

COAT = next(image for image in MANIFEST.images if image.category == "服装")
BOOT = next(image for image in MANIFEST.images if image.category == "鞋靴")
NAMES = {"product_id": COAT.product_id, "image_id": COAT.image_id}
GOOD = as_base64(COAT.path)
NOT_LIMITS = (0, 201, -1, "5", 1.5, True)
NOT_CURSORS = (7, "*", "电", "_w==")
NOT_BOXES: tuple[Any, ...] = ([], "0,0,9,9", {}, {"left": 0, "top": 0, "right": 9})


def done(api: Api, operation: str, **body: Any) -> dict[str, Any]:
    """Return the result of a call that succeeded, with exactly the fields of the contract."""
    result = api.ok(operation, **body)
    ANSWERS[operation].model_validate(result)
    return result


def pages(api: Api, operation: str, field: str, **body: Any) -> list[list[dict[str, Any]]]:
    """Return the pages of a list, read by their cursors to the end."""
    found = []
    cursor: str | None = None
    while True:
        page = done(api, operation, **body, **({} if cursor is None else {"cursor": cursor}))
        found.append(page[field])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.fixture(scope="module")
def filled(stack: Stack, shared_collection: str) -> Iterator[str]:
    """A collection with two pictures, which the tests here never change."""
    client = Api(stack.base_url)
    client.create(shared_collection, [COAT, BOOT])
    status = client.finish(client.add_samples(shared_collection, [COAT, BOOT]))
    assert len(status["succeeded_list"]) == 2
    yield shared_collection
    client.close()


def _box(**sides: Any) -> dict[str, Any]:
    box = {"left": 0, "top": 0, "right": 50, "bottom": 50, **sides}
    return {"image_content": GOOD, "rectangle": box}


#: An operation, what differs from a call with the filled collection alone, and its code.
CALLS: list[tuple[str, dict[str, Any], int]] = [
    *(
        (operation, {"collection_name": name}, 2010)
        for operation in (
            *("delete_collection", "list_products", "list_tasks"),
            *("update_image", "update_product"),
        )
        for name in ("", "a/b", 7)
    ),
    *(
        (operation, {"collection_name": None}, 2010)
        for operation in ("delete_collection", "list_products", "update_image", "update_product")
    ),
    ("delete_collection", {"collection_name": "no such"}, 1030),
    ("list_products", {"collection_name": "no such"}, 1030),
    *(
        (operation, {field: value}, 5001)
        for operation in ("list_collections", "list_products", "list_tasks")
        for field, values in (("limit", NOT_LIMITS), ("cursor", NOT_CURSORS))
        for value in values
    ),
    *(("list_tasks", {"task_status": status}, 5001) for status in ("DONE", "", 7)),
    ("update_image", {**NAMES, "collection_name": "no such", "image_info": ""}, 1030),
    ("update_image", {"image_id": "i", "image_info": ""}, 3003),
    ("update_image", {"product_id": "p", "image_info": ""}, 3013),
    ("update_image", {**NAMES, "image_id": "nobody", "image_info": ""}, 1031),
    ("update_image", {**NAMES, "product_id": BOOT.product_id, "image_info": ""}, 1031),
    *(("update_image", {**NAMES, "image_info": info}, 3015) for info in ("i" * 257, 7, None)),
    ("update_image", NAMES, 3015),
    ("update_product", {"collection_name": "no such", "product_id": "p"}, 1030),
    ("update_product", {}, 3003),
    ("update_product", {"product_id": COAT.product_id, "product_name": ""}, 3004),
    ("update_product", {"product_id": COAT.product_id, "category": "食品"}, 3005),
    ("update_product", {"product_id": "nobody", "product_name": "n"}, 3007),
    ("update_product", {"product_id": "nobody"}, 3007),
    *(("product_search", {"image_content": GOOD, "rectangle": box}, 5001) for box in NOT_BOXES),
    *(
        ("product_search", _box(**sides), 5001)
        for sides in (
            *({"left": 50}, {"top": 60}, {"left": -1}, {"right": 49.5}, {"bottom": "50"}),
            *({"left": True}, {"right": 5000}, {"bottom": 5000}),
        )
    ),
    *(
        ("product_search", {"image_content": GOOD, "min_similarity": least}, 5001)
        for least in ("0.5", 1.5, -2, True)
    ),
    *(
        ("product_search", {"image_content": GOOD, "group_by_product": group}, 5001)
        for group in (1, "true", 0.0)
    ),
]


@pytest.mark.parametrize(
    ("operation", "fields", "code"),
    [
        pytest.param(
            *(operation, fields, code),
            id=f"{code}-{operation}-{str(fields)[-60:]}",
            marks=pytest.mark.answers(operation, MESSAGES[code]),
        )
        for operation, fields, code in CALLS
    ],
)
def test_a_wrong_call_answers_its_code(
    api: Api, filled: str, operation: str, fields: dict[str, Any], code: int
) -> None:
    result = api.call(operation, **{"collection_name": filled, **fields})
    assert result.pop("detail")
    assert result == {"code": code, "message": MESSAGES[code]}


@pytest.mark.parametrize("name", sorted(o.name for o in OPERATIONS if len(o.paths) == 1))
def test_an_operation_of_ours_has_no_path_of_old_clients(api: Api, name: str) -> None:
    for path in (f"/jdai/{name}", f"/jdai/product_image_{name}"):
        assert api.post(path, {}).status_code == 404


def test_products_are_listed_in_pages_in_the_order_of_their_creation(
    api: Api, collection: str
) -> None:
    names = [f"product-{number}" for number in (3, 1, 4, 5, 2)]
    for name in names:
        product = {"product_id": name, "product_name": f"{name} 鞋", "category": "鞋靴"}
        done(api, "create_product", collection_name=collection, product_list=[product])
    found = pages(api, "list_products", "product_list", collection_name=collection, limit=2)
    assert [len(page) for page in found] == [2, 2, 1]
    assert [product for page in found for product in page] == [
        {"product_id": name, "product_name": f"{name} 鞋", "category": "鞋靴", "image_count": 0}
        for name in names
    ]
    assert len(pages(api, "list_products", "product_list", collection_name=collection)) == 1


@pytest.mark.answers("list_products", "INVALID_PARAMETER_JSON")
def test_a_cursor_of_another_list_is_refused(api: Api, filled: str, collection: str) -> None:
    api.create(collection, [COAT, BOOT])
    own = done(api, "list_products", collection_name=filled, limit=1)["next_cursor"]
    assert own is not None
    foreign = api.call("list_products", collection_name=collection, cursor=own)
    assert (foreign["code"], foreign["message"]) == (5001, "INVALID_PARAMETER_JSON")
    tasks = api.call("list_tasks", collection_name=collection, cursor=own)
    assert (tasks["code"], tasks["message"]) == (5001, "INVALID_PARAMETER_JSON")


@pytest.mark.answers("list_collections", "INVALID_PARAMETER_JSON")
def test_a_cursor_of_products_does_not_lead_into_the_list_of_collections(
    api: Api, filled: str
) -> None:
    cursor = done(api, "list_products", collection_name=filled, limit=1)["next_cursor"]
    assert api.call("list_collections", cursor=cursor)["code"] == 5001


def test_collections_are_listed_in_pages_by_name_with_what_they_hold(
    api: Api, filled: str, collection: str
) -> None:
    for suffix in "ecabd":
        api.create(f"{collection}-{suffix}", [COAT])
    listed = [
        row for page in pages(api, "list_collections", "collection_list", limit=200) for row in page
    ]
    names = [row["collection_name"] for row in listed]
    assert names == sorted(names)
    assert [name for name in names if name.startswith(collection)] == [
        f"{collection}-{suffix}" for suffix in "abcde"
    ]
    (row,) = (row for row in listed if row["collection_name"] == filled)
    assert (row["product_count"], row["image_count"]) == (2, 2)
    third = -(-len(listed) // 3)
    thirds = pages(api, "list_collections", "collection_list", limit=third)
    assert len(thirds) == 3
    assert [row for page in thirds for row in page] == listed


def test_tasks_are_listed_newest_first_with_where_their_images_are(
    api: Api, collection: str
) -> None:
    api.create(collection, [COAT])
    broken = as_base64(truncated(COAT.path))

    def submit(number: int, *contents: str) -> str:
        images = [
            {"product_id": COAT.product_id, "image_id": f"{number}-{n}", "image_content": content}
            for n, content in enumerate(contents)
        ]
        return api.add(collection, images)

    contents = [[GOOD], [broken], [broken, broken], [GOOD], [broken]]
    tasks = [submit(number, *some) for number, some in enumerate(contents)]
    for task_id in tasks:
        api.finish(task_id)
    found = pages(api, "list_tasks", "task_list", collection_name=collection, limit=2)
    assert [len(page) for page in found] == [2, 2, 1]
    rows = [row for page in found for row in page]
    assert [row["task_id"] for row in rows] == tasks[::-1]
    assert [(row["succeeded"], row["failed"], row["pending"]) for row in rows] == [
        *((0, 1, 0), (0, 1, 0), (0, 2, 0), (0, 1, 0), (1, 0, 0))
    ], "the fourth has the bytes of the first"
    for row in rows:
        assert row["task_status"] == "FINISHED"
        assert row["created_at"] <= row["finished_at"]

    waiting = submit(5, f"http://127.0.0.1:{free_port()}/nobody.jpg")
    everywhere = done(api, "list_tasks", limit=3)["task_list"]
    assert [row["task_id"] for row in everywhere] == [waiting, *tasks[:2:-1]]
    (row,) = done(api, "list_tasks", collection_name=collection, task_status="PROCESSING")[
        "task_list"
    ]
    assert (row["task_id"], row["pending"], row["finished_at"]) == (waiting, 1, None)
    ended = done(api, "list_tasks", collection_name=collection, task_status="FINISHED", limit=5)
    assert [row["task_id"] for row in ended["task_list"]] == tasks[::-1]


def test_an_update_of_an_image_is_seen_by_image_info_and_search(api: Api, collection: str) -> None:
    api.create(collection, [COAT])
    api.finish(api.add_samples(collection, [COAT]))
    for info in ("2026 春", ""):
        done(api, "update_image", collection_name=collection, **NAMES, image_info=info)
        images = done(api, "image_info", collection_name=collection, product_id=COAT.product_id)
        assert images["image_list"] == [{"image_id": COAT.image_id, "image_info": info}]
        (found,) = api.search(collection, COAT.path)
        assert (found["image_info"], found["info"]) == (info, info)


def _await(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MOVE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "the index was not told"
        time.sleep(0.2)


def test_an_update_of_a_product_is_seen_by_lists_and_searches(api: Api, collection: str) -> None:
    def update(**values: str) -> None:
        names = {"collection_name": collection, "product_id": COAT.product_id}
        done(api, "update_product", **names, **values)

    api.create(collection, [COAT, BOOT])
    api.finish(api.add_samples(collection, [COAT, BOOT]))
    update(product_name="大衣")
    assert api.search(collection, COAT.path)[0]["product_name"] == "大衣"
    update()
    update(category="其他")
    listed = done(api, "list_products", collection_name=collection)["product_list"]
    assert (listed[0]["product_name"], listed[0]["category"]) == ("大衣", "其他")
    _await(lambda: ids(api.search(collection, COAT.path, category="其他")) == [COAT.image_id])
    assert api.search(collection, COAT.path, category=COAT.category) == []
    assert sorted(ids(api.search(collection, COAT.path))) == sorted([COAT.image_id, BOOT.image_id])

    update(category=COAT.category, product_name=COAT.product_name)
    _await(
        lambda: ids(api.search(collection, COAT.path, category=COAT.category)) == [COAT.image_id]
    )
    assert api.search(collection, COAT.path, category="其他") == []


@pytest.mark.answers("delete_collection", "NO_RELATIVE_COLLECTION")
def test_a_deleted_collection_is_gone_and_its_name_begins_anew(api: Api, collection: str) -> None:
    def listed() -> bool:
        found = pages(api, "list_collections", "collection_list", limit=200)
        return collection in [row["collection_name"] for page in found for row in page]

    api.create(collection, [COAT, BOOT])
    api.finish(api.add_samples(collection, [COAT, BOOT]))
    assert listed()
    assert done(api, "delete_collection", collection_name=collection) == {
        "code": 0,
        "message": "SUCCESS",
    }
    assert not listed()
    for operation, fields in (
        ("delete_collection", {}),
        ("product_search", {"image_content": GOOD}),
        ("image_info", {"product_id": COAT.product_id}),
    ):
        assert api.call(operation, collection_name=collection, **fields)["code"] == 1030

    api.create(collection, [COAT])
    assert (
        api.call("product_search", collection_name=collection, image_content=GOOD)["code"] == 3009
    )
    gone = api.call("image_info", collection_name=collection, product_id=BOOT.product_id)
    assert gone["code"] == 3007
    (product,) = done(api, "list_products", collection_name=collection)["product_list"]
    assert product["image_count"] == 0
    api.finish(api.add_samples(collection, [COAT]))
    assert ids(api.search(collection, BOOT.path)) == [COAT.image_id]


@pytest.mark.answers("task_status", items=("NO_RELATIVE_COLLECTION",))
def test_images_on_their_way_into_a_deleted_collection_are_told_so(
    api: Api, collection: str
) -> None:
    api.create(collection, [COAT])
    url = f"http://127.0.0.1:{free_port()}/nobody.jpg"
    task_id = api.add(collection, [{**NAMES, "image_content": url}])
    done(api, "delete_collection", collection_name=collection)
    status = api.finish(task_id)
    (failed,) = status["failed_list"]
    # The row of the image, which has the stage, may be gone by now.
    assert failed.pop("stage") in ("", "fetch", "index")
    failed.pop("failed_at")
    assert failed == {
        **NAMES,
        "message": "NO_RELATIVE_COLLECTION",
        "detail": "the collection was deleted before the image was done",
        "retryable": False,
    }


def test_a_rectangle_is_searched_instead_of_the_detected_box(api: Api, filled: str) -> None:
    def search(**fields: Any) -> dict[str, Any]:
        body = {"collection_name": filled, "image_content": GOOD, **fields}
        return done(api, "product_search", **body)

    detected = search()
    again = search(rectangle=detected["rectangle"][0])
    assert again["rectangle"] == detected["rectangle"][:1]
    # The box alone has other local features than the whole picture.
    first, second = ({**one["images"][0], "inliers": 0} for one in (again, detected))
    assert first == second
    corner = {"left": 0, "top": 0, "right": 60, "bottom": 60}
    other = search(rectangle=corner)
    assert other["rectangle"] == [corner]
    assert other["images"][0]["similarity"] < 0.99


def test_min_similarity_leaves_out_what_is_less_alike(api: Api, filled: str) -> None:
    best, second = api.search(filled, COAT.path)
    assert ids(api.search(filled, COAT.path, min_similarity=-1)) == ids([best, second])
    assert ids(api.search(filled, COAT.path, min_similarity=0.999)) == [COAT.image_id]
    nothing = done(
        api,
        "product_search",
        collection_name=filled,
        image_content=as_base64(BOOT.path),
        category=COAT.category,
        min_similarity=0.999,
    )
    assert nothing["images"] == []


def test_a_search_by_product_answers_each_once_with_its_best_image(
    api: Api, collection: str
) -> None:
    products = {COAT.product_id, "t-shirt", "dress"}
    samples = [image for image in MANIFEST.images if image.product_id in products]
    api.create(collection, samples)
    api.finish(api.add_samples(collection, samples))
    best: dict[str, dict[str, Any]] = {}
    images = api.search(collection, COAT.path)
    for image in images:
        best.setdefault(image["product_id"], image)
    assert 1 < len(best) < len(images)
    assert api.search(collection, COAT.path, group_by_product=True) == list(best.values())
    two = api.search(collection, COAT.path, group_by_product=True, topk=2)
    assert two == list(best.values())[:2]
    assert api.search(collection, COAT.path, group_by_product=False) == images
