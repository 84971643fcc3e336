"""The fields of requests: what a valid value is, and which code an invalid one gets.

pydantic validates; the limits come from the settings, as the validation's context.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from config.settings import Settings
from contract import errors
from contract.errors import ContractError

#: The code of an invalid field, by the field's name in every operation.
FIELD_ERRORS: dict[str, type[ContractError]] = {
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
}


def _settings(info: ValidationInfo) -> Settings:
    assert isinstance(info.context, Settings)  # noqa: S101
    return info.context


def _is_line(value: str, most: int) -> bool:
    return 1 <= len(value) <= most and not any(unicodedata.category(c) == "Cc" for c in value)


def _collection_name(value: str, info: ValidationInfo) -> str:
    if not _is_line(value, _settings(info).name_characters) or "/" in value:
        raise ValueError("not a collection name")
    return value


def _identifier(value: str, info: ValidationInfo) -> str:
    if not _is_line(value, _settings(info).id_characters):
        raise ValueError("not an id")
    return value


def _product_name(value: str, info: ValidationInfo) -> str:
    if not _is_line(value, _settings(info).product_name_characters):
        raise ValueError("not a product name")
    return value


def _image_info(value: str, info: ValidationInfo) -> str:
    if len(value) > _settings(info).image_info_characters:
        raise ValueError("too long")
    return value


def _category(value: str, info: ValidationInfo) -> str:
    if value not in _settings(info).categories:
        raise ValueError("not a category")
    return value


def _encodable(value: str) -> str:
    value.encode()  # half a surrogate pair has no UTF-8, so MongoDB could not store it
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("empty")
    return value


Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
CollectionName = Annotated[Text, AfterValidator(_collection_name)]
Identifier = Annotated[Text, AfterValidator(_identifier)]
ProductName = Annotated[Text, AfterValidator(_product_name)]
ImageInfo = Annotated[Text, AfterValidator(_image_info)]
Category = Annotated[Text, AfterValidator(_category)]
ImageContent = Annotated[Text, AfterValidator(_not_empty)]
TopK = Annotated[int, Field(strict=True, ge=1)]
Items = Annotated[list[Any], Field(strict=True)]


class RequestModel(BaseModel):
    """A request, or an item of one. Fields that the contract does not name are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Model = TypeVar("Model", bound=RequestModel)


def judge(
    model: type[Model], value: Any, settings: Settings
) -> tuple[Model | None, list[type[ContractError]]]:
    """Give the validated value, or None and the codes of all invalid fields, in their order."""
    known = value if isinstance(value, dict) else {}
    try:
        return model.model_validate(known, context=settings), []
    except ValidationError as error:
        faults = [
            FIELD_ERRORS.get(str(fault["loc"][0]), errors.InvalidParameterJson)
            for fault in error.errors(include_input=False, include_url=False)
        ]
        return None, list(dict.fromkeys(faults))


def parse(model: type[Model], value: Any, settings: Settings) -> Model:
    """Give the validated request; raises the error of its first invalid field."""
    parsed, faults = judge(model, value, settings)
    if parsed is None:
        raise faults[0]
    return parsed
