"""One set of vectors: its shards, filled one after the other. Knows nothing of other sets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from indexer.shard import Shard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.neighbours import Neighbours
    from indexer.options import IndexOptions

MARKS_PER_WRITE = 1_000
"""Labels marked under one hold of the locks: about a millisecond."""


class SetStatistics(NamedTuple):
    """The size of a set: findable vectors, marked ones, and shards."""

    live: int
    deleted: int
    shards: int


class VectorSet:
    """Shards that are searched together; what changes them goes one at a time."""

    def __init__(self, options: IndexOptions) -> None:
        self._options = options
        self._changing = threading.Lock()
        self._shards: list[Shard] = []

    def add(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add checked vectors in pieces of `vectors_per_write`; give how many were new.

        When it returns, a search finds every label that was not marked as deleted.
        """
        added = 0
        for piece in _pieces(len(labels), self._options.vectors_per_write):
            with self._changing:
                added += self._add_piece(labels[piece], vectors[piece])
        return added

    def mark_deleted(self, labels: Sequence[int]) -> int:
        """Hide labels from every later search; give how many of them the set never saw."""
        distinct = list(dict.fromkeys(labels))
        unknown = 0
        for piece in _pieces(len(distinct), MARKS_PER_WRITE):
            with self._changing:
                left = distinct[piece]
                for shard in self._shards:
                    known = [label for label in left if shard.knows(label)]
                    if known:
                        shard.mark_deleted(known)
                        left = [label for label in left if not shard.knows(label)]
                unknown += len(left)
        return unknown

    def search(self, vectors: NDArray[np.float32], k: int) -> list[Neighbours]:
        """Give each shard's answer, arrays of (q, up to k), see `Shard.search`."""
        return [shard.search(vectors, k) for shard in tuple(self._shards)]

    def contains(self, label: int) -> bool:
        """Tell whether a search can find the label."""
        return any(shard.contains(label) for shard in tuple(self._shards))

    def statistics(self) -> SetStatistics:
        """Give the size of the set at this moment."""
        shards = tuple(self._shards)
        return SetStatistics(
            live=sum(shard.live_count for shard in shards),
            deleted=sum(shard.deleted_count for shard in shards),
            shards=len(shards),
        )

    def _add_piece(self, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        first_places: dict[int, int] = {}
        for place, label in enumerate(labels):
            if not any(shard.knows(label) for shard in self._shards):
                first_places.setdefault(label, place)
        new = list(first_places.values())
        added = 0
        while new:
            if not self._shards or self._shards[-1].room == 0:
                self._shards.append(Shard(self._options))
            shard = self._shards[-1]
            fitting, new = new[: shard.room], new[shard.room :]
            added += shard.add([labels[place] for place in fitting], vectors[fitting])
        return added


def _pieces(total: int, length: int) -> Iterator[slice]:
    return (slice(start, start + length) for start in range(0, total, length))
