"""A shard with a graph: one hnswlib index with its lock and its labels.

This is the only module that uses hnswlib, which allows concurrent searches and concurrent
additions, but not both at once; resizing and marking need exclusive access. So a read-write lock
guards it. The space is "cosine": hnswlib then normalises its own copy of each vector, so the
answer is the true cosine even if rounding to half precision changed the norm of a vector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hnswlib
import numpy as np

from indexer.hnsw.exact_shard import ExactShard, Rows
from indexer.lock import ReadWriteLock
from indexer.neighbours import Neighbours, no_neighbours
from indexer.vectors import check_additions, check_query, positions_in, runs_of

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
    """Vectors under labels of images, which are never used again; they never change.

    Each vector of an image has a key of its own in the graph, made of the label and its number.
    """

    def __init__(self, options: IndexOptions, size: int = FIRST_SIZE) -> None:
        """Take the number of vectors to reserve memory for."""
        self._options = options
        self._lock = ReadWriteLock()
        # How many vectors each label has.
        self._live: dict[int, int] = {}
        self._deleted: dict[int, int] = {}
        self._count = self._live_vectors = 0
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
        shard._take(index.get_ids_list(), deleted)
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
        runs = list(runs_of(labels).values())
        images = VECTORS_PER_PIECE // options.parts
        for start in range(0, len(runs), images):
            piece = slice(runs[start].start, runs[start : start + images][-1].stop)
            shard.add(labels[piece], rows.vectors[piece])
        shard.mark_deleted(list(rows.marked))
        return shard

    def without_graph(self) -> ExactShard:
        """Return an exact shard of the same labels, marks and vectors."""
        exact = ExactShard(self._options)
        with self._lock.writing():
            marked = self._keys(self._deleted, self._deleted)
            keys = [*self._keys(self._live, self._live), *marked]
            # hnswlib does not read back a vector that is marked.
            for key in marked:
                self._index.unmark_deleted(key)
            if keys:
                exact.add(self._labels(keys), np.asarray(self._index.get_items(keys), np.float32))
            for key in marked:
                self._index.mark_deleted(key)
        exact.mark_deleted(list(self._deleted))
        exact.forget_changes()
        return exact

    @property
    def live_count(self) -> int:
        """How many images a search can find."""
        return len(self._live)

    @property
    def live_vectors(self) -> int:
        """How many vectors the images have that a search can find."""
        return self._live_vectors

    @property
    def vectors(self) -> int:
        """How many vectors there are, those of marked images included."""
        return self._count

    @property
    def deleted_count(self) -> int:
        """How many images are marked as deleted and still take memory."""
        return len(self._deleted)

    @property
    def room(self) -> int:
        """How many vectors can still be added."""
        return self._options.shard_capacity - self._count

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
        """Return the vectors of the live labels among `labels`, both as `add` takes them.

        The vectors have norm 1, whatever norm they were added with.
        """
        with self._lock.reading():
            keys = self._keys((label for label in labels if label in self._live), self._live)
            if not keys:
                return [], np.empty((0, self._options.dimensions), np.float32)
            return self._labels(keys), np.asarray(self._index.get_items(keys), np.float32)

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
        """Add the vectors (n, dimensions) of images, and return how many images were new.

        Everything is added under one write lock. Labels that the shard holds are skipped, marked
        ones too. Raises ValueError, with nothing added, for invalid labels or vectors, or if there
        is no room.
        """
        runs = check_additions(labels, vectors, self._options.dimensions, self._options.parts)
        with self._lock.writing():
            new = {label: run for label, run in runs.items() if not self.holds(label)}
            if not new:
                return 0
            positions = positions_in(new.values())
            if len(positions) > self.room:
                raise ValueError(f"no room for {len(positions)} vectors in a shard of {self.room}")
            self._grow_for(len(positions))
            parts = {label: run.stop - run.start for label, run in new.items()}
            keys = np.array(self._keys(parts, parts), np.uint64)
            self._index.add_items(vectors[positions], keys, num_threads=1)
            self._live.update(parts)
            self._count += len(positions)
            self._live_vectors += len(positions)
            self._changes += len(new)
            return len(new)

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many were live.

        Labels that are marked already or not held are ignored.
        """
        with self._lock.writing():
            live = self._live.keys() & set(labels)
            for label in live:
                for key in self._keys([label], self._live):
                    self._index.mark_deleted(key)
                # In this order, so that `holds`, which takes no lock, is true throughout.
                self._deleted[label] = self._live[label]
                self._live_vectors -= self._live.pop(label)
            self._changes += len(live)
            return len(live)

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again with their vectors; return which ones were marked."""
        with self._lock.writing():
            marked = self._deleted.keys() & set(labels)
            for label in marked:
                for key in self._keys([label], self._deleted):
                    self._index.unmark_deleted(key)
                self._live[label] = self._deleted[label]
                self._live_vectors += self._deleted.pop(label)
            self._changes += len(marked)
            return marked

    def search(self, vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the nearest live labels of each vector (q, dimensions), nearest first.

        Both arrays are (q, n), with n the smaller of `k` and the live count. A label has the
        similarity of its nearest vector. The search is exact up to `exact_up_to` vectors, else
        approximate. Raises ValueError for invalid vectors or a `k` below 1.
        """
        check_query(vectors, k, self._options.dimensions)
        with self._lock.reading():
            wanted = min(k, len(self._live))
            if wanted == 0 or len(vectors) == 0:
                return no_neighbours(len(vectors))
            breadth = self._breadth(k)
            while True:
                try:
                    keys, distances = self._index.knn_query(vectors, k=breadth, num_threads=1)
                except RuntimeError as error:
                    if TOO_FEW_FOUND not in str(error):
                        raise
                    # hnswlib returns fewer only if the rest of the graph can't be reached, so
                    # requesting more finds no more.
                    logger.warning(
                        "a graph of %d vectors fell apart: searched exactly", self._count
                    )
                    return self._search_exactly(vectors, wanted)
                similarities = np.clip(1.0 - distances, -1.0, 1.0).astype(np.float32)
                found = self._nearest(keys.astype(np.int64), similarities, wanted)
                if found is not None:
                    return found
                # Some images took several places of the list.
                breadth = min(2 * breadth, self._live_vectors)

    def _nearest(
        self, keys: NDArray[np.int64], similarities: NDArray[np.float32], wanted: int
    ) -> Neighbours | None:
        """Return the first `wanted` labels of each row of keys, None if a row has fewer."""
        if self._options.parts == 1:
            return Neighbours(keys[:, :wanted], similarities[:, :wanted])
        labels = keys // self._options.keys_per_label
        firsts = [np.sort(np.unique(row, return_index=True)[1])[:wanted] for row in labels]
        if min(map(len, firsts)) < wanted:
            return None
        columns = np.stack(firsts)
        return Neighbours(
            np.take_along_axis(labels, columns, axis=1),
            np.take_along_axis(similarities, columns, axis=1),
        )

    def _breadth(self, k: int) -> int:
        """Return how many vectors to request from hnswlib in order to find `k` good labels.

        It considers the greater of its ef, which all searches of an index share, and of the
        number requested. So requesting more than needed widens this search only. Of a small
        shard all live vectors are requested: either the list is complete, which is exact, or
        hnswlib raises.
        """
        live = self._live_vectors
        if self._count <= self._options.exact_up_to:
            return live
        # As many as `k` images have on average, and `k` more: then 1, 2 and 4 vectors an image find
        # as many of the nearest 70 (0.94 to 0.96 of 20,000 images).
        needed = -(-k * live // len(self._live))
        return min(live, needed if needed + k <= self._options.ef_floor else needed + k)

    def _keys(self, labels: Iterable[int], parts: Mapping[int, int]) -> list[int]:
        """Return the keys of labels, each with its number of `parts`, in their order."""
        step = self._options.keys_per_label
        return [label * step + part for label in labels for part in range(parts[label])]

    def _labels(self, keys: Iterable[int]) -> list[int]:
        return [key // self._options.keys_per_label for key in keys]

    def _take(self, keys: Sequence[int], deleted: Collection[int]) -> None:
        """Take note of the keys of a graph; raises ShardFileError if a label lacks one between."""
        step = self._options.keys_per_label
        ordered = np.sort(np.array(keys, np.int64))
        labels, firsts, counts = np.unique(ordered // step, return_index=True, return_counts=True)
        numbers = np.arange(len(ordered)) - np.repeat(firsts, counts)
        if (ordered % step != numbers).any() or (counts > self._options.parts).any():
            raise ShardFileError("the file holds keys that no label has")
        parts = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        self._deleted = {label: parts[label] for label in deleted if label in parts}
        self._live = {label: count for label, count in parts.items() if label not in self._deleted}
        self._count, self._live_vectors = len(ordered), sum(self._live.values())

    def _grow_for(self, additions: int) -> None:
        needed = self._count + additions
        if needed > self._size:
            size = min(self._options.shard_capacity, max(2 * self._size, needed))
            self._index.resize_index(size)
            self._size = size

    def _search_exactly(self, vectors: NDArray[np.float32], wanted: int) -> Neighbours:
        """Compare with every live vector; slow, since reading one back takes hnswlib 0.1 ms."""
        queries = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        keys = self._keys(self._live, self._live)
        compared = [
            queries @ self._index.get_items(keys[start : start + VECTORS_PER_PIECE]).T
            for start in range(0, len(keys), VECTORS_PER_PIECE)
        ]
        similarities = np.clip(np.hstack(compared), -1.0, 1.0).astype(np.float32)
        order = np.argsort(-similarities, axis=1, kind="stable")
        nearest = self._nearest(
            np.array(keys, np.int64)[order], np.take_along_axis(similarities, order, axis=1), wanted
        )
        assert nearest is not None  # all live labels are compared  # noqa: S101
        return nearest


#: A shard with a graph, for many vectors, or without, for few; a set may have both kinds.
AnyShard = Shard | ExactShard
