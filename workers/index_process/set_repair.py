"""Makes a set of the index hold what the rows say of it, while images come and go.

A deletion writes the row first and marks the image in its set then. So the row is read after an
image was added: it tells if the mark came before the image.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from catalog.rows.models import ModelRow
from catalog.store import Catalog
from indexer.key import SetKey
from indexer.vector_store import VectorStore
from indexer.vectors import in_one_array
from workers.index_process.bad_vectors import BadVectors
from workers.index_process.image_sets import belongs, named

#: Rows read at a time.
ROW_PAGE = 2_000

#: Vectors read and added at a time while a set is built.
PAGE = 500

#: Least seconds between two log lines about progress.
PROGRESS_SECONDS = 2.0

log = structlog.get_logger(__name__)


class SetMending(NamedTuple):
    """How many images a set lacked, and how many surplus ones no message would have removed."""

    added: int
    marked: int


class Marked(NamedTuple):
    """How many images of a set were marked as deleted."""

    all: int
    unasked: int  #: of them, those that no message on its way would have marked


@dataclass(frozen=True)
class ModelIndex:
    """A model and its index."""

    model: ModelRow
    index: VectorStore


class SetRepair:
    """Adds to a set what it lacks, and marks what is surplus."""

    def __init__(self, catalog: Callable[[], Catalog], bad: BadVectors) -> None:
        """Record in `bad` the vectors that no set can take."""
        self._catalog = catalog
        self._bad = bad

    def mend(
        self, of: ModelIndex, key: SetKey, labels: Sequence[int], stopping: threading.Event
    ) -> SetMending | None:
        """Make a set hold exactly `labels`, which the rows want there.

        Return None if stopped.
        """
        started = time.monotonic()
        live = of.index.live_labels(key)
        loaded = time.monotonic() - started
        lacking = [label for label in labels if label not in live]
        marked = self._mark_dead(of.index, key, list(live.difference(labels)))
        done = self.supply(of, key, lacking, stopping)
        if done is None:
            return None
        log.info(
            "set ready",
            **named(key),
            images=of.index.count(key),
            added=done.added,
            marked=marked.all + done.marked,
            load_seconds=round(loaded, 2),
            seconds=round(time.monotonic() - started, 2),
        )
        return SetMending(done.added, marked.unasked)

    def supply(
        self, of: ModelIndex, key: SetKey, labels: Sequence[int], stopping: threading.Event
    ) -> SetMending | None:
        """Make images findable in a set, in which the rows wanted them; return None if stopped.

        Those that the rows no longer want there are marked again, and counted.
        """
        model, index = of.model, of.index
        revived = index.revive(key, labels)
        marked = self._mark_dead(index, key, list(revived)).all
        held = index.held(key, labels)
        missing = [label for label in labels if label not in held]
        added, said_at = len(revived) - marked, time.monotonic()
        for start in range(0, len(missing), PAGE):
            if stopping.is_set():
                return None
            page = missing[start : start + PAGE]
            stored = self._catalog().vectors.get(page, model.model_id)
            if good := self._bad.sift(model, stored):
                added += index.add(key, *in_one_array(good))
                self._mark_dead(index, key, list(good))
            if time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                log.info("building a set", **named(key), done=start + len(page), of=len(missing))
        return SetMending(added, marked)

    def hide(self, of: ModelIndex, key: SetKey, labels: Iterable[int]) -> int:
        """Hide those images of a set that the rows do not want there; return how many."""
        live = of.index.live_labels(key).intersection(labels)
        return self._mark_dead(of.index, key, list(live)).all

    def _mark_dead(self, index: VectorStore, key: SetKey, labels: Sequence[int]) -> Marked:
        """Mark those images that no row wants in this set any more; return how many."""
        count = unasked = 0
        for start in range(0, len(labels), ROW_PAGE):
            page = labels[start : start + ROW_PAGE]
            rows = self._catalog().images.find(page)
            dead = [label for label in page if not belongs(rows.get(label), key)]
            if dead:
                index.mark_deleted(key, dead)
                # An image may have come back to this set before it was marked here.
                rows_now = self._catalog().images.find(dead)
                back = {label for label, row in rows_now.items() if belongs(row, key)}
                if back:
                    index.revive(key, list(back))
                    dead = [label for label in dead if label not in back]
            count += len(dead)
            unasked += sum(label not in rows or rows[label].index_at is None for label in dead)
        return Marked(count, unasked)
