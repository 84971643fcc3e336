"""delete_collection and list_collections."""

from __future__ import annotations

from typing import Any

from app.http.fields import (
    PAGE_SIZE,
    SENTENCES,
    CollectionName,
    Cursor,
    PageSize,
    RequestModel,
    parse,
    write_cursor,
)
from app.http.timestamps import iso
from app.operations.answers import AnswerModel, Count, Moment, NextCursor, Success
from app.operations.base import Call, Operation
from app.operations.examples import COLLECTION, Example, success
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


class ListedCollection(AnswerModel):
    """A collection, with what it holds."""

    collection_name: str
    product_count: Count
    image_count: Count
    created_at: Moment


class ListCollectionsAnswer(Success):
    """A page of the collections, by name."""

    collection_list: list[ListedCollection]
    next_cursor: NextCursor


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
        raise errors.InvalidParameterJson(detail=SENTENCES["cursor"]) from error
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
        answer=Success,
        example=Example({"collection_name": COLLECTION}, success()),
        codes=(errors.InvalidCollectionName, errors.NoRelativeCollection),
        fault=errors.DeleteCollectionError,
    ),
    Operation(
        name="list_collections",
        handler=list_collections,
        request=ListCollectionsRequest,
        answer=ListCollectionsAnswer,
        example=Example(
            {"limit": 200},
            success(
                collection_list=[
                    {
                        "collection_name": COLLECTION,
                        "product_count": 1,
                        "image_count": 1,
                        "created_at": "2026-11-20T09:57:01.500Z",
                    }
                ],
                next_cursor=None,
            ),
        ),
        codes=(errors.InvalidParameterJson,),
    ),
)
