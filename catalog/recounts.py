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
    """Recount at most `limit` collections that changed a while ago; give those put right."""
    wrong = []
    for collection in catalog.collections.due_for_recount(limit):
        products, images = catalog.products.count(collection.generation)
        if not catalog.collections.set_counts(collection, products, images):
            # Something was counted meanwhile, and that put the recount off.
            continue
        if (products, images) != (collection.product_count, collection.image_count):
            wrong.append(Recount(collection, products, images))
    return wrong
