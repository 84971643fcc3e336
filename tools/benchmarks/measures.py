"""Measures of boxes and of rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.box import Box


def area(box: Box) -> int:
    """Return the number of pixels of a box; 0 if it is empty."""
    return max(box.right - box.left, 0) * max(box.bottom - box.top, 0)


def shared(one: Box, other: Box) -> int:
    """Return the number of pixels in both boxes."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(width, 0) * max(height, 0)


def intersection_over_union(one: Box, other: Box) -> float:
    """Return the pixels in both boxes divided by those in either, 0 to 1; 0 for empty boxes."""
    common = shared(one, other)
    union = area(one) + area(other) - common
    return common / union if union else 0.0


def covered(box: Box, truth: Box) -> float:
    """Return the share of `truth` that lies in `box`, 0 to 1; 0 if `truth` is empty."""
    whole = area(truth)
    return shared(box, truth) / whole if whole else 0.0


def best_similarities(
    features: NDArray[np.float32], gallery: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the best cosine of each gallery row with any of `features`, all of norm 1.

    Shapes (boxes, dimensions) and (images, dimensions) give (images,).
    """
    best: NDArray[np.float32] = (features @ gallery.T).max(axis=0)
    return best


def relevant_ranks(similarities: NDArray[np.float32], relevant: Sequence[int]) -> list[int]:
    """Return the ranks of the `relevant` images, from 1, in ascending order.

    Of equal similarities, images that are not relevant rank first, so that a model that gives
    all pictures the same feature finds nothing.
    """
    wrong = np.ones(len(similarities), dtype=bool)
    wrong[list(relevant)] = False
    own = sorted((float(similarities[index]) for index in relevant), reverse=True)
    return [
        place + int(np.count_nonzero(wrong & (similarities >= value)))
        for place, value in enumerate(own, start=1)
    ]


def recall_at(ranks: Sequence[Sequence[int]], k: int) -> float:
    """Return the share of queries with a relevant image among the first `k`."""
    return float(np.mean([bool(places) and min(places) <= k for places in ranks]))


def average_precision(places: Sequence[int]) -> float:
    """Return the mean of the precisions at the ranks of the relevant images; 0 without any.

    `places` are these ranks, from 1, in ascending order.
    """
    if not places:
        return 0.0
    return sum(found / place for found, place in enumerate(places, start=1)) / len(places)


def mean_average_precision(ranks: Sequence[Sequence[int]]) -> float:
    """Return the mean of `average_precision` over the queries."""
    return float(np.mean([average_precision(places) for places in ranks]))
