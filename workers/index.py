"""The index stage and the answers to neighbour queries: the one process that owns the shards.

Its pool is threads, where Celery's time and memory limits do not work; so each piece
of work here is small.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery.signals import worker_init

from catalog.chunks import Chunk, Stage
from catalog.claims import name_key
from catalog.endings import fail_images, vanished
from config.settings import settings
from contract.errors import InsertImageError, NoRelativeImage
from indexer.ownership import DirectoryOwnership, IndexDirectoryOwned
from workers.broker import NEIGHBOURS, REMOVE, app, task_name
from workers.catalog_index import CatalogIndex
from workers.endings import conclude
from workers.neighbours import answer_neighbours
from workers.resources import catalog
from workers.stage import run_stage

log = structlog.get_logger(__name__)

#: The shards of this process.
shards = CatalogIndex(catalog, settings().shard_capacity)


@worker_init.connect
def _load(**_: Any) -> None:
    """Own the index directory and build the shards before any message is taken."""
    try:
        ownership = DirectoryOwnership(settings().data_dir / "index")
    except IndexDirectoryOwned as error:
        raise SystemExit(f"snapsku: {error}") from error
    log.info("index built", vectors=shards.build(), directory=str(ownership.directory))


@app.task(name=task_name(Stage.INDEX))
def index(chunk_id: str, attempt: int) -> None:
    """Make the images of a chunk findable, and end the chunk."""
    run_stage(Stage.INDEX, chunk_id, attempt, _work)


def _work(chunk: Chunk) -> None:
    images = catalog().images.find(chunk.labels)
    faults = vanished(catalog(), chunk.collection, chunk.generation, chunk.items)
    ready = [row for label, row in images.items() if row.is_open and label not in faults]
    for label in shards.add(ready):
        log.error("an image reached the index without a feature", label=label)
        faults[label] = InsertImageError
    fail_images(catalog(), {label: fault for label, fault in faults.items() if label in images})
    catalog().images.succeed([row.label for row in ready if row.label not in faults])
    catalog().payloads.remove(chunk.labels)

    # Whoever deletes writes first and looks after, and so does this stage: one of the
    # two sees the other.
    images = catalog().images.find(chunk.labels)
    dead = [row for row in images.values() if not row.is_findable]
    shards.remove(dead)
    _clear([row.label for row in dead])
    deleted = {row.label: NoRelativeImage for row in dead if row.outcome is None}
    fail_images(catalog(), deleted)
    lost = [item for item in chunk.items if item.label not in images]
    # Their submission died before it wrote them, and before anybody was promised anything.
    catalog().names.release(
        {name_key(chunk.generation, item.image_id): item.label for item in lost}
    )
    conclude(catalog(), chunk)


@app.task(name=REMOVE)
def remove(labels: list[int]) -> None:
    """Clear index and blobs of images that were deleted or failed."""
    images = catalog().images.find(labels)
    dead = [row for row in images.values() if not row.is_findable]
    shards.remove(dead)
    _clear([row.label for row in dead])
    catalog().images.end_purge([row.label for row in dead])


def _clear(labels: list[int]) -> None:
    if labels:
        catalog().vectors.remove(labels)
        catalog().pictures.remove(labels)


@app.task(name=task_name(NEIGHBOURS))
def neighbours(query_id: str, generation: str, category: str | None, k: int) -> None:
    """Answer which images are nearest to the vectors left under `query_id`."""
    answer_neighbours(shards, query_id, generation, category, k)
