"""Search designs: what is compared of images and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

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
    """A way to search: parts of images and of queries.

    An image counts by the most similar pair of a part of the query and one of its own.
    `discount` is taken from the similarity of all of the query's parts but its best box.
    `agreement` is the share of the similarity that is that of both best boxes, for pictures that
    are alike in their grounds alone.
    """

    gallery: Parts
    query: Parts = Parts(3, whole=True)
    discount: float = 0.0
    agreement: float = 0.0

    def __str__(self) -> str:
        words = [f"{self.gallery} / {self.query}"]
        if self.discount:
            words.append(f"discount {self.discount:g}")
        if self.agreement:
            words.append(f"agreement {self.agreement:g}")
        return ", ".join(words)


#: The design of the service: the first box of an image, three boxes and the whole of a query.
TODAY = SearchDesign(Parts(1))
WITH_PARTS = tuple(SearchDesign(Parts(boxes, whole=True)) for boxes in (1, 2, 3))
#: As with `SNAPSKU_BOXES_SEARCHED=1`.
ONE_BOX = SearchDesign(Parts(1), Parts(1))
#: The agreement was chosen on one half of the kinds, with a crowd of 2,000 among the sets.
AGREEING = replace(WITH_PARTS[0], agreement=0.15)
DESIGNS = (TODAY, *WITH_PARTS, AGREEING, ONE_BOX)
#: The designs for which weights are chosen.
TUNED = (TODAY, WITH_PARTS[0])
#: Not a design, but a bound for one box.
TRUE_BOX = SearchDesign(Parts(1), TrueBox())
#: What may be taken from the similarity of a query's further parts.
DISCOUNTS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
#: The shares that the best boxes may have.
AGREEMENTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


class Gallery:
    """The parts of many images, to be compared with those of a query."""

    def __init__(self, described: Sequence[Described], parts: Parts) -> None:
        """Take the `parts` of the images."""
        rows = [parts.of(one) for one in described]
        self._starts = np.cumsum([0, *(len(each) for each in rows[:-1])])
        self._rows = np.concatenate(rows)

    def similarities(
        self, query: NDArray[np.float32], discount: float = 0.0, agreement: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the similarity of each image with the parts of a query, best box first."""
        products = query @ self._rows.T
        of_best_boxes = products[0, self._starts]
        products[1:] -= discount
        best = np.maximum.reduceat(products.max(axis=0), self._starts)
        mixed: NDArray[np.float32] = (1 - agreement) * best + agreement * of_best_boxes
        return mixed
