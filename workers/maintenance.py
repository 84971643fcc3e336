"""The maintenance queue: the sweep that ends every chunk, and what it finds left over.

Beat sends it every few seconds; two at once are harmless, since every change is a
compare-and-set.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from redis.exceptions import RedisError

from catalog.chunks import Chunk, Stage, State
from catalog.connection import now
from catalog.endings import delete_product, fail_images, purge_piece, release_images, vanished
from catalog.recounts import recount
from catalog.reembedding import give_up
from catalog.retention import forget_images, forget_tasks
from catalog.splitting import split_off
from catalog.submission import roll_back
from config.settings import settings
from contract.errors import ContractError, InsertImageError
from workers.broker import SWEEP, app
from workers.changes import drive
from workers.endings import conclude, settle
from workers.messages import send_chunks, send_drop, send_refresh
from workers.resources import catalog, redis_client, staged_bytes

log = structlog.get_logger(__name__)

#: Rows of each kind that one sweep looks at.
SWEEP_ROWS = 500

#: Images and products of a deleted collection removed by one sweep, so that others get their
#: turn at the database.
PURGE_ROWS = 2000

#: Finished tasks that one sweep forgets, each with its chunks.
FORGET_ROWS = 50

#: Unclean ends of a chunk after which its images go on one by one.
SPLIT_AFTER = 2


@app.task(name=SWEEP)
def sweep() -> None:
    """Put right whatever a dead process left half done, and remove what had its time.

    A step that fails is said and does not keep the others from their turn.
    """
    for step in (
        _roll_back,
        _move_chunks,
        _change_models,
        _end_deletions,
        _purge,
        _recount,
        _forget,
    ):
        try:
            step()
        except Exception:
            log.exception("a step of the sweep failed", step=step.__name__)


def _roll_back() -> None:
    """Undo the submissions that were cut off. Before anything is done about their chunks."""
    for submission in catalog().tasks.overdue_submissions(SWEEP_ROWS):
        if roll_back(catalog(), submission):
            log.warning("submission was cut off, undone", task_id=submission.task_id)


def _move_chunks() -> None:
    """Send what waits, what was lost and what a dead worker left."""
    sent: dict[Stage, list[Chunk]] = {}
    for chunk in catalog().chunks.due(SWEEP_ROWS, _look_at_clock()):
        match chunk.state:
            case State.SENT:
                sent.setdefault(chunk.stage, []).append(chunk)
            case State.DONE if chunk.model_id is None:
                settle(catalog(), chunk)
            case State.WAITING:
                _restart(chunk)
            case State.RUNNING:
                expired = catalog().chunks.expire(chunk)
                if expired is not None:
                    log.warning(
                        "lease ran out", chunk=chunk.id, task_id=chunk.task_id, stage=chunk.stage
                    )
                    _restart(expired)
    for stage, chunks in sent.items():
        _look_after_sent(stage, chunks)
    # Once more, since all that may have taken a while.
    _look_at_clock()


def _look_at_clock() -> datetime:
    """Mend what a jump of the clock or a long silence spoilt; give the time to judge rows by."""
    chosen = settings()
    renewable = chosen.lease_seconds - chosen.lease_renewal_seconds
    look = catalog().clock.look(timedelta(seconds=max(renewable, 2 * chosen.sweep_seconds)))
    if look.unseen:
        log.warning(
            "nobody swept for a while, or the clock jumped: leases were spared",
            seconds=look.unseen.total_seconds(),
            chunks=look.rows,
        )
    if look.set_back:
        log.warning(
            "the clock was set back, and due times with it",
            seconds=look.set_back.total_seconds(),
            rows=look.rows,
        )
    return look.at


def _restart(chunk: Chunk) -> None:
    """Send a waiting chunk; one that ended uncleanly too often is split, then given up."""
    alone = len(chunk.items) <= 1
    if alone and chunk.unclean >= settings().unclean_ends:
        log.error("given up", chunk=chunk.id, task_id=chunk.task_id, unclean=chunk.unclean)
        if chunk.model_id is not None:
            give_up(catalog(), chunk, InsertImageError.message)
            return
        faults: dict[int, type[ContractError]] = dict.fromkeys(chunk.labels, InsertImageError)
        faults |= vanished(catalog(), chunk.collection, chunk.generation, chunk.items)
        fail_images(catalog(), faults)
        send_refresh(chunk.labels)
        _forget_bytes(chunk.labels)
        conclude(catalog(), chunk, faults)
        return
    if not alone and chunk.unclean >= SPLIT_AFTER:
        log.warning("split into chunks of one", chunk=chunk.id, task_id=chunk.task_id)
        split_off(catalog(), chunk, dict.fromkeys(chunk.items, now()), chunk.passes)
        resent = catalog().chunks.resend(chunk, Stage.INDEX, ())
    else:
        resent = catalog().chunks.resend(chunk)
    if resent is not None:
        send_chunks(catalog(), [resent])


def _forget_bytes(labels: Sequence[int]) -> None:
    try:
        staged_bytes().remove(labels)
    except RedisError as error:
        log.warning("staged bytes stay until they expire", fault=str(error))


def _look_after_sent(stage: Stage, chunks: list[Chunk]) -> None:
    """Send again what was lost between broker and worker, and only that."""
    try:
        is_empty = redis_client().llen(stage.value) == 0
    except RedisError as error:
        log.warning("broker unreachable, nothing is judged lost", fault=str(error))
        return
    settled = catalog().queues.settled(stage)
    patient = []
    for chunk in chunks:
        overtaken = settled is not None and chunk.sent_at is not None and chunk.sent_at < settled
        if is_empty or overtaken:
            log.warning("message was lost", chunk=chunk.id, task_id=chunk.task_id, stage=stage)
            resent = catalog().chunks.resend(chunk)
            if resent is not None:
                send_chunks(catalog(), [resent])
        else:
            patient.append(chunk)
    if patient:
        catalog().chunks.look_again(patient)


def _change_models() -> None:
    """Bring the changes of the model one step further."""
    for change in catalog().changes.due(SWEEP_ROWS):
        drive(change)


def _end_deletions() -> None:
    """End deletions that were interrupted, and ask the index again where it did not answer."""
    interrupted = now() - timedelta(seconds=settings().lease_seconds)
    for product in catalog().products.unfinished_deletions(interrupted, SWEEP_ROWS):
        send_refresh([image.label for image in delete_product(catalog(), product)])
    waiting = catalog().images.waiting_for_index(now(), SWEEP_ROWS)
    # A deletion that was cut off after its first write left them unreleased.
    release_images(catalog(), [image.label for image in waiting if image.deleted_at is not None])
    labels = [image.label for image in waiting]
    if labels:
        catalog().images.ask_index(labels)
        send_refresh(labels)


def _purge() -> None:
    """Remove what deleted collections left, a piece of each in a sweep."""
    for purge in catalog().purges.due(SWEEP_ROWS):
        if catalog().collections.is_alive(purge.collection, purge.generation):
            # Its deletion is between its two writes, or was cut off there: then it lives on.
            catalog().purges.found_nothing(purge)
            continue
        send_drop(purge.generation)
        if not purge_piece(catalog(), purge, PURGE_ROWS) and catalog().purges.found_nothing(purge):
            catalog().collections.forget_name(purge.collection)
            log.info("collection removed", collection=purge.collection, generation=purge.generation)


def _recount() -> None:
    for found in recount(catalog(), SWEEP_ROWS):
        log.warning(
            "counters put right",
            collection=found.collection.key,
            products=(found.collection.product_count, found.products),
            images=(found.collection.image_count, found.images),
        )


def _forget() -> None:
    """Remove finished tasks, rows of deleted images and idempotency keys whose time is over."""
    tasks = forget_tasks(catalog(), FORGET_ROWS)
    images = forget_images(catalog(), SWEEP_ROWS)
    catalog().keys.forget_old()
    if tasks or images:
        log.info("forgotten after their time", tasks=tasks, images=images)
