"""The catalogue's features in shards: built from MongoDB, kept up by the index process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pymongo.errors import ConnectionFailure

from catalog.images import ImageRow
from catalog.store import Catalog
from indexer.index import VectorIndex
from indexer.key import SetKey
from indexer.neighbours import Neighbours, no_neighbours
from indexer.options import IndexOptions
from indexer.snapshots import SnapshotDirectory
from indexer.vector_set import SetState

#: Labels read from MongoDB at a time; a page costs a search for its beginning.
LABEL_PAGE = 20_000

#: Rows read at a time.
ROW_PAGE = 2_000

#: Features read and added at a time while a set is built.
PAGE = 500

#: Numbers of the vectors added under one hold of a write lock: some 3 ms that a search may wait.
NUMBERS_PER_WRITE = 1024

#: A line about progress comes no more often.
PROGRESS_SECONDS = 2.0

#: Pause where MongoDB can't be reached.
UNREACHABLE_PAUSE = 2.0

#: How long it is told that a snapshot was lost.
LOST_SECONDS = 600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class IndexHealth:
    """How the index of a process is; see `workers.staging.IndexReport`."""

    is_complete: bool
    sets: int = 0
    sets_not_ready: int = 0
    snapshots_lost: int = 0
    sets_not_saved: int = 0
    save_fault: str = ""


class CatalogIndex:
    """A vector index that knows images by their rows; empty until the model is known."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        shard_capacity: int,
        directory: Path | None = None,
        memory_bytes: int = 0,
    ) -> None:
        """Snapshots are kept in `directory`, if there is one; 0 `memory_bytes`: no limit.

        `catalog` is asked for at the first use, since a process may still fork before.
        """
        self._catalog = catalog
        self._shard_capacity = shard_capacity
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._opening = threading.Lock()
        self._opened: tuple[str, VectorIndex] | None = None
        self._had_no_model = False

    def restore(self, stopping: threading.Event | None = None) -> VectorIndex | None:
        """Make every set hold what the rows say, and ready; ends early when `stopping` is set.

        Gives the index, None while there is no model or no database. Other threads may use
        the index meanwhile. For one thread at a time.
        """
        stopping = stopping or threading.Event()
        try:
            opened = self._open()
            if opened is None:
                return None
            index = opened[1]
            if not index.is_complete or index.not_ready():
                self._restore(*opened, stopping)
        except ConnectionFailure as error:
            log.warning("database unreachable, sets are not restored", fault=str(error))
            stopping.wait(UNREACHABLE_PAUSE)
            return None if self._opened is None else self._opened[1]
        return index

    def add(self, images: Iterable[ImageRow]) -> set[int]:
        """Add the features of images; give the labels that have none of the current model."""
        rows = {image.label: image for image in images}
        if not rows:
            return set()
        opened = self._open()
        if opened is None:
            return set(rows)
        model_id, index = opened
        stored = self._catalog().vectors.get(list(rows))
        usable = {n: vector.values for n, vector in stored.items() if vector.model_id == model_id}
        for key, labels in _by_set(rows[label] for label in usable).items():
            index.add(key, labels, np.stack([usable[label] for label in labels]))
        return rows.keys() - usable.keys()

    def remove(self, images: Iterable[ImageRow]) -> None:
        """Hide images from every search."""
        opened = self._open()
        if opened is not None:
            for key, labels in _by_set(images).items():
                opened[1].mark_deleted(key, labels)

    def refresh(self, images: Sequence[ImageRow]) -> set[int]:
        """Put findable images into the set that their rows name, and out of any other.

        Gives the labels that have no feature of the current model. Twice is as good as once.
        """
        opened = self._open()
        if opened is None:
            return {image.label for image in images}
        index = opened[1]
        for key, labels in _by_set(images).items():
            index.revive(key, labels)
        missing = self.add(images)
        for key, labels in _by_set(images).items():
            for other in index.keys_of(key.generation):
                if other != key:
                    index.mark_deleted(other, labels)
        return missing

    def search(
        self, generation: str, category: str | None, vectors: NDArray[np.float32], k: int
    ) -> Neighbours:
        """Give the `k` labels of a collection nearest to any of the vectors (q, dimensions).

        Raises SetNotReadyError while a set that the search needs is loaded or built.
        """
        opened = self._open()
        if opened is None:
            return no_neighbours()
        index = opened[1]
        keys = index.keys_of(generation) if category is None else [SetKey(generation, category)]
        return index.search(keys, vectors, k)

    def drop(self, generation: str) -> int:
        """Forget the images of a generation, snapshots too; give how many sets it had.

        Twice is as good as once, and what is added to it later is not kept.
        """
        opened = self._open()
        return 0 if opened is None else opened[1].drop_generation(generation)

    def state(self) -> dict[SetKey, SetState]:
        """Give what there is to know of every set, for monitoring; empty without a model."""
        opened = self._open()
        return {} if opened is None else opened[1].state()

    def health(self) -> IndexHealth:
        """Give how the index is, by what is known in this process; asks no database."""
        opened = self._opened
        if opened is None:
            return IndexHealth(is_complete=self._had_no_model)
        index = opened[1]
        not_saved = list(index.not_saved().values())
        return IndexHealth(
            is_complete=index.is_complete,
            sets=len(index.keys()),
            sets_not_ready=len(index.not_ready()),
            snapshots_lost=index.lost_within(LOST_SECONDS),
            sets_not_saved=len(not_saved),
            save_fault=not_saved[-1] if not_saved else "",
        )

    def _open(self) -> tuple[str, VectorIndex] | None:
        with self._opening:
            if self._opened is None:
                model = self._catalog().models.current()
                if model is None:
                    # From here on every feature there is comes through this process.
                    self._had_no_model = True
                    return None
                options = IndexOptions(
                    model.dimensions,
                    shard_capacity=self._shard_capacity,
                    vectors_per_write=_vectors_per_write(model.dimensions),
                )
                snapshots = (
                    SnapshotDirectory(
                        self._directory,
                        f"{self._catalog().identity.get()}/{model.model_id}",
                        options,
                    )
                    if self._directory
                    else None
                )
                index = VectorIndex(options, snapshots, is_complete=self._had_no_model)
                self._opened = model.model_id, index
            return self._opened

    def _restore(self, model_id: str, index: VectorIndex, stopping: threading.Event) -> None:
        started = time.monotonic()
        findable = self._findable(stopping)
        if findable is None:
            return
        index.complete(findable)
        # The small ones first: so more searches are answered sooner.
        for key in sorted(index.not_ready(), key=lambda key: len(findable.get(key, ()))):
            labels = findable.pop(key, np.empty(0, np.int64)).tolist()
            if not self._restore_set(model_id, index, key, labels, stopping):
                return
            index.now_ready(key)
            if self._memory_bytes:
                index.unload_beyond(self._memory_bytes, idle_seconds=0)
        log.info("index ready", seconds=round(time.monotonic() - started, 1))

    def _findable(self, stopping: threading.Event) -> dict[SetKey, NDArray[np.int64]] | None:
        """Give the labels that each set must hold by the rows; None if stopped."""
        parts: dict[SetKey, list[NDArray[np.int64]]] = {}
        for labels in self._catalog().vectors.labels(LABEL_PAGE):
            for start in range(0, len(labels), ROW_PAGE):
                if stopping.is_set():
                    return None
                rows = self._catalog().images.find(labels[start : start + ROW_PAGE])
                found = _by_set(row for row in rows.values() if row.is_findable)
                for key, some in found.items():
                    parts.setdefault(key, []).append(np.array(some, np.int64))
        return {key: np.concatenate(some) for key, some in parts.items()}

    def _restore_set(
        self,
        model_id: str,
        index: VectorIndex,
        key: SetKey,
        labels: list[int],
        stopping: threading.Event,
    ) -> bool:
        """Add what a set lacks and mark what it has too much; False if stopped.

        Images may be added and deleted meanwhile. Whoever deletes writes the row first and
        marks then, so a row that is read after its label was added tells if the mark came
        too early to be seen.
        """
        started = time.monotonic()
        live = index.live_labels(key)
        loaded = time.monotonic() - started
        revived = index.revive(key, [label for label in labels if label not in live])
        doubtful = [*live.difference(labels), *revived]
        marked = 0
        for start in range(0, len(doubtful), ROW_PAGE):
            marked += self._mark_dead(index, key, doubtful[start : start + ROW_PAGE])
        known = index.known(key, labels)
        missing = [label for label in labels if label not in known]
        added, said_at = 0, time.monotonic()
        for start in range(0, len(missing), PAGE):
            if stopping.is_set():
                return False
            page = missing[start : start + PAGE]
            stored = self._catalog().vectors.get(page)
            usable = {n: one.values for n, one in stored.items() if one.model_id == model_id}
            if usable:
                added += index.add(key, list(usable), np.stack(list(usable.values())))
                self._mark_dead(index, key, list(usable))
            if time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                log.info("building a set", **_named(key), done=start + len(page), of=len(missing))
        log.info(
            "set ready",
            **_named(key),
            vectors=index.count(key),
            added=added,
            marked=marked,
            load_seconds=round(loaded, 2),
            seconds=round(time.monotonic() - started, 2),
        )
        return True

    def _mark_dead(self, index: VectorIndex, key: SetKey, labels: Sequence[int]) -> int:
        """Hide those that no row wants in this set any more; give how many."""
        rows = self._catalog().images.find(labels)
        dead = [label for label in labels if not _belongs(rows.get(label), key)]
        if dead:
            index.mark_deleted(key, dead)
        return len(dead)


def _vectors_per_write(dimensions: int) -> int:
    return max(1, min(IndexOptions.vectors_per_write, NUMBERS_PER_WRITE // dimensions))


def _belongs(image: ImageRow | None, key: SetKey) -> bool:
    # An open image may be in its set already: the stage adds first, and writes then.
    return (
        image is not None
        and (image.is_findable or image.is_open)
        and SetKey(image.generation, image.category) == key
    )


def _named(key: SetKey) -> dict[str, str]:
    return {"generation": key.generation, "category": key.category}


def _by_set(images: Iterable[ImageRow]) -> dict[SetKey, list[int]]:
    grouped: dict[SetKey, list[int]] = {}
    for image in images:
        grouped.setdefault(SetKey(image.generation, image.category), []).append(image.label)
    return grouped
