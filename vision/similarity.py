"""By what images are put in order: all parts of the pictures, and whether their geometry agrees.

An image counts by its best pair of a part of the query and one of its own. Pairs of boxes are often
alike by chance, since a box can hold anything; the whole picture is alike where the ground is the
same. So the query's boxes take a discount, and a share of the score is that of the product in the
image. docs/retrieval.md says how the numbers were chosen and what each brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.box import Box


@dataclass(frozen=True)
class Weights:
    """What counts how much; the defaults are those of the service."""

    #: Taken from the cosine of the query's best box, and of its further boxes, beside the whole.
    best_box: float = 0.06
    further_boxes: float = 0.2
    #: The share that is the cosine of the image's best box with the query's, or with the whole.
    box_share: float = 0.3
    #: So many inliers raise a similarity by half of its distance to 1.
    half: int = 8
    #: The most inliers that count outside of the query's best box, where the ground is.
    elsewhere: int = 2


SERVICE = Weights()
#: A best box is this much larger at each side, as a share of it, when inliers are counted.
MARGIN = 0.1


@dataclass(frozen=True)
class QueryParts:
    """The features of a query: of the boxes searched, best first, and of the whole picture."""

    features: NDArray[np.float32]  #: (n, dimensions), norm 1
    whole: int | None  #: the row of the whole picture; None if one box alone is searched

    def discounts(self, weights: Weights = SERVICE) -> NDArray[np.float32]:
        """Return what is taken from the cosine of each row beside the whole picture, shape (n,)."""
        taken = np.full(len(self.features), weights.further_boxes, np.float32)
        taken[0] = weights.best_box
        taken[self.whole] = 0
        return taken

    def score(self, image: NDArray[np.float32], weights: Weights = SERVICE) -> float:
        """Return by what an image with features (m, dimensions), best box first, is put in order.

        A box that is searched alone is compared with all parts of the image alike.
        """
        cosines = self.features @ image.T
        if self.whole is None:
            return float(cosines.max())
        best = float((cosines - self.discounts(weights)[:, None]).max())
        product = float(cosines[[0, self.whole], 0].max())
        return (1 - weights.box_share) * best + weights.box_share * product


def inside(inliers: NDArray[np.float32], box: Box) -> int:
    """Return how many inliers, points (n, 2), lie in a box in the same pixels, or close to it."""
    wide, high = MARGIN * (box.right - box.left), MARGIN * (box.bottom - box.top)
    least = (box.left - wide, box.top - high)
    most = (box.right + wide, box.bottom + high)
    return int(((inliers >= least) & (inliers <= most)).all(axis=1).sum())


def counted(in_box: int, elsewhere: int, weights: Weights = SERVICE) -> int:
    """Return how many inliers count, of those in the best box of a query and of those elsewhere.

    A few elsewhere do, since the box may miss the product. Many are those of a ground that two
    pictures share.
    """
    return in_box + min(elsewhere, weights.elsewhere)


def raised(similarity: float, inliers: int, weights: Weights = SERVICE) -> float:
    """Return a similarity, raised towards 1 by inliers; never less than it, and never above 1.

    Similarities of 0.9 and 0.5 with as many inliers stay in this order, so geometry decides among
    pictures that the model finds alike, and not alone.
    """
    return min(similarity + inliers / (inliers + weights.half) * (1 - similarity), 1.0)
