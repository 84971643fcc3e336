"""A shard of few vectors without a graph: an array that a search compares completely.

hnswlib's own exact index, BFIndex, is as fast (0.13 ms for 2,000 vectors of 256 numbers). It is
not used since it can neither grow, nor read a vector back, nor undo a deletion: each of these
would need a second copy of the vectors. Similarities are computed by `vecdot` and not as a matrix
product, since the threads that BLAS starts for one cost up to 100 ms on a busy machine.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexer.neighbours import Neighbours, no_neighbours
from indexer.vectors import check_additions, check_query, positions_in, runs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions

#: Bytes of the Python objects of a shard, its set and its manifest; measured, not exact.
BYTES_BESIDE_ROWS = 2_000


#: The empty set of marked labels, shared by all shards: each of its own would take 232 bytes.
NONE: frozenset[int] = frozenset()


class ShardBytesError(Exception):
    """The bytes are not those of the expected shard."""


class Rows(NamedTuple):
    """An immutable state of a shard.

    Each vector has the label of its image; those of an image follow one another. The arrays may be
    longer than `total`; the rest belongs to later states.
    """

    labels: NDArray[np.int64]
    vectors: NDArray[np.float32]
    total: int
    images: int
    marked: frozenset[int]
    changes: int


class ExactShard:
    """Vectors under labels of images, which are never used again; they never change.

    A change replaces the state by a new one, so a search takes no lock, and sees all of a change
    or nothing. The shard itself does not limit the number of vectors to `exact_up_to`.
    """

    __slots__ = ("__weakref__", "_changing", "_options", "_rows")

    def __init__(self, options: IndexOptions) -> None:
        self._options = options
        self._changing = threading.Lock()
        self._rows = Rows(
            np.empty(0, np.int64),
            np.empty((0, options.dimensions), np.float32),
            total=0,
            images=0,
            marked=NONE,
            changes=0,
        )

    @classmethod
    def unpack(
        cls, options: IndexOptions, data: bytes, live: int, marked: Collection[int]
    ) -> ExactShard:
        """Return the shard that `pack` made bytes of, with `live` live labels and `marked` ones.

        The caller has checked the bytes for damage. Raises ShardBytesError if they are malformed
        or have other labels.
        """
        bytes_per_row = 8 + 4 * options.dimensions
        count, rest = divmod(len(data), bytes_per_row)
        if rest:
            raise ShardBytesError(f"{len(data)} bytes are no whole number of rows")
        # NumPy refuses an empty buffer, but a shard may be saved before its first addition.
        labels = np.frombuffer(data or bytes(8), "<i8", count).astype(np.int64)
        try:
            runs = runs_of(labels.tolist())
        except ValueError as error:
            raise ShardBytesError(str(error)) from error
        most = max((run.stop - run.start for run in runs.values()), default=0)
        known = runs.keys()
        if most > options.parts or not known >= set(marked) or len(known) != live + len(marked):
            raise ShardBytesError("the labels are others than the record says")
        values = np.frombuffer(data or bytes(4), "<f4", -1 if count else 0, 8 * count)
        shard = cls(options)
        vectors = values.reshape(count, options.dimensions).astype(np.float32)
        shard._rows = Rows(labels, vectors, count, len(known), frozenset(marked) or NONE, 0)
        return shard

    @property
    def rows(self) -> Rows:
        """The present state."""
        return self._rows

    @property
    def live_count(self) -> int:
        """How many images a search can find."""
        rows = self._rows
        return rows.images - len(rows.marked)

    @property
    def deleted_count(self) -> int:
        """How many images are marked as deleted and still take memory."""
        return len(self._rows.marked)

    @property
    def room(self) -> int:
        """How many vectors can still be added."""
        return self._options.shard_capacity - self._rows.total

    @property
    def changes(self) -> int:
        """How many labels were added or marked since the shard was made or loaded."""
        return self._rows.changes

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of the shard in bytes."""
        rows = self._rows
        marks = 100 * len(rows.marked)
        return rows.labels.nbytes + rows.vectors.nbytes + marks + BYTES_BESIDE_ROWS

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label."""
        rows = self._rows
        return label not in rows.marked and bool((rows.labels[: rows.total] == label).any())

    def live_labels(self) -> set[int]:
        """Return the labels that a search can find."""
        rows = self._rows
        return set(rows.labels[: rows.total].tolist()).difference(rows.marked)

    def held(self, labels: Collection[int]) -> set[int]:
        """Return the labels among `labels` that were added, marked as deleted or not."""
        rows = self._rows
        return set(rows.labels[: rows.total].tolist()).intersection(labels)

    def read(self, labels: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return the vectors of the live labels among `labels`, both as `add` takes them.

        The vectors have norm 1, whatever norm they were added with.
        """
        rows = self._rows
        runs = runs_of(rows.labels[: rows.total].tolist())
        live = [label for label in labels if label in runs and label not in rows.marked]
        positions = positions_in(runs[label] for label in live)
        return rows.labels[positions].tolist(), rows.vectors[positions]

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add the vectors (n, dimensions) of images, and return how many images were new.

        Labels that the shard holds are skipped, marked ones too. Raises ValueError, with nothing
        added, for invalid labels or vectors, or if there is no room.
        """
        runs = check_additions(labels, vectors, self._options.dimensions, self._options.parts)
        with self._changing:
            known = self.held(runs)
            new = [run for label, run in runs.items() if label not in known]
            positions = positions_in(new)
            if len(positions) > self.room:
                raise ValueError(f"no room for {len(positions)} vectors in a shard of {self.room}")
            if new:
                added = [labels[position] for position in positions]
                self._append(added, _unit(vectors[positions]), len(new))
            return len(new)

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from later searches, and return how many were live.

        Labels that are marked already or not held are ignored.
        """
        with self._changing:
            live = self.held(labels).difference(self._rows.marked)
            self._mark(self._rows.marked | live, len(live))
            return len(live)

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again with their vectors; return which ones were marked."""
        with self._changing:
            marked = set(self._rows.marked.intersection(labels))
            self._mark(self._rows.marked - marked, len(marked))
            return marked

    def search(self, vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the nearest live labels of each vector (q, dimensions), nearest first.

        Both arrays are (q, n), with n the smaller of `k` and the live count. A label has the
        similarity of its nearest vector; equal ones are ordered by label. Raises ValueError for
        invalid vectors or a `k` below 1.
        """
        check_query(vectors, k, self._options.dimensions)
        rows = self._rows
        labels, known = rows.labels[: rows.total], rows.vectors[: rows.total]
        if rows.marked:
            live = ~np.isin(labels, np.fromiter(rows.marked, np.int64, len(rows.marked)))
            labels, known = labels[live], known[live]
        wanted = min(k, rows.images - len(rows.marked))
        if wanted == 0 or len(vectors) == 0:
            return no_neighbours(len(vectors))
        similarities = np.clip(np.vecdot(known[None], _unit(vectors)[:, None]), -1.0, 1.0)
        if rows.images < rows.total:
            firsts = np.flatnonzero(np.diff(labels, prepend=0))
            labels = labels[firsts]
            similarities = np.maximum.reduceat(similarities, firsts, axis=1)
        best = [_nearest(labels, row, wanted) for row in similarities]
        return Neighbours(
            np.stack([labels[places] for places in best]),
            np.stack([row[places] for row, places in zip(similarities, best, strict=True)]),
        )

    def forget_changes(self) -> None:
        """Set the count of changes to 0."""
        with self._changing:
            self._rows = self._rows._replace(changes=0)

    def _append(self, labels: list[int], vectors: NDArray[np.float32], images: int) -> None:
        rows = self._rows
        count = rows.total + len(labels)
        all_labels, all_vectors = rows.labels, rows.vectors
        if count > len(all_labels):
            # Little spare room: most sets are small, and rarely grow.
            size = min(self._options.shard_capacity, count + count // 16)
            all_labels = np.empty(size, np.int64)
            all_vectors = np.empty((size, self._options.dimensions), np.float32)
            all_labels[: rows.total] = rows.labels[: rows.total]
            all_vectors[: rows.total] = rows.vectors[: rows.total]
        all_labels[rows.total : count] = labels
        all_vectors[rows.total : count] = vectors
        self._rows = Rows(
            all_labels,
            all_vectors,
            count,
            rows.images + images,
            rows.marked,
            rows.changes + images,
        )

    def _mark(self, marked: frozenset[int], changes: int) -> None:
        rows = self._rows
        self._rows = rows._replace(marked=marked or NONE, changes=rows.changes + changes)


def pack(rows: Rows) -> bytes:
    """Return the labels and then the vectors as bytes, which `ExactShard.unpack` reads."""
    labels = rows.labels[: rows.total].astype("<i8").tobytes()
    return labels + rows.vectors[: rows.total].astype("<f4").tobytes()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    # As in hnswlib: the answer is the exact cosine even if rounding changed the norm.
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _nearest(
    labels: NDArray[np.int64], similarities: NDArray[np.float32], wanted: int
) -> NDArray[np.intp]:
    """Return the positions of the `wanted` greatest similarities, greatest first, then by label."""
    places = np.arange(len(labels))
    if wanted < len(labels):
        least = np.partition(similarities, -wanted)[-wanted]
        places = np.flatnonzero(similarities >= least)
    order = np.lexsort((labels[places], -similarities[places]))[:wanted]
    return places[order]
