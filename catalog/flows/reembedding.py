"""Which images are still to be embedded for a change of the model of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catalog.rows.changes import END, Change
from catalog.rows.chunks import Chunk
from catalog.rows.images import ImageRow
from catalog.rows.products import place_of
from catalog.store import Catalog

#: Products read at a time, each with some dozen images at most.
PRODUCT_PAGE = 50


def to_embed_anew(catalog: Catalog, chunk: Chunk) -> dict[int, ImageRow]:
    """Return the findable images of a chunk that lack a vector of its model, by label.

    Lost images are left out. Return an empty dict if the collection is gone or does not need
    that model any more.
    """
    collection = catalog.collections.of_generation(chunk.collection, chunk.generation)
    if collection is None or chunk.model_id not in collection.models:
        return {}
    images = catalog.images.find(chunk.labels)
    findable = [label for label, image in images.items() if image.is_findable]
    done = catalog.vectors.present(findable, [chunk.model_id])
    done |= catalog.losses.among(findable, chunk.model_id)
    return {label: images[label] for label in findable if label not in done}


def pages_of_images(catalog: Catalog, generation: str) -> Iterator[list[ImageRow]]:
    """Yield, page by page, the findable images of all products of a generation.

    Products that are added meanwhile come too, since pages follow the order of creation.
    """
    place: str | None = ""
    while place is not None:
        page = catalog.products.page(generation, place, PRODUCT_PAGE)
        labels = [label for product in page.rows for label in product.places]
        rows = catalog.images.find(labels)
        yield [row for row in rows.values() if row.is_findable]
        place = page.next


@dataclass(frozen=True)
class Piece:
    """A part of the images of a collection, in the order of its products."""

    images: list[ImageRow]  #: those that lack a vector of the target
    seen: int  #: how many images were looked at
    place: str  #: the cursor of the next piece, END after the last


def cut_off(catalog: Catalog, change: Change, images: int) -> Piece:
    """Return the next piece of a change, at most PRODUCT_PAGE products.

    It ends with the product that reaches `images` images. Pending images are left out, since
    their own chunk makes both vectors. Removes the vectors of models other than the two of the
    change.
    """
    page = catalog.products.page(change.generation, change.place, PRODUCT_PAGE)
    labels: list[int] = []
    place = page.next or END
    for product in page.rows:
        labels += product.places
        if len(labels) >= images:
            place = place_of(product) if product is not page.rows[-1] else place
            break
    catalog.vectors.keep_only(labels, {change.source, change.target})
    rows = [row for row in catalog.images.find(labels).values() if row.is_findable]
    done = catalog.vectors.present(labels, [change.target])
    done |= catalog.losses.among(labels, change.target)
    return Piece([row for row in rows if row.label not in done], len(labels), place)


def clear_page(catalog: Catalog, change: Change) -> str:
    """Remove the vectors of the model that a change leaves, for a page of products.

    Return the cursor of the next page, END after the last.
    """
    page = catalog.products.page(change.generation, change.place, PRODUCT_PAGE)
    labels = [label for product in page.rows for label in product.places]
    # A pending image may have no other vector yet; the index stage removes the one it loses.
    rows = catalog.images.find(labels)
    ended = [label for label in labels if label not in rows or not rows[label].is_open]
    catalog.vectors.keep_only(ended, {change.source, change.target} - {change.leaving})
    return page.next or END


def give_up(catalog: Catalog, chunk: Chunk, reason: str) -> None:
    """Note the images of a chunk that lack a vector as lost for its model; remove the chunk."""
    lost = to_embed_anew(catalog, chunk)
    if chunk.model_id is not None:
        catalog.losses.put(chunk.generation, chunk.model_id, dict.fromkeys(lost, reason))
    catalog.chunks.remove_held(chunk)
