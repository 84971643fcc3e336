"""The two names of an image, product_id and image_id: in a request, in an answer, and as sent."""

from __future__ import annotations

from typing import Any

from app.http.fields import Identifier, RequestModel
from app.operations.answers import AnswerModel
from contract import errors


class ImageIdItem(RequestModel):
    """An item of image_id_list."""

    product_id: Identifier
    image_id: Identifier


#: Codes of a call or an item whose product_id or image_id is invalid.
NAME_FAULTS = (errors.InvalidProductId, errors.InvalidImageId)


class ImageName(AnswerModel):
    """An image by its names."""

    product_id: str
    image_id: str


#: The image of the examples.
EXAMPLE = {"product_id": "boot-1", "image_id": "front"}


def raw_names(raw: Any) -> dict[str, Any]:
    """Return the names in an item as the client sent them, valid or not, for failed_list.

    A name is None if it is missing, or if the item is not an object.
    """
    known = raw if isinstance(raw, dict) else {}
    return {"image_id": known.get("image_id"), "product_id": known.get("product_id")}
