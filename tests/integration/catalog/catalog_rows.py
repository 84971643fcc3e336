"""Rows that the tests of the catalogue start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from catalog.collections import CollectionRow
from catalog.images import ImageRow
from catalog.products import NewProduct, ProductRow
from catalog.store import Catalog
from catalog.submission import NewImage, Submission, take_images

PICTURE = "http://pictures.example/a.jpg"


def add_products(
    catalog: Catalog, collection: CollectionRow, *product_ids: str
) -> dict[str, ProductRow]:
    """Insert products that are new; give their rows."""
    new = [NewProduct(product_id, f"name of {product_id}", "其他") for product_id in product_ids]
    assert catalog.products.insert(collection, new) == {}
    return catalog.products.find(collection.generation, product_ids)


def image_count(catalog: Catalog, product: ProductRow) -> int:
    """Give how many images the product of that id counts now."""
    found = catalog.products.find(product.generation, [product.product_id])
    return found[product.product_id].image_count


def add_images(catalog: Catalog, product: ProductRow, *image_ids: str) -> list[int]:
    """Put images into a product as a submission does: named, counted, written; give the labels."""
    labels = list(catalog.numbers.reserve(len(image_ids)))
    named = dict(zip(image_ids, labels, strict=True))
    assert catalog.names.take({f"{product.generation}/{i}": n for i, n in named.items()}) == set()
    catalog.products.add_images(product.generation, {product.product_id: len(image_ids)})
    write_images(catalog, product, named)
    return labels


def write_images(catalog: Catalog, product: ProductRow, named: Mapping[str, int]) -> None:
    """Write the rows of images alone, by image_id and label."""
    catalog.images.insert(
        [
            ImageRow(
                label=label,
                collection=product.collection,
                generation=product.generation,
                product_id=product.product_id,
                product_serial=product.serial,
                product_name=product.product_name,
                category=product.category,
                image_id=image_id,
                image_info="",
                url=PICTURE,
            )
            for image_id, label in named.items()
        ]
    )


def by_url(product_id: str, image_id: str) -> NewImage:
    return NewImage(product_id, image_id, "", PICTURE, None)


def by_payload(product_id: str, image_id: str, payload: bytes = b"picture") -> NewImage:
    return NewImage(product_id, image_id, "", None, payload)


def submit(
    catalog: Catalog,
    collection: CollectionRow,
    products: Mapping[str, ProductRow],
    images: Sequence[NewImage],
    *,
    images_per_product: int = 0,
    chunk_images: int = 16,
) -> Submission:
    """Take images as a call of add_image does, at positions 0, 1 and so on."""
    return take_images(
        catalog,
        collection,
        dict(enumerate(images)),
        products,
        images_per_product=images_per_product,
        chunk_images=chunk_images,
    )
