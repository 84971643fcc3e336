"""A shard of few vectors without a graph: rows in one array, compared with one by one.

hnswlib's own exact index, BFIndex, is as fast (0.13 ms for 2,000 vectors of 256 numbers) and
was refused: it can neither grow, nor read a vector back, nor take a deletion back, so each of
these would need the vectors a second time. `vecdot` stands where a matrix product would: the
threads that BLAS starts for one cost up to 100 ms on a machine that is busy.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexer.hnsw.vectors import check_additions, check_query
from indexer.neighbours import Neighbours, no_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.hnsw.options import IndexOptions

BYTES_BESIDE_ROWS = 2_000
"""Python's objects of a shard, of its set and of its manifest; measured, not exact."""


NONE: frozenset[int] = frozenset()
"""No label marked, for all shards together: each empty set would be another 232 bytes."""


class ShardBytesError(Exception):
    """Bytes do not hold the shard that they should hold."""


class Rows(NamedTuple):
    """One state of a shard; nothing that it shows ever changes.

    The arrays may be longer than `total`: what lies beyond belongs to later states.
    """

    labels: NDArray[np.int64]
    vectors: NDArray[np.float32]
    total: int
    marked: frozenset[int]
    changes: int


class ExactShard:
    """Vectors under labels that are never used again; a vector never changes.

    A change makes a new state and puts it into place at once, so a search takes no lock
    and sees all of a change or nothing. The shard does not bound itself to few vectors.
    """

    __slots__ = ("__weakref__", "_changing", "_options", "_rows")

    def __init__(self, options: IndexOptions) -> None:
        self._options = options
        self._changing = threading.Lock()
        self._rows = Rows(
            np.empty(0, np.int64),
            np.empty((0, options.dimensions), np.float32),
            total=0,
            marked=NONE,
            changes=0,
        )

    @classmethod
    def unpack(
        cls, options: IndexOptions, data: bytes, live: int, marked: Collection[int]
    ) -> ExactShard:
        """Return the shard of `pack`ed bytes, with so many live labels and these marked ones.

        The bytes must be known to be those that were packed. Raises ShardBytesError where
        they do not have the form, or hold other labels.
        """
        bytes_per_row = 8 + 4 * options.dimensions
        count, rest = divmod(len(data), bytes_per_row)
        if rest:
            raise ShardBytesError(f"{len(data)} bytes are no whole number of rows")
        # An empty buffer is refused by numpy; a shard is saved empty before its first addition.
        labels = np.frombuffer(data or bytes(8), "<i8", count).astype(np.int64)
        known = set(labels.tolist())
        if len(known) != count or not known.issuperset(marked) or count != live + len(marked):
            raise ShardBytesError("the labels are others than the record says")
        values = np.frombuffer(data or bytes(4), "<f4", -1 if count else 0, 8 * count)
        shard = cls(options)
        vectors = values.reshape(count, options.dimensions).astype(np.float32)
        shard._rows = Rows(labels, vectors, count, frozenset(marked) or NONE, 0)
        return shard

    @property
    def rows(self) -> Rows:
        """The state of this moment."""
        return self._rows

    @property
    def live_count(self) -> int:
        """How many vectors a search can find."""
        rows = self._rows
        return rows.total - len(rows.marked)

    @property
    def deleted_count(self) -> int:
        """How many vectors are marked as deleted and still take their place."""
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
        """About how much memory the shard takes."""
        rows = self._rows
        marks = 100 * len(rows.marked)
        return rows.labels.nbytes + rows.vectors.nbytes + marks + BYTES_BESIDE_ROWS

    def contains(self, label: int) -> bool:
        """Return whether a search can find the label."""
        rows = self._rows
        return label not in rows.marked and bool((rows.labels[: rows.total] == label).any())

    def live_labels(self) -> set[int]:
        """Return the labels that a search can find at this moment."""
        rows = self._rows
        return set(rows.labels[: rows.total].tolist()).difference(rows.marked)

    def known(self, labels: Collection[int]) -> set[int]:
        """Return those among `labels` that were ever added, marked since or not."""
        rows = self._rows
        return set(rows.labels[: rows.total].tolist()).intersection(labels)

    def read(self, labels: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return those among `labels` that are live, and their vectors (n, dimensions).

        The vectors have the norm 1, whatever norm they were added with.
        """
        rows = self._rows
        places = dict(zip(rows.labels[: rows.total].tolist(), range(rows.total), strict=True))
        live = [label for label in labels if label in places and label not in rows.marked]
        return live, rows.vectors[[places[label] for label in live]]

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions) and return how many were new.

        A label that the shard knows is skipped, a marked one too. Raises ValueError, with
        nothing added, for bad labels or vectors or if there is no room.
        """
        check_additions(labels, vectors, self._options.dimensions)
        with self._changing:
            known = self.known(labels)
            places: dict[int, int] = {}
            for place, label in enumerate(labels):
                if label not in known:
                    places.setdefault(label, place)
            if len(places) > self.room:
                raise ValueError(f"no room for {len(places)} vectors in a shard of {self.room}")
            if places:
                self._append(list(places), _unit(vectors[list(places.values())]))
            return len(places)

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from every later search and return how many were live until now.

        Labels that are marked already, or were never added, change nothing.
        """
        with self._changing:
            live = self.known(labels).difference(self._rows.marked)
            self._mark(self._rows.marked | live, len(live))
            return len(live)

    def revive(self, labels: Sequence[int]) -> set[int]:
        """Make marked labels findable again, with the vectors they had; return which they were."""
        with self._changing:
            marked = set(self._rows.marked.intersection(labels))
            self._mark(self._rows.marked - marked, len(marked))
            return marked

    def search(self, vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Return the nearest live labels of each vector (q, dimensions), nearest first.

        Both arrays are (q, n), n the smaller of `k` and the live count; equal similarities
        go by label. Raises ValueError for bad vectors or a k under 1.
        """
        check_query(vectors, k, self._options.dimensions)
        rows = self._rows
        labels, known = rows.labels[: rows.total], rows.vectors[: rows.total]
        if rows.marked:
            live = ~np.isin(labels, np.fromiter(rows.marked, np.int64, len(rows.marked)))
            labels, known = labels[live], known[live]
        wanted = min(k, len(labels))
        if wanted == 0 or len(vectors) == 0:
            return no_neighbours(len(vectors))
        similarities = np.clip(np.vecdot(known[None], _unit(vectors)[:, None]), -1.0, 1.0)
        best = [_nearest(labels, row, wanted) for row in similarities]
        return Neighbours(
            np.stack([labels[places] for places in best]),
            np.stack([row[places] for row, places in zip(similarities, best, strict=True)]),
        )

    def forget_changes(self) -> None:
        """Count changes from here on."""
        with self._changing:
            self._rows = self._rows._replace(changes=0)

    def _append(self, labels: list[int], vectors: NDArray[np.float32]) -> None:
        rows = self._rows
        count = rows.total + len(labels)
        all_labels, all_vectors = rows.labels, rows.vectors
        if count > len(all_labels):
            # Little more than is needed: most sets are small, and stay as they are.
            size = min(self._options.shard_capacity, count + count // 16)
            all_labels = np.empty(size, np.int64)
            all_vectors = np.empty((size, self._options.dimensions), np.float32)
            all_labels[: rows.total] = rows.labels[: rows.total]
            all_vectors[: rows.total] = rows.vectors[: rows.total]
        all_labels[rows.total : count] = labels
        all_vectors[rows.total : count] = vectors
        changes = rows.changes + len(labels)
        self._rows = Rows(all_labels, all_vectors, count, rows.marked, changes)

    def _mark(self, marked: frozenset[int], changes: int) -> None:
        rows = self._rows
        self._rows = rows._replace(marked=marked or NONE, changes=rows.changes + changes)


def pack(rows: Rows) -> bytes:
    """Return the bytes of the labels and then of the vectors, which `ExactShard.unpack` reads."""
    labels = rows.labels[: rows.total].astype("<i8").tobytes()
    return labels + rows.vectors[: rows.total].astype("<f4").tobytes()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    # As hnswlib does it, so that the answer is the cosine, whatever rounding left of the norm.
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _nearest(
    labels: NDArray[np.int64], similarities: NDArray[np.float32], wanted: int
) -> NDArray[np.intp]:
    """Return the places of the `wanted` greatest similarities, falling, then by label."""
    places = np.arange(len(labels))
    if wanted < len(labels):
        least = np.partition(similarities, -wanted)[-wanted]
        places = np.flatnonzero(similarities >= least)
    order = np.lexsort((labels[places], -similarities[places]))[:wanted]
    return places[order]
