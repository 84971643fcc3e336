"""The outcomes of a chunk as a Celery result, which task_status reads in one MGET.

A chunk's result stands under the chunk's own id, whichever attempt ended it. It is
a copy of what the rows say, for speed: where it is missing, the rows answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import redis
import structlog
from celery import states
from redis.exceptions import RedisError

from broker.celery_app import app
from catalog.flows.task_standing import Outcome

log = structlog.get_logger(__name__)


def store_outcomes(chunk_id: str, outcomes: Sequence[Outcome]) -> None:
    """Store the outcomes of a finished chunk for as long as results are kept; log a RedisError."""
    try:
        app.backend.store_result(chunk_id, [list(outcome) for outcome in outcomes], states.SUCCESS)
    except RedisError as error:
        log.warning("result not stored, the rows will answer", chunk=chunk_id, fault=str(error))


def read_outcomes(client: redis.Redis, chunk_ids: Sequence[str]) -> dict[str, list[Outcome]]:
    """Return the stored outcomes by chunk id; chunks without a result are left out.

    Returns {} if Redis can't be reached.
    """
    if not chunk_ids:
        return {}
    keys = [app.backend.get_key_for_task(chunk_id) for chunk_id in chunk_ids]
    try:
        values = cast("list[bytes | None]", client.mget(keys))
    except RedisError as error:
        log.warning("results unreachable, the rows answer", fault=str(error))
        return {}
    found = {}
    for chunk_id, value in zip(chunk_ids, values, strict=True):
        if value is not None:
            result = app.backend.decode_result(value)
            if result["status"] == states.SUCCESS:
                found[chunk_id] = [Outcome(*fields) for fields in result["result"]]
    return found
