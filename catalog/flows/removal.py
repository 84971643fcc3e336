"""How an image ends badly, and what it gives back when it does.

An image that failed or was deleted gives back its name, the claim on its bytes,
its place among the images of its product, and the payload that still waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from catalog.flows.follow_up import follow_up
from catalog.rows.chunks import Item
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow
from catalog.rows.purges import Purge
from catalog.store import Catalog
from contract.errors import ContractError, NoRelativeCollection, NotExistingProduct


def fail_images(catalog: Catalog, faults: Mapping[int, type[ContractError]]) -> None:
    """End images with the message of their fault, by label, and let them give back.

    One that ended otherwise before stays as it is, and keeps what it holds.
    """
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
    """Return the labels whose collection or product is not there any more, and which of the two.

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
    """Delete images: from here on no search answers them, and no stage works on them.

    Once they are flagged no fault is raised; the sweep releases what is not yet.
    """
    if labels:
        catalog.images.delete(labels)
        with follow_up("delete_image"):
            release_images(catalog, labels)


def delete_images_of(catalog: Catalog, product: ProductRow) -> list[int]:
    """Flag the images of a flagged product; return the labels of those that were not yet."""
    images = catalog.images.of_product(product.serial)
    alive = [image.label for image in images if image.deleted_at is None]
    catalog.images.delete(alive)
    return alive


def release_images(catalog: Catalog, labels: Sequence[int]) -> None:
    """Let those among `labels` that ended badly or were deleted give back what they hold.

    Twice is as good as once. A worker that comes late may name others, which keep it.
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
    """Remove the rows of dead images, and all that is still under their labels.

    Their rows go last, so that a crash in between leaves them to be done again.
    """
    if not images:
        return
    _keep_outcomes(catalog, images)
    _release_names(catalog, images)
    remove_traces(catalog, [image.label for image in images])
    _count_off(catalog, images)
    catalog.images.remove_as_read(images)


def _keep_outcomes(catalog: Catalog, images: Sequence[ImageRow]) -> None:
    """Have tasks that go on tell how images ended whose rows go before their chunks are done."""
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
    # Where the collection is gone, its products go with it, and their places are counted no more.
    alive = {
        generation: collection
        for generation, collection in {(image.generation, image.collection) for image in images}
        if catalog.collections.is_alive(collection, generation)
    }
    wanted: dict[tuple[str, str], list[int]] = {}
    for image in images:
        if image.generation in alive:
            wanted.setdefault((image.generation, image.product_id), []).append(image.label)
    places = catalog.products.held_places(wanted)
    for generation in {generation for generation, _ in places}:
        # Before, for a process that dies between a place and its count.
        catalog.collections.ask_recount(alive[generation], generation)
    freed: Counter[str] = Counter()
    for (generation, product_id), labels in places.items():
        freed[generation] += catalog.products.release_places(generation, product_id, labels)
    for generation, count in freed.items():
        if count:
            catalog.collections.add_images(alive[generation], generation, -count)


def clear_ended(catalog: Catalog, labels: Sequence[int]) -> list[int]:
    """Remove what a worker that came too late wrote for images that had ended; give their labels.

    For whoever lost its lease: from then on it can't know what it wrote after the end.
    """
    images = catalog.images.find(labels)
    ended = [label for label in labels if label not in images or images[label].is_dead]
    if ended:
        release_images(catalog, ended)
        remove_traces(catalog, ended)
    return ended


def remove_traces(catalog: Catalog, labels: Sequence[int]) -> None:
    """Remove all that stands under labels of images that no search may find any more."""
    catalog.contents.release_all(labels)
    catalog.payloads.remove(labels)
    catalog.vectors.remove(labels)
    catalog.losses.remove(labels)
    catalog.pictures.remove(labels)


def delete_product(catalog: Catalog, product: ProductRow) -> list[int]:
    """Delete a flagged product to its end; return the labels of the images that were flagged."""
    labels = delete_images_of(catalog, product)
    end_product(catalog, product)
    return labels


def end_product(catalog: Catalog, product: ProductRow) -> None:
    """Remove a flagged product whose images are flagged, and count it off its collection."""
    # All of its images: a call that died left what it had flagged unreleased.
    release_images(catalog, [image.label for image in catalog.images.of_product(product.serial)])
    removed = catalog.products.end_deletion(product)
    if removed is not None:
        catalog.collections.add_products(product.collection, product.generation, -1)
        # A submission that took places and has not written its images yet.
        catalog.collections.add_images(product.collection, product.generation, -removed.image_count)


def delete_collection(catalog: Catalog, collection: CollectionRow) -> None:
    """Delete a collection: two rows now, everything below it in the background.

    Once its row is gone no fault is raised; its purge gives back its name as well.
    """
    catalog.purges.begin(collection.generation, collection.key)
    catalog.collections.remove(collection.key, collection.generation)
    with follow_up("delete_collection"):
        catalog.collections.forget_name(collection.key)


def purge_piece(catalog: Catalog, purge: Purge, rows: int) -> bool:
    """Remove at most `rows` images and products of a generation; tell whether any was left."""
    images = catalog.images.of_generation(purge.generation, rows)
    labels = [image.label for image in images]
    if labels:
        # Before, for a stage that looks at them now.
        catalog.images.delete(labels)
        remove_dead(catalog, images)
    products = catalog.products.of_generation(purge.generation, rows)
    if products:
        catalog.products.remove(products)
    return bool(labels or products)
