"""Recounting the counters of a collection."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.rows.counters import Counted
from catalog.store import Catalog


@dataclass(frozen=True)
class Recount:
    """Counters that were corrected: their old values, and the new ones."""

    counted: Counted
    products: int
    images: int


def recount_one(catalog: Catalog, counted: Counted) -> Recount | None:
    """Recount a collection if nothing is under way, or if it has not paused for too long.

    Return the correction; None if the counters were right, or if that is not known yet.
    """
    if catalog.counters.is_quiet(counted):
        products, images = catalog.products.count(counted.generation)
        if not catalog.counters.settle(counted, products, images):
            return None
    elif catalog.counters.is_late(counted):
        products, images = catalog.products.count(counted.generation)
        after = catalog.counters.find(counted.key, counted.generation)
        if after is None:
            return None
        # Changes between the two reads may or may not be in the count.
        excess = (
            max(counted.products, after.products) - products,
            max(counted.images, after.images) - images,
        )
        taken_off = catalog.counters.note_excess(counted, excess)
        if taken_off is None:
            return None
        products, images = counted.products - taken_off[0], counted.images - taken_off[1]
    else:
        catalog.counters.await_quiet(counted)
        return None
    if (products, images) == (counted.products, counted.images):
        return None
    return Recount(counted, products, images)
