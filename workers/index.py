"""The index stage and the answers to neighbour queries: the one process that owns the shards.

Its pool is threads, where Celery's time and memory limits do not work; so each piece
of work here is small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery.signals import (
    celeryd_after_setup,
    worker_init,
    worker_shutdown,
    worker_shutting_down,
)
from redis.exceptions import RedisError

from catalog.chunks import Chunk, Stage
from catalog.claims import name_key
from catalog.endings import clear_ended, fail_images, release_images, remove_traces, vanished
from catalog.images import ImageRow
from config.settings import settings
from contract.errors import InsertImageError, NoRelativeImage
from indexer.keeper import Keeper, KeeperOptions
from indexer.ownership import DirectoryOwnership, IndexDirectoryOwned
from workers.broker import DROP, NEIGHBOURS, REFRESH, app, task_name
from workers.catalog_index import CatalogIndex
from workers.endings import conclude
from workers.index_health import HealthReporter, this_process
from workers.neighbours import answer_neighbours
from workers.resources import catalog, index_reports
from workers.stage import run_stage

log = structlog.get_logger(__name__)

#: A graceful stop saves what changed within about so many seconds.
STOP_SECONDS = 15.0

#: What is restored within this time is there before any message is taken; a search that
#: comes sooner than the rest is told to come again.
START_SECONDS = 2.0

_directory = settings().data_dir / "index"

#: The shards of this process.
shards = CatalogIndex(
    catalog,
    settings().shard_capacity,
    directory=_directory / "sets",
    memory_bytes=settings().index_memory_bytes,
)

_keeper = Keeper(
    shards.restore,
    KeeperOptions(
        snapshot_seconds=settings().snapshot_seconds,
        snapshot_changes=settings().snapshot_changes,
        deleted_share=settings().compaction_share,
        memory_bytes=settings().index_memory_bytes,
    ),
)

_reporter = HealthReporter(shards.health, index_reports, settings().stalled_seconds, this_process())


@worker_init.connect
def _own(**_: Any) -> None:
    """Own the index directory until the process ends."""
    # Celery goes on after a signal handler that failed, unless it is told to exit.
    try:
        DirectoryOwnership(_directory)
    except IndexDirectoryOwned as error:
        log.critical("not the only index process, worker stops", reason=str(error))
        _say(lambda: index_reports().refuse(this_process(), "another owns its directory"))
        raise SystemExit(1) from error
    except OSError as error:
        log.critical("index directory can't be used, worker stops", reason=str(error))
        raise SystemExit(1) from error
    _say(index_reports().accept)


def _say(report: Callable[[], None]) -> None:
    try:
        report()
    except RedisError as error:
        log.warning("health of the index not reported", fault=str(error))


@celeryd_after_setup.connect
def _begin(**_: Any) -> None:
    """Begin to restore the shards, after logging began and before any message is taken."""
    log.info("index begins", directory=str(_directory))
    _keeper.start()
    _reporter.start()
    _keeper.wait(START_SECONDS)


@worker_shutting_down.connect
def _hurry(**_: Any) -> None:
    """Let long work end, while the last messages are worked on."""
    _keeper.begin_stop()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    _reporter.stop()
    _keeper.stop(STOP_SECONDS)


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
    before, images = images, catalog().images.find(chunk.labels)
    dead = [row for row in images.values() if not row.is_findable]
    fail_images(catalog(), {row.label: NoRelativeImage for row in dead if row.outcome is None})
    # A stage that came late may have claimed something for an image that had ended before.
    release_images(catalog(), [row.label for row in dead])
    _clear(dead)
    # update_product may have come between the reads.
    moved = [row for n, row in images.items() if n in before and row.category != before[n].category]
    shards.refresh([row for row in moved if row.is_findable])
    lost = [item for item in chunk.items if item.label not in images]
    # Their submission died before it wrote them, and before anybody was promised anything.
    catalog().names.release(
        {name_key(chunk.generation, item.image_id): item.label for item in lost}
    )
    # What vision wrote after their collection was purged.
    clear_ended(catalog(), [item.label for item in lost])
    # They were there before, if the collection was deleted and its rows went meanwhile.
    faults |= vanished(catalog(), chunk.collection, chunk.generation, lost)
    conclude(catalog(), chunk, faults)


@app.task(name=REFRESH)
def refresh(labels: list[int]) -> None:
    """Make the index say of these images what their rows say: gone, or in this set."""
    images = catalog().images.find(labels)
    findable = [row for row in images.values() if row.is_findable]
    dead = [row for row in images.values() if row.is_dead]
    shards.refresh(findable)
    _clear(dead)
    catalog().images.index_is_right([row.label for row in (*findable, *dead)])
    # The rows of images that failed go with their task, which says why.
    catalog().images.let_go([row.label for row in dead if row.deleted_at is not None])


@app.task(name=DROP)
def drop(generation: str) -> None:
    """Forget the images of a collection that was deleted.

    A message of a time before a backup may name one that lives again.
    """
    purge = catalog().purges.find(generation)
    if purge is None or catalog().collections.is_alive(purge.collection, generation):
        log.info("generation is not to be dropped", generation=generation)
    elif shards.drop(generation):
        log.info("generation dropped", generation=generation)


def _clear(dead: list[ImageRow]) -> None:
    """Remove what index and blobs have of images that no search may find any more."""
    if dead:
        shards.remove(dead)
        remove_traces(catalog(), [row.label for row in dead])


@app.task(name=task_name(NEIGHBOURS))
def neighbours(query_id: str, generation: str, category: str | None, k: int) -> None:
    """Answer which images are nearest to the vectors left under `query_id`."""
    answer_neighbours(shards, query_id, generation, category, k)
