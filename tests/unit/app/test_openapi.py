"""The document: valid, complete, and of one mind with the validation of requests."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from app.http.envelope import SystemCode
from app.http.fields import CONTROLS, judge
from app.operations.base import Operation
from app.reference.openapi import HTTP_FAULTS, document
from app.server import OPERATIONS
from config.settings import Settings
from config.version import VERSION
from contract.errors import BY_MESSAGE, InvalidDocs, InvalidImageInfoOld, InvalidParamTopK
from tests.unit.app.standins import SYSTEM_FIELDS

BY_NAME = {operation.name: operation for operation in OPERATIONS}
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document(OPERATIONS, Settings())))
    return found


def schema_of(operation: Operation, settings: Settings) -> Draft202012Validator:
    told = document(OPERATIONS, settings)
    reference = {"$ref": f"#/components/schemas/{operation.request.__name__}"}
    return Draft202012Validator({**reference, "components": told["components"]})


def test_the_document_is_openapi_3_1(told: dict[str, Any]) -> None:
    assert told["openapi"] == "3.1.0"
    validate(told)


def test_the_document_has_the_version_of_the_program(told: dict[str, Any]) -> None:
    assert told["info"]["version"] == VERSION


def test_the_document_is_openapi_without_any_limit() -> None:
    limits = [name for name in Settings.model_fields if name.endswith(("_per_call", "_bytes"))]
    none: dict[str, Any] = dict.fromkeys(limits, 0)
    chosen = Settings(**none, image_info_characters=0)
    validate(document(OPERATIONS, chosen))


def test_both_paths_of_every_operation_are_in_it_and_differ_in_nothing_that_matters(
    told: dict[str, Any],
) -> None:
    posts_told = {path for path, item in told["paths"].items() if "post" in item}
    assert posts_told == {path for operation in OPERATIONS for path in operation.paths}
    for operation in OPERATIONS:
        posts = [told["paths"][path]["post"] for path in operation.paths]
        for other in posts[1:]:
            for name in ("requestBody", "responses", "description", "x-codes", "x-item-codes"):
                assert other[name] == posts[0][name]


def test_the_operations_come_in_the_order_in_which_people_need_them(told: dict[str, Any]) -> None:
    paths = list(told["paths"])
    assert paths[:4] == [
        *("/v1/create_product", "/v1/add_image", "/v1/task_status", "/v1/product_search")
    ]
    old = [path for path in paths if path.startswith("/jdai/")]
    assert paths[-len(old) :] == old


@each_operation
def test_an_answer_is_one_flat_schema_of_the_operations_own_name(
    told: dict[str, Any], operation: Operation
) -> None:
    stem = operation.request.__name__.removesuffix("Request")
    response = told["components"]["responses"][operation.name]
    schema = response["content"]["application/json"]["schema"]
    assert schema == {"$ref": f"#/components/schemas/{stem}Answer"}
    members = told["components"]["schemas"][f"{stem}Answer"]["properties"]
    assert list(members) == [*SYSTEM_FIELDS, "requestId", "result"]
    assert members["result"]["anyOf"] == [
        {"$ref": f"#/components/schemas/{stem}Result"},
        {"$ref": f"#/components/schemas/{stem}Refusal"},
    ]
    done = told["components"]["schemas"][f"{stem}Result"]["properties"]["code"]
    refused = told["components"]["schemas"][f"{stem}Refusal"]["properties"]["code"]
    assert done["const"] == 0
    assert 0 not in refused["enum"]
    assert len(refused["x-enum-varnames"]) == len(refused["enum"])


def test_no_schema_is_put_together_of_others_that_a_generator_must_merge(
    told: dict[str, Any],
) -> None:
    assert '"allOf"' not in json.dumps(told)


def test_every_schema_is_used(told: dict[str, Any]) -> None:
    text = json.dumps(told)
    for name in told["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name


@each_operation
def test_an_operation_tells_each_of_its_codes_with_its_meaning(
    told: dict[str, Any], operation: Operation
) -> None:
    post = told["paths"][operation.paths[0]]["post"]
    for error in (*operation.all_codes, *operation.item_codes):
        assert error.message in post["description"]
        assert (error.__doc__ or "") in post["description"]
        if error.code is not None:
            assert f"- {error.code} {error.message}" in post["description"]


@each_operation
def test_an_operation_tells_every_http_status_that_it_may_have(
    told: dict[str, Any], operation: Operation
) -> None:
    statuses = {str(code.status) for code in SystemCode} | {str(fault[0]) for fault in HTTP_FAULTS}
    for path in operation.paths:
        assert set(told["paths"][path]["post"]["responses"]) == statuses


def test_every_answer_tells_of_the_request_id_and_those_to_come_back_of_the_time(
    told: dict[str, Any],
) -> None:
    for name, response in told["components"]["responses"].items():
        assert "X-Request-Id" in response["headers"]
        assert ("Retry-After" in response["headers"]) == (name in ("http_429", "http_503"))


def test_every_system_code_has_an_example_under_its_status(told: dict[str, Any]) -> None:
    for code in set(SystemCode) - {SystemCode.HANDLED}:
        response = told["components"]["responses"][f"http_{code.status}"]
        example = response["content"]["application/json"]["examples"][code.code]["value"]
        assert (example["code"], example["msg"]) == (code.code, code.meaning)


def test_every_example_is_valid_by_its_own_schema(told: dict[str, Any]) -> None:
    for kind in ("requestBodies", "responses"):
        for name, part in told["components"][kind].items():
            content = part["content"]["application/json"]
            validator = Draft202012Validator(
                {**content["schema"], "components": told["components"]}
            )
            shown = [one["value"] for one in content.get("examples", {}).values()]
            for example in [*shown, *([content["example"]] if "example" in content else [])]:
                assert [error.message for error in validator.iter_errors(example)] == [], name


@each_operation
def test_an_example_is_valid_by_the_models_themselves(operation: Operation) -> None:
    assert judge(operation.request, operation.example.request, Settings())[1] == []
    operation.answer.model_validate(operation.example.result)
    assert operation.example.result["message"] == "SUCCESS"


@each_operation
def test_an_example_names_only_messages_that_the_operation_declares(operation: Operation) -> None:
    messages = {error.message for error in operation.item_codes}
    for item in operation.example.result.get("failed_list", []):
        found = item["message"]
        assert set(found if isinstance(found, list) else [found]) <= messages


def test_codes_that_are_never_answered_are_declared_by_nobody() -> None:
    for operation in OPERATIONS:
        declared = {*operation.all_codes, *operation.item_codes}
        assert not declared & {InvalidParamTopK, InvalidDocs, InvalidImageInfoOld}
        assert declared <= set(BY_MESSAGE.values())
        assert len(set(operation.all_codes)) == len(operation.all_codes), operation.name
        assert len(set(operation.item_codes)) == len(operation.item_codes), operation.name


#: Requests at a limit and beyond it: operation, what differs from its example, valid or not.
NO_LISTS: tuple[Any, ...] = (None, "p", {})

EDGES: list[tuple[str, dict[str, Any], bool]] = [
    *(("image_info", {"product_id": "p" * n}, n in (1, 4)) for n in (0, 1, 4, 5)),
    *(("image_info", {"collection_name": "商" * n}, n == 3) for n in (0, 3, 4)),
    # Python's $ also matches before a last line feed, unlike that of JSON schema.
    *(("image_info", {"product_id": f"{c}a"}, False) for c in "\n\x00\x7f\x85"),
    ("image_info", {"product_id": "a/b"}, True),
    ("image_info", {"collection_name": "a/b"}, False),
    ("image_info", {"product_id": None}, False),
    ("image_info", {"product_id": 7}, False),
    *(("update_image", {"image_info": "i" * n}, n < 6) for n in (0, 5, 6)),
    *(("update_product", {"product_name": "n" * n}, n in (1, 5)) for n in (0, 1, 5, 6)),
    *(
        ("update_product", {"category": word}, word in ("包", None))
        for word in ("包", "鞋靴", None)
    ),
    *(("list_tasks", {"limit": n}, True) for n in (1, 200, 5.0, None)),
    *(("list_tasks", {"limit": n}, False) for n in (0, 201, True, "1", 1.5)),
    *(("list_tasks", {"task_status": s}, s != "DONE") for s in ("PROCESSING", "DONE", None)),
    *(("product_search", {"topk": n}, True) for n in (1, 1.0, None)),
    *(("product_search", {"topk": n}, False) for n in (0, True, "1")),
    *(("product_search", {"image_content": text}, text == "x") for text in ("", "x", 7)),
    *(("product_search", {"min_similarity": s}, s in (-1, 0.5, 1)) for s in (-1, 0.5, 1, 1.5, "1")),
    ("product_search", {"min_similarity": None, "group_by_product": None}, True),
    *(("product_search", {"group_by_product": g}, g is True) for g in (True, 1, "true")),
    *(("create_product", {"product_list": items}, False) for items in NO_LISTS),
]


@pytest.mark.parametrize(("name", "fields", "is_valid"), EDGES, ids=str)
def test_schema_and_validation_agree_at_every_limit(
    name: str, fields: dict[str, Any], is_valid: bool
) -> None:
    chosen = Settings(
        name_characters=3,
        id_characters=4,
        product_name_characters=5,
        image_info_characters=5,
        categories=("包",),
        topk_limit=1,
        topk_default=1,
    )
    operation = BY_NAME[name]
    plain = {"collection_name": "c", "product_id": "p", "image_id": "i", "image_content": "x"}
    request = {**plain, "image_info": "", **fields}
    assert (judge(operation.request, request, chosen)[1] == []) == is_valid
    assert schema_of(operation, chosen).is_valid(request) == is_valid


def test_limits_that_the_handlers_check_are_told_too() -> None:
    chosen = Settings(topk_limit=7, topk_default=3, images_per_call=9, deletions_per_call=8)
    schemas = document(OPERATIONS, chosen)["components"]["schemas"]
    topk = schemas["ProductSearchRequest"]["properties"]["topk"]["anyOf"][0]
    assert (topk["minimum"], topk["maximum"], topk["default"]) == (1, 7, 3)
    images = schemas["AddImageRequest"]["properties"]["image_list"]
    assert (images["minItems"], images["maxItems"]) == (1, 9)
    assert images["items"] == {"$ref": "#/components/schemas/NewImageItem"}
    assert set(schemas["NewImageItem"]["required"]) == {"product_id", "image_id", "image_content"}
    names = schemas["DeleteProductRequest"]["properties"]["product_id_list"]
    assert (names["maxItems"], names["items"]["maxLength"]) == (8, 128)


def test_no_limit_is_told_as_none() -> None:
    chosen = Settings(images_per_call=0, image_info_characters=0, image_bytes=0)
    schemas = document(OPERATIONS, chosen)["components"]["schemas"]
    images = schemas["AddImageRequest"]["properties"]["image_list"]
    assert "maxItems" not in images
    item = schemas["NewImageItem"]["properties"]
    assert "bytes" not in item["image_content"]["description"]
    assert "maxLength" not in schemas["UpdateImageRequest"]["properties"]["image_info"]
    long = {"collection_name": "c", "product_id": "p", "image_id": "i", "image_info": "i" * 999}
    assert judge(BY_NAME["update_image"].request, long, chosen)[1] == []


def test_the_control_characters_are_those_of_unicode() -> None:
    found = re.compile(f"[{CONTROLS}]")
    for number in (*range(0x3000), 0xD7FF, 0xE000, 0xFFFF, 0x10FFFF):
        character = chr(number)
        assert bool(found.match(character)) == (unicodedata.category(character) == "Cc")


def test_the_document_tells_of_both_ways_to_log_in(told: dict[str, Any]) -> None:
    schemes = told["components"]["securitySchemes"]
    assert told["security"] == [{name: []} for name in schemes]
    assert (schemes["bearer"]["scheme"], schemes["signature"]["name"]) == (
        "bearer",
        "Authorization",
    )
    for word in ("JDCLOUD2-HMAC-SHA256", "JDCLOUD3", "x-jdcloud-date", "x-jdcloud-nonce"):
        assert word in schemes["signature"]["description"]


@each_operation
def test_every_operation_may_answer_that_the_account_of_a_good_key_is_gone(
    told: dict[str, Any], operation: Operation
) -> None:
    content = told["components"]["responses"][operation.name]["content"]["application/json"]
    schema = {**content["schema"], "components": told["components"]}
    example = json.loads(json.dumps(content["examples"]["refused"]["value"]))
    for code, message, is_valid in (
        (3020, "INVALID_USER_ID", True),
        (3020, "TASK_NOT_EXISTS", False),
    ):
        example["result"] = {"code": code, "message": message, "detail": "x"}
        assert Draft202012Validator(schema).is_valid(example) is is_valid
