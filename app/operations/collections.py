"""delete_collection and list_collections."""

from __future__ import annotations

from typing import Any

from app.http.fields import (
    PAGE_SIZE,
    CollectionName,
    Cursor,
    PageSize,
    RequestModel,
    parse,
    write_cursor,
)
from app.http.timestamps import iso
from app.operations import answers, examples
from app.operations.base import Call, Operation
from app.services import Services
from catalog.flows import removal as endings
from contract import errors


class DeleteCollectionRequest(RequestModel):
    """A call of delete_collection."""

    collection_name: CollectionName


class ListCollectionsRequest(RequestModel):
    """A call of list_collections."""

    cursor: Cursor | None = None
    limit: PageSize = PAGE_SIZE


def delete_collection(services: Services, call: Call) -> dict[str, Any]:
    """Delete a collection with everything in it, in a moment whatever its size."""
    request = parse(DeleteCollectionRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    endings.delete_collection(services.catalog, collection)
    return {}


def list_collections(services: Services, call: Call) -> dict[str, Any]:
    """List the caller's collections by name."""
    request = parse(ListCollectionsRequest, call.body, services.settings)
    try:
        page = services.catalog.collections.page(call.user, request.cursor or "", request.limit)
    except ValueError as error:
        raise errors.InvalidParameterJson from error
    return {
        "collection_list": [
            {
                "collection_name": collection.name,
                "product_count": collection.product_count,
                "image_count": collection.image_count,
                "created_at": iso(collection.created_at),
            }
            for collection in page.rows
        ],
        "next_cursor": write_cursor(page.next),
    }


OPERATIONS = (
    Operation(
        name="delete_collection",
        handler=delete_collection,
        request=DeleteCollectionRequest,
        answer=answers.Success,
        example=examples.DELETE_COLLECTION,
        codes=(errors.InvalidCollectionName, errors.NoRelativeCollection),
        fault=errors.DeleteCollectionError,
    ),
    Operation(
        name="list_collections",
        handler=list_collections,
        request=ListCollectionsRequest,
        answer=answers.ListCollectionsAnswer,
        example=examples.LIST_COLLECTIONS,
        codes=(errors.InvalidParameterJson,),
    ),
)
