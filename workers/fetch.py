"""The fetch stage: URLs in, bytes in Redis out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

import structlog

from broker.celery_app import app
from broker.queues import task_name
from catalog.database.connection import now
from catalog.flows.reembedding import to_embed_anew
from catalog.flows.removal import fail_images
from catalog.flows.splitting import split_off
from catalog.rows.chunks import Chunk, Item, Stage
from config.settings import settings
from contract.errors import ContractError
from download.batch import FetchOutcome, fetch_all
from download.faults import TransientFetchError
from workers.support.resources import catalog, fetch_policy, room_notice, staged_bytes
from workers.support.stage import Faults, StageTask, move_on, run_stage, stopping

log = structlog.get_logger(__name__)

#: Seconds between two checks for room by a chunk that waits for it.
LOOK_SECONDS = 1.0

#: Share of `time_limit_seconds` that a chunk waits for room; the rest is for its work.
WAIT_SHARE = 0.5

#: Pause before a chunk that found no room starts the stage again.
ROOM_PAUSE = timedelta(seconds=5)


@app.task(name=task_name(Stage.FETCH), base=StageTask)
def fetch(chunk_id: str, attempt: int) -> str | None:
    """Fetch the images of a chunk that were given as URLs."""
    return run_stage(Stage.FETCH, chunk_id, attempt, _work)


def _work(chunk: Chunk) -> Faults | None:
    if not _await_room():
        pause = timedelta(0) if stopping.is_set() else ROOM_PAUSE
        catalog().chunks.hand_back(chunk, pause, unclean=False)
        return None
    outcomes = _fetch(_urls(chunk))
    staged_bytes().put({n: data for n, data in outcomes.items() if isinstance(data, bytes)})
    faults: dict[int, ContractError] = {}
    pauses: dict[Item, timedelta] = {}
    items = {item.label: item for item in chunk.items}
    for label, outcome in outcomes.items():
        if isinstance(outcome, TransientFetchError):
            log.info("fetch failed for now", label=label, passes=chunk.passes + 1, why=str(outcome))
        fault = final_fault(outcome, chunk.passes)
        if fault is not None:
            faults[label] = fault
        elif isinstance(outcome, TransientFetchError):
            pauses[items[label]] = _pause(chunk.passes, outcome)
    if chunk.model_id is None:
        fail_images(catalog(), faults, Stage.FETCH)
    else:
        reasons = {label: fault.message for label, fault in faults.items()}
        catalog().losses.put(chunk.generation, chunk.model_id, reasons)
    # Without its lease, this worker must add no chunk: the task may be finished by now.
    if pauses and catalog().chunks.renew(chunk):
        moment = now()
        split_off(
            catalog(),
            chunk,
            {item: moment + pause for item, pause in pauses.items()},
            chunk.passes + 1,
        )
    rest = [item for item in chunk.items if item not in pauses]
    ended = move_on(chunk, Stage.VISION, rest)
    if ended is not None:
        # The lease was lost. Vision removes bytes after it wrote a vector, so either vision sees
        # these bytes or this worker sees the vector.
        models = () if chunk.model_id is None else (chunk.model_id,)
        embedded = catalog().vectors.present(chunk.labels, models)
        staged_bytes().remove([*ended, *embedded])
    return faults if chunk.model_id is None else None


def _await_room() -> bool:
    """Wait for room for fetched bytes; return False if the worker stops or time is up.

    The chunk keeps its lease meanwhile. So what can't be fetched yet stays in the queue, and the
    sweep has nothing to send again.
    """
    give_up_at = time.monotonic() + settings().time_limit_seconds * WAIT_SHARE
    while not staged_bytes().has_room():
        if room_notice().note():
            log.warning("no room for fetched bytes, chunk waits")
        if time.monotonic() >= give_up_at or stopping.wait(LOOK_SECONDS):
            return False
    return True


def final_fault(outcome: FetchOutcome, passes: int) -> ContractError | None:
    """Return the fault that ends an image whose pass after `passes` earlier ones had this outcome.

    None if the outcome is bytes, or if another pass may succeed.
    """
    if isinstance(outcome, ContractError):
        return outcome
    if isinstance(outcome, TransientFetchError) and passes + 1 >= settings().fetch_passes:
        return outcome.fault
    return None


def _urls(chunk: Chunk) -> dict[int, str]:
    """Return the URLs of the images whose bytes are needed, by label."""
    if chunk.model_id is not None:
        anew = to_embed_anew(catalog(), chunk)
        kept = catalog().pictures.present(list(anew))
        return {n: row.url for n, row in anew.items() if row.url is not None and n not in kept}
    images = catalog().images.find(chunk.labels)
    collection = catalog().collections.of_generation(chunk.collection, chunk.generation)
    # The next model may have come after the first vector was made.
    done = catalog().vectors.present(list(images), collection.models if collection else ())
    return {
        label: image.url
        for label, image in images.items()
        if image.is_open and image.url is not None and label not in done
    }


def _fetch(urls: Mapping[int, str]) -> dict[int, FetchOutcome]:
    """Fetch what is not staged already; return the outcomes by label."""
    done = staged_bytes().present(list(urls))
    chosen = settings()
    return fetch_all(
        {label: url for label, url in urls.items() if label not in done},
        fetch_policy(),
        time.monotonic() + chosen.fetch_pass_seconds,
        workers=chosen.fetch_threads,
        per_host=chosen.fetch_per_host,
    )


def _pause(passes: int, fault: TransientFetchError) -> timedelta:
    """Return the pause before the next try of a URL: twice as long after each pass.

    At least what the host asked for.
    """
    pause = settings().fetch_retry_seconds * 2**passes
    return timedelta(seconds=max(pause, fault.retry_after_seconds or 0.0))
