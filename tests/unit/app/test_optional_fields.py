"""What holds for the fields of every operation: null is absent, and 5.0 is an integer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from app.http.fields import FIELD_ERRORS, ItemsOf, RequestModel, judge
from app.operations.pictures import PictureRequest
from app.server import OPERATIONS
from config.settings import Settings
from contract.errors import InvalidParameterJson

#: A valid value of each required field, and of each optional one where null has a meaning to hide.
VALID: dict[str, Any] = {
    "collection_name": "c",
    "product_list": [],
    "product_id_list": [],
    "product_id": "p",
    "product_name": "n",
    "category": "其他",
    "image_list": [],
    "image_id_list": [],
    "image_id": "i",
    "image_content": "x",
    "image_info": "",
    "task_id": "t",
    **dict.fromkeys(("left", "top"), 0),
    **dict.fromkeys(("right", "bottom"), 9),
}


def parts_of(kind: Any) -> list[Any]:
    """A type and whatever it is made of, such as an integer that may be null."""
    return [kind, *(part for one in get_args(kind) for part in parts_of(one))]


def models_in(model: Any) -> Iterator[type[RequestModel]]:
    """A model of a request, and those of its items and of what is nested in it."""
    if not (isinstance(model, type) and issubclass(model, RequestModel)):
        return
    yield model
    for field in model.model_fields.values():
        items = [one.item for one in field.metadata if isinstance(one, ItemsOf)]
        for kind in (*parts_of(field.annotation), *items):
            yield from models_in(kind)


MODELS = list(
    dict.fromkeys(
        found
        for declared in (*(operation.request for operation in OPERATIONS), PictureRequest)
        for found in models_in(declared)
    )
)


def required(model: type[RequestModel]) -> dict[str, Any]:
    """A valid request with the fields that are required, and no others."""
    return {n: VALID[n] for n, field in model.model_fields.items() if field.is_required()}


OPTIONAL = [
    (model, name)
    for model in MODELS
    for name, field in model.model_fields.items()
    if not field.is_required()
]
INTEGERS = [
    (model, name)
    for model in MODELS
    for name, field in model.model_fields.items()
    if int in parts_of(field.annotation)
]


def test_the_models_of_all_operations_are_looked_at() -> None:
    assert {operation.request for operation in OPERATIONS} < set(MODELS)
    names = {name for _, name in OPTIONAL}
    assert names >= {"topk", "limit", "cursor", "min_similarity", "group_by_product", "rectangle"}
    assert {name for _, name in INTEGERS} >= {"topk", "limit", "left", "bottom"}


@pytest.mark.parametrize(("model", "name"), OPTIONAL, ids=str)
def test_null_is_as_good_as_absent(model: type[RequestModel], name: str) -> None:
    absent, faults = judge(model, required(model), Settings())
    assert faults == []
    assert judge(model, {**required(model), name: None}, Settings())[0] == absent


@pytest.mark.parametrize(("model", "name"), INTEGERS, ids=str)
@pytest.mark.parametrize("value", [True, False, "5", "", 5.5, [5], {}])
def test_what_is_no_number_or_has_a_fraction_is_no_integer(
    model: type[RequestModel], name: str, value: Any
) -> None:
    (fault,) = judge(model, {**required(model), name: value}, Settings())[1]
    assert type(fault) is FIELD_ERRORS.get(name, InvalidParameterJson)
    assert name in fault.detail


@pytest.mark.parametrize(("model", "name"), INTEGERS, ids=str)
def test_a_number_with_an_empty_fraction_is_an_integer(
    model: type[RequestModel], name: str
) -> None:
    value = {"left": 1, "top": 1, "right": 5, "bottom": 5}.get(name, 5)
    found, faults = judge(model, {**required(model), name: float(value)}, Settings())
    assert faults == []
    assert getattr(found, name) == value
    assert type(getattr(found, name)) is int
