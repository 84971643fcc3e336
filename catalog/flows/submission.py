"""Submitting images: names, slots, rows and chunks, all durable before a task id is returned.

A submission is written first, with all that is needed to undo the rest; it becomes a task by one
compare-and-set when everything else is written. So a crash between any two of the writes leaves
nothing behind: the sweep rolls back what was not opened in time. An image whose product was
deleted meanwhile is failed here or, at the latest, by the index stage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from catalog.database.connection import Row
from catalog.flows.claiming import take_names
from catalog.flows.removal import fail_images, remove_traces, vanished
from catalog.rows.chunks import Chunk, Item, Stage, State
from catalog.rows.claims import name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow, image_limit
from catalog.rows.tasks import Submission, TaskRow
from catalog.store import Catalog
from contract.errors import (
    ContractError,
    ImageNumExceedPerProductLimit,
    NotExistingProduct,
    RepeatImageNameInDb,
)


class SubmissionCutOffError(Exception):
    """A submission took so long that it was taken for cut off; it was undone."""


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """A valid image of an add_image call, with either a URL or the decoded bytes of its Base64."""

    product_id: str
    image_id: str
    image_info: str
    url: str | None
    payload: bytes | None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The images of a call whose submission has begun, by their positions in the call."""

    submission: Submission
    collection: CollectionRow
    images: Mapping[int, NewImage]
    labels: Mapping[int, int]
    products: Mapping[str, ProductRow]  #: by product_id, as read when the call was checked


@dataclass(frozen=True, kw_only=True)
class Written:
    """The result of `write`, by the positions of the images in the call."""

    items: Mapping[int, Item]
    chunks: list[Chunk]
    refused: dict[int, type[ContractError]]
    payload_bytes: int


def begin(
    catalog: Catalog,
    collection: CollectionRow,
    images: Mapping[int, NewImage],
    products: Mapping[str, ProductRow],
) -> Draft:
    """Write the submission of a call's images, given by position, and return its draft.

    `products` are their products, by product_id.
    """
    labels = dict(zip(images, catalog.numbers.reserve(len(images)), strict=True))
    submission = catalog.tasks.begin(
        collection.user,
        collection.key,
        collection.generation,
        [
            (labels[p], name_key(collection.generation, image.image_id), image.product_id)
            for p, image in images.items()
        ],
    )
    return Draft(
        submission=submission,
        collection=collection,
        images=images,
        labels=labels,
        products=products,
    )


def write(catalog: Catalog, draft: Draft, *, images_per_product: int, chunk_images: int) -> Written:
    """Write the rows and chunks of the images of a draft that get a name and a slot.

    The others are in `refused`. `images_per_product`, 0 for the largest limit, is never exceeded
    by concurrent calls. A chunk has at most `chunk_images` images.
    """
    refused = _take_names(catalog, draft)
    refused |= _take_slots(catalog, draft, refused, image_limit(images_per_product))
    taken = {p: image for p, image in draft.images.items() if p not in refused}
    items = {
        position: Item(
            label=draft.labels[position],
            product_id=image.product_id,
            product_serial=draft.products[image.product_id].serial,
            image_id=image.image_id,
        )
        for position, image in taken.items()
    }
    chunks = _cut(catalog, draft, taken, items, size=chunk_images)
    if taken:
        catalog.chunks.insert(chunks)
        _write_images(catalog, draft, taken, items)
    size = sum(len(image.payload) for image in taken.values() if image.payload is not None)
    return Written(items=items, chunks=chunks, refused=refused, payload_bytes=size)


def undecided(catalog: Catalog, draft: Draft, refused: Collection[int]) -> set[int]:
    """Return the refused positions whose name is free by now, or held by an unopened submission.

    That submission may still be undone, and then the name is free again.
    """
    names = {p: name_key(draft.collection.generation, draft.images[p].image_id) for p in refused}
    holders = catalog.names.holders(list(names.values()))
    under_way = {
        label for submission in catalog.tasks.unopened() for label, _, _ in submission.images
    }
    return {p for p, name in names.items() if name not in holders or holders[name] in under_way}


def open_task(
    catalog: Catalog, draft: Draft, written: Written, refusals: Sequence[Row] = ()
) -> TaskRow:
    """Make a task of what was written: from then on every image of it gets an outcome.

    `refusals` are the answers to the client about the other images. The caller marks the chunks
    as sent and sends them; if that fails, the sweep does it after the time of the submission.
    Raises SubmissionCutOffError if the submission was taken back meanwhile.
    """
    task = catalog.tasks.open(
        draft.submission,
        chunk_ids=[chunk.id for chunk in written.chunks],
        image_count=len(written.items),
        payload_bytes=written.payload_bytes,
        refusals=refusals,
    )
    if task is None:
        _undo(catalog, draft.submission)
        raise SubmissionCutOffError(draft.submission.task_id)
    return task


def fail_vanished(catalog: Catalog, draft: Draft, written: Written) -> None:
    """Fail images of a new task whose product or collection was deleted since the call was checked.

    A deletion flags first and reads images afterwards; a submission writes images first and
    reads products afterwards. So one of the two sees the other. Changes of a product are copied
    by the index stage.
    """
    key, generation = draft.collection.key, draft.collection.generation
    gone = vanished(catalog, key, generation, list(written.items.values()))
    fail_images(catalog, gone, Stage.FETCH)


def abandon(catalog: Catalog, submission: Submission) -> TaskRow | None:
    """Undo a submission that failed; called by the call that wrote it.

    Return None if it was undone, also if the sweep had undone it before some of the writes.
    Return the task, with nothing undone, if it was opened: the answer to that write may have
    been lost.
    """
    if catalog.tasks.take_back(submission) is None:
        task = catalog.tasks.find(submission.task_id)
        if task is not None:
            return task
    _undo(catalog, submission)
    return None


def roll_back(catalog: Catalog, submission: Submission) -> bool:
    """Undo a submission unless it was opened; return whether this call undid it. Idempotent."""
    taken_back = catalog.tasks.take_back(submission)
    if taken_back is None:
        return False
    _undo(catalog, taken_back)
    return True


def drop_orphan(catalog: Catalog, chunk: Chunk) -> None:
    """Remove a chunk whose task does not exist, with everything that its images hold.

    A call wrote it after its submission had been undone, and died before it undid that, too. An
    image with an outcome belonged to a task that was removed since, and keeps what it has.
    """
    images = catalog.images.find(chunk.labels)
    orphans = [
        (item.label, name_key(chunk.generation, item.image_id), item.product_id)
        for item in chunk.items
        if item.label not in images or images[item.label].outcome is None
    ]
    _remove_images(catalog, chunk.collection, chunk.generation, orphans)
    # Last, so that the sweep repeats a removal that was cut off.
    catalog.chunks.remove([chunk.id])


def _undo(catalog: Catalog, submission: Submission) -> None:
    """Remove everything that a submission may have written, its own row last."""
    # The id of a chunk has the label of one of its images.
    catalog.chunks.remove([_chunk_id(catalog, label) for label, _, _ in submission.images])
    _remove_images(catalog, submission.collection, submission.generation, submission.images)
    catalog.tasks.remove(submission.task_id)


def _remove_images(
    catalog: Catalog, collection: str, generation: str, images: Sequence[tuple[int, str, str]]
) -> None:
    """Remove images that no task names; each is (label, key of its name claim, product_id)."""
    labels = [label for label, _, _ in images]
    catalog.images.remove(labels)
    remove_traces(catalog, labels)
    catalog.names.release({name: label for label, name, _ in images})
    held: dict[str, list[int]] = {}
    for label, _, product_id in images:
        held.setdefault(product_id, []).append(label)
    catalog.products.leave_places(generation, held)
    catalog.collections.ask_recount(collection, generation)


def _take_names(catalog: Catalog, draft: Draft) -> dict[int, type[ContractError]]:
    """Claim the name of each image; return the faults of those whose name is taken."""
    names = {
        position: name_key(draft.collection.generation, image.image_id)
        for position, image in draft.images.items()
    }
    lost = take_names(catalog, {name: draft.labels[p] for p, name in names.items()})
    return {p: RepeatImageNameInDb for p, name in names.items() if name in lost}


def _take_slots(
    catalog: Catalog, draft: Draft, refused: Mapping[int, type[ContractError]], limit: int
) -> dict[int, type[ContractError]]:
    """Take slots in their products for images; return the faults of those that get none.

    Those also lose their names again.
    """
    collection = draft.collection
    images = {p: image for p, image in draft.images.items() if p not in refused}
    if not images:
        return {}
    wanted = _labels_by_product(draft, images)
    catalog.collections.add_images(collection.key, collection.generation, len(images))
    current = catalog.products.take_places(collection.generation, wanted)
    # The order of the labels includes images of concurrent calls.
    slots = {
        label: number for product in current.values() for number, label in enumerate(product.places)
    }
    faults: dict[int, type[ContractError]] = {}
    for position, image in images.items():
        product = current.get(image.product_id)
        if product is None or product.serial != draft.products[image.product_id].serial:
            faults[position] = NotExistingProduct
        elif slots[draft.labels[position]] >= limit:
            faults[position] = ImageNumExceedPerProductLimit
    if faults:
        without = {p: images[p] for p in faults}
        catalog.products.leave_places(collection.generation, _labels_by_product(draft, without))
        catalog.collections.add_images(collection.key, collection.generation, -len(faults))
        catalog.names.release(
            {
                name_key(collection.generation, image.image_id): draft.labels[p]
                for p, image in without.items()
            }
        )
    return faults


def _labels_by_product(draft: Draft, images: Mapping[int, NewImage]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = {}
    for position, image in images.items():
        labels.setdefault(image.product_id, []).append(draft.labels[position])
    return labels


def _write_images(
    catalog: Catalog, draft: Draft, images: Mapping[int, NewImage], items: Mapping[int, Item]
) -> None:
    """Write the payloads of images that came as Base64, and the row of every image."""
    collection, products = draft.collection, draft.products
    catalog.payloads.put(
        {items[p].label: image.payload for p, image in images.items() if image.payload is not None}
    )
    catalog.images.insert(
        [
            ImageRow(
                label=items[position].label,
                collection=collection.key,
                generation=collection.generation,
                product_serial=items[position].product_serial,
                **products[image.product_id].product_fields(),
                product_version=products[image.product_id].version,
                image_id=image.image_id,
                image_info=image.image_info,
                url=image.url,
                task_id=draft.submission.task_id,
            )
            for position, image in images.items()
        ]
    )


def _cut(
    catalog: Catalog,
    draft: Draft,
    images: Mapping[int, NewImage],
    items: Mapping[int, Item],
    size: int,
) -> list[Chunk]:
    """Return the chunks of a task; images that came as Base64 start at the vision stage."""
    by_stage = {
        Stage.VISION: [items[p] for p, image in images.items() if image.url is None],
        Stage.FETCH: [items[p] for p, image in images.items() if image.url is not None],
    }
    return [
        Chunk(
            id=_chunk_id(catalog, staged[start].label),
            task_id=draft.submission.task_id,
            collection=draft.collection.key,
            generation=draft.collection.generation,
            items=tuple(staged[start : start + size]),
            stage=stage,
            state=State.WAITING,
            # Not due earlier, since the submission may still be rolled back until then.
            due_at=draft.submission.due_at,
        )
        for stage, staged in by_stage.items()
        for start in range(0, len(staged), size)
    ]


def _chunk_id(catalog: Catalog, label: int) -> str:
    return f"chunk-{catalog.identity.get()}-{label}"
