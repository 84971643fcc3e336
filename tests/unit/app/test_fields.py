"""Each field of a request at its limits, beyond them, and of the wrong type."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from pydantic import Field

from app.http.fields import (
    Category,
    CollectionName,
    Identifier,
    ImageContent,
    ImageInfo,
    Items,
    ProductName,
    RequestModel,
    Text,
    TopK,
    judge,
    parse,
)
from config.settings import Settings
from contract import errors
from contract.errors import ContractError


class Everything(RequestModel):
    collection_name: CollectionName = "c"
    product_list: Items = Field(default_factory=list)
    product_id_list: Items = Field(default_factory=list)
    product_id: Identifier = "p"
    product_name: ProductName = "n"
    category: Category = "其他"
    image_list: Items = Field(default_factory=list)
    image_id_list: Items = Field(default_factory=list)
    image_id: Identifier = "i"
    image_content: ImageContent = "x"
    image_info: ImageInfo | None = None
    task_id: Text = "t"
    topk: TopK = 1
    cursor: Text = ""


class Named(RequestModel):
    collection_name: CollectionName
    product_id: Identifier
    topk: TopK


CODES: dict[str, type[ContractError]] = {
    "collection_name": errors.InvalidCollectionName,
    "product_list": errors.InvalidProductList,
    "product_id_list": errors.InvalidProductList,
    "product_id": errors.InvalidProductId,
    "product_name": errors.InvalidProductName,
    "category": errors.InvalidProductCategory,
    "image_list": errors.InvalidImageList,
    "image_id_list": errors.InvalidImageIdList,
    "image_id": errors.InvalidImageId,
    "image_content": errors.InvalidImageContent,
    "image_info": errors.InvalidImageInfo,
    "task_id": errors.InvalidTaskId,
    "topk": errors.InvalidSearchTopk,
    "cursor": errors.InvalidParameterJson,
}
STRINGS = [
    *("collection_name", "product_id", "product_name", "category", "image_id"),
    *("image_content", "image_info", "task_id"),
]
LISTS = ["product_list", "product_id_list", "image_list", "image_id_list"]
LENGTHS = {"collection_name": 50, "product_id": 128, "image_id": 128, "product_name": 256}
CONTROLS = ["\x00", "\n", "\t", "\x1f", "\x7f", "\x85", "\x9f"]


@cache
def defaults() -> Settings:
    return Settings()


def kinds(model: type[RequestModel], value: Any, chosen: Settings) -> list[type[ContractError]]:
    return [type(fault) for fault in judge(model, value, chosen)[1]]


def faults(field: str, value: Any) -> list[type[ContractError]]:
    return kinds(Everything, {field: value}, defaults())


@pytest.mark.parametrize("field", STRINGS)
@pytest.mark.parametrize("value", [True, 1, 1.5, ["a"], {"a": 1}])
def test_what_is_no_string_is_refused(field: str, value: Any) -> None:
    assert faults(field, value) == [CODES[field]]


@pytest.mark.parametrize("field", [n for n in STRINGS if n not in ("category", "image_content")])
@pytest.mark.parametrize("value", ["\ud800", "a\udfffb"], ids=ascii)
def test_half_a_surrogate_pair_is_no_string(field: str, value: str) -> None:
    assert faults(field, value) == [CODES[field]]


def test_null_is_as_good_as_absent() -> None:
    assert judge(Everything, dict.fromkeys(CODES), defaults())[0] == Everything()
    assert kinds(Named, dict.fromkeys(CODES), defaults()) == kinds(Named, {}, defaults()) != []


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("value", [True, 1, "abc", "[]", {"0": "a"}])
def test_what_is_no_list_is_refused(field: str, value: Any) -> None:
    assert faults(field, value) == [CODES[field]]


@pytest.mark.parametrize("field", LISTS)
def test_a_list_may_hold_anything_since_items_are_judged_one_by_one(field: str) -> None:
    assert faults(field, [None, 1, "a", {}, []]) == []


@pytest.mark.parametrize(("field", "most"), LENGTHS.items())
@pytest.mark.parametrize("character", ["a", "商", "😀"])
def test_a_name_is_as_long_as_its_limit_in_characters(
    field: str, most: int, character: str
) -> None:
    assert faults(field, character) == []
    assert faults(field, character * most) == []
    assert faults(field, character * (most + 1)) == [CODES[field]]
    assert faults(field, "") == [CODES[field]]


@pytest.mark.parametrize("field", LENGTHS)
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_name_has_no_control_characters(field: str, control: str) -> None:
    for value in (control, f"a{control}", f"{control}a", f"a{control}b"):
        assert faults(field, value) == [CODES[field]]


def test_only_a_collection_name_must_not_have_a_slash() -> None:
    assert faults("collection_name", "a/b") == [errors.InvalidCollectionName]
    for field in ("product_id", "image_id", "product_name"):
        assert faults(field, "a/b") == []


def test_image_info_may_be_empty_and_have_any_character_up_to_its_limit() -> None:
    assert faults("image_info", "") == []
    assert faults("image_info", "a\nb\t商") == []
    assert faults("image_info", "商" * 256) == []
    assert faults("image_info", "商" * 257) == [errors.InvalidImageInfo]


@pytest.mark.parametrize("value", ["服装", "鞋靴", "其他"])
def test_a_category_of_the_list_is_taken(value: str) -> None:
    assert faults("category", value) == []


@pytest.mark.parametrize("value", ["", "服", "服装 ", "clothes"])
def test_another_category_is_refused(value: str) -> None:
    assert faults("category", value) == [errors.InvalidProductCategory]


def test_the_limits_are_settings() -> None:
    chosen = Settings(name_characters=3, id_characters=2, categories=("包",))
    assert judge(Everything, {"collection_name": "abc", "category": "包"}, chosen)[1] == []
    assert kinds(Everything, {"collection_name": "abcd"}, chosen) == [errors.InvalidCollectionName]
    assert kinds(Everything, {"image_id": "abc"}, chosen) == [errors.InvalidImageId]
    assert kinds(Everything, {"category": "服装"}, chosen) == [errors.InvalidProductCategory]


def test_an_empty_image_content_is_refused() -> None:
    assert faults("image_content", "") == [errors.InvalidImageContent]


@pytest.mark.parametrize(
    "value", [True, False, "1", "", 1.5, float("nan"), float("inf"), [1], {}, 0, 0.0, -1, -1.0]
)
def test_a_topk_that_is_no_integer_of_one_or_more_is_refused(value: Any) -> None:
    assert faults("topk", value) == [errors.InvalidSearchTopk]


@pytest.mark.parametrize("value", [1, 1.0, 5.0, 200, 201, 10**30, 1e300])
def test_a_topk_of_any_size_is_an_integer_and_so_is_one_with_an_empty_fraction(
    value: float,
) -> None:
    found = judge(Everything, {"topk": value}, Settings())[0]
    assert found == Everything(topk=int(value))
    assert type(found.topk) is int


def test_a_field_of_ours_that_is_not_valid_is_5001() -> None:
    assert faults("cursor", 1) == [errors.InvalidParameterJson]


def test_fields_that_the_contract_does_not_name_are_ignored() -> None:
    assert faults("colour", {"\ud800": 1}) == []


def test_all_faults_are_told_in_the_order_of_the_fields_and_each_once() -> None:
    sent = {"topk": 0, "product_list": 1, "product_id_list": 1, "collection_name": ""}
    assert kinds(Everything, sent, Settings()) == [
        errors.InvalidCollectionName,
        errors.InvalidProductList,
        errors.InvalidSearchTopk,
    ]


@pytest.mark.parametrize("value", [None, 1, "a", [], [{"collection_name": "c"}], {}])
def test_an_item_that_is_no_object_lacks_all_of_its_fields(value: Any) -> None:
    assert judge(Named, value, Settings())[0] is None
    assert kinds(Named, value, Settings()) == [
        errors.InvalidCollectionName,
        errors.InvalidProductId,
        errors.InvalidSearchTopk,
    ]


def test_parse_raises_the_first_fault() -> None:
    with pytest.raises(errors.InvalidProductId):
        parse(Named, {"collection_name": "c", "product_id": "", "topk": 0}, Settings())


def detail(field: str, value: Any) -> str:
    return judge(Everything, {field: value}, defaults())[1][0].detail


def test_a_fault_says_what_the_field_must_be_and_what_it_is() -> None:
    name = "product_id must be a string of 1 to 128 characters, without control characters"
    assert detail("product_id", "a" * 300) == f"{name}; product_id is a string of 300 characters"
    assert detail("product_id", "") == f"{name}; product_id is an empty string"
    words = "category must be one of 服装, 鞋靴, 其他"
    assert detail("category", ["x"]) == f"{words}; category is a list"
    assert detail("category", {}) == f"{words}; category is an object"
    assert detail("topk", 5.5) == "topk must be an integer of 1 or more; topk is 5.5"
    assert detail("topk", True) == "topk must be an integer of 1 or more; topk is true"
    cursor = "cursor must be the next_cursor of the page before"
    assert detail("cursor", 1) == f"{cursor}; cursor is 1"
    missing = judge(Named, {}, defaults())[1][1].detail
    assert missing == f"{name}; product_id is missing or null"


def test_a_fault_tells_no_text_that_was_sent_and_little_of_a_number() -> None:
    for field in STRINGS:
        assert "SEKRET" not in detail(field, ["SEKRET"])
    assert "SEKRET" not in detail("category", "SEKRET")
    assert len(detail("category", 10**99)) < 150


def test_parse_gives_what_was_sent() -> None:
    sent = {"collection_name": "XX小店", "product_id": " p ", "topk": 3, "more": 1}
    assert parse(Named, sent, Settings()) == Named.model_construct(
        collection_name="XX小店", product_id=" p ", topk=3
    )
