"""Copies of what a product says, in the rows of its images: searches and the index read those.

A product's row decides. A copy only overwrites older versions, so that of two at once, or of one
that comes late, the newest stays. The index stage copies before it makes an image findable, so an
image that is written while its product changes need not be found by the change.
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow
from catalog.store import Catalog


def copy_product(catalog: Catalog, product: ProductRow) -> list[int]:
    """Copy what a product says into its images; return the labels whose category changed.

    Twice is as good as once. The reminder of this version is removed when all have it.
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
    """Return images as they are once rows that are behind their products have caught up.

    `images` are by label, `products` by product_id, each as read before; whatever is changed
    later finds the images.
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
    """Return the images that lack changes of their products, by the serial of the product."""
    found: dict[int, list[ImageRow]] = {}
    for image in images.values():
        product = products.get(image.product_serial)
        if product is not None and image.product_version < product.version:
            found.setdefault(image.product_serial, []).append(image)
    return found
