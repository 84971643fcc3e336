"""Sending: a message carries ids, never pictures or vectors.

A chunk whose message can't be sent is marked so, and the sweep sends it later;
nothing is lost when Redis is down.
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

#: The broker can't be reached, or takes no writes, which kombu passes on as it is.
NOT_SENT = (OperationalError, *WRITES_REFUSED)


def send_chunks(catalog: Catalog, chunks: Sequence[Chunk]) -> bool:
    """Send each chunk to the queue of its stage; what can't be sent waits for the sweep.

    Return whether all were sent.
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
    """Ask the index to look at images again; if that can't be sent, the sweep asks."""
    if labels:
        _send_to_index(REFRESH, list(labels))


def send_drop(generation: str) -> None:
    """Ask the index to forget a deleted collection; the sweep asks as long as it purges."""
    _send_to_index(DROP, generation)


def send_switch(collection: str, generation: str) -> None:
    """Ask the index to switch a collection to its next model; the sweep asks until it did."""
    _send_to_index(SWITCH, collection, generation)


def send_retire(collection: str, generation: str) -> None:
    """Ask the index to forget the model that a change left; the sweep asks until it did."""
    _send_to_index(RETIRE, collection, generation)


def _send_to_index(task: str, *arguments: object) -> None:
    try:
        app.send_task(task, args=arguments, queue=Stage.INDEX.value, ignore_result=True)
    except NOT_SENT as error:
        log.warning("broker unreachable, the sweep will send", task=task, fault=str(error))


def send_search(query_id: str) -> None:
    """Ask for a search of what was left under `query_id`. Raises BrokerUnreachableError."""
    _send_query(SEARCH, (query_id,), query_id)


def send_neighbours(query_id: str, generation: str, category: str | None, k: int) -> None:
    """Ask for the neighbours of the vectors left under `query_id`.

    Raises BrokerUnreachableError.
    """
    _send_query(NEIGHBOURS, (query_id, generation, category, k), query_id)


def _send_query(queue: str, args: tuple[object, ...], query_id: str) -> None:
    # Without `expires`, which Celery writes by the clock of this machine and compares with that
    # of the worker's: a message that comes too late finds that its query is gone.
    try:
        app.send_task(
            task_name(queue),
            args=args,
            queue=queue,
            task_id=query_id,
            ignore_result=True,
        )
    except NOT_SENT as error:
        raise BrokerUnreachableError from error
