"""Rows that the tests of the catalogue start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.flows import submission
from catalog.flows.recount import Recount, recount_one
from catalog.flows.submission import NewImage, begin, roll_back, write
from catalog.rows.chunks import Chunk, Item, Stage
from catalog.rows.collections import CollectionRow
from catalog.rows.images import ImageRow
from catalog.rows.products import ProductFields, ProductRow
from catalog.rows.tasks import TaskRow
from catalog.store import Catalog
from contract.errors import ContractError

PICTURE = "http://pictures.example/a.jpg"
ITEMS = (
    Item(label=1, product_id="p", product_serial=3, image_id="a"),
    Item(label=2, product_id="商/品", product_serial=4, image_id="b.$"),
)


@dataclass(frozen=True)
class Taken:
    """What became of the images of a call, by their positions in it."""

    task: TaskRow | None
    chunks: list[Chunk]
    refused: dict[int, type[ContractError]]


def add_products(
    catalog: Catalog, collection: CollectionRow, *product_ids: str
) -> dict[str, ProductRow]:
    """Insert products that are new; return their rows."""
    new = [
        ProductFields(product_id=product_id, product_name=f"name of {product_id}", category="其他")
        for product_id in product_ids
    ]
    assert catalog.products.insert(collection, new) == {}
    return catalog.products.find(collection.generation, product_ids)


def image_count(catalog: Catalog, product: ProductRow) -> int:
    """Return how many images the product of that id counts now."""
    found = catalog.products.find(product.generation, [product.product_id])
    return found[product.product_id].image_count


def add_images(catalog: Catalog, product: ProductRow, *image_ids: str) -> list[int]:
    """Put images into a product as a submission does (named, counted, written); return labels."""
    labels = list(catalog.numbers.reserve(len(image_ids)))
    named = dict(zip(image_ids, labels, strict=True))
    assert catalog.names.take({f"{product.generation}/{i}": n for i, n in named.items()}) == set()
    catalog.products.take_places(product.generation, {product.product_id: labels})
    catalog.collections.add_images(product.collection, product.generation, len(labels))
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
    return NewImage(
        product_id=product_id, image_id=image_id, image_info="", url=PICTURE, payload=None
    )


def by_payload(product_id: str, image_id: str, payload: bytes = b"picture") -> NewImage:
    return NewImage(
        product_id=product_id, image_id=image_id, image_info="", url=None, payload=payload
    )


def submit(
    catalog: Catalog,
    collection: CollectionRow,
    products: Mapping[str, ProductRow],
    images: Sequence[NewImage],
    *,
    images_per_product: int = 0,
    chunk_images: int = 16,
) -> Taken:
    """Take images as a call of add_image does, at positions 0, 1 and so on."""
    draft = begin(catalog, collection, dict(enumerate(images)), products)
    written = write(
        catalog, draft, images_per_product=images_per_product, chunk_images=chunk_images
    )
    if not written.items:
        assert roll_back(catalog, draft.submission)
        return Taken(None, [], written.refused)
    task = submission.open_task(catalog, draft, written)
    catalog.chunks.mark_sent(written.chunks)
    submission.fail_vanished(catalog, draft, written)
    chunks = {chunk.id: chunk for chunk in catalog.chunks.find(task.chunk_ids)}
    return Taken(task, [chunks[chunk_id] for chunk_id in task.chunk_ids], written.refused)


def open_task(
    catalog: Catalog, image_count: int, user: str = "u", name: str = "c", payload_bytes: int = 0
) -> TaskRow:
    """Write a task alone, which has no chunks."""
    draft = catalog.tasks.begin(user, f"{user}/{name}", "1f", [])
    task = catalog.tasks.open(draft, [], image_count, payload_bytes)
    assert task is not None
    return task


def recount(catalog: Catalog) -> list[Recount]:
    """Recount the collections whose counters are due; return those put right."""
    found = [recount_one(catalog, counted) for counted in catalog.counters.due(10)]
    return [wrong for wrong in found if wrong is not None]


def plain(chunk_id: str = "c") -> Chunk:
    """Return a chunk of two images that waits to be fetched."""
    return Chunk(
        id=chunk_id,
        task_id="u/c/1234567890.123456",
        collection="u/c",
        generation="1f",
        items=ITEMS,
        stage=Stage.FETCH,
    )
