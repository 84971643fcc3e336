"""How an image ends badly, and what it gives back when it does.

An image that failed or was deleted gives back its name, the claim on its bytes,
its place among the images of its product, and the payload that still waits.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence

from catalog.chunks import Item
from catalog.claims import name_key
from catalog.collections import CollectionRow
from catalog.images import ImageRow
from catalog.products import ProductRow
from catalog.purges import Purge
from catalog.store import Catalog
from contract.errors import ContractError, NoRelativeCollection, NotExistingProduct


def fail_images(catalog: Catalog, faults: Mapping[int, type[ContractError]]) -> None:
    """End images with the message of their fault, by label, and let them give back."""
    by_message: dict[str, list[int]] = {}
    for label, fault in faults.items():
        by_message.setdefault(fault.message, []).append(label)
    for message, labels in by_message.items():
        catalog.images.fail(labels, message)
    release_images(catalog, list(faults))


def vanished(
    catalog: Catalog,
    collection: str,
    generation: str,
    items: Sequence[Item],
    products: Mapping[str, ProductRow] | None = None,
) -> dict[int, type[ContractError]]:
    """Give the labels whose collection or product is not there any more, and which of the two.

    `products` are those of the items as they are now, if they were read already.
    """
    if not items:
        return {}
    if not catalog.collections.is_alive(collection, generation):
        return {item.label: NoRelativeCollection for item in items}
    if products is None:
        products = catalog.products.find(generation, {item.product_id for item in items})
    serials = {product.serial for product in products.values()}
    return {item.label: NotExistingProduct for item in items if item.product_serial not in serials}


def delete_images(catalog: Catalog, labels: Sequence[int]) -> None:
    """Delete images: from here on no search answers them, and no stage works on them."""
    if labels:
        catalog.images.delete(labels)
        release_images(catalog, labels)


def release_images(catalog: Catalog, labels: Sequence[int]) -> None:
    """Let images give back what they hold. Doing it twice does no harm."""
    if not labels:
        return
    released = catalog.images.take_for_release(labels, uuid.uuid4().hex)
    # Claims are given up for all of them, not only for those just marked: a worker
    # that died between the mark and this line left them behind.
    images = catalog.images.find(labels).values()
    # Two of them may have had the same name, one after the other.
    holders = catalog.names.holders(
        list({name_key(image.generation, image.image_id) for image in images})
    )
    ended = set(labels)
    catalog.names.release({key: label for key, label in holders.items() if label in ended})
    catalog.contents.release_all(labels)
    catalog.payloads.remove(labels)
    _count_off(catalog, released)


def _count_off(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    counts: Counter[tuple[str, str, int]] = Counter(
        (image.generation, image.product_id, image.product_serial) for image in images
    )
    for (generation, product_id, serial), count in counts.items():
        catalog.products.remove_images(generation, product_id, serial, count)
    for (collection, generation), count in Counter(
        (image.collection, image.generation) for image in images
    ).items():
        catalog.collections.add_images(collection, generation, -count)


def delete_product(catalog: Catalog, product: ProductRow) -> list[ImageRow]:
    """Delete the images of a flagged product, then its row, and count it off its collection.

    Gives the images that were deleted.
    """
    images = catalog.images.of_product(product.serial)
    alive = [image for image in images if image.deleted_at is None]
    catalog.images.delete([image.label for image in alive])
    # All of them, not only those alive: a deleter that died left what it had flagged unreleased.
    release_images(catalog, [image.label for image in images])
    if catalog.products.end_deletion(product):
        catalog.collections.add_products(product.collection, product.generation, -1)
    return alive


def delete_collection(catalog: Catalog, collection: CollectionRow) -> None:
    """Delete a collection: two rows now, everything below it in the background."""
    catalog.purges.begin(collection)
    catalog.collections.remove(collection.key, collection.generation)


def purge_piece(catalog: Catalog, purge: Purge, rows: int) -> bool:
    """Remove at most `rows` images and products of a generation; tell whether any was left."""
    images = catalog.images.of_generation(purge.generation, rows)
    labels = [image.label for image in images]
    if labels:
        catalog.images.delete(labels)
        release_images(catalog, labels)
        catalog.vectors.remove(labels)
        catalog.pictures.remove(labels)
        catalog.images.remove(labels)
    products = catalog.products.of_generation(purge.generation, rows)
    if products:
        catalog.products.remove(products)
    return bool(labels or products)
