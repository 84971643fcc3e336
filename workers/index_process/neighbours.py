"""Neighbour queries from search workers to the index process, and their answers.

Both sides of the exchange are here, so that its format is defined once.
"""

from __future__ import annotations

import time

import numpy as np
import structlog
from numpy.typing import NDArray

from broker.messages import send_neighbours
from indexer.vector_store import SetNotReadyError
from workers.index_process.catalog_index import CatalogIndex
from workers.support.resources import exchange

log = structlog.get_logger(__name__)


class NoReplyError(Exception):
    """The index process did not answer in time, or can't answer yet."""


def ask_neighbours(
    query_id: str,
    generation: str,
    category: str | None,
    model_id: str,
    vectors: NDArray[np.float32],
    k: int,
    deadline: float,
) -> list[tuple[int, float]]:
    """Return the `k` nearest (label, cosine) to any of the vectors (q, dimensions), best first.

    Only vectors of the model that made these, `model_id`, are compared. `deadline` is in
    seconds of `time.monotonic()`. Raises NoReplyError if it passes or the index can't answer yet,
    BrokerUnreachableError, RedisError.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise NoReplyError
    exchange().leave(
        query_id,
        {
            "vectors": vectors.astype("<f4").tobytes(),
            "count": str(len(vectors)),
            "model_id": model_id,
        },
        seconds,
    )
    send_neighbours(query_id, generation, category, k)
    answer = exchange().wait(query_id, deadline - time.monotonic())
    exchange().forget(query_id)
    if answer is None or "busy" in answer:
        raise NoReplyError
    return list(zip(answer["labels"], answer["similarities"], strict=True))


def answer_neighbours(
    shards: CatalogIndex, query_id: str, generation: str, category: str | None, k: int
) -> None:
    """Answer a query that `ask_neighbours` stored; do nothing if it has expired."""
    question = exchange().take(query_id)
    if question is None:
        return
    left = question.fields
    vectors = np.frombuffer(left["vectors"], "<f4").reshape(int(left["count"]), -1)
    try:
        model_id = left["model_id"].decode() if "model_id" in left else None
        found = shards.search(
            generation, category, vectors.astype(np.float32), k, model_id=model_id
        )
    except SetNotReadyError as error:
        log.info("search comes too soon", reason=str(error))
        exchange().reply(query_id, {"busy": True})
        return
    exchange().reply(
        query_id,
        {"labels": found.labels.tolist(), "similarities": found.similarities.tolist()},
    )


def decline_neighbours(query_id: str) -> None:
    """Answer that this process may lack images, so that the search is tried again later."""
    exchange().reply(query_id, {"busy": True})
