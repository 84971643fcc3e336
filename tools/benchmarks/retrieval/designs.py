"""Search designs: what is compared of images and queries, and how the first rows are ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vision.similarity import SERVICE, QueryParts, Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.retrieval.features import Described


@dataclass(frozen=True)
class Parts:
    """The features that a picture has: those of its best boxes, and of the whole picture."""

    boxes: int
    whole: bool = False

    def of(self, described: Described) -> NDArray[np.float32]:
        """Return the features, those of the boxes first, shape (n, dimensions)."""
        rows = described.features[: self.boxes]
        return np.concatenate([rows, described.whole]) if self.whole else rows

    def __str__(self) -> str:
        boxes = f"{self.boxes} box{'es' if self.boxes > 1 else ''}"
        return f"whole + {boxes}" if self.whole else boxes


@dataclass(frozen=True)
class TrueBox(Parts):
    """The feature of the true box of a query: what a perfect detector would reach."""

    boxes: int = 1

    def of(self, described: Described) -> NDArray[np.float32]:
        """Return the feature of the first true box, shape (1, dimensions)."""
        return described.true_features[:1]

    def __str__(self) -> str:
        return "true box"


@dataclass(frozen=True)
class SearchDesign:
    """A way to search: parts of images and of queries, and the order of the first images.

    An image counts by the most similar pair of a part of the query and one of its own, with
    `weights` by its score as the service computes it. With `geometry`, the scores of the first
    CANDIDATES are raised by their inliers.
    """

    gallery: Parts
    query: Parts = Parts(3, whole=True)
    weights: Weights | None = None
    geometry: bool = False

    def __str__(self) -> str:
        words = [f"{self.gallery} / {self.query}"]
        if self.weights == SERVICE:
            words.append("ranked")
        elif self.weights:
            one = self.weights
            words.append(f"ranked({one.best_box:g}, {one.further_boxes:g}, {one.box_share:g})")
        if self.geometry:
            half, elsewhere = (self.weights or SERVICE).half, (self.weights or SERVICE).elsewhere
            is_own = (half, elsewhere) == (SERVICE.half, SERVICE.elsewhere)
            words.append("geometry" if is_own else f"geometry({half}, {elsewhere})")
        return ", ".join(words)


#: Before images had several parts: the best box of an image, three boxes and the whole of a query.
BEFORE = SearchDesign(Parts(1))
WITH_PARTS = tuple(SearchDesign(Parts(boxes, whole=True)) for boxes in (1, 2, 3))
RANKED = replace(WITH_PARTS[0], weights=SERVICE, query=Parts(2, whole=True))
#: The design of the service.
TODAY = replace(RANKED, geometry=True)
#: With the inliers of the whole query, wherever its box is.
ALL_INLIERS = replace(TODAY, weights=replace(SERVICE, elsewhere=10_000))
#: As with `SNAPSKU_BOXES_SEARCHED` of 1 and of 3.
ONE_BOX = replace(TODAY, query=Parts(1))
THREE_BOXES = replace(TODAY, query=Parts(3, whole=True))
DESIGNS = (BEFORE, *WITH_PARTS, RANKED, TODAY, ALL_INLIERS, THREE_BOXES, ONE_BOX)
#: Not a design, but a bound for one box.
TRUE_BOX = SearchDesign(Parts(1), TrueBox())
#: The weights that are tried: of the parts, and of the inliers.
PART_WEIGHTS = tuple(
    Weights(best_box, further, share)
    for best_box in (0.0, 0.03, 0.06, 0.1)
    for further in (0.1, 0.2)
    for share in (0.0, 0.15, 0.3, 0.5)
)
INLIER_WEIGHTS = tuple(
    replace(SERVICE, half=half, elsewhere=elsewhere)
    for half in (4, 8, 16)
    for elsewhere in (0, 2, 6, 10_000)
)


def parts_of(query: Parts, described: Described) -> QueryParts:
    """Return the parts of a query that a design compares."""
    rows = query.of(described)
    return QueryParts(rows, len(rows) - 1 if query.whole else None)


class Gallery:
    """The parts of many images, to be compared with those of a query."""

    def __init__(self, described: Sequence[Described], parts: Parts) -> None:
        """Take the `parts` of the images."""
        rows = [parts.of(one) for one in described]
        self._starts = np.cumsum([0, *(len(each) for each in rows[:-1])])
        self._rows = np.concatenate(rows)

    def scores(self, query: QueryParts, weights: Weights | None = None) -> NDArray[np.float32]:
        """Return the score of each image for a query; without weights, of the best pair."""
        products = query.features @ self._rows.T
        if weights is None or query.whole is None:
            best: NDArray[np.float32] = np.maximum.reduceat(products.max(axis=0), self._starts)
            return best
        product = products[[0, query.whole]][:, self._starts].max(axis=0)
        products -= query.discounts(weights)[:, None]
        best = np.maximum.reduceat(products.max(axis=0), self._starts)
        mixed: NDArray[np.float32] = (1 - weights.box_share) * best + weights.box_share * product
        return mixed
