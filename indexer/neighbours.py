"""Lists of neighbours, and how several are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Neighbours(NamedTuple):
    """Labels (int64) and their cosine similarities (float32, -1 to 1), of one shape."""

    labels: NDArray[np.int64]
    similarities: NDArray[np.float32]


def no_neighbours(rows: int | None = None) -> Neighbours:
    """Return empty arrays of shape (0,), or (rows, 0) if a number of queries is given."""
    shape = (0,) if rows is None else (rows, 0)
    return Neighbours(np.empty(shape, np.int64), np.empty(shape, np.float32))


def merge(lists: Sequence[Neighbours], k: int) -> Neighbours:
    """Return one list of at most `k`: each label once with its best similarity, greatest first.

    The arrays of `lists` may have any shape. Equal similarities are ordered by label, so that the
    answer does not depend on the order of the shards. The list is empty if `lists` is.
    """
    if not lists:
        return no_neighbours()
    labels = np.concatenate([part.labels.ravel() for part in lists])
    similarities = np.concatenate([part.similarities.ravel() for part in lists])
    order = np.lexsort((labels, -similarities))
    labels, similarities = labels[order], similarities[order]
    best_places = np.sort(np.unique(labels, return_index=True)[1])[:k]
    return Neighbours(labels[best_places], similarities[best_places])
