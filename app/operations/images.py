"""The operations on single images that exist: update_image, image_info and delete_image.

`app.server` calls the handlers, and answers a ContractError with its code and any unexpected
exception with the `fault` of the operation. An item that can't be deleted stands in failed_list
and keeps no other from being deleted.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from app.http.details import told
from app.http.envelope import Refused
from app.http.fields import (
    CollectionName,
    Identifier,
    ImageInfo,
    Items,
    ItemsOf,
    RequestModel,
    judge,
    parse,
)
from app.operations.answers import AnswerModel, AsSent, Detail, Message, Refusal, Success
from app.operations.base import Call, Operation
from app.operations.examples import COLLECTION, Example, success
from app.operations.image_names import EXAMPLE, NAME_FAULTS, ImageIdItem, ImageName, raw_names
from app.services import Services
from broker.messages import send_refresh
from catalog.flows.lookup import labels_of
from catalog.flows.removal import delete_images
from contract import errors


class ImageInfoRequest(RequestModel):
    """A call of image_info."""

    collection_name: CollectionName
    product_id: Identifier


class DeleteImageRequest(RequestModel):
    """A call of delete_image."""

    collection_name: CollectionName
    image_id_list: Annotated[Items, ItemsOf(ImageIdItem, "deletions_per_call")]


class UpdateImageRequest(RequestModel):
    """A call of update_image."""

    collection_name: CollectionName
    product_id: Identifier
    image_id: Identifier
    image_info: ImageInfo


class ImageOfProduct(AnswerModel):
    """An ingested image."""

    image_id: str
    image_info: str


class ImageInfoAnswer(Success):
    """The ingested images of a product, oldest first."""

    image_list: list[ImageOfProduct]


class FailedDeletion(AnswerModel):
    """An image that was not deleted, and why."""

    product_id: AsSent
    image_id: AsSent
    message: Message
    detail: Detail


class DeleteImageAnswer(Success):
    """The images that were deleted, and those that were not."""

    successful_list: list[ImageName]
    failed_list: list[FailedDeletion]


class DeleteImageRefusal(Refusal):
    """A refusal; if no item was valid, with the fault of each."""

    failed_list: list[FailedDeletion] = Field(default=[])


def image_info(services: Services, call: Call) -> dict[str, Any]:
    """List the ingested images of a product, oldest first.

    These are the ones that a search can find: none that is pending or failed. Raises
    NoRelativeCollection and NotExistingProduct.
    """
    request = parse(ImageInfoRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    catalog = services.catalog
    product = catalog.products.find(collection.generation, [request.product_id]).get(
        request.product_id
    )
    if product is None:
        raise errors.NotExistingProduct
    return {
        "image_list": [
            {"image_id": image.image_id, "image_info": image.image_info}
            for image in catalog.images.of_product(product.serial)
            if image.is_findable
        ]
    }


def update_image(services: Services, call: Call) -> dict[str, Any]:
    """Replace the image_info of an image.

    The image may be pending still. The index is not told: searches read image_info from the row.
    Raises NoRelativeCollection and NoRelativeImage.
    """
    request = parse(UpdateImageRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    name = (request.product_id, request.image_id)
    label = labels_of(services.catalog, collection.generation, [name]).get(name)
    if label is None:
        raise errors.NoRelativeImage
    services.catalog.images.set_info(label, request.image_info)
    return {}


def delete_image(services: Services, call: Call) -> dict[str, Any]:
    """Delete images; once this is answered, no search returns them.

    The flag in their rows decides. The message to the index only removes them from memory sooner:
    if Redis is away, the sweep sends it. Raises Refused if no item is valid.
    """
    settings, catalog = services.settings, services.catalog
    request = parse(DeleteImageRequest, call.body, settings)
    if not request.image_id_list:
        raise errors.EmptyImageIdList
    if settings.deletions_per_call and len(request.image_id_list) > settings.deletions_per_call:
        raise errors.ImageNumExceedTotalLimit
    collection = services.collection(call.user, request.collection_name)
    failed: list[dict[str, Any]] = []
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for raw in request.image_id_list:
        item, faults = judge(ImageIdItem, raw, settings)
        if item is None:
            failed.append({**raw_names(raw), **told(faults[0], settings)})
        elif (item.product_id, item.image_id) in wanted:
            failed.append({**item.model_dump(), **told(errors.DuplicateImageId, settings)})
        else:
            wanted[item.product_id, item.image_id] = item.model_dump()
    if not wanted:
        raise Refused(errors.NoInvalidImageId, failed_list=failed)
    labels = labels_of(catalog, collection.generation, wanted)
    failed.extend(
        {**named, **told(errors.NoRelativeImage, settings)}
        for name, named in wanted.items()
        if name not in labels
    )
    delete_images(catalog, list(labels.values()))
    send_refresh(list(labels.values()))
    return {
        "successful_list": [named for name, named in wanted.items() if name in labels],
        "failed_list": failed,
    }


OPERATIONS = (
    Operation(
        name="image_info",
        handler=image_info,
        path_of_old_clients="product_image_info",
        request=ImageInfoRequest,
        answer=ImageInfoAnswer,
        example=Example(
            {"collection_name": COLLECTION, "product_id": EXAMPLE["product_id"]},
            success(image_list=[{"image_id": EXAMPLE["image_id"], "image_info": "studio"}]),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidProductId,
            errors.NoRelativeCollection,
            errors.NotExistingProduct,
        ),
        fault=errors.QueryImageInfoError,
    ),
    Operation(
        name="update_image",
        handler=update_image,
        request=UpdateImageRequest,
        answer=Success,
        example=Example(
            {"collection_name": COLLECTION, **EXAMPLE, "image_info": "studio, spring"}, success()
        ),
        codes=(
            errors.InvalidCollectionName,
            *NAME_FAULTS,
            errors.InvalidImageInfo,
            errors.NoRelativeCollection,
            errors.NoRelativeImage,
        ),
        fault=errors.InsertImageError,
    ),
    Operation(
        name="delete_image",
        handler=delete_image,
        path_of_old_clients="product_image_del_image",
        request=DeleteImageRequest,
        answer=DeleteImageAnswer,
        refusal=DeleteImageRefusal,
        example=Example(
            {
                "collection_name": COLLECTION,
                "image_id_list": [EXAMPLE, {**EXAMPLE, "image_id": "back"}],
            },
            success(
                successful_list=[EXAMPLE],
                failed_list=[
                    {
                        **EXAMPLE,
                        "image_id": "back",
                        "message": "NO_RELATIVE_IMAGE",
                        "detail": errors.NoRelativeImage.sentence,
                    }
                ],
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidImageIdList,
            errors.EmptyImageIdList,
            errors.ImageNumExceedTotalLimit,
            errors.NoRelativeCollection,
            errors.NoInvalidImageId,
        ),
        item_codes=(*NAME_FAULTS, errors.DuplicateImageId, errors.NoRelativeImage),
        fault=errors.DeleteImageError,
    ),
)
