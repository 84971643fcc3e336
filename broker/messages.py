"""Send messages, which carry ids, never pictures or vectors.

A chunk whose message can't be sent is marked so, and the sweep sends it later; nothing is lost when
Redis is down.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from kombu.exceptions import OperationalError

from broker.availability import WRITES_REFUSED, BrokerUnreachableError
from broker.celery_app import app
from broker.queues import DROP, NEIGHBOURS, REFRESH, RETIRE, SEARCH, SWITCH, task_name
from catalog.rows.chunks import Chunk, Stage
from catalog.store import Catalog

log = structlog.get_logger(__name__)

#: The broker can't be reached, or takes no writes; kombu raises the latter unchanged.
NOT_SENT = (OperationalError, *WRITES_REFUSED)


def send_chunks(catalog: Catalog, chunks: Sequence[Chunk]) -> bool:
    """Send each chunk to the queue of its stage; return whether all were sent.

    At the first failure, that chunk and all after it are marked as unsent, for the sweep.
    """
    for position, chunk in enumerate(chunks):
        try:
            app.send_task(
                task_name(chunk.stage),
                args=(chunk.id, chunk.attempt),
                queue=chunk.stage.value,
                task_id=f"{chunk.id}.{chunk.attempt}.{chunk.stage}",
                # Otherwise each send subscribes to a channel for the result.
                ignore_result=True,
            )
        except NOT_SENT as error:
            log.warning("broker unreachable, the sweep will send", chunk=chunk.id, fault=str(error))
            catalog.chunks.unsent(chunks[position:])
            return False
    return True


def send_refresh(labels: Sequence[int]) -> None:
    """Ask the index to re-read the rows of images; if that can't be sent, the sweep asks."""
    if labels:
        _send_to_index(REFRESH, list(labels))


def send_drop(generation: str) -> None:
    """Ask the index to forget a deleted collection; the sweep repeats this while it purges."""
    _send_to_index(DROP, generation)


def send_switch(collection: str, generation: str) -> None:
    """Ask the index to switch a collection to its next model; the sweep repeats this."""
    _send_to_index(SWITCH, collection, generation)


def send_retire(collection: str, generation: str) -> None:
    """Ask the index to forget the model that a change left; the sweep repeats this."""
    _send_to_index(RETIRE, collection, generation)


def _send_to_index(task: str, *arguments: object) -> None:
    try:
        app.send_task(task, args=arguments, queue=Stage.INDEX.value, ignore_result=True)
    except NOT_SENT as error:
        log.warning("broker unreachable, the sweep will send", task=task, fault=str(error))


def send_search(query_id: str) -> None:
    """Ask for the search that was stored under `query_id`. Raises BrokerUnreachableError."""
    send_work(SEARCH, query_id, message_id=query_id)


def send_neighbours(query_id: str, generation: str, category: str | None, k: int) -> None:
    """Ask for the `k` nearest neighbours of the vectors stored under `query_id`.

    Raises BrokerUnreachableError.
    """
    send_work(NEIGHBOURS, query_id, generation, category, k, message_id=query_id)


def send_work(queue: str, *arguments: object, message_id: str | None = None) -> None:
    """Ask for the work of a queue: for its task (`broker.queues.task_name`) with these arguments.

    The message has an id of its own unless one is given. Raises BrokerUnreachableError.
    """
    # No `expires`: Celery would write it by this machine's clock and compare it with the worker's.
    # A query's message that comes too late finds its query gone.
    try:
        app.send_task(
            task_name(queue),
            args=arguments,
            queue=queue,
            task_id=message_id,
            ignore_result=True,
        )
    except NOT_SENT as error:
        raise BrokerUnreachableError from error
