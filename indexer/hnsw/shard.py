"""A shard with a graph: one hnswlib index with its lock and its labels.

This is the only module that uses hnswlib, which allows concurrent searches and concurrent
additions, but not both at once; resizing and marking need exclusive access. So a read-write lock
guards it. The space is "cosine": hnswlib then normalises its own copy of each vector, so the
answer is the true cosine even if rounding to half precision changed the norm of a vector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hnswlib
import numpy as np

from indexer.hnsw.exact_shard import ExactShard, Rows
from indexer.lock import ReadWriteLock
from indexer.neighbours import Neighbours, no_neighbours
from indexer.vectors import check_additions, check_query

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions

#: Vectors that a new shard reserves memory for.
FIRST_SIZE = 256

#: Vectors added or read back in one call of hnswlib, which holds the interpreter lock meanwhile.
VECTORS_PER_PIECE = 256

#: A part of hnswlib's error message if it found fewer neighbours than requested.
TOO_FEW_FOUND = "2D array"

#: Bytes of the locks of an hnswlib index, however few vectors it has.
BYTES_AT_BIRTH = 2_600_000

#: Bytes for each vector of labels, locks, upper links and Python sets; measured, not exact.
BYTES_BESIDE_VECTOR = 220

logger = logging.getLogger(__name__)


class ShardFileError(Exception):
    """A file is not that of the expected shard."""


@dataclass(frozen=True)
class FrozenShard:
    """The state of a shard while nothing may change it; `save` writes it to a file."""

    changes: int
    live: int
    deleted: tuple[int, ...]
    file_size: int
    save: Callable[[Path], None]


class Shard:
    """Vectors under labels that are never used again; a vector never changes."""

    def __init__(self, options: IndexOptions, size: int = FIRST_SIZE) -> None:
        """Take the number of vectors to reserve memory for."""
        self._options = options
        self._lock = ReadWriteLock()
        self._live: set[int] = set()
        self._deleted: set[int] = set()
        self._changes = 0
        self._size = min(size, options.shard_capacity)
        self._index = hnswlib.Index(space="cosine", dim=options.dimensions)
        self._index.init_index(
            max_elements=self._size, M=options.m, ef_construction=options.ef_construction
        )
        self._index.set_ef(options.ef_floor)

    @classmethod
    def load(cls, options: IndexOptions, path: Path, live: int, deleted: Collection[int]) -> Shard:
        """Return the shard in a file, with `live` live labels and `deleted` marked ones.

        hnswlib does not check what it reads, so the caller has checked the file for damage.
        Holds the interpreter lock, about a second for 500 MB. Raises ShardFileError if hnswlib
        can't read the file, or if it has other labels.
        """
        shard = cls(options, size=1)
        index = hnswlib.Index(space="cosine", dim=options.dimensions)
        try:
            index.load_index(str(path))
        except RuntimeError as error:
            raise ShardFileError(f"hnswlib can't read {path.name}: {error}") from error
        labels = set(index.get_ids_list())
        shard._live = labels.difference(deleted)
        shard._deleted = labels.intersection(deleted)
        if (len(shard._live), len(shard._deleted)) != (live, len(deleted)):
            raise ShardFileError(f"{path.name} holds other labels than its record says")
        shard._index = index
        shard._size = index.get_max_elements()
        # A file does not contain ef: without this the index would use its default of 10.
        index.set_ef(options.ef_floor)
        return shard

    @classmethod
    def of_rows(cls, options: IndexOptions, rows: Rows) -> Shard:
        """Return a shard with a graph of the rows of an exact shard; marked ones stay marked.

        Takes 0.4 s of a processor for 2,000 vectors of 256 numbers, 1 s for 1,280 numbers.
        """
        shard = cls(options, rows.total + FIRST_SIZE)
        labels = rows.labels[: rows.total].tolist()
        for start in range(0, rows.total, VECTORS_PER_PIECE):
            piece = slice(start, min(start + VECTORS_PER_PIECE, rows.total))
            shard.add(labels[piece], rows.vectors[piece])
        shard.mark_deleted(list(rows.marked))
        return shard

    def without_graph(self) -> ExactShard:
        """Return an exact shard of the same labels, marks and vectors."""
        exact = ExactShard(self._options)
        with self._lock.writing():
            labels, marked = [*self._live, *self._deleted], list(self._deleted)
            # hnswlib does not read back a vector that is marked.
            for label in marked:
                self._index.unmark_deleted(label)
            if labels:
                exact.add(labels, np.asarray(self._index.get_items(labels), np.float32))
            for label in marked:
                self._index.mark_deleted(label)
        exact.mark_deleted(marked)
        exact.forget_changes()
        return exact

    @property
    def live_count(self) -> int:
        """How many vectors a search can find."""
        return len(self._live)

    @property
    def deleted_count(self) -> int:
        """How many vectors are marked as deleted and still take memory."""
        return len(self._deleted)

    @property
    def room(self) -> int:
        """How many vectors can still be added."""
        return self._options.shard_capacity - len(self._live) - len(self._deleted)

    @property
    def size(self) -> int:
        """How many vectors memory is reserved for."""
        return self._size

    @property
    def changes(self) -> int:
        """How many labels were added or marked since the shard was made or loaded."""
        return self._changes

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of the shard in bytes."""
        numbers = self._options.dimensions + 2 * self._options.m
        return BYTES_AT_BIRTH + self._count * (4 * numbers + BYTES_BESIDE_VECTOR)

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label."""
        return label in self._live

    def live_labels(self) -> set[int]:
        """Return the labels that a search can find."""
        with self._lock.reading():
            return set(self._live)

    def read(self, labels: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return the live labels among `labels`, and their vectors (n, dimensions).

        The vectors have norm 1, whatever norm they were added with.
        """
        with self._lock.reading():
            live = [label for label in labels if label in self._live]
            if not live:
                return [], np.empty((0, self._options.dimensions), np.float32)
            return live, np.asarray(self._index.get_items(live), np.float32)

    @contextmanager
    def frozen(self) -> Iterator[FrozenShard]:
        """Block changes, but not searches, while a child that saves the shard is forked.

        `save` of the value takes no lock, holds the interpreter lock, and reports no fault of
        the disk, which only shows in the size of the file.
        """
        with self._lock.reading():
            yield FrozenShard(
                self._changes,
                len(self._live),
                tuple(self._deleted),
                self._index.index_file_size(),
                lambda path: self._index.save_index(str(path)),
            )

    def holds(self, label: int) -> bool:
        """Return whether the label was added, marked as deleted or not."""
        return label in self._live or label in self._deleted

    def held(self, labels: Collection[int]) -> set[int]:
        """Return the labels among `labels` that were added, marked as deleted or not."""
        return {label for label in labels if self.holds(label)}

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions) under one write lock, and return how many were new.

        Labels that the shard holds are skipped, marked ones too. Raises ValueError, with nothing
        added, for invalid labels or vectors, or if there is no room.
        """
        check_additions(labels, vectors, self._options.dimensions)
        with self._lock.writing():
            places: dict[int, int] = {}
            for place, label in enumerate(labels):
                if not self.holds(label):
                    places.setdefault(label, place)
            if not places:
                return 0
            if len(places) > self.room:
                raise ValueError(f"no room for {len(places)} vectors in a shard of {self.room}")
            self._grow_for(len(places))
            self._index.add_items(
                vectors[list(places.values())],
                np.fromiter(places, np.uint64, len(places)),
                num_threads=1,
            )
            self._live.update(places)
            self._changes += len(places)
            return len(places)

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many were live.

        Labels that are marked already or not held are ignored.
        """
        with self._lock.writing():
            live = self._live.intersection(labels)
            for label in live:
                self._index.mark_deleted(label)
                # In this order, so that `holds`, which takes no lock, is true throughout.
                self._deleted.add(label)
                self._live.discard(label)
            self._changes += len(live)
            return len(live)

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again with their vectors; return which ones were marked."""
        with self._lock.writing():
            marked = self._deleted.intersection(labels)
            for label in marked:
                self._index.unmark_deleted(label)
                self._live.add(label)
                self._deleted.discard(label)
            self._changes += len(marked)
            return marked

    def search(self, vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the nearest live labels of each vector (q, dimensions), nearest first.

        Both arrays are (q, n), with n the smaller of `k` and the live count. The search is exact
        up to `exact_up_to` vectors, else approximate. Raises ValueError for invalid vectors or a
        `k` below 1.
        """
        check_query(vectors, k, self._options.dimensions)
        with self._lock.reading():
            wanted = min(k, len(self._live))
            if wanted == 0 or len(vectors) == 0:
                return no_neighbours(len(vectors))
            try:
                labels, distances = self._index.knn_query(
                    vectors, k=self._breadth(k), num_threads=1
                )
            except RuntimeError as error:
                if TOO_FEW_FOUND not in str(error):
                    raise
                # hnswlib returns fewer only if the rest of the graph can't be reached, so
                # requesting more finds no more.
                logger.warning("a graph of %d vectors fell apart: searched exactly", self._count)
                return self._search_exactly(vectors, wanted)
        similarities = np.clip(1.0 - distances[:, :wanted], -1.0, 1.0).astype(np.float32)
        return Neighbours(labels[:, :wanted].astype(np.int64), similarities)

    @property
    def _count(self) -> int:
        return len(self._live) + len(self._deleted)

    def _breadth(self, k: int) -> int:
        """Return how many neighbours to request from hnswlib in order to find `k` good ones.

        It considers the greater of its ef, which all searches of an index share, and of the
        number requested. So requesting more than needed widens this search only. Of a small
        shard all live labels are requested: either the list is complete, which is exact, or
        hnswlib raises.
        """
        live = len(self._live)
        if self._count <= self._options.exact_up_to:
            return live
        return min(live, k if 2 * k <= self._options.ef_floor else 2 * k)

    def _grow_for(self, additions: int) -> None:
        needed = self._count + additions
        if needed > self._size:
            size = min(self._options.shard_capacity, max(2 * self._size, needed))
            self._index.resize_index(size)
            self._size = size

    def _search_exactly(self, vectors: NDArray[np.float32], wanted: int) -> Neighbours:
        """Compare with every live vector; slow, since reading one back takes hnswlib 0.1 ms."""
        queries = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        live = np.fromiter(self._live, np.int64, len(self._live))
        best_labels, best_similarities = no_neighbours(len(vectors))
        for start in range(0, len(live), VECTORS_PER_PIECE):
            piece = live[start : start + VECTORS_PER_PIECE]
            similarities = queries @ self._index.get_items(piece.astype(np.uint64)).T
            all_labels = np.hstack([best_labels, np.broadcast_to(piece, similarities.shape)])
            all_similarities = np.hstack([best_similarities, similarities])
            order = np.argsort(-all_similarities, axis=1, kind="stable")[:, :wanted]
            best_labels = np.take_along_axis(all_labels, order, axis=1)
            best_similarities = np.take_along_axis(all_similarities, order, axis=1)
        return Neighbours(best_labels, np.clip(best_similarities, -1.0, 1.0))


#: A shard with a graph, for many vectors, or without, for few; a set may have both kinds.
AnyShard = Shard | ExactShard
