"""Every path, and every way in which a call can go wrong before or around its operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app import server
from app.http.envelope import Busy
from app.http.fields import RequestModel
from app.operations.answers import Success
from app.operations.base import Call, Handler, Operation
from app.operations.examples import Example
from app.server import create_app
from app.services import Services
from contract import errors
from contract.errors import ContractError
from identity.keys import DEFAULT_USER
from tests.unit.app.standins import (
    FailingCatalog,
    assert_busy,
    business_code,
    catalog_with_collection,
    envelope,
    image_file,
    in_base64,
)

MakeServices = Callable[..., Services]

PATHS = {
    "/v1/create_product": "/jdai/product_image_create_product",
    "/v1/add_image": "/jdai/product_image_add",
    "/v1/task_status": "/jdai/product_image_status",
    "/v1/product_search": "/jdai/product_image_search",
    "/v1/image_info": "/jdai/product_image_info",
    "/v1/delete_image": "/jdai/product_image_del_image",
    "/v1/delete_product": "/jdai/product_image_del_product",
}
PRODUCT = {"product_id": "p", "product_name": "n", "category": "其他"}
IMAGE = {"product_id": "p", "image_id": "i", "image_content": in_base64(image_file())}

#: A valid call of each operation, and the code of a fault of ours in it.
CALLS: dict[str, tuple[dict[str, Any], int]] = {
    "create_product": ({"collection_name": "c", "product_list": [PRODUCT]}, 3008),
    "add_image": ({"collection_name": "c", "image_list": [IMAGE]}, 3018),
    "task_status": ({"task_id": "default/c/1581417512.274598"}, 3030),
    "product_search": (
        {"collection_name": "c", "image_content": IMAGE["image_content"]},
        3031,
    ),
    "image_info": ({"collection_name": "c", "product_id": "p"}, 3033),
    "delete_image": (
        {"collection_name": "c", "image_id_list": [{"product_id": "p", "image_id": "i"}]},
        3031,
    ),
    "delete_product": ({"collection_name": "c", "product_id_list": ["p"]}, 5000),
    "delete_collection": ({"collection_name": "c"}, 3034),
    "list_collections": ({}, 5000),
    "list_products": ({"collection_name": "c"}, 5000),
    "list_tasks": ({}, 3030),
    "update_image": (
        {"collection_name": "c", "product_id": "p", "image_id": "i", "image_info": ""},
        3018,
    ),
    "update_product": ({"collection_name": "c", "product_id": "p", "product_name": "n"}, 3008),
}
FAULTS = {operation.name: operation.fault.message for operation in server.OPERATIONS}


def http(status: int, message: str) -> pytest.MarkDecorator:
    return pytest.mark.answers("any call", f"HTTP {status} {message}")


def operation(name: str, handler: Handler) -> Operation:
    """Return an operation that is declared with as little as there can be."""
    return Operation(
        name=name,
        handler=handler,
        request=RequestModel,
        answer=Success,
        example=Example({}, {}),
    )


def test_every_operation_has_a_call_here() -> None:
    assert set(CALLS) == set(FAULTS)


@pytest.fixture
def client(make_services: MakeServices) -> FlaskClient:
    return create_app(make_services(body_bytes=200_000)).test_client()


@pytest.mark.parametrize("path", [*PATHS, *PATHS.values()])
def test_both_paths_lead_to_the_operation(client: FlaskClient, path: str) -> None:
    code = business_code(client.post(path, json={}))
    assert code == (3021 if path in ("/v1/task_status", PATHS["/v1/task_status"]) else 2010)


@pytest.mark.parametrize("old", PATHS.values())
def test_each_path_of_old_clients_is_the_same_operation_as_ours(
    make_services: MakeServices, old: str
) -> None:
    client = create_app(make_services(FailingCatalog(RuntimeError("lost")))).test_client()
    name = next(new for new, path in PATHS.items() if path == old)
    body, code = CALLS[name.removeprefix("/v1/")]
    answers = [client.post(path, json=body) for path in (name, old)]
    assert [business_code(answer) for answer in answers] == [code, code]
    ours, theirs = (envelope(answer) for answer in answers)
    assert ours.pop("requestId") != theirs.pop("requestId")
    assert ours == theirs


@pytest.mark.parametrize(
    "path", ["/", "/v1/", "/v1/nothing", "/v2/add_image", "/v1/add_image/", "/static/a", "/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404_in_the_envelope(
    client: FlaskClient, path: str, method: str
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 404
    assert business_code(response) == 5001


def test_a_path_with_two_slashes_is_404_in_the_envelope(client: FlaskClient) -> None:
    response = client.post("/v1//add_image", json={})
    assert response.status_code == 404
    assert business_code(response) == 5001


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_405_in_the_envelope(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert business_code(response) == 5001


@http(415, "INVALID_PARAMETER_JSON")
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_body_of_another_type_is_415_in_the_envelope(
    client: FlaskClient, content_type: str
) -> None:
    response = client.post("/v1/add_image", data=b"{}", content_type=content_type)
    assert response.status_code == 415
    assert business_code(response) == 5001


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/json; charset=utf-8", "application/problem+json"],
)
def test_json_is_taken_with_its_type_and_without_any(
    client: FlaskClient, content_type: str | None
) -> None:
    response = client.post("/v1/add_image", data=b"{}", content_type=content_type)
    assert response.status_code == 200
    assert business_code(response) == 2010


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"{'a': 1}", b'{"a": 1}}', b'{"a": }', b'{"a": "\xff"}'),
        *(b"[]", b"[{}]", b"null", b"true", b"1", b'"a"', b'{"a": ' + b"9" * 5000 + b"}"),
    ],
    ids=lambda body: body[:12],
)
def test_a_body_that_is_no_json_object_is_400_in_the_envelope(
    client: FlaskClient, body: bytes
) -> None:
    response = client.post("/v1/add_image", data=body)
    assert response.status_code == 400
    assert business_code(response) == 5001


@pytest.mark.parametrize("opening", [b'{"a":', b"["])
def test_a_body_that_is_nested_without_end_is_400(client: FlaskClient, opening: bytes) -> None:
    response = client.post("/v1/add_image", data=opening * 30_000)
    assert response.status_code == 400
    assert business_code(response) == 5001


@pytest.mark.parametrize("depth", [10, 100, 500, 700, 800, 850, 900, 925, 950, 975, 1000, 2000])
def test_nesting_of_any_depth_is_answered(make_services: MakeServices, depth: int) -> None:
    client = create_app(make_services(catalog_with_collection())).test_client()
    nested = b"[" * depth + b"]" * depth
    body = b'{"collection_name": "c", "image_id_list": [{"image_id": ' + nested + b"}]}"
    response = client.post("/v1/delete_image", data=body)
    assert (response.status_code, business_code(response)) in [(200, 3053), (400, 5001)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_never_sent_back(
    make_services: MakeServices, number: str
) -> None:
    client = create_app(make_services(catalog_with_collection())).test_client()
    body = f'{{"collection_name": "c", "image_id_list": [{{"image_id": {number}}}]}}'
    response = client.post("/v1/delete_image", data=body)
    assert business_code(response) in (3053, 5001)


def test_a_body_over_the_limit_is_413_in_the_envelope(make_services: MakeServices) -> None:
    client = create_app(make_services(body_bytes=100)).test_client()
    fits = b'{"a": "' + b"x" * 91 + b'"}'
    assert len(fits) == 100
    assert business_code(client.post("/v1/add_image", data=fits)) == 2010
    response = client.post("/v1/add_image", data=fits + b" ")
    assert response.status_code == 413
    assert business_code(response) == 3056


def test_zero_is_no_limit_of_the_body(make_services: MakeServices) -> None:
    client = create_app(make_services(body_bytes=0)).test_client()
    body = b'{"a": "' + b"x" * 9_000_000 + b'"}'
    assert business_code(client.post("/v1/add_image", data=body)) == 2010


def test_every_answer_has_a_request_id_of_its_own(client: FlaskClient) -> None:
    answers = [
        *(client.post("/v1/add_image", json={}) for _ in range(3)),
        client.post("/v1/add_image", data=b"{"),
        client.post("/v1/nothing"),
        client.get("/v1/add_image"),
        client.post("/v1/add_image", data=b"{}", content_type="text/plain"),
        client.post("/v1/add_image", data=b" " * 300_000),
        client.options("/v1/add_image"),
        client.get("/healthz"),
        client.get("/readyz"),
    ]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == len(ids)


def test_every_line_of_the_log_carries_the_request_id(
    make_services: MakeServices, log_lines: list[Any]
) -> None:
    client = create_app(make_services(FailingCatalog(RuntimeError("lost")))).test_client()
    response = client.post("/v1/add_image", json=CALLS["add_image"][0])
    assert [line["event"] for line in log_lines] == ["operation failed", "answered"]
    assert {line["request_id"] for line in log_lines} == {response.headers["X-Request-Id"]}
    assert log_lines[0]["exc_info"]


def test_the_picture_of_a_call_is_in_no_line_of_the_log(
    make_services: MakeServices, log_lines: list[Any]
) -> None:
    client = create_app(make_services(FailingCatalog(RuntimeError("lost")))).test_client()
    client.post("/v1/add_image", json=CALLS["add_image"][0])
    assert IMAGE["image_content"] not in str(log_lines)


def test_a_client_cannot_choose_its_request_id(client: FlaskClient) -> None:
    response = client.post("/v1/add_image", json={}, headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] != "mine"


@pytest.mark.answers("any call", "10020")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.answers(name, "10020")) for name in CALLS]
)
@pytest.mark.parametrize(
    "fault",
    [
        AutoReconnect("gone"),
        ServerSelectionTimeoutError("none found"),
        RedisConnectionError("gone"),
        OutOfMemoryError("full"),
        ReadOnlyError("a replica"),
        RedisTimeoutError("slow"),
        Busy("later"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_dependency_that_cannot_be_reached_is_busy(
    make_services: MakeServices, name: str, fault: Exception
) -> None:
    client = create_app(make_services(FailingCatalog(fault))).test_client()
    assert_busy(client.post(f"/v1/{name}", json=CALLS[name][0]))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.answers(name, FAULTS[name])) for name in CALLS]
)
def test_an_unexpected_error_is_the_code_of_the_operation_and_tells_nothing_more(
    make_services: MakeServices, name: str
) -> None:
    client = create_app(make_services(FailingCatalog(RuntimeError("s3cret")))).test_client()
    body, code = CALLS[name]
    response = client.post(f"/v1/{name}", json=body)
    assert business_code(response) == code
    assert envelope(response)["result"]["message"] == FAULTS[name]
    assert response.status_code == (500 if code == 5000 else 200)
    assert b"s3cret" not in response.data


def test_both_messages_of_3031_are_kept_apart(make_services: MakeServices) -> None:
    client = create_app(make_services(FailingCatalog(RuntimeError("lost")))).test_client()
    messages = [
        envelope(client.post(f"/v1/{name}", json=CALLS[name][0]))["result"]["message"]
        for name in ("product_search", "delete_image")
    ]
    assert messages == ["SEARCH_PRODUCT_IMAGE_ERROR", "DELETE_IMAGE_ERROR"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(None, 500, 5000), (errors.DeleteCollectionError, 200, 3034)],
    ids=["without a code of its own", "with one"],
)
def test_a_new_operation_is_served_and_its_fault_is_told(
    environment: pytest.MonkeyPatch,
    make_services: MakeServices,
    fault: type[ContractError] | None,
    status: int,
    code: int,
) -> None:
    def fail(services: Services, call: Call) -> dict[str, Any]:
        raise KeyError("lost")

    declared = operation("ours", fail)
    added = declared if fault is None else replace(declared, fault=fault)
    environment.setattr(server, "OPERATIONS", (added,))
    client = create_app(make_services()).test_client()
    response = client.post("/v1/ours", json={})
    assert (response.status_code, business_code(response)) == (status, code)


@http(500, "INTERNAL_SERVER_ERROR")
def test_an_error_outside_of_an_operation_is_5000_in_the_envelope(
    environment: pytest.MonkeyPatch, client: FlaskClient
) -> None:
    def fail(*_: object) -> dict[str, object]:
        raise KeyError("s3cret")

    environment.setattr(server, "read_body", fail)
    response = client.post("/v1/add_image", json={})
    assert response.status_code == 500
    assert business_code(response) == 5000
    assert b"s3cret" not in response.data


def test_an_operation_is_told_who_calls_with_what_and_under_which_id(
    environment: pytest.MonkeyPatch, make_services: MakeServices
) -> None:
    calls: list[Call] = []

    def note(services: Services, call: Call) -> dict[str, Any]:
        calls.append(call)
        return {"found": 1}

    environment.setattr(server, "OPERATIONS", (operation("ours", note),))
    client = create_app(make_services()).test_client()
    response = client.post("/v1/ours", json={"a": "小店"})
    assert envelope(response)["result"] == {"code": 0, "message": "SUCCESS", "found": 1}
    assert calls == [Call(DEFAULT_USER, {"a": "小店"}, response.headers["X-Request-Id"])]
