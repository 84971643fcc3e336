"""Recounts: the counters of collections are compared with what is there."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from catalog.collections import CollectionRow
from catalog.recounts import recount_one
from config.settings import settings
from workers.broker import RECOUNTS, app
from workers.resources import catalog
from workers.sweeps.step import Share, Step, take_steps

log = structlog.get_logger(__name__)


@app.task(name=RECOUNTS)
def recount_collections() -> None:
    """Recount the collections that changed a while ago."""
    take_steps(STEPS, settings().sweep_seconds)


def _recount(share: Share) -> None:
    def recount(collections: Sequence[CollectionRow]) -> None:
        for collection in collections:
            found = recount_one(catalog(), collection)
            if found is not None:
                log.warning(
                    "counters put right",
                    collection=collection.key,
                    products=(collection.product_count, found.products),
                    images=(collection.image_count, found.images),
                )

    share.go_through(
        catalog().collections.due_for_recount, lambda collection: collection.key, recount
    )


STEPS = (Step("recounts", _recount),)
