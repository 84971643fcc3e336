"""The fetch stage: URLs in, bytes in Redis out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Set
from datetime import timedelta

import structlog

from broker.celery_app import app
from broker.messages import send_chunks
from broker.queues import task_name
from catalog.database.connection import now
from catalog.flows.reembedding import to_embed_anew
from catalog.flows.removal import fail_images
from catalog.flows.splitting import Wait, go_ahead, wait_apart
from catalog.rows.chunks import Chunk, Item, Stage
from config.settings import settings
from contract.errors import ContractError
from download.batch import Early, FetchOutcome, fetch_all
from download.faults import TransientFetchError
from workers.support.resources import catalog, fetch_policy, host_gate, room_notice, staged_bytes
from workers.support.stage import Faults, StageTask, move_on, run_stage, stopping
from workers.support.tries import final_fault, next_tries

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
    urls = _urls(chunk)
    fetching = _Pass(chunk)

    def take_in_early(outcomes: Mapping[int, FetchOutcome]) -> None:
        fetching.take_in_early(outcomes, urls.keys() - outcomes.keys())

    fetching.end(_fetch(urls, take_in_early))
    return fetching.faults if chunk.model_id is None else None


class _Pass:
    """One pass over the URLs of a chunk, whose images go on as soon as it is known how."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self.faults: dict[int, ContractError] = {}

    def take_in_early(self, outcomes: Mapping[int, FetchOutcome], pending: Set[int]) -> None:
        """Take outcomes in while those of `pending` are missing; only the latter stay behind."""
        waits = self._take_in(outcomes)
        ahead = self._items_without({*pending, *_labels(waits)})
        if not catalog().chunks.renew(self._chunk):
            return
        wait_apart(catalog(), self._chunk, waits)
        part = go_ahead(catalog(), self._chunk, Stage.VISION, ahead) if ahead else None
        pending_items = tuple(item for item in self._chunk.items if item.label in pending)
        # Without its lease, the chunk keeps all images, and `end` finds that out.
        self._chunk = catalog().chunks.keep(self._chunk, pending_items) or self._chunk
        if part is not None:
            send_chunks(catalog(), [part])

    def end(self, outcomes: Mapping[int, FetchOutcome]) -> None:
        """Take the last outcomes in, and move the chunk on or let it wait."""
        waits = self._take_in(outcomes)
        rest = self._items_without(_labels(waits))
        if len(waits) == 1 and not rest:
            (wait,) = waits
            catalog().chunks.put_back(
                self._chunk, wait.start, wait.passes, wait.reasons, wait.put_off_at
            )
            return
        # Without its lease, this worker must add no chunk: the task may be finished by now.
        if waits and catalog().chunks.renew(self._chunk):
            wait_apart(catalog(), self._chunk, waits)
        ended = move_on(self._chunk, Stage.VISION, rest)
        if ended is not None:
            # The lease was lost. Vision removes bytes after it wrote a vector, so either vision
            # sees these bytes or this worker sees the vector.
            models = () if self._chunk.model_id is None else (self._chunk.model_id,)
            embedded = catalog().vectors.present(self._chunk.labels, models)
            staged_bytes().remove([*ended, *embedded])

    def _items_without(self, labels: Set[int]) -> tuple[Item, ...]:
        return tuple(item for item in self._chunk.items if item.label not in labels)

    def _take_in(self, outcomes: Mapping[int, FetchOutcome]) -> list[Wait]:
        """Stage the bytes, write the final faults, and return what waits for another try."""
        staged_bytes().put({n: data for n, data in outcomes.items() if isinstance(data, bytes)})
        chunk = self._chunk
        waited = timedelta(0) if chunk.put_off_at is None else now() - chunk.put_off_at
        faults: dict[int, ContractError] = {}
        errors: dict[int, TransientFetchError] = {}
        for label, outcome in outcomes.items():
            fault = final_fault(outcome, chunk.passes, waited)
            if fault is not None:
                faults[label] = fault
            elif isinstance(outcome, TransientFetchError):
                errors[label] = outcome
                log.info("fetch failed for now", label=label, passes=chunk.passes, why=str(outcome))
        self.faults |= faults
        if chunk.model_id is None:
            fail_images(catalog(), faults, Stage.FETCH)
        else:
            reasons = {label: fault.message for label, fault in faults.items()}
            catalog().losses.put(chunk.generation, chunk.model_id, reasons)
        return next_tries(chunk, errors)


def _labels(waits: Iterable[Wait]) -> set[int]:
    return {item.label for wait in waits for item in wait.items}


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


def _urls(chunk: Chunk) -> dict[int, str]:
    """Return the URLs of the images whose bytes are needed and not staged, by label."""
    needed = _needed(chunk)
    staged = staged_bytes().present(list(needed))
    return {label: url for label, url in needed.items() if label not in staged}


def _needed(chunk: Chunk) -> dict[int, str]:
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


def _fetch(urls: Mapping[int, str], early: Early[int]) -> dict[int, FetchOutcome]:
    """Fetch URLs, and return the outcomes by label, but for those that `early` was given."""
    chosen = settings()
    return fetch_all(
        urls,
        fetch_policy(),
        time.monotonic() + chosen.fetch_pass_seconds,
        workers=chosen.fetch_threads,
        per_host=chosen.fetch_per_host,
        hosts=host_gate(),
        early=early,
    )
