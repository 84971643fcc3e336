"""create_product and delete_product."""

from __future__ import annotations

from typing import Any

from app.fields import (
    Category,
    CollectionName,
    Identifier,
    Items,
    ProductName,
    RequestModel,
    judge,
    parse,
)
from app.operations import Call, Operation
from app.services import Services
from catalog.collections import CollectionRow
from catalog.endings import delete_product as end_product
from catalog.products import NewProduct, ProductRow
from contract import errors
from contract.errors import ContractError
from workers.messages import send_removal


class CreateProductRequest(RequestModel):
    """A call of create_product."""

    collection_name: CollectionName
    product_list: Items


class NewProductItem(RequestModel):
    """An item of product_list."""

    product_id: Identifier
    product_name: ProductName
    category: Category


class DeleteProductRequest(RequestModel):
    """A call of delete_product."""

    collection_name: CollectionName
    product_id_list: Items


class ProductIdItem(RequestModel):
    """An item of product_id_list, as an object."""

    product_id: Identifier


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
    failed: list[tuple[Any, type[ContractError]]] = []
    wanted: dict[str, NewProduct] = {}
    for raw in request.product_list:
        item, faults = judge(NewProductItem, raw, settings)
        if item is None:
            failed.append((_raw_id(raw), faults[0]))
        elif item.product_id in wanted:
            failed.append((item.product_id, errors.DuplicateProduct))
        else:
            wanted[item.product_id] = NewProduct(item.product_id, item.product_name, item.category)
    refused = _insert(services, collection, list(wanted.values()))
    failed.extend(refused.items())
    return {
        "successful_list": [product_id for product_id in wanted if product_id not in refused],
        "failed_list": [
            {"product_id": product_id, "message": fault.message} for product_id, fault in failed
        ],
    }


def _insert(
    services: Services, collection: CollectionRow, products: list[NewProduct]
) -> dict[str, type[ContractError]]:
    """Insert as many products as are new and have room; give the faults of the rest by id."""
    catalog, limit = services.catalog, services.settings.products_per_collection
    ids = [product.product_id for product in products]
    for leaving in catalog.products.being_deleted(collection.generation, ids):
        send_removal([image.label for image in end_product(catalog, leaving)])
    existing = catalog.products.find(collection.generation, ids)
    refused: dict[str, type[ContractError]] = dict.fromkeys(existing, errors.ExistingProduct)
    new = [product for product in products if product.product_id not in existing]
    if not new:
        return refused
    # Counted before they are written, and given back where there is no room: two calls
    # at once can't exceed the limit together.
    count = catalog.collections.add_products(collection.key, collection.generation, len(new))
    room = len(new) if not limit else max(0, min(len(new), len(new) - (count - limit)))
    refused |= dict.fromkeys(
        (product.product_id for product in new[room:]), errors.ProductNumExceedLimit
    )
    taken = catalog.products.insert(collection, new[:room])
    refused |= dict.fromkeys((new[p].product_id for p in taken), errors.ExistingProduct)
    unused = len(new) - room + len(taken)
    if unused:
        catalog.collections.add_products(collection.key, collection.generation, -unused)
    return refused


def delete_product(services: Services, call: Call) -> dict[str, Any]:
    """Delete the products of a list, with their images, those on their way too."""
    settings, catalog = services.settings, services.catalog
    request = parse(DeleteProductRequest, call.body, settings)
    _check_count(request.product_id_list, settings.deletions_per_call)
    collection = services.collection(call.user, request.collection_name)
    failed: list[tuple[Any, type[ContractError]]] = []
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
    failed.extend((i, errors.NotExistingProduct) for i in wanted if i not in products)
    _delete(services, list(products.values()))
    return {
        "successful_list": [product_id for product_id in wanted if product_id in products],
        "failed_list": [
            {"product_id": product_id, "message": fault.message} for product_id, fault in failed
        ],
    }


def _delete(services: Services, products: list[ProductRow]) -> None:
    if not products:
        return
    services.catalog.products.begin_deletion(products)
    removed: list[int] = []
    for product in products:
        removed.extend(image.label for image in end_product(services.catalog, product))
    send_removal(removed)


def _raw_id(raw: Any) -> Any:
    return raw.get("product_id") if isinstance(raw, dict) else None


OPERATIONS = (
    Operation(
        "create_product",
        create_product,
        "product_image_create_product",
        errors.InsertProductError,
    ),
    Operation("delete_product", delete_product, "product_image_del_product"),
)
