"""What every stage of a chunk shares: the claim, the lease, and handing back.

A stage's own work is a function of the claimed chunk. It reads the rows of the images, writes what
it made, moves the chunk on by a compare-and-set, and returns the images that failed in it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from celery.signals import worker_shutting_down
from pymongo.errors import ConnectionFailure, PyMongoError

from broker.availability import UNREACHABLE
from broker.celery_app import VersionedTask
from broker.messages import send_chunks
from catalog.coordination.index_ownership import NotOwnerError
from catalog.database.connection import now, time_of
from catalog.database.renewal import Renewal
from catalog.flows.removal import clear_ended
from catalog.rows.chunks import Chunk, Item, Stage
from config.settings import settings
from contract.errors import ContractError
from workers.support.probe import note_consumption
from workers.support.resources import catalog

log = structlog.get_logger(__name__)

#: Pause before a chunk starts its stage again after a fault.
FAULT_PAUSE = timedelta(seconds=2)

#: Seconds between two tries to claim or hand back a chunk while the database is away.
RETRY_SECONDS = 1.0

#: Set once this worker was told to stop; a stage that waits for something stops waiting.
stopping = threading.Event()


#: The images of a chunk that failed in a stage, by label, each with its fault.
Faults = Mapping[int, ContractError]


class StageFailedError(Exception):
    """Images failed in a stage, or the stage did; the rows say all of it already.

    Only Flower reads it, as the state FAILURE of a Celery task and its text.
    """


class StageTask(VersionedTask):
    """The Celery task of a stage, which ends as FAILURE in Flower if something failed in it."""

    throws = (StageFailedError,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the stage, and return what failed; in a worker, raise it as StageFailedError."""
        failure = super().__call__(*args, **kwargs)
        if failure is not None and not self.request.called_directly:
            raise StageFailedError(failure)
        return failure


def run_stage(
    stage: Stage, chunk_id: str, attempt: int, work: Callable[[Chunk], Faults | None]
) -> str | None:
    """Run a stage on a chunk, unless another worker does so or did; return what failed, or None.

    If `work` raises, the chunk is handed back and starts the stage again. If the worker is killed,
    the sweep finds the chunk by its expired lease.
    """
    chunk = _claim(chunk_id, stage, attempt)
    if chunk is None:
        log.info("outdated message dropped", chunk=chunk_id, stage=stage.value, attempt=attempt)
        return None
    with (
        structlog.contextvars.bound_contextvars(
            task_id=chunk.task_id, chunk=chunk.id, stage=stage.value, attempt=attempt
        ),
        _leased(chunk),
    ):
        try:
            if chunk.sent_at is not None:
                # A time that is ahead would make all later messages count as lost.
                catalog().queues.started(stage, min(chunk.sent_at, now()))
            return _told(chunk, work(chunk) or {})
        except UNREACHABLE as error:
            log.warning("dependency unreachable, chunk handed back", fault=str(error))
            _hand_back(chunk, unclean=False)
        except NotOwnerError:
            log.warning("index has another owner, chunk handed back")
            _hand_back(chunk, unclean=False)
        except Exception as error:
            log.exception("stage failed, chunk handed back")
            _hand_back(chunk, unclean=True)
            return f"the stage failed, its chunk was handed back: {type(error).__name__}"
        except BaseException:
            log.info("worker stops, chunk handed back")
            catalog().chunks.hand_back(chunk, timedelta(0), unclean=False)
            raise
    return None


def _told(chunk: Chunk, faults: Faults) -> str | None:
    """Return how many images of a chunk failed and why, or None if none did."""
    if not faults:
        return None
    counts = Counter(fault.message for fault in faults.values())
    reasons = ", ".join(f"{count} {message}" for message, count in sorted(counts.items()))
    return f"{len(faults)} of {len(chunk.items)} images failed: {reasons}"


def move_on(chunk: Chunk, stage: Stage, items: Sequence[Item]) -> list[int] | None:
    """Move a running chunk on to `stage` with `items`, send it there, and return None.

    If its lease is lost, images may have ended before this worker wrote something for them. What
    stands under the labels of those is removed, and the labels are returned.
    """
    advanced = catalog().chunks.advance(chunk, stage, items)
    if advanced is None:
        return clear_ended(catalog(), chunk.labels)
    send_chunks(catalog(), [advanced])
    return None


def _claim(chunk_id: str, stage: Stage, attempt: int) -> Chunk | None:
    """Claim a chunk, trying again while the database is away; return None if it can't be claimed.

    The database may have recorded the claim and then been lost: without another try no worker would
    work on the chunk, and its expired lease would count against its images. Raises
    ConnectionFailure if the worker stops meanwhile.
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
    """Hand a chunk back, trying again while the database is away.

    Otherwise its lease would expire, which counts against its images. Raises ConnectionFailure if
    the worker stops meanwhile.
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
    """Renew the lease of a chunk from a thread of its own while the context lasts.

    Each renewal counts as work on the queue, too. After `time_limit_seconds` renewals end: a pool
    of threads can't end a stage that hangs, so another worker gets the chunk.
    """
    hanging_at = time.monotonic() + settings().time_limit_seconds

    def renew() -> bool:
        if time.monotonic() >= hanging_at:
            log.error("stage takes too long, its lease is not renewed any more")
            return False
        note_consumption(chunk.stage.value)
        time_of(catalog().client)
        return catalog().chunks.renew(chunk)

    def tell(error: PyMongoError) -> None:
        # If no later renewal succeeds either, the sweep takes over.
        log.warning("lease not renewed", chunk=chunk.id, fault=str(error))

    with Renewal(f"lease {chunk.id}", settings().lease_renewal_seconds, renew, tell):
        yield
