"""Recovery: continue what a dead process left half done, and send again what was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial

import structlog
from redis.exceptions import RedisError

from broker.availability import BrokerUnreachableError
from broker.celery_app import app
from broker.messages import send_chunks, send_refresh
from broker.queues import QUEUES, RECOVERY
from broker.redis_connection import redis_client
from broker.reports.queued_work import queued_work, take_turn_to_log
from catalog.database.connection import now
from catalog.flows.product_copies import copy_product
from catalog.flows.reembedding import give_up
from catalog.flows.removal import fail_images, vanished
from catalog.flows.splitting import split_off
from catalog.flows.submission import drop_orphan, roll_back
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.products import ProductRow
from catalog.rows.tasks import Standing, Submission
from config.settings import settings
from contract.causes import GIVEN_UP
from contract.errors import ContractError, InsertImageError
from workers.support.chunk_end import conclude, settle
from workers.support.resources import catalog, staged_bytes
from workers.sweeps.step import Share, Step, take_steps

log = structlog.get_logger(__name__)

#: Unclean ends of a chunk after which it is split into chunks of one image.
SPLIT_AFTER = 2


@app.task(name=RECOVERY)
def recover() -> None:
    """Continue whatever a dead process left half done, and log now and then what waits."""
    _log_queued_work()
    take_steps(STEPS, settings().sweep_seconds)


def _log_queued_work() -> None:
    try:
        if not take_turn_to_log(redis_client()):
            return
        waiting = queued_work(redis_client(), QUEUES)
    except RedisError as error:
        log.warning("queues can't be read", fault=str(error))
        return
    found = {queue: asdict(work) for queue, work in waiting.items() if work.messages}
    if found:
        log.info("work waits", queues=found)


def _undo_submissions(share: Share) -> None:
    """Roll back submissions that were interrupted, before their chunks are looked at."""

    def undo(submissions: Sequence[Submission]) -> None:
        for submission in submissions:
            if roll_back(catalog(), submission):
                log.warning("submission was cut off, undone", task_id=submission.task_id)

    share.go_through(catalog().tasks.overdue_submissions, lambda each: each.task_id, undo)


def _work_on_due(state: State, handle: Callable[[Chunk], None], share: Share) -> None:
    """Handle the chunks in a state that are due."""
    at = share.round.look.at

    def handle_all(chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            handle(chunk)

    share.go_through(
        lambda limit: catalog().chunks.due(state, limit, at),
        lambda chunk: chunk.id,
        handle_all,
        put_off=catalog().chunks.put_off,
    )


def _expire(chunk: Chunk) -> None:
    expired = catalog().chunks.expire(chunk)
    if expired is not None:
        log.warning("lease ran out", chunk=chunk.id, task_id=chunk.task_id, stage=chunk.stage)
        _restart(expired)


def _start(chunk: Chunk) -> None:
    """Send a waiting chunk if it belongs to a task; drop one of no task.

    At its first attempt it may be that of a submission, which is rolled back or opened elsewhere,
    or that of a call that wrote it after its submission had been rolled back.
    """
    if chunk.attempt == 1 and chunk.model_id is None:
        standing = catalog().tasks.standing(chunk.task_id)
        if standing is Standing.NOTHING:
            log.warning("chunk without a task removed", chunk=chunk.id, task_id=chunk.task_id)
            drop_orphan(catalog(), chunk)
        if standing is not Standing.TASK:
            return
    _restart(chunk)


def _restart(chunk: Chunk) -> None:
    """Send a waiting chunk; after too many unclean ends it is split, and at last given up."""
    alone = len(chunk.items) <= 1
    if alone and chunk.unclean >= settings().unclean_ends:
        _give_up(chunk)
        return
    if not alone and chunk.unclean >= SPLIT_AFTER:
        log.warning("chunk split into chunks of one", chunk=chunk.id, task_id=chunk.task_id)
        split_off(catalog(), chunk, dict.fromkeys(chunk.items, now()), chunk.passes)
        resent = catalog().chunks.resend(chunk, Stage.INDEX, ())
    else:
        resent = catalog().chunks.resend(chunk)
    _send(resent)


def _give_up(chunk: Chunk) -> None:
    log.error("chunk given up", chunk=chunk.id, task_id=chunk.task_id, unclean=chunk.unclean)
    if chunk.model_id is not None:
        give_up(catalog(), chunk, InsertImageError.message)
        return
    faults: dict[int, ContractError] = dict.fromkeys(chunk.labels, GIVEN_UP.fault())
    faults |= vanished(catalog(), chunk.collection, chunk.generation, chunk.items)
    fail_images(catalog(), faults, chunk.stage)
    send_refresh(chunk.labels)
    _forget_bytes(chunk.labels)
    conclude(catalog(), chunk, faults)


def _forget_bytes(labels: Sequence[int]) -> None:
    try:
        staged_bytes().remove(labels)
    except RedisError as error:
        log.warning("staged bytes stay until they expire", fault=str(error))


def _send(resent: Chunk | None) -> None:
    """Send a chunk, unless it is None because its state had changed.

    Raises BrokerUnreachableError, which ends the step: the next chunk would fail as well.
    """
    if resent is not None and not send_chunks(catalog(), [resent]):
        raise BrokerUnreachableError


def _send_lost(stage: Stage, share: Share) -> None:
    """Send again what was lost between broker and worker, and only that.

    Messages that only wait are not looked at, however many they are.
    """
    try:
        is_empty = redis_client().llen(stage.value) == 0
    except RedisError as error:
        log.warning("broker unreachable, nothing is judged lost", fault=str(error))
        return
    at = share.round.look.at
    settled = catalog().queues.settled(stage)
    silent = at - timedelta(seconds=settings().lease_seconds)
    before = max((time for time in (settled, silent if is_empty else None) if time), default=None)
    if before is not None:
        share.go_through(
            partial(_unstarted, stage, before), lambda chunk: chunk.id, _send_lost_chunks
        )


def _unstarted(stage: Stage, before: datetime, limit: int) -> list[Chunk]:
    return catalog().chunks.unstarted(stage, before, limit)


def _send_lost_chunks(chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        log.warning("message was lost", chunk=chunk.id, task_id=chunk.task_id, stage=chunk.stage)
        _send(catalog().chunks.resend(chunk))


def _settle(chunk: Chunk) -> None:
    if chunk.model_id is None:
        settle(catalog(), chunk)


def _copy_products(share: Share) -> None:
    """Update the images of products whose change was interrupted after its first write."""

    def copy(products: Sequence[ProductRow]) -> None:
        for product in products:
            log.warning("change of a product was cut off, copied", product=product.product_id)
            send_refresh(copy_product(catalog(), product))

    share.go_through(
        partial(catalog().products.to_be_copied, share.round.look.at),
        lambda product: (product.serial, product.version),
        copy,
        put_off=catalog().products.put_off_copy,
    )


STEPS = (
    Step("submissions", _undo_submissions),
    Step("leases", partial(_work_on_due, State.RUNNING, _expire)),
    Step("waiting chunks", partial(_work_on_due, State.WAITING, _start)),
    *(Step(f"lost messages of {stage.value}", partial(_send_lost, stage)) for stage in Stage),
    Step("unsettled ends", partial(_work_on_due, State.DONE, _settle)),
    Step("changed products", _copy_products),
)
