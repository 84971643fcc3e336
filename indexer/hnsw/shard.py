"""A shard with a graph: one hnswlib index with its lock and its labels.

The only module that knows hnswlib.

hnswlib may be searched by many threads and added to by many, but not both at
once; resizing and marking bear no company at all. Here a read-write lock stands
between. The space is "cosine": hnswlib then normalises its own copy of each
vector, so the answer is the true cosine even for a vector whose norm is off by
what rounding to half precision leaves; the inner product would be off with it.
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
from indexer.hnsw.lock import ReadWriteLock
from indexer.hnsw.vectors import check_additions, check_query
from indexer.neighbours import Neighbours, no_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions

FIRST_SIZE = 256
"""Vectors that a new shard has memory for."""

VECTORS_PER_PIECE = 256
"""Vectors put into a new graph at a time, or read back, when hnswlib holds the interpreter lock."""

TOO_FEW_FOUND = "2D array"
"""Part of the message by which hnswlib says that it found fewer neighbours than asked for."""

BYTES_AT_BIRTH = 2_600_000
"""Locks of a new hnswlib index, however few vectors it holds."""

BYTES_BESIDE_VECTOR = 220
"""Labels, locks, upper links and Python's own sets, a vector; measured, not exact."""

logger = logging.getLogger(__name__)


class ShardFileError(Exception):
    """A file does not hold the shard that it should hold."""


@dataclass(frozen=True)
class FrozenShard:
    """What a shard is at the moment in which nothing changes it."""

    changes: int
    live: int
    deleted: tuple[int, ...]
    file_size: int
    save: Callable[[Path], None]


class Shard:
    """Vectors under labels that are never used again; a vector never changes."""

    def __init__(self, options: IndexOptions, size: int = FIRST_SIZE) -> None:
        """`size` is how many vectors there is memory for at first."""
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
        """Return the shard that a file holds, with so many live labels and these marked ones.

        hnswlib believes what it reads: the file must be known to be whole. Holds the
        interpreter lock, about a second for 500 MB. Raises ShardFileError.
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
        # A file keeps no ef: without this the index would search with its default of 10.
        index.set_ef(options.ef_floor)
        return shard

    @classmethod
    def of_rows(cls, options: IndexOptions, rows: Rows) -> Shard:
        """Return a shard with a graph of the rows of one without; marked ones stay marked.

        Takes 0.4 s of a processor for 2,000 vectors of 256 numbers, 1 s with 1,280.
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
            # hnswlib reads no vector back that is marked.
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
        """How many vectors are marked as deleted and still take their place."""
        return len(self._deleted)

    @property
    def room(self) -> int:
        """How many vectors can still be added."""
        return self._options.shard_capacity - len(self._live) - len(self._deleted)

    @property
    def size(self) -> int:
        """How many vectors there is memory for at the moment."""
        return self._size

    @property
    def changes(self) -> int:
        """How many labels were added or marked since the shard was made or loaded."""
        return self._changes

    @property
    def memory_bytes(self) -> int:
        """About how much memory the shard takes."""
        numbers = self._options.dimensions + 2 * self._options.m
        return BYTES_AT_BIRTH + self._count * (4 * numbers + BYTES_BESIDE_VECTOR)

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label."""
        return label in self._live

    def live_labels(self) -> set[int]:
        """Return the labels that a search can find at this moment."""
        with self._lock.reading():
            return set(self._live)

    def read(self, labels: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return those among `labels` that are live, and their vectors (n, dimensions).

        The vectors have the norm 1, whatever norm they were added with.
        """
        with self._lock.reading():
            live = [label for label in labels if label in self._live]
            if not live:
                return [], np.empty((0, self._options.dimensions), np.float32)
            return live, np.asarray(self._index.get_items(live), np.float32)

    @contextmanager
    def frozen(self) -> Iterator[FrozenShard]:
        """Keep the shard as it is, searches aside, while a child is forked that will save it.

        Its `save` takes no lock, holds the interpreter lock, and reports no fault of the
        disk: the size of the file tells.
        """
        with self._lock.reading():
            yield FrozenShard(
                self._changes,
                len(self._live),
                tuple(self._deleted),
                self._index.index_file_size(),
                lambda path: self._index.save_index(str(path)),
            )

    def knows(self, label: int) -> bool:
        """Return whether the label was ever added, marked since or not."""
        return label in self._live or label in self._deleted

    def known(self, labels: Collection[int]) -> set[int]:
        """Return those among `labels` that were ever added, marked since or not."""
        return {label for label in labels if self.knows(label)}

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions) under one write lock and give how many were new.

        A label that the shard knows is skipped, a marked one too. Raises
        ValueError, with nothing added, for bad labels or vectors or if there is
        no room.
        """
        check_additions(labels, vectors, self._options.dimensions)
        with self._lock.writing():
            places: dict[int, int] = {}
            for place, label in enumerate(labels):
                if not self.knows(label):
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
        """Hide labels from every later search and give how many were live until now.

        Labels that are marked already, or were never added, change nothing.
        """
        with self._lock.writing():
            live = self._live.intersection(labels)
            for label in live:
                self._index.mark_deleted(label)
                # In this order, so that `knows`, which takes no lock, holds throughout.
                self._deleted.add(label)
                self._live.discard(label)
            self._changes += len(live)
            return len(live)

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again, with the vectors they had; give which they were."""
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

        Both arrays are (q, n), n the smaller of `k` and the live count. Raises
        ValueError for bad vectors or a k under 1.
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
                # hnswlib stops short of its breadth only where the rest of the
                # graph is out of reach, so a greater breadth finds no more.
                logger.warning("a graph of %d vectors fell apart: searched exactly", self._count)
                return self._search_exactly(vectors, wanted)
        similarities = np.clip(1.0 - distances[:, :wanted], -1.0, 1.0).astype(np.float32)
        return Neighbours(labels[:, :wanted].astype(np.int64), similarities)

    @property
    def _count(self) -> int:
        return len(self._live) + len(self._deleted)

    def _breadth(self, k: int) -> int:
        """Return how many neighbours to ask hnswlib for, so as to find `k` good ones.

        It weighs the greater of its ef and of what it is asked for, and ef is
        shared by all searches of an index. Asking for more than is needed widens
        this search alone. A small shard is asked for all that lives: then either
        the list is complete, which is exact, or hnswlib says that it is not.
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
        """Compare with every live vector; slow, since hnswlib reads back at 0.1 ms a vector."""
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


AnyShard = Shard | ExactShard
"""Many vectors have a graph, few have none; a set may hold both kinds."""
