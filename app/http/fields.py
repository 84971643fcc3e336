"""The fields of requests: what a valid value is, and which code an invalid one gets.

One declaration per field yields both pydantic's validation and its JSON schema. Limits are
settings: validation gets them as its context, a schema from `described_by`.
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from app.http.details import detail_of, kind_of
from config.settings import Settings
from contract import errors
from contract.errors import ContractError
from vision.formats import FORMATS

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
}  # any other field: InvalidParameterJson

#: What a field must be that has no code, and so no sentence, of its own.
SENTENCES = {
    "cursor": "cursor must be the next_cursor of the page before",
    "limit": "limit must be an integer of 1 to 200",
    "task_status": "task_status must be PROCESSING or FINISHED",
    "rectangle": "rectangle must have left < right and top < bottom, integers of 0 or more",
    "min_similarity": "min_similarity must be a number of -1 to 1",
    "group_by_product": "group_by_product must be true or false",
}

#: The control characters of Unicode, in a form that Python and JSON schema both read.
CONTROLS = r"\u0000-\u001f\u007f-\u009f"

_described: ContextVar[Settings] = ContextVar("settings whose limits a JSON schema tells")


@contextmanager
def described_by(settings: Settings) -> Iterator[None]:
    """Take the limits in JSON schemas from these settings while the context lasts."""
    token = _described.set(settings)
    try:
        yield
    finally:
        _described.reset(token)


class Described(ABC):
    """What a field's JSON schema says beyond its type."""

    @abstractmethod
    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return the keywords to be added to those of the type."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.keywords(_described.get())}


class Rule(Described):
    """A constraint of a field beyond its type, for validation and JSON schema alike."""

    @abstractmethod
    def check(self, value: Any, settings: Settings) -> None:
        """Raise ValueError if the value is not valid."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def checked(value: Any, info: ValidationInfo) -> Any:
            assert isinstance(info.context, Settings)  # noqa: S101
            self.check(value, info.context)
            return value

        return core_schema.with_info_after_validator_function(checked, handler(source))


@dataclass(frozen=True)
class Line(Rule):
    """1 to so many characters as a setting says, without control characters."""

    limit: str  #: name of the setting
    forbidden: str = ""

    @property
    def _pattern(self) -> str:
        return f"[^{CONTROLS}{self.forbidden}]+"

    def check(self, value: Any, settings: Settings) -> None:
        """Raise ValueError if the value is empty, too long, or has a forbidden character."""
        if len(value) > getattr(settings, self.limit) or not re.fullmatch(self._pattern, value):
            raise ValueError("not a line of a valid length")

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return length and characters."""
        slash = f', no "{self.forbidden}"' if self.forbidden else ""
        return {
            "minLength": 1,
            "maxLength": getattr(settings, self.limit),
            "pattern": f"^{self._pattern}$",
            "description": f"No control characters{slash}.",
        }


@dataclass(frozen=True)
class UpTo(Rule):
    """Up to so many characters of any kind; 0 is no limit."""

    limit: str

    def check(self, value: Any, settings: Settings) -> None:
        """Raise ValueError if the value is too long."""
        most = getattr(settings, self.limit)
        if most and len(value) > most:
            raise ValueError("too long")

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return the length, if there is a limit."""
        most = getattr(settings, self.limit)
        return {"maxLength": most} if most else {}


@dataclass(frozen=True)
class OneOf(Rule):
    """A word of a list that is a setting."""

    words: str

    def check(self, value: Any, settings: Settings) -> None:
        """Raise ValueError if the value is not in the list."""
        if value not in getattr(settings, self.words):
            raise ValueError("not one of the list")

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return the words."""
        return {"enum": list(getattr(settings, self.words))}


@dataclass(frozen=True)
class Told(Described):
    """Keywords whose values are settings that the handler checks, since each has its own code."""

    settings: tuple[tuple[str, str], ...]  #: keyword and setting

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return the keywords whose setting is not 0, which stands for no limit."""
        values = {keyword: getattr(settings, name) for keyword, name in self.settings}
        return {keyword: value for keyword, value in values.items() if value}


@dataclass(frozen=True)
class ItemsOf(Described):
    """Items that the handler validates one by one, so that one never fails the others."""

    item: Any  #: a model, or a field's type
    limit: str  #: name of the setting that says how many; the handler checks it

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return how many items there may be."""
        most = getattr(settings, self.limit)
        return {"minItems": 1, **({"maxItems": most} if most else {})}

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        items = TypeAdapter(self.item).core_schema
        return super().__get_pydantic_json_schema__(core_schema.list_schema(items), handler)


@dataclass(frozen=True)
class Picture(Described):
    """A picture, validated by `app.http.image_content`."""

    def keywords(self, settings: Settings) -> dict[str, Any]:
        """Return a description in words: no keyword of JSON schema looks into a picture."""
        size = f" under {settings.image_bytes:,} bytes" if settings.image_bytes else ""
        sides = f"{settings.image_min_side} to {settings.image_max_side} pixels a side"
        formats = " or ".join(one.name for one in FORMATS)
        return {
            "description": "An http(s) URL, or Base64 with or without a data: prefix, of a "
            f"{formats}{size}, {sides}."
        }


def _whole(value: Any) -> Any:
    """Return an integer for a number without a fraction, such as 5.0, which is one in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _encodable(value: str) -> str:
    value.encode()  # half a surrogate pair has no UTF-8, so MongoDB could not store it
    return value


def write_cursor(place: str | None) -> str | None:
    """Return a cursor as clients get it, opaque; None at the end of the list."""
    return None if place is None else base64.urlsafe_b64encode(place.encode()).decode()


def _place(cursor: str) -> str:
    return base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()


#: Rows of a page where the caller names no limit.
PAGE_SIZE = 50

Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
CollectionName = Annotated[Text, Line("name_characters", forbidden="/")]
Identifier = Annotated[Text, Line("id_characters")]
ProductName = Annotated[Text, Line("product_name_characters")]
ImageInfo = Annotated[Text, UpTo("image_info_characters")]
Category = Annotated[Text, OneOf("categories")]
ImageContent = Annotated[Text, Field(min_length=1), Picture()]
TopK = Annotated[
    int,
    Field(strict=True, ge=1),
    BeforeValidator(_whole),
    Told((("maximum", "topk_limit"), ("default", "topk_default"))),
]
Similarity = Annotated[float, Field(strict=True, ge=-1, le=1)]
Flag = Annotated[bool, Field(strict=True)]
PageSize = Annotated[int, Field(strict=True, ge=1, le=200), BeforeValidator(_whole)]
Cursor = Annotated[
    Text,
    AfterValidator(_place),
    Field(description="The next_cursor of the page before; absent for the first page."),
]
TaskState = Literal["PROCESSING", "FINISHED"]
Pixel = Annotated[int, Field(strict=True, ge=0), BeforeValidator(_whole)]
Items = Annotated[list[Any], Field(strict=True)]


class RequestModel(BaseModel):
    """A request, or an item of one.

    Fields that the contract does not name are ignored, and null is as good as absent.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return {name: value for name, value in sent.items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        told = handler.resolve_ref_schema(handler(schema))
        for name, field in told.get("properties", {}).items():
            if name not in told.get("required", ()) and "anyOf" not in field:
                own = {key: field.pop(key) for key in ("default", "description") if key in field}
                told["properties"][name] = {"anyOf": [field, {"type": "null"}], **own}
        return told


Model = TypeVar("Model", bound=RequestModel)


def judge(
    model: type[Model], value: Any, settings: Settings
) -> tuple[Model | None, list[ContractError]]:
    """Return the validated value and [], or None and a fault for each code, in order of fields."""
    known = value if isinstance(value, dict) else {}
    try:
        return model.model_validate(known, context=settings), []
    except ValidationError as error:
        faults: dict[type[ContractError], ContractError] = {}
        for found in error.errors(include_input=False, include_url=False):
            name = str(found["loc"][0])
            kind = FIELD_ERRORS.get(name, errors.InvalidParameterJson)
            detail = SENTENCES.get(name) or detail_of(kind, settings)
            # A model that was made and found wrong as a whole has a sentence that says why.
            if not isinstance(known.get(name), dict) or found["type"] != "value_error":
                detail += _sent(found["loc"], known)
            faults.setdefault(kind, kind(detail=detail))
        return None, list(faults.values())


def _sent(path: tuple[int | str, ...], known: Any) -> str:
    """Return the end of a sentence, which says what was sent at `path`."""
    for name in path:
        known = known.get(name) if isinstance(known, dict) else None
    return f"; {'.'.join(map(str, path))} is {kind_of(known)}"


def parse(model: type[Model], value: Any, settings: Settings) -> Model:
    """Return the validated request. Raises the error of its first invalid field."""
    parsed, faults = judge(model, value, settings)
    if parsed is None:
        raise faults[0]
    return parsed
