"""Interrupted deletions, images that the index has not confirmed, and purges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog

from broker.availability import UNREACHABLE
from broker.celery_app import app
from broker.messages import send_drop, send_refresh
from broker.queues import DELETIONS
from broker.redis_connection import redis_client
from catalog.database.connection import now
from catalog.flows.removal import delete_product, purge_piece, release_images
from catalog.rows.chunks import Stage
from catalog.rows.images import ImageRow
from catalog.rows.products import ProductRow
from catalog.rows.purges import Purge
from config.settings import settings
from workers.support.resources import catalog
from workers.sweeps.step import ROWS, Share, Step, take_steps, turn

log = structlog.get_logger(__name__)

#: Images and products that are removed between two checks of the time.
PURGE_ROWS = 500

#: Messages in the queue of the index beyond which no more are sent.
MANY_MESSAGES = 100

#: Images that one message asks the index to look at.
REFRESH_ROWS = 100


@app.task(name=DELETIONS)
def end_deletions() -> None:
    """Complete interrupted deletions, and remove what deleted collections left."""
    take_steps(STEPS, settings().sweep_seconds)


def _end_products(share: Share) -> None:
    interrupted = now() - timedelta(seconds=settings().lease_seconds)

    def end(products: Sequence[ProductRow]) -> None:
        for product in products:
            send_refresh(delete_product(catalog(), product))

    share.go_through(
        partial(catalog().products.unfinished_deletions, interrupted), lambda row: row.serial, end
    )


def _ask_index(share: Share) -> None:
    """Ask the index again about images that it has not confirmed."""

    def ask(images: Sequence[ImageRow]) -> None:
        # A deletion that was interrupted after its first write did not release their claims.
        release_images(catalog(), [row.label for row in images if row.deleted_at is not None])
        labels = [row.label for row in images]
        catalog().images.ask_index(labels)
        send_refresh(labels)

    at = now()

    def due(limit: int) -> list[ImageRow]:
        # Behind a long queue these messages would only wait, and be sent once more meanwhile.
        if redis_client().llen(Stage.INDEX.value) > MANY_MESSAGES:
            return []
        return catalog().images.waiting_for_index(at, limit)

    share.go_through(
        due,
        lambda row: row.label,
        ask,
        at_once=REFRESH_ROWS,
    )


def _purge(share: Share) -> None:
    """Remove what deleted collections left, a piece of each in turn."""
    while True:
        due = catalog().purges.due(ROWS)
        fresh = [purge for purge in due if purge.generation not in share.seen]
        if not due:
            return
        if not fresh:
            share.seen.clear()
            fresh = due
        has_progress = False
        for purge in fresh:
            share.seen.add(purge.generation)
            try:
                has_progress |= _purge_one(purge)
            except UNREACHABLE:
                raise
            except Exception:
                log.exception("a row could not be handled", row=purge.generation)
                catalog().purges.put_off(purge)
            if not share.goes_on():
                return
        if not has_progress:
            return


def _purge_one(purge: Purge) -> bool:
    """Remove a piece of what a deleted collection left; return whether there was one.

    False if another process has the turn of this purge, too.
    """
    name = f"purge {purge.generation}"
    with turn(name, Share(name)) as is_mine:
        if not is_mine:
            return False
        if catalog().collections.is_alive(purge.collection, purge.generation):
            # Its deletion is between its two writes, or was interrupted there, and the collection
            # stays.
            catalog().purges.found_nothing(purge)
            return False
        send_drop(purge.generation)
        if purge_piece(catalog(), purge, PURGE_ROWS):
            return True
        if catalog().purges.found_nothing(purge):
            catalog().collections.forget_name(purge.collection)
            log.info("collection removed", collection=purge.collection, generation=purge.generation)
        return False


STEPS = (
    Step("products", _end_products),
    Step("images for the index", _ask_index),
    Step("purges", _purge),
)
