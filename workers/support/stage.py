"""What every stage of a chunk has in common: the claim, the lease, and a clean way out.

A stage's own work is a function of the claimed chunk. It reads the rows it is told
of, writes what it made, and moves the chunk on by a compare-and-set.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from celery.signals import worker_shutting_down
from pymongo.errors import ConnectionFailure, PyMongoError

from broker.availability import UNREACHABLE
from broker.messages import send_chunks
from catalog.coordination.index_ownership import NotOwnerError
from catalog.database.connection import now, time_of
from catalog.database.renewal import Renewal
from catalog.flows.removal import clear_ended
from catalog.rows.chunks import Chunk, Item, Stage
from config.settings import settings
from workers.support.probe import note_consumption
from workers.support.resources import catalog

log = structlog.get_logger(__name__)

#: Pause before a chunk starts its stage again after a fault.
FAULT_PAUSE = timedelta(seconds=2)

#: How often a chunk is tried to be handed back while the database is away; seconds.
RETRY_SECONDS = 1.0

#: Set once this worker was told to end; a stage that waits for something ends its wait then.
stopping = threading.Event()


def run_stage(stage: Stage, chunk_id: str, attempt: int, work: Callable[[Chunk], None]) -> None:
    """Do the work of a stage on a chunk, unless somebody else does or did.

    Whatever `work` raises, the chunk is handed back and starts the stage again; a
    worker that dies without a word is found by its lease.
    """
    chunk = _claim(chunk_id, stage, attempt)
    if chunk is None:
        log.info("message of the past dropped", chunk=chunk_id, stage=stage.value, attempt=attempt)
        return
    with (
        structlog.contextvars.bound_contextvars(
            task_id=chunk.task_id, chunk=chunk.id, stage=stage.value, attempt=attempt
        ),
        _leased(chunk),
    ):
        try:
            if chunk.sent_at is not None:
                # One that is ahead would have all later messages taken for lost.
                catalog().queues.started(stage, min(chunk.sent_at, now()))
            work(chunk)
        except UNREACHABLE as error:
            log.warning("dependency unreachable, chunk handed back", fault=str(error))
            _hand_back(chunk, unclean=False)
        except NotOwnerError:
            log.warning("index has another owner, chunk handed back")
            _hand_back(chunk, unclean=False)
        except Exception:
            log.exception("stage failed, chunk handed back")
            _hand_back(chunk, unclean=True)
        except BaseException:
            log.info("worker stops, chunk handed back")
            catalog().chunks.hand_back(chunk, timedelta(0), unclean=False)
            raise


def move_on(chunk: Chunk, stage: Stage, items: Sequence[Item]) -> list[int] | None:
    """Move a running chunk on to `stage` with `items`, send it there, and return None.

    If its lease is lost, images may have ended before this worker wrote something for them.
    Whatever stands under their labels is removed then, and the labels are returned.
    """
    advanced = catalog().chunks.advance(chunk, stage, items)
    if advanced is None:
        return clear_ended(catalog(), chunk.labels)
    send_chunks(catalog(), [advanced])
    return None


def _claim(chunk_id: str, stage: Stage, attempt: int) -> Chunk | None:
    """Claim a chunk, if need be when the database is there again.

    It may have noted the claim and been lost before it said so; nobody would work on the
    chunk then, and the lease that runs out would count against its images.
    """
    holder = uuid.uuid4().hex
    while True:
        try:
            time_of(catalog().client)
            return catalog().chunks.claim(chunk_id, stage, attempt, holder)
        except ConnectionFailure as error:
            log.warning("database unreachable, chunk is claimed later", fault=str(error))
            if stopping.wait(RETRY_SECONDS):
                raise


def _hand_back(chunk: Chunk, *, unclean: bool) -> None:
    """Hand a chunk back, if need be when the database is there again.

    A lease that was left to run out would count against its images.
    """
    while True:
        try:
            catalog().chunks.hand_back(chunk, FAULT_PAUSE, unclean=unclean)
            return
        except ConnectionFailure as error:
            log.warning("database unreachable, chunk is handed back later", fault=str(error))
            if stopping.wait(RETRY_SECONDS):
                raise


@worker_shutting_down.connect
def _stop_waiting(**_: Any) -> None:
    stopping.set()


@contextmanager
def _leased(chunk: Chunk) -> Iterator[None]:
    """Renew the lease of a chunk from a thread of its own, as long as the context lasts.

    Each time, its queue counts as consumed, since long work is work. All that no longer than
    a stage may take: a pool of threads can't end one that hangs, so somebody else goes on.
    """
    hanging_at = time.monotonic() + settings().time_limit_seconds

    def renew() -> bool:
        if time.monotonic() >= hanging_at:
            log.error("stage takes too long, its lease is left to run out")
            return False
        note_consumption(chunk.stage.value)
        time_of(catalog().client)
        return catalog().chunks.renew(chunk)

    def tell(error: PyMongoError) -> None:
        # If no later turn succeeds either, the sweep takes over.
        log.warning("lease not renewed", chunk=chunk.id, fault=str(error))

    with Renewal(f"lease {chunk.id}", settings().lease_renewal_seconds, renew, tell):
        yield
