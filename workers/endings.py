"""The end of a chunk: every image of it has an outcome, in the rows and as Celery's result."""

from __future__ import annotations

from catalog.chunks import Chunk
from catalog.store import Catalog
from contract.errors import InsertImageError
from workers.results import Outcome, store_outcomes


def conclude(catalog: Catalog, chunk: Chunk) -> None:
    """End a chunk all of whose images have an outcome, unless somebody else has its lease."""
    images = catalog.images.find(chunk.labels)
    outcomes = [
        Outcome(
            item.label,
            item.product_id,
            item.image_id,
            (item.label in images and images[item.label].outcome) or InsertImageError.message,
        )
        for item in chunk.items
    ]
    if catalog.chunks.finish(chunk, [outcome.outcome for outcome in outcomes]):
        store_outcomes(chunk.id, outcomes)
