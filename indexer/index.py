"""The index: sets of vectors by key, and one search over any of them.

Knows nothing of what a vector was made from, nor of where the rows are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from indexer.neighbours import Neighbours, merge
from indexer.vector_set import SetStatistics, VectorSet
from indexer.vectors import check_additions, check_query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.options import IndexOptions


class SetKey(NamedTuple):
    """Names a set: the generation of a collection, and a category in it."""

    generation: str
    category: str


class VectorIndex:
    """Sets of vectors, safe for use by several threads.

    Work in one set never waits for another: the lock here guards the table of
    sets alone and is held for a look or a change of it.
    """

    def __init__(self, options: IndexOptions) -> None:
        self._options = options
        self._table = threading.Lock()
        self._sets: dict[SetKey, VectorSet] = {}

    def add(self, key: SetKey, labels: Sequence[int], vectors: NDArray[np.float32]) -> int:
        """Add vectors (n, dimensions), float32 and of norm 1; give how many were new.

        Labels are above 0 and below 2**63. One that the set knows is skipped, a
        deleted one too. On return every new label can be found. Raises
        ValueError, with nothing added, for bad labels or vectors.
        """
        check_additions(labels, vectors, self._options.dimensions)
        if len(labels) == 0:
            return 0
        with self._table:
            vector_set = self._sets.setdefault(key, VectorSet(self._options))
        return vector_set.add(labels, vectors)

    def mark_deleted(self, key: SetKey, labels: Sequence[int]) -> int:
        """Hide labels from every later search; give how many of them were never seen.

        Those are not remembered: one that is added later is live.
        """
        vector_set = self._find(key)
        return len(set(labels)) if vector_set is None else vector_set.mark_deleted(labels)

    def search(self, keys: Sequence[SetKey], vectors: NDArray[np.float32], k: int) -> Neighbours:
        """Give the `k` nearest labels to any of the vectors (q, dimensions) in the sets.

        One list of int64 labels and float32 cosines, falling: each label once,
        with its similarity to the vector that it is nearest to. Shorter than
        `k` only where less is live; empty where there is nothing. Raises
        ValueError for bad vectors or a k under 1.
        """
        check_query(vectors, k, self._options.dimensions)
        answers: list[Neighbours] = []
        for key in dict.fromkeys(keys):
            vector_set = self._find(key)
            if vector_set is not None:
                answers.extend(vector_set.search(vectors, k))
        return merge(answers, k)

    def drop_generation(self, generation: str) -> int:
        """Forget all sets of a generation and give how many there were.

        An add that comes later opens a set anew, so late work must be followed
        by another drop.
        """
        with self._table:
            dropped = [key for key in self._sets if key.generation == generation]
            for key in dropped:
                del self._sets[key]
        return len(dropped)

    def count(self, key: SetKey) -> int:
        """Give how many labels of the set a search can find; 0 for an unknown set."""
        vector_set = self._find(key)
        return 0 if vector_set is None else vector_set.statistics().live

    def keys(self) -> list[SetKey]:
        """Give the keys of all sets, those whose labels are all deleted too."""
        with self._table:
            return list(self._sets)

    def contains(self, key: SetKey, label: int) -> bool:
        """Tell whether a search of the set can find the label."""
        vector_set = self._find(key)
        return vector_set is not None and vector_set.contains(label)

    def statistics(self) -> dict[SetKey, SetStatistics]:
        """Give the size of every set."""
        with self._table:
            sets = dict(self._sets)
        return {key: vector_set.statistics() for key, vector_set in sets.items()}

    def _find(self, key: SetKey) -> VectorSet | None:
        with self._table:
            return self._sets.get(key)
