"""add_image, update_image, image_info and delete_image."""

from __future__ import annotations

from typing import Annotated, Any

from app import answers, examples
from app.answer import Refused
from app.content import Content, read_content
from app.fields import (
    CollectionName,
    Identifier,
    ImageContent,
    ImageInfo,
    Items,
    ItemsOf,
    RequestModel,
    judge,
    parse,
)
from app.operations import CONTENT_FAULTS, Call, Operation
from app.services import Services
from catalog.claims import name_key
from catalog.collections import CollectionRow
from catalog.endings import delete_images
from catalog.lookup import labels_of
from catalog.products import ProductRow
from catalog.submission import NewImage, take_images
from contract import errors
from contract.errors import ContractError
from workers.messages import send_chunks, send_refresh


class NewImageItem(RequestModel):
    """An item of image_list."""

    product_id: Identifier
    image_id: Identifier
    image_content: ImageContent
    image_info: ImageInfo | None = None


class AddImageRequest(RequestModel):
    """A call of add_image."""

    collection_name: CollectionName
    image_list: Annotated[Items, ItemsOf(NewImageItem, "images_per_call")]


class ImageInfoRequest(RequestModel):
    """A call of image_info."""

    collection_name: CollectionName
    product_id: Identifier


class ImageIdItem(RequestModel):
    """An item of image_id_list."""

    product_id: Identifier
    image_id: Identifier


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


Faults = dict[int, list[type[ContractError]]]


def add_image(services: Services, call: Call) -> dict[str, Any]:
    """Take images in as a task: answered at once, done by the workers."""
    settings, catalog = services.settings, services.catalog
    request = parse(AddImageRequest, call.body, settings)
    if not request.image_list:
        raise errors.EmptyImageList
    if settings.images_per_call and len(request.image_list) > settings.images_per_call:
        raise errors.ImageNumExceedTotalLimit
    collection = services.collection(call.user, request.collection_name)
    faults, contents, items = _judge_items(services, request.image_list)
    products = _judge_by_catalog(services, collection, request.image_list, faults)
    submission = take_images(
        catalog,
        collection,
        {
            position: NewImage(
                item.product_id,
                item.image_id,
                item.image_info or "",
                contents[position].url,
                contents[position].payload,
            )
            for position, item in items.items()
            if not faults[position]
        },
        products,
        images_per_product=settings.images_per_product,
        chunk_images=settings.chunk_images,
    )
    for position, fault in submission.refused.items():
        faults[position].append(fault)
    failed_list = [
        {
            **_raw_names(request.image_list[position]),
            "message": [fault.message for fault in dict.fromkeys(found)],
        }
        for position, found in faults.items()
        if found
    ]
    if submission.task is None:
        raise Refused(errors.NoInvalidImage, failed_list=failed_list)
    send_chunks(catalog, submission.chunks)
    return {"task_id": submission.task.task_id, "failed_list": failed_list}


def _judge_items(
    services: Services, raw_items: list[Any]
) -> tuple[Faults, dict[int, Content], dict[int, NewImageItem]]:
    """Judge each item by itself: its fields, its content, and whether its name comes again."""
    faults: Faults = {}
    contents: dict[int, Content] = {}
    items: dict[int, NewImageItem] = {}
    names: set[str] = set()
    for position, raw in enumerate(raw_items):
        item, found = judge(NewImageItem, raw, services.settings)
        faults[position] = found
        text = raw.get("image_content") if isinstance(raw, dict) else None
        if isinstance(text, str) and text:
            try:
                contents[position] = read_content(
                    text, services.picture_limits, services.fetch_policy
                )
            except ContractError as fault:
                found.append(type(fault))
        image_id = _raw_names(raw)["image_id"]
        if isinstance(image_id, str):
            if image_id in names:
                found.append(errors.RepeatImageNameInParam)
            names.add(image_id)
        if item is not None:
            items[position] = item
    return faults, contents, items


def _judge_by_catalog(
    services: Services, collection: CollectionRow, raw_items: list[Any], faults: Faults
) -> dict[str, ProductRow]:
    """Add what only the catalogue knows; give the products that exist, by id.

    Names and places are taken later, where two calls at once can't both have them; here
    an image that fails anyway is told all of its faults.
    """
    catalog, limit = services.catalog, services.settings.images_per_product
    ids: dict[int, ImageIdItem] = {}
    for position, raw in enumerate(raw_items):
        names, _ = judge(ImageIdItem, raw, services.settings)
        if names is not None:
            ids[position] = names
    keys = {p: name_key(collection.generation, names.image_id) for p, names in ids.items()}
    products = catalog.products.find(
        collection.generation, {names.product_id for names in ids.values()}
    )
    for position, names in ids.items():
        product = products.get(names.product_id)
        if product is None:
            faults[position].append(errors.NotExistingProduct)
        elif limit and product.image_count >= limit:
            faults[position].append(errors.ImageNumExceedPerProductLimit)
    held = catalog.names.holders([keys[p] for p in keys if faults[p]])
    for position, key in keys.items():
        if key in held and errors.RepeatImageNameInParam not in faults[position]:
            faults[position].append(errors.RepeatImageNameInDb)
    return products


def image_info(services: Services, call: Call) -> dict[str, Any]:
    """List the ingested images of a product, oldest first."""
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
    """Replace the image_info of an image."""
    request = parse(UpdateImageRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    name = (request.product_id, request.image_id)
    label = labels_of(services.catalog, collection.generation, [name]).get(name)
    if label is None:
        raise errors.NoRelativeImage
    services.catalog.images.set_info(label, request.image_info)
    return {}


def delete_image(services: Services, call: Call) -> dict[str, Any]:
    """Delete images; from the answer on no search returns them."""
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
            failed.append({**_raw_names(raw), "message": faults[0].message})
        elif (item.product_id, item.image_id) in wanted:
            failed.append({**item.model_dump(), "message": errors.DuplicateImageId.message})
        else:
            wanted[item.product_id, item.image_id] = item.model_dump()
    if not wanted:
        raise Refused(errors.NoInvalidImageId, failed_list=failed)
    labels = labels_of(catalog, collection.generation, wanted)
    failed.extend(
        {**named, "message": errors.NoRelativeImage.message}
        for name, named in wanted.items()
        if name not in labels
    )
    delete_images(catalog, list(labels.values()))
    send_refresh(list(labels.values()))
    return {
        "successful_list": [named for name, named in wanted.items() if name in labels],
        "failed_list": failed,
    }


def _raw_names(raw: Any) -> dict[str, Any]:
    """Give the names as the client sent them, whatever they are."""
    known = raw if isinstance(raw, dict) else {}
    return {"image_id": known.get("image_id"), "product_id": known.get("product_id")}


#: What may be wrong with the names of an image.
_NAME_FAULTS = (errors.InvalidProductId, errors.InvalidImageId)

OPERATIONS = (
    Operation(
        name="add_image",
        handler=add_image,
        path_of_old_clients="product_image_add",
        request=AddImageRequest,
        answer=answers.AddImageAnswer,
        refusal=answers.AddImageRefusal,
        example=examples.ADD_IMAGE,
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidImageList,
            errors.EmptyImageList,
            errors.ImageNumExceedTotalLimit,
            errors.NoRelativeCollection,
            errors.NoInvalidImage,
        ),
        item_codes=(
            *_NAME_FAULTS,
            errors.InvalidImageContent,
            errors.InvalidImageInfo,
            *CONTENT_FAULTS,
            errors.RepeatImageNameInParam,
            errors.NotExistingProduct,
            errors.ImageNumExceedPerProductLimit,
            errors.RepeatImageNameInDb,
        ),
        fault=errors.InsertImageError,
    ),
    Operation(
        name="image_info",
        handler=image_info,
        path_of_old_clients="product_image_info",
        request=ImageInfoRequest,
        answer=answers.ImageInfoAnswer,
        example=examples.IMAGE_INFO,
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
        answer=answers.Success,
        example=examples.UPDATE_IMAGE,
        codes=(
            errors.InvalidCollectionName,
            *_NAME_FAULTS,
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
        answer=answers.DeleteImageAnswer,
        refusal=answers.DeleteImageRefusal,
        example=examples.DELETE_IMAGE,
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidImageIdList,
            errors.EmptyImageIdList,
            errors.ImageNumExceedTotalLimit,
            errors.NoRelativeCollection,
            errors.NoInvalidImageId,
        ),
        item_codes=(*_NAME_FAULTS, errors.DuplicateImageId, errors.NoRelativeImage),
        fault=errors.DeleteImageError,
    ),
)
