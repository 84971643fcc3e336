"""Failing and deleting images, products and collections.

An image that failed or was deleted gives back its name, the claim on its bytes, its slot in its
product, and its payload. Its vectors, its kept picture and its local features go later, once the
index is without it (`workers.index`, `remove_traces`).

The row is flagged first: every function may be cut off after that, and the sweep continues from the
flag. So each is safe to repeat, also by two processes at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from catalog.flows.follow_up import follow_up
from catalog.rows.chunks import Item
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import Failure, ImageRow
from catalog.rows.products import ProductRow
from catalog.rows.purges import Purge
from catalog.store import Catalog
from contract.causes import COLLECTION_GONE, PRODUCT_GONE
from contract.errors import ContractError

log = structlog.get_logger(__name__)


def fail_images(catalog: Catalog, faults: Mapping[int, ContractError], stage: str) -> None:
    """End images with their fault, by label, met in `stage`, and release them.

    An image that has an outcome keeps it; one that succeeded keeps what it holds.
    """
    alike: dict[Failure, list[int]] = {}
    for label, fault in faults.items():
        failure = Failure(
            message=fault.message,
            detail=fault.detail,
            is_retryable=fault.is_retryable,
            stage=stage,
        )
        alike.setdefault(failure, []).append(label)
        log.info("image failed", label=label, stage=stage, message=fault.message, why=str(fault))
    for failure, labels in alike.items():
        catalog.images.fail(labels, failure)
    release_images(catalog, list(faults))


def vanished(
    catalog: Catalog,
    collection: str,
    generation: str,
    items: Sequence[Item],
    products: Mapping[str, ProductRow] | None = None,
) -> dict[int, ContractError]:
    """Return the fault of each item whose collection or product is gone, by label.

    Return an empty dict if all are there. `products` are the products of the items, by
    product_id, if the caller has just read them.
    """
    if not items:
        return {}
    if not catalog.collections.is_alive(collection, generation):
        return {item.label: COLLECTION_GONE.fault() for item in items}
    if products is None:
        products = catalog.products.find(generation, {item.product_id for item in items})
    serials = {product.serial for product in products.values()}
    return {
        item.label: PRODUCT_GONE.fault() for item in items if item.product_serial not in serials
    }


def delete_images(catalog: Catalog, labels: Sequence[int]) -> None:
    """Delete images: from then on no search returns them, and no stage works on them.

    Raises PyMongoError only if they could not be flagged. A later fault is logged, and the sweep
    releases what they hold.
    """
    if labels:
        catalog.images.delete(labels)
        with follow_up("delete_image"):
            release_images(catalog, labels)


def delete_images_of(catalog: Catalog, product: ProductRow) -> list[int]:
    """Flag the images of a flagged product; return the labels of those not flagged before."""
    images = catalog.images.of_product(product.serial)
    alive = [image.label for image in images if image.deleted_at is None]
    catalog.images.delete(alive)
    return alive


def release_images(catalog: Catalog, labels: Sequence[int]) -> None:
    """Release what the dead images among `labels` hold.

    Idempotent. Images that are not dead keep what they hold, since a late worker may name them.
    """
    images = [image for image in catalog.images.find(labels).values() if image.is_dead]
    if not images:
        return
    dead = [image.label for image in images]
    _release_names(catalog, images)
    catalog.contents.release_all(dead)
    catalog.payloads.remove(dead)
    _count_off(catalog, images)


def remove_dead(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    """Remove the rows of dead images, and everything that is stored under their labels.

    The rows are removed last, so that the sweep repeats a removal that was cut off.
    """
    if not images:
        return
    _keep_outcomes(catalog, images)
    _release_names(catalog, images)
    remove_traces(catalog, [image.label for image in images])
    _count_off(catalog, images)
    catalog.images.remove_as_read(images)


def _keep_outcomes(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    """Copy the outcomes of images into their unfinished tasks, before the rows are removed."""
    outcomes: dict[str, dict[int, str]] = {}
    for image in images:
        if image.task_id is not None and image.outcome is not None:
            outcomes.setdefault(image.task_id, {})[image.label] = image.outcome
    for task_id in catalog.tasks.unfinished(list(outcomes)):
        catalog.tasks.note_ended(task_id, outcomes[task_id])


def _release_names(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    catalog.names.release_each(
        [(name_key(image.generation, image.image_id), image.label) for image in images]
    )


def _count_off(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    """Free the slots of images in their products, and lower the counters by those freed here."""
    # If the collection is gone, its products are removed too, and nothing counts their slots.
    alive = {
        generation: collection
        for generation, collection in {(image.generation, image.collection) for image in images}
        if catalog.collections.is_alive(collection, generation)
    }
    wanted: dict[tuple[str, str], list[int]] = {}
    for image in images:
        if image.generation in alive:
            wanted.setdefault((image.generation, image.product_id), []).append(image.label)
    held = catalog.products.held_places(wanted)
    for generation in {generation for generation, _ in held}:
        # First, in case this process dies between freeing the slots and counting them.
        catalog.collections.ask_recount(alive[generation], generation)
    freed: Counter[str] = Counter()
    for (generation, product_id), labels in held.items():
        freed[generation] += catalog.products.release_places(generation, product_id, labels)
    for generation, count in freed.items():
        if count:
            catalog.collections.add_images(alive[generation], generation, -count)


def clear_ended(catalog: Catalog, labels: Sequence[int]) -> list[int]:
    """Remove what a late worker wrote for images that had ended, and return their labels.

    A worker that lost its lease calls this, since it may have written after they ended.
    """
    images = catalog.images.find(labels)
    ended = [label for label in labels if label not in images or images[label].is_dead]
    if ended:
        release_images(catalog, ended)
        remove_traces(catalog, ended)
    return ended


def remove_traces(catalog: Catalog, labels: Sequence[int]) -> None:
    """Remove everything but the rows that is stored under labels: blobs, claims on bytes, losses.

    The images must not be findable any more.
    """
    catalog.contents.release_all(labels)
    catalog.payloads.remove(labels)
    catalog.vectors.remove(labels)
    catalog.losses.remove(labels)
    catalog.pictures.remove(labels)
    catalog.local_features.remove(labels)


def delete_product(catalog: Catalog, product: ProductRow) -> list[int]:
    """Delete a flagged product with its images; return the labels of those flagged by this call."""
    labels = delete_images_of(catalog, product)
    end_product(catalog, product)
    return labels


def end_product(catalog: Catalog, product: ProductRow) -> None:
    """Remove a flagged product whose images are flagged, and lower its collection's counters."""
    # All of its images: a call that was cut off may have flagged some without releasing them.
    release_images(catalog, [image.label for image in catalog.images.of_product(product.serial)])
    removed = catalog.products.end_deletion(product)
    if removed is not None:
        catalog.collections.add_products(product.collection, product.generation, -1)
        # Slots of submissions that have not written their images yet.
        catalog.collections.add_images(product.collection, product.generation, -removed.image_count)


def delete_collection(catalog: Catalog, collection: CollectionRow) -> None:
    """Delete a collection: its row now, everything below it in the background.

    Raises PyMongoError only if its row could not be removed. A later fault is logged, and the
    purge gives back its name.
    """
    catalog.purges.begin(collection.generation, collection.key)
    catalog.collections.remove(collection.key, collection.generation)
    with follow_up("delete_collection"):
        catalog.collections.forget_name(collection.key)


def purge_piece(catalog: Catalog, purge: Purge, rows: int) -> bool:
    """Remove at most `rows` images and products of a generation; return whether there were any."""
    images = catalog.images.of_generation(purge.generation, rows)
    labels = [image.label for image in images]
    if labels:
        # Flagged first, so that a stage that reads them now stops.
        catalog.images.delete(labels)
        remove_dead(catalog, images)
    products = catalog.products.of_generation(purge.generation, rows)
    if products:
        catalog.products.remove(products)
    return bool(labels or products)
