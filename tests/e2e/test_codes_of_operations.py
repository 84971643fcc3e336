"""Every operation answers each fault of its caller with the code of the contract, on both paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from contract.errors import TABLE
from tests.e2e.client import PATHS_OF_OLD_CLIENTS, Api, as_base64, ids
from tests.e2e.faulty_pictures import LIMIT_BYTES, gif, padded, resized
from tests.e2e.stack import Stack
from tools.demo.manifest import load

MANIFEST = load()
SAMPLE = next(image for image in MANIFEST.images if image.category == "服装")
GOOD = as_base64(SAMPLE.path)
MESSAGES = {error.code: error.message for error in TABLE if error.code not in (None, 3031)}

PRODUCT = {"product_id": "p", "product_name": "衬衫", "category": "服装"}
IMAGE = {"product_id": SAMPLE.product_id, "image_id": "new", "image_content": GOOD}
NAMES = {"product_id": SAMPLE.product_id, "image_id": SAMPLE.image_id}


@pytest.fixture(scope="module")
def filled(stack: Stack, shared_collection: str) -> Iterator[str]:
    """A collection that holds one picture, which the tests here never delete."""
    client = Api(stack.base_url)
    client.create(shared_collection, [SAMPLE])
    status = client.finish(client.add_samples(shared_collection, [SAMPLE]))
    assert ids(status["succeeded_list"]) == [SAMPLE.image_id]
    yield shared_collection
    client.close()


@pytest.fixture(params=["path of the overview", "path of old clients"])
def path(request: pytest.FixtureRequest) -> Callable[[str], str]:
    if request.param == "path of the overview":
        return lambda operation: f"/v1/{operation}"
    return PATHS_OF_OLD_CLIENTS.__getitem__


def _many(item: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [{**item, key: f"{key}-{number}"} for number in range(201)]


#: An operation, what differs from a valid call (the collection is the filled one unless said),
#: and the code of the whole call.
CALLS: list[tuple[str, dict[str, Any], int]] = [
    *(
        (operation, {"collection_name": name}, 2010)
        for operation in PATHS_OF_OLD_CLIENTS
        if operation != "task_status"
        for name in (None, "", "a/b", "x" * 51, "a\nb", 7)
    ),
    ("create_product", {"product_list": "p"}, 3000),
    ("create_product", {}, 3000),
    ("create_product", {"product_list": []}, 3001),
    ("create_product", {"product_list": _many(PRODUCT, "product_id")}, 3055),
    ("add_image", {"collection_name": "no such", "image_list": [IMAGE]}, 1030),
    ("add_image", {"image_list": {"0": IMAGE}}, 3010),
    ("add_image", {}, 3010),
    ("add_image", {"image_list": []}, 3011),
    ("add_image", {"image_list": _many({**IMAGE, "image_content": "x"}, "image_id")}, 3016),
    ("task_status", {}, 3021),
    ("task_status", {"task_id": 7}, 3021),
    ("task_status", {"task_id": "default/1581417512.274598"}, 3021),
    ("task_status", {"task_id": "default/a/b/1581417512.274598"}, 3021),
    ("task_status", {"task_id": "default/none/1581417512.274598"}, 1004),
    ("task_status", {"task_id": "somebody/none/1581417512.274598"}, 1004),
    ("product_search", {"collection_name": "no such", "image_content": GOOD}, 1030),
    ("product_search", {}, 3014),
    ("product_search", {"image_content": ""}, 3014),
    ("product_search", {"image_content": "file:///etc/passwd"}, 2006),
    ("product_search", {"image_content": "http://10.0.0.1/x.jpg"}, 2006),
    ("product_search", {"image_content": GOOD, "category": "食品"}, 3005),
    ("product_search", {"image_content": GOOD, "category": "鞋靴"}, 3009),
    *(
        ("product_search", {"image_content": GOOD, "topk": topk}, 3040)
        for topk in (0, -1, "5", 1.5, True)
    ),
    ("product_search", {"image_content": GOOD, "topk": 201}, 3041),
    ("product_search", {"image_content": as_base64(gif(SAMPLE.path))}, 3054),
    ("product_search", {"image_content": as_base64(resized(SAMPLE.path, 200, 300))}, 2005),
    ("product_search", {"image_content": as_base64(resized(SAMPLE.path, 300, 4097))}, 2007),
    ("product_search", {"image_content": as_base64(padded(SAMPLE.path, LIMIT_BYTES))}, 3056),
    ("product_search", {"image_content": as_base64(SAMPLE.path.read_bytes()[:3000])}, 3014),
    ("image_info", {"collection_name": "no such", "product_id": "p"}, 1030),
    ("image_info", {}, 3003),
    ("image_info", {"product_id": "x" * 129}, 3003),
    ("image_info", {"product_id": "nobody"}, 3007),
    ("delete_image", {"collection_name": "no such", "image_id_list": [NAMES]}, 1030),
    ("delete_image", {"image_id_list": "i"}, 3050),
    ("delete_image", {"image_id_list": []}, 3051),
    ("delete_image", {"image_id_list": _many(NAMES, "image_id")}, 3016),
    ("delete_image", {"image_id_list": [{"product_id": "p"}, 7]}, 3053),
    ("delete_product", {"collection_name": "no such", "product_id_list": ["p"]}, 1030),
    ("delete_product", {"product_id_list": "p"}, 3000),
    ("delete_product", {"product_id_list": []}, 3001),
    ("delete_product", {"product_id_list": [str(n) for n in range(201)]}, 3055),
]


def _described(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 50 else f"{text[:30]}...{len(text)} characters"


@pytest.mark.parametrize(
    ("operation", "fields", "code"),
    [
        pytest.param(
            *(operation, fields, code),
            id=f"{code}-{operation}-{_described(fields)}",
            marks=pytest.mark.answers(operation, MESSAGES[code]),
        )
        for operation, fields, code in CALLS
    ],
)
def test_a_call_that_is_wrong_as_a_whole_answers_its_code(
    api: Api,
    filled: str,
    path: Callable[[str], str],
    operation: str,
    fields: dict[str, Any],
    code: int,
) -> None:
    response = api.post(path(operation), {"collection_name": filled, **fields})
    assert response.status_code == 200
    answer = response.json()
    assert answer["code"] == "10000"
    assert (answer["result"]["code"], answer["result"]["message"]) == (code, MESSAGES[code])
    assert "task_id" not in answer["result"]


@pytest.mark.answers(
    "create_product",
    items=(
        "INVALID_PRODUCT_ID",
        "INVALID_PRODUCT_NAME",
        "INVALID_PRODUCT_CATEGORY",
        "DUPLICATE_PRODUCT",
        "EXISTING_PRODUCT",
    ),
)
def test_create_product_names_the_fault_of_each_item(
    api: Api, collection: str, path: Callable[[str], str]
) -> None:
    api.ok("create_product", collection_name=collection, product_list=[PRODUCT])
    faults: list[tuple[Any, str]] = [
        ({"product_name": "n", "category": "服装"}, "INVALID_PRODUCT_ID"),
        ({**PRODUCT, "product_id": "x" * 129}, "INVALID_PRODUCT_ID"),
        ({**PRODUCT, "product_id": "unnamed", "product_name": ""}, "INVALID_PRODUCT_NAME"),
        ({**PRODUCT, "product_id": "food", "category": "食品"}, "INVALID_PRODUCT_CATEGORY"),
        ("no object", "INVALID_PRODUCT_ID"),
        ({**PRODUCT, "product_id": "q"}, "DUPLICATE_PRODUCT"),
        (PRODUCT, "EXISTING_PRODUCT"),
    ]
    body = {
        "collection_name": collection,
        "product_list": [{**PRODUCT, "product_id": "q"}, *(item for item, _ in faults)],
    }
    result = api.post(path("create_product"), body).json()["result"]
    assert result["code"] == 0
    assert result["successful_list"] == ["q"]
    assert [item["message"] for item in result["failed_list"]] == [m for _, m in faults]
    assert [item["product_id"] for item in result["failed_list"]] == [
        item.get("product_id") if isinstance(item, dict) else None for item, _ in faults
    ]


def test_create_product_with_only_bad_items_still_answers_0(api: Api, collection: str) -> None:
    result = api.ok("create_product", collection_name=collection, product_list=[{}])
    assert result["successful_list"] == []
    (failed,) = result["failed_list"]
    assert (failed["product_id"], failed["message"]) == (None, "INVALID_PRODUCT_ID")
    assert failed["detail"].endswith("product_id is missing or null")


@pytest.mark.answers(
    "add_image",
    "NO_INVALID_IMAGE",
    items=(
        "INVALID_PRODUCT_ID",
        "INVALID_IMAGE_ID",
        "INVALID_IMAGE_CONTENT",
        "BROKEN_BASE64_OR_URL",
        "INVALID_IMAGE_INFO",
        "NOT_EXISTING_PRODUCT",
        "REPEAT_IMAGE_NAME_IN_DB",
        "IMAGE_SIZE_EXCEED_LIMIT",
        "NOT_SUPPORT_IMAGE",
        "IMAGE_TOO_SMALL",
        "IMAGE_TOO_LARGE",
    ),
)
def test_add_image_names_every_fault_of_each_image_at_once(
    api: Api, filled: str, path: Callable[[str], str]
) -> None:
    faults: list[tuple[dict[str, Any], set[str]]] = [
        ({**IMAGE, "product_id": ""}, {"INVALID_PRODUCT_ID"}),
        ({**IMAGE, "image_id": "b" * 129}, {"INVALID_IMAGE_ID"}),
        ({**IMAGE, "image_id": "c", "image_content": 5}, {"INVALID_IMAGE_CONTENT"}),
        ({**IMAGE, "image_id": "d", "image_content": "??"}, {"BROKEN_BASE64_OR_URL"}),
        ({**IMAGE, "image_id": "e", "image_info": "i" * 257}, {"INVALID_IMAGE_INFO"}),
        ({**IMAGE, "image_id": "f", "product_id": "nobody"}, {"NOT_EXISTING_PRODUCT"}),
        ({**IMAGE, "image_id": SAMPLE.image_id}, {"REPEAT_IMAGE_NAME_IN_DB"}),
        (
            {
                "product_id": "nobody",
                "image_id": "g",
                "image_info": 5,
                "image_content": "ftp://x/y",
            },
            {"NOT_EXISTING_PRODUCT", "INVALID_IMAGE_INFO", "BROKEN_BASE64_OR_URL"},
        ),
        (
            {
                **IMAGE,
                "image_id": "h",
                "image_content": as_base64(padded(SAMPLE.path, LIMIT_BYTES)),
            },
            {"IMAGE_SIZE_EXCEED_LIMIT"},
        ),
        *(
            ({**IMAGE, "image_id": message, "image_content": as_base64(content)}, {message})
            for message, content in {
                "NOT_SUPPORT_IMAGE": gif(SAMPLE.path),
                "IMAGE_TOO_SMALL": resized(SAMPLE.path, 300, 200),
                "IMAGE_TOO_LARGE": resized(SAMPLE.path, 4097, 300),
            }.items()
        ),
    ]
    body = {"collection_name": filled, "image_list": [image for image, _ in faults]}
    result = api.post(path("add_image"), body).json()["result"]
    assert (result["code"], result["message"]) == (3019, "NO_INVALID_IMAGE")
    assert "task_id" not in result
    assert [(item["image_id"], set(item["message"])) for item in result["failed_list"]] == [
        (image["image_id"], expected) for image, expected in faults
    ]
    assert all(len(item["message"]) == len(set(item["message"])) for item in result["failed_list"])


@pytest.mark.answers("add_image", items=("IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT",))
def test_a_product_takes_thirty_images_and_no_more(api: Api, collection: str) -> None:
    api.create(collection, [SAMPLE])
    images = [
        {**IMAGE, "image_id": f"image-{number}", "image_content": "http://127.0.0.1:9/x.jpg"}
        for number in range(31)
    ]
    added = api.ok("add_image", collection_name=collection, image_list=images)
    assert [(item["image_id"], item["message"]) for item in added["failed_list"]] == [
        ("image-30", ["IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"])
    ]
    status = api.finish(added["task_id"])
    assert sorted(ids(status["failed_list"])) == sorted(f"image-{number}" for number in range(30))


@pytest.mark.answers("add_image", "NO_INVALID_IMAGE", items=("REPEAT_IMAGE_NAME_IN_DB",))
def test_an_image_on_its_way_holds_its_name(api: Api, collection: str, file_server: str) -> None:
    api.create(collection, [SAMPLE])
    image = {**IMAGE, "image_content": f"{file_server}/{SAMPLE.path.name}"}
    task_id = api.add(collection, [image])
    again = api.call("add_image", collection_name=collection, image_list=[image])
    assert again["code"] == 3019
    assert again["failed_list"][0]["message"] == ["REPEAT_IMAGE_NAME_IN_DB"]
    assert ids(api.finish(task_id)["succeeded_list"]) == ["new"]


@pytest.mark.answers("product_search", "NO_MATCHED_PRODUCT")
def test_a_collection_without_a_picture_answers_no_matched_product(
    api: Api, collection: str
) -> None:
    api.create(collection, [SAMPLE])
    result = api.call("product_search", collection_name=collection, image_content=GOOD)
    assert (result["code"], result["message"]) == (3009, "NO_MATCHED_PRODUCT")


@pytest.mark.answers("any call", "10000")
@pytest.mark.answers(
    "delete_image",
    items=("DUPLICATE_IMAGE_ID", "INVALID_IMAGE_ID", "INVALID_PRODUCT_ID", "NO_RELATIVE_IMAGE"),
)
@pytest.mark.answers(
    "delete_product", items=("DUPLICATE_PRODUCT", "INVALID_PRODUCT_ID", "NOT_EXISTING_PRODUCT")
)
def test_every_operation_works_on_both_paths(
    api: Api, collection: str, path: Callable[[str], str]
) -> None:
    def done(operation: str, **fields: Any) -> dict[str, Any]:
        body = {"collection_name": collection, **fields}
        result: dict[str, Any] = api.post(path(operation), body).json()["result"]
        assert (result["code"], result["message"]) == (0, "SUCCESS")
        return result

    product_id = PRODUCT["product_id"]
    names = {"product_id": product_id, "image_id": "front"}
    done("create_product", product_list=[PRODUCT])
    image = {**names, "image_content": GOOD, "image_info": "正面"}
    task_id = done("add_image", image_list=[image])["task_id"]
    api.finish(task_id)
    assert done("task_status", task_id=task_id)["succeeded_list"] == [names]
    found = done("product_search", image_content=GOOD)["images"][0]
    assert found == {
        **names,
        "product_name": "衬衫",
        "image_info": "正面",
        "info": "正面",
        "similarity": found["similarity"],
        "cosine": found["cosine"],
        "inliers": found["inliers"],
    }
    assert found["similarity"] >= 0.999
    info = done("image_info", product_id=product_id)
    assert info["image_list"] == [{"image_id": "front", "image_info": "正面"}]
    others = [names, {**names, "image_id": "back"}, {**names, "image_id": 7}, {}]
    deleted = done("delete_image", image_id_list=[names, *others])
    assert deleted["successful_list"] == [names]
    assert sorted(item["message"] for item in deleted["failed_list"]) == [
        "DUPLICATE_IMAGE_ID",
        "INVALID_IMAGE_ID",
        "INVALID_PRODUCT_ID",
        "NO_RELATIVE_IMAGE",
    ]
    products = done("delete_product", product_id_list=[product_id, product_id, "nobody", 7])
    assert products["successful_list"] == [product_id]
    assert sorted(item["message"] for item in products["failed_list"]) == [
        "DUPLICATE_PRODUCT",
        "INVALID_PRODUCT_ID",
        "NOT_EXISTING_PRODUCT",
    ]


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        pytest.param(
            *call, marks=pytest.mark.answers("any call", f"HTTP {call[3]} {MESSAGES[call[4]]}")
        )
        for call in (
            ("POST", "/v1/add_image", b"{", 400, 5001),
            ("POST", "/v1/add_image", b"[]", 400, 5001),
            ("GET", "/v1/add_image", None, 405, 5001),
            ("POST", "/v1/no_such_operation", b"{}", 404, 5001),
            ("POST", "/v1/add_image", b" " * (8 * 2**20 + 1), 413, 3056),
        )
    ],
)
def test_what_is_no_call_is_answered_in_the_envelope_too(
    api: Api, method: str, target: str, body: bytes | None, status: int, code: int
) -> None:
    response = api.raw(method, target, body)
    assert response.status_code == status
    answer = response.json()
    assert answer["code"] == "10000"
    assert (answer["result"]["code"], answer["result"]["message"]) == (code, MESSAGES[code])
