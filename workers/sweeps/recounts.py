"""Recounts: compare the counters of collections with their rows."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from broker.celery_app import app
from broker.queues import RECOUNTS
from catalog.flows.recount import recount_one
from catalog.rows.counters import Counted
from config.settings import settings
from workers.support.resources import catalog
from workers.sweeps.step import Share, Step, take_steps

log = structlog.get_logger(__name__)


@app.task(name=RECOUNTS)
def recount_collections() -> None:
    """Recount the collections whose last change is long enough ago."""
    take_steps(STEPS, settings().sweep_seconds)


def _recount(share: Share) -> None:
    def recount(collections: Sequence[Counted]) -> None:
        for counted in collections:
            found = recount_one(catalog(), counted)
            if found is not None:
                log.warning(
                    "counters corrected",
                    collection=counted.key,
                    products=(counted.products, found.products),
                    images=(counted.images, found.images),
                )

    share.go_through(catalog().counters.due, lambda counted: counted.key, recount)


STEPS = (Step("recounts", _recount),)
