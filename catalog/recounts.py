"""Counting anew what the counters of a collection say."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.collections import CollectionRow
from catalog.store import Catalog


@dataclass(frozen=True)
class Recount:
    """Counters that were wrong: what they said, and what was counted."""

    collection: CollectionRow
    products: int
    images: int


def recount(catalog: Catalog, limit: int) -> list[Recount]:
    """Recount at most `limit` collections that changed a while ago; return those put right."""
    due = catalog.collections.due_for_recount(limit)
    found = [recount_one(catalog, collection) for collection in due]
    return [wrong for wrong in found if wrong is not None]


def recount_one(catalog: Catalog, collection: CollectionRow) -> Recount | None:
    """Recount a collection; return what was wrong, None if nothing was.

    Nothing is written where something was counted meanwhile, for that put the recount off.
    """
    products, images = catalog.products.count(collection.generation)
    if not catalog.collections.set_counts(collection, products, images):
        return None
    if (products, images) == (collection.product_count, collection.image_count):
        return None
    return Recount(collection, products, images)
