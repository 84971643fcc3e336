"""The index stage and the answers to neighbour queries, in the one process that owns the shards.

Its pool is threads, where Celery's time and memory limits do not work; so each piece of work here
is small.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import structlog
from celery.signals import celeryd_after_setup, worker_init, worker_shutdown, worker_shutting_down
from redis.exceptions import RedisError

from broker.celery_app import app
from broker.queues import DROP, NEIGHBOURS, REFRESH, RETIRE, SWITCH, task_name
from catalog.coordination.index_ownership import NotOwnerError
from catalog.flows.product_copies import with_products
from catalog.flows.reembedding import pages_of_images
from catalog.flows.removal import clear_ended, fail_images, release_images, remove_traces, vanished
from catalog.rows.changes import END, Change, ChangeState
from catalog.rows.chunks import Chunk, Stage
from catalog.rows.claims import name_key
from catalog.rows.images import ImageRow
from config.settings import settings
from contract.causes import DELETED, FEATURE, GIVEN_UP
from contract.errors import ContractError
from indexer.directory_ownership import DirectoryOwnership, IndexDirectoryOwned
from indexer.lock import ReadWriteLock
from workers.index_process.health import this_process
from workers.index_process.neighbours import answer_neighbours, decline_neighbours
from workers.index_process.parts import (
    comparison,
    index_directory,
    keeper,
    ownership,
    reporter,
    shards,
)
from workers.support.chunk_end import conclude
from workers.support.model_change import continue_change
from workers.support.resources import catalog, index_reports
from workers.support.stage import Faults, StageTask, move_on, run_stage

log = structlog.get_logger(__name__)

#: Seconds that a graceful stop has, about, to save what changed.
STOP_SECONDS = 15.0

#: Seconds for which a start waits for sets to be restored before it takes messages. A search that
#: needs a set which comes later is told to try again.
START_SECONDS = 2.0

#: Read-locked by stages that make images findable; write-locked to wait for all of them.
_succeeding = ReadWriteLock()

#: Held by the one thread that checks whether a collection may switch.
_switching = threading.Lock()


@worker_init.connect
def _own(**_: Any) -> None:
    """Lock the index directory until the process ends, and wait for the lease of the index."""
    # Celery goes on after a signal handler that failed, unless it is told to exit.
    try:
        directory = DirectoryOwnership(index_directory())
    except IndexDirectoryOwned as error:
        log.critical("not the only index process, worker stops", reason=str(error))
        _say(lambda: index_reports().refuse(this_process(), "another owns its directory"))
        raise SystemExit(1) from error
    except OSError as error:
        log.critical("index directory can't be used, worker stops", reason=str(error))
        raise SystemExit(1) from error
    _say(index_reports().accept)
    ownership().wait_for_lease(
        directory, lambda _: _say(lambda: index_reports().stand_by(this_process()))
    )


def _say(report: Callable[[], None]) -> None:
    try:
        report()
    except RedisError as error:
        log.warning("health of the index not reported", fault=str(error))


@celeryd_after_setup.connect
def _begin(**_: Any) -> None:
    """Start to restore the shards, as the owner and before any message is taken."""
    log.info("index begins", directory=str(index_directory()))
    keeper().start()
    comparison().start()
    reporter().start()
    keeper().wait(START_SECONDS)


@worker_shutting_down.connect
def _hurry(**_: Any) -> None:
    """Interrupt long work, while the last messages are worked on."""
    keeper().begin_stop()
    comparison().begin_stop()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    reporter().stop()
    # No work is under way any more, and what is saved from here on is read only from this folder.
    shards().cease()
    ownership().release()
    keeper().stop(STOP_SECONDS)


@app.task(name=task_name(Stage.INDEX), base=StageTask)
def index(chunk_id: str, attempt: int) -> str | None:
    """Make the images of a chunk findable, and finish the chunk."""
    return run_stage(Stage.INDEX, chunk_id, attempt, _work)


def _work(chunk: Chunk) -> Faults | None:
    if chunk.model_id is not None:
        ownership().check()
        _take_embedded(chunk)
        return None
    # In this order: a process that takes the index over records itself as the owner first, and
    # stamps rows then. Either it is seen here, or its stamp makes the write below ineffective.
    epoch = ownership().epoch
    catalog().images.claim_for_index(chunk.labels, epoch)
    ownership().check()
    products = catalog().products.find(chunk.generation, {i.product_id for i in chunk.items})
    images = with_products(catalog(), catalog().images.find(chunk.labels), products)
    faults = vanished(catalog(), chunk.collection, chunk.generation, chunk.items, products=products)
    ready = [row for label, row in images.items() if row.is_open and label not in faults]
    with _succeeding.reading():
        missing = _without_vectors(chunk, ready)
        if None in missing.values():
            log.info("another model is needed by now, chunk goes back to vision")
            move_on(chunk, Stage.VISION, chunk.items)
            return None
        faults |= {label: fault for label, fault in missing.items() if fault is not None}
        known = {label: fault for label, fault in faults.items() if label in images}
        fail_images(catalog(), known, Stage.INDEX)
        succeeding = [row.label for row in ready if row.label not in faults]
        catalog().images.succeed(succeeding, epoch)

    # A deletion writes first and reads after, and so does this stage: one of the two sees the
    # other.
    before, images = images, catalog().images.find(chunk.labels)
    _require_outcomes(images[label] for label in succeeding if label in images)
    catalog().payloads.remove(chunk.labels)
    dead = [row for row in images.values() if not row.is_findable]
    deleted = {row.label: DELETED.fault() for row in dead if row.outcome is None}
    fail_images(catalog(), deleted, Stage.INDEX)
    # A late stage may have claimed something for an image that had ended already.
    release_images(catalog(), [row.label for row in dead])
    _clear(dead)
    # update_product may have changed a category between the reads.
    moved = [row for n, row in images.items() if n in before and row.category != before[n].category]
    shards().refresh([row for row in moved if row.is_findable])
    lost = [item for item in chunk.items if item.label not in images]
    # Their submission was interrupted before it wrote them, so no call was answered with them.
    catalog().names.release(
        {name_key(chunk.generation, item.image_id): item.label for item in lost}
    )
    # Removes what vision wrote after their collection was purged.
    clear_ended(catalog(), [item.label for item in lost])
    # Or they were written, and then their collection was deleted and its rows were purged.
    faults |= vanished(catalog(), chunk.collection, chunk.generation, lost)
    conclude(catalog(), chunk, faults)
    # Without those that failed in a stage before, which said so itself.
    return {
        n: fault for n, fault in faults.items() if n not in before or before[n].is_open
    } | deleted


def _require_outcomes(images: Iterable[ImageRow]) -> None:
    """Raise NotOwnerError if the stamp of a later owner kept images from their outcome.

    Raises RuntimeError if this process is the owner all the same.
    """
    if any(image.is_open for image in images):
        ownership().check()
        raise RuntimeError(
            "images have the epoch of a later owner, but this process owns the index"
        )


def _without_vectors(chunk: Chunk, ready: list[ImageRow]) -> dict[int, ContractError | None]:
    """Add the vectors of images to the index; return the images that lack one, by label.

    The value is the fault that ends the image, or None if its vector is still to be made.
    """
    added = shards().add(ready)
    collection = catalog().collections.of_generation(chunk.collection, chunk.generation)
    wanted = collection.models if collection else ()
    lacking: dict[int, ContractError | None] = {}
    for label, models in added.items():
        if not models or shards().bad([label], wanted[0] if wanted else ""):
            log.error("an image reached the index without a vector", label=label)
            lacking[label] = GIVEN_UP.fault()
        elif not models.issuperset(wanted):
            lacking[label] = None
    if any(wanted and models.difference(wanted) for models in added.values()):
        # Made for a change that is over by now.
        catalog().vectors.keep_only(list(added), wanted)
    for model_id in wanted:
        shards().lose_bad(chunk.generation, lacking, model_id)
        for label in catalog().losses.among([n for n, f in lacking.items() if f is None], model_id):
            if model_id == wanted[0]:
                lacking[label] = FEATURE.fault()
            elif wanted[0] in added[label]:
                # It can be found as long as the current model is searched.
                del lacking[label]
    return lacking


def _take_embedded(chunk: Chunk) -> None:
    """Add the next model's vectors of a chunk's images, to be searched from the switch on."""
    images = catalog().images.find(chunk.labels)
    shards().add([row for row in images.values() if row.is_findable])
    catalog().images.shown(chunk.labels)
    before, images = images, catalog().images.find(chunk.labels)
    _clear([row for row in images.values() if row.is_dead])
    moved = [row for n, row in images.items() if n in before and row.category != before[n].category]
    shards().refresh([row for row in moved if row.is_findable])
    clear_ended(catalog(), chunk.labels)
    if catalog().chunks.remove_held(chunk):
        continue_change(chunk.collection, chunk.generation)


@app.task(name=SWITCH)
def switch(collection: str, generation: str) -> None:
    """Switch searches of a collection to the next model, if all its images have that vector."""
    change = catalog().changes.find(collection, generation)
    if change is None or change.state is not ChangeState.RUNNING or change.place != END:
        return
    # The sweep asks every few seconds, and checking all images may take longer.
    if not _switching.acquire(blocking=False):
        return
    try:
        _switch(change)
    except NotOwnerError:
        log.info("index has another owner, which is asked by the sweep", change=collection)
    finally:
        _switching.release()


def _switch(change: Change) -> None:
    epoch = _claim(change)
    # Stages that read the collection's row before the change began have written their images after
    # this wait; stages that read it from here on add the next model's vector before they write.
    with _succeeding.writing():
        pass
    lost = 0
    for page in pages_of_images(catalog(), change.generation):
        lacking = shards().lacking(page, change.target)
        if lacking is None:
            return  # its sets are being loaded; the sweep asks again
        added = shards().refresh(lacking)
        missing = [n for n, models in added.items() if change.target not in models]
        shards().lose_bad(change.generation, missing, change.target)
        losses = catalog().losses.among(missing, change.target)
        if len(losses) < len(missing):
            log.info("images lack the vector of the next model", images=len(missing))
            catalog().changes.start_over(change)
            return
        lost += len(losses)
    if lost and not change.accepts_losses:
        log.warning(
            "images can't be embedded by the next model, the change waits",
            collection=change.collection,
            images=lost,
        )
        catalog().changes.wait(change)
    elif catalog().changes.switch(change, timedelta(seconds=2 * settings().search_seconds), epoch):
        log.info(
            "collection switched to another model",
            collection=change.collection,
            model=change.target,
            lost=lost,
        )


def _claim(change: Change) -> int:
    """Claim a change for this owner, as `_work` claims images, and return the owner's epoch.

    Raises NotOwnerError.
    """
    epoch = ownership().epoch
    catalog().changes.claim_for_index(change, epoch)
    return ownership().check()


@app.task(name=RETIRE)
def retire(collection: str, generation: str) -> None:
    """Forget the vectors of the model that a change left, once the rows have none of them."""
    change = catalog().changes.find(collection, generation)
    if (
        change is not None
        and change.state in (ChangeState.SWITCHED, ChangeState.CANCELLED)
        and change.place == END
    ):
        try:
            epoch = _claim(change)
        except NotOwnerError:
            log.info("index has another owner, which is asked by the sweep", change=collection)
            return
        shards().retire(generation, change.leaving)
        if catalog().changes.end(change, epoch):
            log.info("change of the model is over", collection=collection, left=change.leaving)


@app.task(name=REFRESH)
def refresh(labels: list[int]) -> None:
    """Make the index equal to the rows of images: hidden if dead, in their set if findable."""
    shown: dict[int, ImageRow] = {}
    images = catalog().images.find(labels)
    while images:
        shards().refresh([row for row in images.values() if row.is_findable])
        _clear([row for row in images.values() if row.is_dead])
        shown |= images
        # Another thread may have applied a later state before this older one was applied: repeat
        # until the rows say what was applied.
        read = catalog().images.find(list(images))
        images = {n: row for n, row in read.items() if row.shows_as != shown[n].shows_as}
    try:
        # A process that took the index over has read these rows if their reminders were written
        # before that; if after, this check fails.
        ownership().check()
    except NotOwnerError:
        log.info("index has another owner, which is asked by the sweep", images=len(shown))
        return
    done = [row for row in shown.values() if not row.is_open]
    catalog().images.index_is_right(done)
    # The row of a failed image is removed with its task, since it says why the image failed.
    catalog().images.schedule_removal([row.label for row in done if row.deleted_at is not None])


@app.task(name=DROP)
def drop(generation: str) -> None:
    """Forget the images of a deleted collection.

    Ignored if the collection exists: a message from before a backup was restored may name one.
    """
    purge = catalog().purges.find(generation)
    if purge is None or catalog().collections.is_alive(purge.collection, generation):
        log.info("generation is not to be dropped", generation=generation)
    elif shards().drop(generation):
        log.info("generation dropped", generation=generation)


def _clear(dead: list[ImageRow]) -> None:
    """Remove from index and blobs what is left of images that no search may find any more."""
    if dead:
        shards().remove(dead)
        remove_traces(catalog(), [row.label for row in dead])


@app.task(name=task_name(NEIGHBOURS))
def neighbours(query_id: str, generation: str, category: str | None, k: int) -> None:
    """Answer with the images nearest to the vectors stored under `query_id`."""
    # Checked once, now: a query that was sent before the lease ended was asked before anything
    # succeeded under the next owner.
    if ownership().trusted_epoch() is None:
        log.info("lease of the index may have ended, search declined")
        decline_neighbours(query_id)
    else:
        answer_neighbours(shards(), query_id, generation, category, k=k)
