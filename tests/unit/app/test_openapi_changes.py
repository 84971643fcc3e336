"""The document breaks no client of the last release, and what would break one is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from config.version import VERSION
from tests.openapi_changes import RELEASED, breaks, resolved, today

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return today()


@pytest.fixture(scope="module")
def released() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RELEASED.read_text(encoding="utf-8"))
    return found


def test_no_client_of_the_last_release_is_broken(
    released: dict[str, Any], now: dict[str, Any]
) -> None:
    assert breaks(released, now) == [], "CONTRIBUTING.md says what may change, and how"


def test_the_document_of_the_release_is_none_of_a_later_version(released: dict[str, Any]) -> None:
    numbers = [tuple(map(int, v.split("."))) for v in (released["info"]["version"], VERSION)]
    assert numbers[0] <= numbers[1]


def schema(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = told["components"]["schemas"][name]
    return found


def member(told: dict[str, Any], name: str, field: str) -> dict[str, Any]:
    found: dict[str, Any] = schema(told, name)["properties"][field]
    return found


def post(told: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = told["paths"][path]["post"]
    return found


def answered(told: dict[str, Any], path: str, status: str) -> dict[str, Any]:
    return resolved(post(told, path)["responses"][status], told)


BREAKING: list[tuple[Change, str]] = [
    (lambda d: d["paths"].pop("/jdai/product_image_add"), "POST /jdai/product_image_add: is gone"),
    (lambda d: d["paths"].pop("/healthz"), "GET /healthz: is gone"),
    (
        lambda d: post(d, "/v1/add_image").update(operationId="add_images"),
        "POST /v1/add_image: operationId is add_images, was add_image",
    ),
    (
        lambda d: post(d, "/v1/add_image").pop("parameters"),
        "POST /v1/add_image header Idempotency-Key: is gone",
    ),
    (
        lambda d: d["paths"]["/v1/picture"]["get"]["parameters"].append(
            {"name": "side", "in": "query", "required": True, "schema": {"type": "integer"}}
        ),
        "GET /v1/picture query side: is required",
    ),
    (
        lambda d: d["paths"]["/healthz"]["get"].pop("security"),
        "GET /healthz: a way to log in is gone",
    ),
    (
        lambda d: d["components"]["securitySchemes"].pop("signature"),
        "signature: this way to log in is gone",
    ),
    (
        lambda d: [
            d["components"]["schemas"].update(Area=d["components"]["schemas"].pop("Box")),
            member(d, "ProductSearchResult", "rectangle").update(
                items={"$ref": "#/components/schemas/Area"}
            ),
        ],
        "Box: is gone from schemas, or has another name",
    ),
    (
        lambda d: schema(d, "ProductSearchRequest")["properties"].pop("group_by_product"),
        "POST /v1/product_search request.group_by_product: is gone",
    ),
    (
        lambda d: schema(d, "ProductSearchRequest")["required"].append("topk"),
        "POST /v1/product_search request.topk: is required",
    ),
    (
        lambda d: member(d, "ProductSearchRequest", "topk")["anyOf"].pop(),
        "POST /v1/product_search request.topk: takes no null",
    ),
    (
        lambda d: member(d, "NewImageItem", "image_id").update(maxLength=127),
        "POST /v1/add_image request.image_list[].image_id: maxLength is 127, was 128",
    ),
    (
        lambda d: member(d, "NewImageItem", "image_id").update(pattern="^[a-z]+$"),
        "POST /v1/add_image request.image_list[].image_id: another pattern",
    ),
    (
        lambda d: schema(d, "NewImageItem").update(additionalProperties=False),
        "POST /v1/add_image request.image_list[]: takes no further members",
    ),
    (
        lambda d: member(d, "ProductSearchRequest", "topk").update(
            oneOf=member(d, "ProductSearchRequest", "topk").pop("anyOf")[:1]
        ),
        "POST /v1/product_search request.topk: takes no null",
    ),
    (
        lambda d: member(d, "NewProductItem", "category")["enum"].remove("其他"),
        "POST /v1/create_product request.product_list[].category: takes no 其他",
    ),
    (
        lambda d: schema(d, "ProductSearchRequest")["properties"].update(
            min_similarity={"type": "integer"}
        ),
        "POST /v1/product_search request.min_similarity: takes no number",
    ),
    (
        lambda d: schema(d, "FoundImage")["properties"].pop("info"),
        "POST /v1/product_search 200.result.images[].info: is gone",
    ),
    (
        lambda d: schema(d, "FoundImage")["required"].remove("info"),
        "POST /v1/product_search 200.result.images[].info: may be absent",
    ),
    (
        lambda d: member(d, "FoundImage", "info").update(type=["string", "null"]),
        "POST /v1/product_search 200.result.images[].info: may be null",
    ),
    (
        lambda d: member(d, "TaskStatusResult", "task_status")["enum"].append("PAUSED"),
        "POST /v1/task_status 200.result.task_status: may be PAUSED",
    ),
    (
        lambda d: member(d, "ListedCollection", "created_at").pop("format"),
        "POST /v1/list_collections 200.result.collection_list[].created_at: another format",
    ),
    (
        lambda d: member(d, "AddImageAnswer", "result")["anyOf"].append({"type": "string"}),
        "POST /v1/add_image 200.result: may be string",
    ),
    (
        lambda d: d["paths"]["/readyz"]["get"]["responses"].pop("200"),
        "GET /readyz 200: is gone",
    ),
    (
        lambda d: post(d, "/v1/add_image")["responses"].pop("429"),
        "POST /v1/add_image 429: is gone",
    ),
    (
        lambda d: answered(d, "/v1/add_image", "429")["headers"].pop("Retry-After"),
        "POST /v1/add_image 429 header Retry-After: is gone",
    ),
    (
        lambda d: d["components"]["headers"]["X-Request-Id"].update(required=False),
        "POST /v1/add_image 200 header X-Request-Id: may be absent",
    ),
    (
        lambda d: d["components"]["headers"]["Retry-After"].update(schema={"type": "string"}),
        "POST /v1/add_image 429 header Retry-After: may be string",
    ),
    (
        lambda d: member(d, "ListTasksRequest", "limit").update(default=20),
        "POST /v1/list_tasks request.limit: default is 20, was 50",
    ),
    (
        lambda d: member(d, "ProductSearchRequest", "group_by_product").pop("default"),
        "POST /v1/product_search request.group_by_product: default is gone, was False",
    ),
    (
        lambda d: member(d, "ProductSearchRequest", "topk")["anyOf"][0].update(default=51),
        "POST /v1/product_search request.topk: default is 51, was 50",
    ),
    (
        lambda d: member(d, "Ready", "consumed_seconds_ago")["additionalProperties"][
            "anyOf"
        ].append({"type": "string"}),
        "GET /readyz 200.consumed_seconds_ago.*: may be string",
    ),
]


@pytest.mark.parametrize(("change", "line"), BREAKING, ids=[line for _, line in BREAKING])
def test_what_breaks_a_client_is_named(now: dict[str, Any], change: Change, line: str) -> None:
    changed = deepcopy(now)
    change(changed)
    assert line in breaks(now, changed)


HARMLESS: list[tuple[str, Change]] = [
    ("a path more", lambda d: d["paths"].update({"/v1/new": d["paths"]["/v1/add_image"]})),
    (
        "an optional member of a request",
        lambda d: schema(d, "AddImageRequest")["properties"].update(callback_url={}),
    ),
    (
        "a member of a request that need not be sent any more",
        lambda d: schema(d, "NewProductItem")["required"].remove("category"),
    ),
    ("a higher limit", lambda d: member(d, "NewImageItem", "image_id").update(maxLength=999)),
    ("no limit", lambda d: member(d, "NewImageItem", "image_id").pop("maxLength")),
    (
        "a value more in requests",
        lambda d: member(d, "NewProductItem", "category")["enum"].append("包"),
    ),
    (
        "a member more in answers",
        lambda d: schema(d, "FoundImage")["properties"].update(cosine={"type": "number"}),
    ),
    (
        "a member of answers that always comes",
        lambda d: schema(d, "AddImageRefusal")["required"].append("failed_list"),
    ),
    (
        "a code more in refusals",
        lambda d: [
            member(d, "AddImageRefusal", "code")["enum"].append(3999),
            member(d, "AddImageRefusal", "message")["enum"].append("NEW"),
        ],
    ),
    (
        "a header more in answers",
        lambda d: answered(d, "/v1/add_image", "429")["headers"].update(
            Date={"schema": {"type": "string"}}
        ),
    ),
    (
        "a default of answers",
        lambda d: member(d, "IndexReport", "bad_vectors").update(default=1),
    ),
    ("a way to log in less", lambda d: post(d, "/v1/add_image").update(security=[])),
    (
        "other words",
        lambda d: member(d, "NewImageItem", "image_id").update(description="An id."),
    ),
]


@pytest.mark.parametrize("change", [c for _, c in HARMLESS], ids=[name for name, _ in HARMLESS])
def test_what_breaks_no_client_passes(now: dict[str, Any], change: Change) -> None:
    changed = deepcopy(now)
    change(changed)
    assert changed != now
    assert breaks(now, changed) == []


def test_what_a_release_marked_as_deprecated_may_go(now: dict[str, Any]) -> None:
    marked, gone = deepcopy(now), deepcopy(now)
    post(marked, "/v1/list_tasks")["deprecated"] = True
    member(marked, "FoundImage", "info")["deprecated"] = True
    del gone["paths"]["/v1/list_tasks"]
    del schema(gone, "FoundImage")["properties"]["info"]
    for name in ("Answer", "Request", "Result", "Refusal"):
        del gone["components"]["schemas"][f"ListTasks{name}"]
    assert breaks(now, gone) != []
    assert breaks(marked, gone) == []
