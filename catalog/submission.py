"""Taking images in: names, places, rows and chunks, all durable before a task id is given.

The order of the writes is what makes a crash between any two of them harmless:
a chunk that is never sent is found by the sweep, and an image whose product went
away meanwhile is failed here or, at the latest, by the index stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from catalog.chunks import Chunk, Item, Stage
from catalog.claims import name_key
from catalog.collections import CollectionRow
from catalog.connection import now
from catalog.endings import fail_images, vanished
from catalog.images import ImageRow
from catalog.products import ProductRow
from catalog.store import Catalog
from catalog.tasks import TaskRow
from contract.errors import (
    ContractError,
    ImageNumExceedPerProductLimit,
    NotExistingProduct,
    RepeatImageNameInDb,
)

#: A submission that takes longer than this between two of its writes was cut off.
SUBMISSION_GRACE = timedelta(minutes=10)


@dataclass(frozen=True)
class NewImage:
    """A valid image of an add_image call: either a URL or the bytes that its Base64 stood for."""

    product_id: str
    image_id: str
    image_info: str
    url: str | None
    payload: bytes | None


@dataclass(frozen=True)
class Submission:
    """What became of the images of a call, by their positions in it."""

    task: TaskRow | None
    chunks: list[Chunk]
    refused: dict[int, type[ContractError]]


def take_images(
    catalog: Catalog,
    collection: CollectionRow,
    images: Mapping[int, NewImage],
    products: Mapping[str, ProductRow],
    *,
    images_per_product: int,
    chunk_images: int,
) -> Submission:
    """Take the images of a call, given by position, into a task.

    `products` are the rows of their products; `images_per_product` is 0 for no
    limit, and never exceeded by calls at the same time. Every row is written when
    this returns; the chunks still have to be sent.
    """
    refused: dict[int, type[ContractError]] = {}
    labels = dict(zip(images, catalog.numbers.reserve(len(images)), strict=True))
    names = {
        position: name_key(collection.generation, image.image_id)
        for position, image in images.items()
    }
    lost = catalog.names.take({names[position]: labels[position] for position in images})
    named = {position: image for position, image in images.items() if names[position] not in lost}
    refused.update({p: RepeatImageNameInDb for p in images if p not in named})
    placed, faults = _take_places(catalog, collection, named, products, images_per_product)
    refused.update(faults)
    catalog.names.release({names[position]: labels[position] for position in faults})
    if not placed:
        return Submission(None, [], refused)

    items = {
        position: Item(
            labels[position], image.product_id, products[image.product_id].serial, image.image_id
        )
        for position, image in placed.items()
    }
    try:
        task = catalog.tasks.create(collection.user, collection.name, len(placed))
        chunks = _cut(catalog, collection, task, placed, items, chunk_images)
        catalog.chunks.insert(chunks)
    except Exception:
        # No chunk will ever give these back.
        catalog.names.release({names[position]: labels[position] for position in placed})
        _give_back(catalog, collection, placed, products)
        raise
    task = catalog.tasks.add_chunks(task, [chunk.id for chunk in chunks])
    _write_images(catalog, collection, placed, items, products)
    catalog.chunks.look_again(chunks)
    _catch_up(catalog, collection, list(items.values()), products)
    return Submission(task, chunks, refused)


def _write_images(
    catalog: Catalog,
    collection: CollectionRow,
    images: Mapping[int, NewImage],
    items: Mapping[int, Item],
    products: Mapping[str, ProductRow],
) -> None:
    """Write what came as Base64, and the row of every image."""
    catalog.payloads.put(
        {items[p].label: image.payload for p, image in images.items() if image.payload is not None}
    )
    catalog.images.insert(
        [
            ImageRow(
                label=items[position].label,
                collection=collection.key,
                generation=collection.generation,
                product_id=image.product_id,
                product_serial=items[position].product_serial,
                product_name=products[image.product_id].product_name,
                category=products[image.product_id].category,
                image_id=image.image_id,
                image_info=image.image_info,
                url=image.url,
            )
            for position, image in images.items()
        ]
    )


def _catch_up(
    catalog: Catalog,
    collection: CollectionRow,
    items: Sequence[Item],
    products: Mapping[str, ProductRow],
) -> None:
    """Do to the new images what was done to their products since `products` was read.

    Whoever changes or deletes a product writes first and looks for its images after, and so
    does a submission: one of the two sees the other.
    """
    current = catalog.products.find(collection.generation, products)
    for product in current.values():
        known = products[product.product_id]
        values = {"product_name": product.product_name, "category": product.category}
        if values != {"product_name": known.product_name, "category": known.category}:
            catalog.images.set_product(product.serial, values)
    gone = vanished(catalog, collection.key, collection.generation, items, current)
    fail_images(catalog, gone)


def _take_places(
    catalog: Catalog,
    collection: CollectionRow,
    images: Mapping[int, NewImage],
    known: Mapping[str, ProductRow],
    limit: int,
) -> tuple[dict[int, NewImage], dict[int, type[ContractError]]]:
    """Count images to their products; give those that have a place, and the faults of the rest."""
    counts = Counter(image.product_id for image in images.values())
    catalog.collections.add_images(collection.key, collection.generation, len(images))
    counted = catalog.products.add_images(collection.generation, counts)
    products = {i: row for i, row in counted.items() if row.serial == known[i].serial}
    excess = {
        product_id: min(counts[product_id], product.image_count - limit)
        for product_id, product in products.items()
        if limit and product.image_count > limit
    }
    placed: dict[int, NewImage] = {}
    faults: dict[int, type[ContractError]] = {}
    for position, image in reversed(list(images.items())):
        if image.product_id not in products:
            faults[position] = NotExistingProduct
        elif excess.get(image.product_id, 0) > 0:
            excess[image.product_id] -= 1
            faults[position] = ImageNumExceedPerProductLimit
        else:
            placed[position] = image
    _give_back(catalog, collection, {p: images[p] for p in faults}, counted)
    return dict(sorted(placed.items())), faults


def _give_back(
    catalog: Catalog,
    collection: CollectionRow,
    images: Mapping[int, NewImage],
    counted: Mapping[str, ProductRow],
) -> None:
    """Count images off again, and off their products, where those had been there to count."""
    if images:
        catalog.collections.add_images(collection.key, collection.generation, -len(images))
        places = Counter(image.product_id for image in images.values())
        catalog.products.add_images(
            collection.generation, {i: -n for i, n in places.items() if i in counted}
        )


def _cut(
    catalog: Catalog,
    collection: CollectionRow,
    task: TaskRow,
    images: Mapping[int, NewImage],
    items: Mapping[int, Item],
    size: int,
) -> list[Chunk]:
    """Cut a task into chunks; what came as Base64 has nothing to fetch and starts at vision."""
    by_stage = {
        Stage.VISION: [items[p] for p, image in images.items() if image.url is None],
        Stage.FETCH: [items[p] for p, image in images.items() if image.url is not None],
    }
    return [
        replace(
            catalog.chunks.as_sent(
                Chunk(
                    id=f"chunk-{staged[start].label}",
                    task_id=task.task_id,
                    collection=collection.key,
                    generation=collection.generation,
                    items=tuple(staged[start : start + size]),
                    stage=stage,
                )
            ),
            # The sweep must not touch it before its images are written.
            due_at=now() + SUBMISSION_GRACE,
        )
        for stage, staged in by_stage.items()
        for start in range(0, len(staged), size)
    ]
