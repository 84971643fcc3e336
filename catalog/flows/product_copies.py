"""Copies of a product's fields in the rows of its images, for searches and the index.

The product's row is authoritative. A copy only overwrites older versions, so that of two
concurrent copies, or of a late one, the newest stays. The index stage copies before it makes an
image findable, so a change may miss an image that is written at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow
from catalog.store import Catalog


def copy_product(catalog: Catalog, product: ProductRow) -> list[int]:
    """Copy a product into its images, and return the labels whose category changed.

    Removes the reminder of this version at the end. Idempotent.
    """
    moved: dict[int, None] = {}
    while behind := [
        image
        for image in catalog.images.of_product(product.serial)
        if image.product_version < product.version and not image.is_dead
    ]:
        catalog.images.set_product(behind, product)
        moved |= dict.fromkeys(
            image.label for image in behind if image.category != product.category
        )
    catalog.products.copied(product)
    return list(moved)


def with_products(
    catalog: Catalog, images: Mapping[int, ImageRow], products: Mapping[str, ProductRow]
) -> dict[int, ImageRow]:
    """Update the images whose copies are older than their products, and return all, by label.

    `images` are by label, `products` by product_id, both as read before. Images that were
    removed meanwhile are left out if any was updated.
    """
    by_serial = {product.serial: product for product in products.values()}
    current = dict(images)
    while behind := _behind(current, by_serial):
        for serial, some in behind.items():
            catalog.images.set_product(some, by_serial[serial])
        current = catalog.images.find(list(current))
    return current


def _behind(
    images: Mapping[int, ImageRow], products: Mapping[int, ProductRow]
) -> dict[int, list[ImageRow]]:
    """Return the images whose copies are older than their products, by product serial."""
    found: dict[int, list[ImageRow]] = {}
    for image in images.values():
        product = products.get(image.product_serial)
        if product is not None and image.product_version < product.version:
            found.setdefault(image.product_serial, []).append(image)
    return found
