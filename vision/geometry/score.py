"""The similarity of two pictures, from the cosine of their features and from geometry."""

from __future__ import annotations

#: So many inliers say all that geometry can say.
ENOUGH_INLIERS = 20
#: By this share of the distance to 1 they raise a cosine.
MOST_RAISE = 0.8


def similarity(cosine: float, inliers: int) -> float:
    """Return a cosine, raised towards 1 by `inliers`; never less than it, and never above 1.

    Cosines of 0.9 and 0.5 with as many inliers stay in this order, so geometry decides among
    pictures that the model finds alike, and not alone.
    """
    share = MOST_RAISE * min(inliers, ENOUGH_INLIERS) / ENOUGH_INLIERS
    return min(cosine + share * (1 - cosine), 1.0)
