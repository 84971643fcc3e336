"""create_product, delete_product, list_products and update_product."""

from __future__ import annotations

from typing import Annotated, Any

from app.http.details import told
from app.http.fields import (
    PAGE_SIZE,
    SENTENCES,
    CollectionName,
    Cursor,
    Identifier,
    Items,
    ItemsOf,
    PageSize,
    RequestModel,
    judge,
    parse,
    write_cursor,
)
from app.operations.answers import AnswerModel, AsSent, Count, Detail, Message, NextCursor, Success
from app.operations.base import Call, Operation
from app.operations.examples import COLLECTION, Example, success
from app.operations.product_fields import (
    CHANGE,
    EXAMPLE,
    FIELD_FAULTS,
    NewProductItem,
    ShownProduct,
    UpdateProductRequest,
)
from app.services import Services
from broker.messages import send_refresh
from catalog.flows.follow_up import follow_up
from catalog.flows.product_copies import copy_product
from catalog.flows.removal import delete_images_of, end_product
from catalog.flows.removal import delete_product as delete_to_its_end
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields, ProductRow
from contract import errors
from contract.errors import ContractError


class CreateProductRequest(RequestModel):
    """A call of create_product."""

    collection_name: CollectionName
    product_list: Annotated[Items, ItemsOf(NewProductItem, "products_per_call")]


class DeleteProductRequest(RequestModel):
    """A call of delete_product."""

    collection_name: CollectionName
    product_id_list: Annotated[Items, ItemsOf(Identifier, "deletions_per_call")]


class ProductIdItem(RequestModel):
    """An item of product_id_list, as an object."""

    product_id: Identifier


class ListProductsRequest(RequestModel):
    """A call of list_products."""

    collection_name: CollectionName
    cursor: Cursor | None = None
    limit: PageSize = PAGE_SIZE


class FailedProduct(AnswerModel):
    """A product that failed, and why."""

    product_id: AsSent
    message: Message
    detail: Detail


class ProductsAnswer(Success):
    """The products that were done, and those that failed."""

    successful_list: list[str]
    failed_list: list[FailedProduct]


class ListedProduct(ShownProduct):
    """A product, with how many images it has."""

    image_count: Count


class ListProductsAnswer(Success):
    """A page of the products, oldest first."""

    product_list: list[ListedProduct]
    next_cursor: NextCursor


def _check_count(items: list[Any], limit: int) -> None:
    if not items:
        raise errors.ProductEmpty
    if limit and len(items) > limit:
        raise errors.ProductNumExceedLimit


def create_product(services: Services, call: Call) -> dict[str, Any]:
    """Create the products of a list, and the collection if it isn't there."""
    settings, catalog = services.settings, services.catalog
    request = parse(CreateProductRequest, call.body, settings)
    _check_count(request.product_list, settings.products_per_call)
    collection = catalog.collections.find_or_create(
        call.user, request.collection_name, settings.collections_per_user
    )
    failed: list[tuple[Any, ContractError | type[ContractError]]] = []
    wanted: dict[str, ProductFields] = {}
    for raw in request.product_list:
        item, faults = judge(NewProductItem, raw, settings)
        if item is None:
            failed.append((_raw_id(raw), faults[0]))
        elif item.product_id in wanted:
            failed.append((item.product_id, errors.DuplicateProduct))
        else:
            wanted[item.product_id] = ProductFields(**item.model_dump())
    refused = _insert(services, collection, list(wanted.values()))
    failed.extend(refused.items())
    return {
        "successful_list": [product_id for product_id in wanted if product_id not in refused],
        "failed_list": _failed_list(services, failed),
    }


def _insert(
    services: Services, collection: CollectionRow, products: list[ProductFields]
) -> dict[str, type[ContractError]]:
    """Insert the products that are new and have room; return the faults of the others by id."""
    catalog, limit = services.catalog, services.settings.products_per_collection
    ids = [product.product_id for product in products]
    for leaving in catalog.products.being_deleted(collection.generation, ids):
        send_refresh(delete_to_its_end(catalog, leaving))
    existing = catalog.products.find(collection.generation, ids)
    refused: dict[str, type[ContractError]] = dict.fromkeys(existing, errors.ExistingProduct)
    new = [product for product in products if product.product_id not in existing]
    if not new:
        return refused
    # Counted before they are written, and taken back if there is no room, so that two calls at once
    # can't exceed the limit together.
    count = catalog.collections.add_products(collection.key, collection.generation, len(new))
    room = len(new) if not limit else max(0, min(len(new), len(new) - (count - limit)))
    refused |= dict.fromkeys(
        (product.product_id for product in new[room:]), errors.ProductNumExceedLimit
    )
    unwritten = catalog.products.insert(collection, new[:room])
    refused |= {new[position].product_id: fault for position, fault in unwritten.items()}
    unused = len(new) - room + len(unwritten)
    if unused:
        with follow_up("create_product"):
            catalog.collections.add_products(collection.key, collection.generation, -unused)
    return refused


def delete_product(services: Services, call: Call) -> dict[str, Any]:
    """Delete the products of a list, with all their images, also those still in work."""
    settings, catalog = services.settings, services.catalog
    request = parse(DeleteProductRequest, call.body, settings)
    _check_count(request.product_id_list, settings.deletions_per_call)
    collection = services.collection(call.user, request.collection_name)
    failed: list[tuple[Any, ContractError | type[ContractError]]] = []
    wanted: dict[str, None] = {}
    for raw in request.product_id_list:
        item, faults = judge(ProductIdItem, {"product_id": raw}, settings)
        if item is None:
            failed.append((raw, faults[0]))
        elif item.product_id in wanted:
            failed.append((item.product_id, errors.DuplicateProduct))
        else:
            wanted[item.product_id] = None
    products = catalog.products.find(collection.generation, wanted)
    if missing := wanted.keys() - products:
        # A deletion that was interrupted before its answer: repeating the call completes it.
        begun = catalog.products.being_deleted(collection.generation, missing)
        products |= {product.product_id: product for product in begun}
    failed.extend((i, errors.NotExistingProduct) for i in wanted if i not in products)
    _delete(services, list(products.values()))
    return {
        "successful_list": [product_id for product_id in wanted if product_id in products],
        "failed_list": _failed_list(services, failed),
    }


def _delete(services: Services, products: list[ProductRow]) -> None:
    """Delete products. Once all their images are flagged, a fault is logged and not raised."""
    if not products:
        return
    catalog = services.catalog
    catalog.products.begin_deletion(products)
    removed = [label for product in products for label in delete_images_of(catalog, product)]
    with follow_up("delete_product"):
        send_refresh(removed)
        for product in products:
            end_product(catalog, product)


def list_products(services: Services, call: Call) -> dict[str, Any]:
    """List the products of a collection in the order of their creation."""
    request = parse(ListProductsRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    try:
        page = services.catalog.products.page(
            collection.generation, request.cursor or "", request.limit
        )
    except ValueError as error:
        raise errors.InvalidParameterJson(detail=SENTENCES["cursor"]) from error
    return {
        "product_list": [
            {**product.product_fields(), "image_count": product.image_count}
            for product in page.rows
        ],
        "next_cursor": write_cursor(page.next),
    }


def update_product(services: Services, call: Call) -> dict[str, Any]:
    """Change the name or the category of a product, and of its images."""
    request = parse(UpdateProductRequest, call.body, services.settings)
    collection = services.collection(call.user, request.collection_name)
    catalog = services.catalog
    product = catalog.products.find(collection.generation, [request.product_id]).get(
        request.product_id
    )
    if product is None:
        raise errors.NotExistingProduct
    values = request.model_dump(exclude={"collection_name", "product_id"}, exclude_none=True)
    if values:
        changed = catalog.products.change(product, values)
        if changed is None:
            raise errors.NotExistingProduct
        with follow_up("update_product"):
            send_refresh(copy_product(catalog, changed))
    return {}


def _failed_list(
    services: Services, failed: list[tuple[Any, ContractError | type[ContractError]]]
) -> list[dict[str, Any]]:
    return [
        {"product_id": product_id, **told(fault, services.settings)} for product_id, fault in failed
    ]


def _raw_id(raw: Any) -> Any:
    return raw.get("product_id") if isinstance(raw, dict) else None


OPERATIONS = (
    Operation(
        name="create_product",
        handler=create_product,
        path_of_old_clients="product_image_create_product",
        request=CreateProductRequest,
        answer=ProductsAnswer,
        example=Example(
            {
                "collection_name": COLLECTION,
                "product_list": [
                    EXAMPLE,
                    {**EXAMPLE, "product_name": "Rubber boot"},
                ],
            },
            success(
                successful_list=["boot-1"],
                failed_list=[
                    {
                        "product_id": "boot-1",
                        "message": "DUPLICATE_PRODUCT",
                        "detail": errors.DuplicateProduct.sentence,
                    }
                ],
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidProductList,
            errors.ProductEmpty,
            errors.ProductNumExceedLimit,
            errors.CollectionCountExceedsLimit,
        ),
        item_codes=(
            *FIELD_FAULTS,
            errors.DuplicateProduct,
            errors.ExistingProduct,
            errors.ProductNumExceedLimit,
            errors.InsertProductError,
        ),
        fault=errors.InsertProductError,
    ),
    Operation(
        name="delete_product",
        handler=delete_product,
        path_of_old_clients="product_image_del_product",
        request=DeleteProductRequest,
        answer=ProductsAnswer,
        example=Example(
            {"collection_name": COLLECTION, "product_id_list": ["boot-1", "boot-9"]},
            success(
                successful_list=["boot-1"],
                failed_list=[
                    {
                        "product_id": "boot-9",
                        "message": "NOT_EXISTING_PRODUCT",
                        "detail": errors.NotExistingProduct.sentence,
                    }
                ],
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidProductList,
            errors.ProductEmpty,
            errors.ProductNumExceedLimit,
            errors.NoRelativeCollection,
        ),
        item_codes=(errors.InvalidProductId, errors.DuplicateProduct, errors.NotExistingProduct),
    ),
    Operation(
        name="list_products",
        handler=list_products,
        request=ListProductsRequest,
        answer=ListProductsAnswer,
        example=Example(
            {"collection_name": COLLECTION, "limit": 50},
            success(
                product_list=[{**EXAMPLE, **CHANGE, "image_count": 1}],
                next_cursor=None,
            ),
        ),
        codes=(
            errors.InvalidCollectionName,
            errors.InvalidParameterJson,
            errors.NoRelativeCollection,
        ),
    ),
    Operation(
        name="update_product",
        handler=update_product,
        request=UpdateProductRequest,
        answer=Success,
        example=Example(
            {"collection_name": COLLECTION, "product_id": EXAMPLE["product_id"], **CHANGE},
            success(),
        ),
        codes=(
            errors.InvalidCollectionName,
            *FIELD_FAULTS,
            errors.NoRelativeCollection,
            errors.NotExistingProduct,
        ),
        fault=errors.InsertProductError,
    ),
)
