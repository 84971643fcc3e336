"""Changes of the model in the background: the next steps for a collection.

The sweep drives every change, and so does the end of each of its chunks; two at once do no harm.
Only a few chunks are under way at a time, behind those that wait for the vision workers already, so
that neither submissions nor searches wait for a change.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import structlog

from broker.messages import send_chunks, send_retire, send_switch
from catalog.flows.reembedding import clear_page, cut_off
from catalog.rows.changes import END, Change, ChangeState
from catalog.rows.chunks import Chunk, Item, Stage
from catalog.rows.images import ImageRow
from config.settings import settings
from workers.support.resources import catalog

log = structlog.get_logger(__name__)

#: Chunks of a change that are under way at once, as long as products are small.
CHUNKS_AT_ONCE = 4

#: Pages of products that one call handles at most, so that other changes get their turn.
PAGES = 40


def advance_change(change: Change) -> None:
    """Do the next steps of a change, as far as they can be done now."""
    following: Change | None = change
    for _ in range(PAGES):
        match following:
            case Change(state=ChangeState.RUNNING):
                following = _embed_more(following)
            case Change(state=ChangeState.SWITCHED | ChangeState.CANCELLED):
                following = _clear_more(following)
            case _:
                return


def continue_change(collection: str, generation: str) -> None:
    """Do the next steps of a change whose chunk ended, without waiting for the sweep."""
    change = catalog().changes.find(collection, generation)
    if change is not None and change.state is ChangeState.RUNNING:
        advance_change(change)


def _embed_more(change: Change) -> Change | None:
    """Send the next chunks if few are under way; return None if nothing is left to do now."""
    under_way = len(catalog().chunks.of_change(change.generation, CHUNKS_AT_ONCE))
    if change.place == END:
        if not under_way:
            send_switch(change.collection, change.generation)
        return None
    wanted = CHUNKS_AT_ONCE - under_way
    if wanted < CHUNKS_AT_ONCE / 2:
        return None
    piece = cut_off(catalog(), change, wanted * settings().chunk_images)
    advanced = catalog().changes.advance(change, piece.place, piece.seen)
    if advanced is not None:
        chunks = [
            catalog().chunks.as_sent(
                _chunk(change, piece.images[start : start + settings().chunk_images])
            )
            for start in range(0, len(piece.images), settings().chunk_images)
        ]
        # If interrupted here, the index finds the images missing later, and all are looked at
        # again.
        catalog().chunks.insert(chunks)
        send_chunks(catalog(), chunks)
    return advanced


def _chunk(change: Change, images: Sequence[ImageRow]) -> Chunk:
    return Chunk(
        id=f"change-{uuid.uuid4().hex}",
        task_id=f"{change.collection}/model {change.target}",
        collection=change.collection,
        generation=change.generation,
        items=tuple(
            Item(
                label=image.label,
                product_id=image.product_id,
                product_serial=image.product_serial,
                image_id=image.image_id,
            )
            for image in images
        ),
        stage=Stage.VISION,
        model_id=change.target,
    )


def _clear_more(change: Change) -> Change | None:
    if change.place == END:
        send_retire(change.collection, change.generation)
        return None
    return catalog().changes.advance(change, clear_page(catalog(), change), 0)
