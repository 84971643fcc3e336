"""The catalogue's features in shards: built from MongoDB, kept up by the index process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray
from pymongo.errors import ConnectionFailure

from catalog.images import ImageRow
from catalog.models import ModelRow
from catalog.store import Catalog
from indexer.index import VectorIndex
from indexer.key import SetKey
from indexer.neighbours import Neighbours, no_neighbours
from indexer.options import IndexOptions
from indexer.snapshots import SnapshotDirectory
from indexer.vector_set import SetState
from workers.image_sets import belongs, by_set, named
from workers.index_health import IndexHealth

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


class SetMending(NamedTuple):
    """How many images a set lacked, and had too much that no message would have removed."""

    added: int
    marked: int


class Marked(NamedTuple):
    """How many images of a set were marked."""

    all: int
    unasked: int  #: of them, those that no message on its way would have marked


class CatalogIndex:
    """Vector indexes, one for each model, that know images by their rows; none until one is known.

    The index of a model holds every findable image that has a feature of that model.
    """

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
        # By model, each replaced as a whole. A search uses one of them and so never mixes two.
        self._opened: dict[str, VectorIndex] = {}
        self._known: dict[str, ModelRow] | None = None

    def restore(self, stopping: threading.Event | None = None) -> list[VectorIndex]:
        """Make every set hold what the rows say, and ready; ends early when `stopping` is set.

        Gives the index of each model, none while there is no model or no database. Other
        threads may use the indexes meanwhile. For one thread at a time.
        """
        stopping = stopping or threading.Event()
        try:
            lagging = {
                model_id: index
                for model_id, index in self._all().items()
                if not index.is_complete or index.not_ready()
            }
            if lagging:
                self._restore(lagging, stopping)
        except ConnectionFailure as error:
            log.warning("database unreachable, sets are not restored", fault=str(error))
            stopping.wait(UNREACHABLE_PAUSE)
        return list(self._opened.values())

    def add(self, images: Iterable[ImageRow]) -> dict[int, set[str]]:
        """Add all features of images, each to the index of its model.

        Gives by label the models whose index has the image now.
        """
        rows = {image.label: image for image in images}
        added: dict[int, set[str]] = {label: set() for label in rows}
        stored = self._catalog().vectors.of_models(list(rows))
        for model_id in {model_id for models in stored.values() for model_id in models}:
            index = self._open(model_id)
            if index is None:
                continue  # of a model that no worker ever loaded
            some = [label for label in rows if model_id in stored.get(label, ())]
            for key, labels in by_set(rows[label] for label in some).items():
                index.add(key, labels, np.stack([stored[label][model_id] for label in labels]))
            for label in some:
                added[label].add(model_id)
        return added

    def remove(self, images: Iterable[ImageRow]) -> None:
        """Hide images from every search."""
        sets = by_set(images)
        for index in self._all().values():
            for key, labels in sets.items():
                index.mark_deleted(key, labels)

    def refresh(self, images: Sequence[ImageRow]) -> dict[int, set[str]]:
        """Put findable images into the sets that their rows name, and out of any other.

        Gives by label the models whose index has the image. Twice is as good as once.
        """
        sets = by_set(images)
        for index in self._all().values():
            for key, labels in sets.items():
                index.revive(key, labels)
        added = self.add(images)
        for index in self._all().values():
            for key, labels in sets.items():
                for other in index.keys_of(key.generation):
                    if other != key:
                        index.mark_deleted(other, labels)
        return added

    def search(
        self,
        generation: str,
        category: str | None,
        vectors: NDArray[np.float32],
        k: int,
        model_id: str | None = None,
    ) -> Neighbours:
        """Give the `k` labels of a collection nearest to any of the vectors (q, dimensions).

        `model_id` made them; none given, the model of new collections. Raises SetNotReadyError
        while a set that the search needs is loaded or built.
        """
        if model_id is None:
            current = self._catalog().models.current()
            model_id = "" if current is None else current.model_id
        index = self._open(model_id)
        if index is None:
            return no_neighbours()
        keys = index.keys_of(generation) if category is None else [SetKey(generation, category)]
        return index.search(keys, vectors, k)

    def drop(self, generation: str) -> int:
        """Forget the images of a generation, snapshots too; give how many sets it had.

        Twice is as good as once, and what is added to it later is not kept.
        """
        return sum(index.drop_generation(generation) for index in self._all().values())

    def retire(self, generation: str, model_id: str) -> int:
        """Forget what one model made of a generation; give how many sets that were.

        It may come back.
        """
        index = self._open(model_id)
        return 0 if index is None else index.drop_generation(generation, for_ever=False)

    def lacking(self, images: Sequence[ImageRow], model_id: str) -> list[ImageRow] | None:
        """Give the images that a search by a model would not find; None while that is unknown."""
        index = self._open(model_id)
        if index is None:
            return list(images)
        if not index.is_complete:
            return None
        by_key = {row.label: SetKey(row.generation, row.category) for row in images}
        if set(by_key.values()).intersection(index.not_ready()):
            return None
        return [row for row in images if not index.contains(by_key[row.label], row.label)]

    def state(self) -> dict[SetKey, SetState]:
        """Give what there is to know of every set of the model of new collections."""
        current = self._catalog().models.current()
        index = None if current is None else self._open(current.model_id)
        return {} if index is None else index.state()

    def health(self) -> IndexHealth:
        """Give how the index is, by what is known in this process; asks no database."""
        indexes = list(self._opened.values())
        not_saved = [fault for index in indexes for fault in index.not_saved().values()]
        return IndexHealth(
            # Unless the database was asked and knows no model.
            is_complete=all(index.is_complete for index in indexes)
            if indexes
            else self._known == {},
            sets=sum(index.set_count for index in indexes),
            sets_not_ready=sum(len(index.not_ready()) for index in indexes),
            snapshots_lost=sum(index.lost_within(LOST_SECONDS) for index in indexes),
            sets_not_saved=len(not_saved),
            save_fault=not_saved[-1] if not_saved else "",
        )

    def _all(self) -> dict[str, VectorIndex]:
        """Give the index of every model that is in use, opened if need be."""
        with self._opening:
            if not self._opened:
                before = self._known
                for model_id in sorted(self._look().keys() & self._catalog().models.in_use()):
                    self._make(model_id, before)
            return dict(self._opened)

    def _open(self, model_id: str) -> VectorIndex | None:
        """Give the index of a model, None where no worker ever loaded it."""
        self._all()
        with self._opening:
            if model_id not in self._opened:
                before = self._known
                if model_id in self._look():
                    self._make(model_id, before)
            return self._opened.get(model_id)

    def _look(self) -> dict[str, ModelRow]:
        self._known = self._catalog().models.known()
        return self._known

    def _make(self, model_id: str, known_before: Mapping[str, ModelRow] | None) -> None:
        # Of a model that was not there when this process looked, every feature that there is
        # comes through this process.
        is_new = known_before is not None and model_id not in known_before
        model = (self._known or {})[model_id]
        options = IndexOptions(
            model.dimensions,
            shard_capacity=self._shard_capacity,
            vectors_per_write=_vectors_per_write(model.dimensions),
        )
        directory = self._directory
        first = self._catalog().models.first()
        if directory is not None and first != model:
            directory = directory.with_name(f"{directory.name}-{model_id}")
        snapshots = (
            SnapshotDirectory(directory, f"{self._catalog().identity.get()}/{model_id}", options)
            if directory
            else None
        )
        index = VectorIndex(options, snapshots, is_complete=is_new)
        self._opened = {**self._opened, model_id: index}

    def _restore(self, lagging: Mapping[str, VectorIndex], stopping: threading.Event) -> None:
        started = time.monotonic()
        findable = self._findable(stopping)
        if findable is None:
            return
        for model_id, index in lagging.items():
            of_model = findable.get(model_id, {})
            index.complete(of_model)
            # The small ones first: so more searches are answered sooner.
            for key in sorted(index.not_ready(), key=lambda key: len(of_model.get(key, ()))):
                labels = of_model.pop(key, np.empty(0, np.int64)).tolist()
                if self._restore_set(model_id, index, key, labels, stopping) is None:
                    return
                index.now_ready(key)
                if self._memory_bytes:
                    index.unload_beyond(self._memory_bytes, idle_seconds=0)
        log.info("index ready", seconds=round(time.monotonic() - started, 1))

    def _findable(
        self, stopping: threading.Event
    ) -> dict[str, dict[SetKey, NDArray[np.int64]]] | None:
        """Give the labels that each set of each model must hold by the rows; None if stopped."""
        parts: dict[str, dict[SetKey, list[NDArray[np.int64]]]] = {}
        for labels in self._catalog().vectors.labels(LABEL_PAGE):
            for start in range(0, len(labels), ROW_PAGE):
                if stopping.is_set():
                    return None
                page = labels[start : start + ROW_PAGE]
                rows = self._catalog().images.find(list({label for label, _ in page}))
                for model_id in {model_id for _, model_id in page}:
                    made = [label for label, maker in page if maker == model_id]
                    found = by_set(rows[n] for n in made if n in rows and rows[n].is_findable)
                    for key, some in found.items():
                        of_model = parts.setdefault(model_id, {})
                        of_model.setdefault(key, []).append(np.array(some, np.int64))
        return {
            model_id: {key: np.concatenate(some) for key, some in of_model.items()}
            for model_id, of_model in parts.items()
        }

    def _restore_set(
        self,
        model_id: str,
        index: VectorIndex,
        key: SetKey,
        labels: list[int],
        stopping: threading.Event,
    ) -> SetMending | None:
        """Add what a set lacks and mark what it has too much; None if stopped.

        Images may be added and deleted meanwhile. Whoever deletes writes the row first and
        marks then, so a row that is read after its label was added tells if the mark came
        too early to be seen.
        """
        started = time.monotonic()
        live = index.live_labels(key)
        loaded = time.monotonic() - started
        revived = index.revive(key, [label for label in labels if label not in live])
        marked = self._mark_dead(index, key, list(live.difference(labels)))
        marked_again = self._mark_dead(index, key, list(revived))
        known = index.known(key, labels)
        missing = [label for label in labels if label not in known]
        added, said_at = 0, time.monotonic()
        for start in range(0, len(missing), PAGE):
            if stopping.is_set():
                return None
            page = missing[start : start + PAGE]
            stored = self._catalog().vectors.get(page, model_id)
            if stored:
                added += index.add(key, list(stored), np.stack(list(stored.values())))
                self._mark_dead(index, key, list(stored))
            if time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                log.info("building a set", **named(key), done=start + len(page), of=len(missing))
        log.info(
            "set ready",
            **named(key),
            vectors=index.count(key),
            added=added,
            marked=marked.all + marked_again.all,
            load_seconds=round(loaded, 2),
            seconds=round(time.monotonic() - started, 2),
        )
        return SetMending(added + len(revived) - marked_again.all, marked.unasked)

    def counts(self, generation: str, model_id: str) -> dict[str, int] | None:
        """Return how many images a model's sets have, by category; None while one is not ready."""
        index = self._open(model_id)
        if index is None or not index.is_complete:
            return None
        keys = index.keys_of(generation)
        if not set(keys).isdisjoint(index.not_ready()):
            return None
        return {key.category: count for key in keys if (count := index.count(key))}

    def mend(
        self, generation: str, model_id: str, labels: Mapping[str, list[int]], stop: threading.Event
    ) -> SetMending | None:
        """Make a model's sets hold `labels`, by category, that rows want; None if stopped."""
        index = self._open(model_id)
        if index is None:
            return None
        added = marked = 0
        for key in {SetKey(generation, c) for c in labels}.union(index.keys_of(generation)):
            done = self._restore_set(model_id, index, key, labels.get(key.category, []), stop)
            if done is None:
                return None
            added, marked = added + done.added, marked + done.marked
        return SetMending(added, marked)

    def _mark_dead(self, index: VectorIndex, key: SetKey, labels: Sequence[int]) -> Marked:
        """Hide those that no row wants in this set any more."""
        count = unasked = 0
        for start in range(0, len(labels), ROW_PAGE):
            page = labels[start : start + ROW_PAGE]
            rows = self._catalog().images.find(page)
            dead = [label for label in page if not belongs(rows.get(label), key)]
            if dead:
                index.mark_deleted(key, dead)
            count += len(dead)
            unasked += sum(label not in rows or rows[label].index_at is None for label in dead)
        return Marked(count, unasked)


def _vectors_per_write(dimensions: int) -> int:
    return max(1, min(IndexOptions.vectors_per_write, NUMBERS_PER_WRITE // dimensions))
