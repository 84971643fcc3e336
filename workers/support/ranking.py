"""The order of the images that a search found, by all of their parts and by their geometry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from catalog.rows.images import ImageRow
from config.settings import settings
from vision.similarity import raised
from workers.support.resources import catalog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.box import Box
    from vision.pipeline import Pipeline
    from vision.similarity import QueryParts
    from workers.support.geometry import QueryGeometry

log = structlog.get_logger(__name__)

#: The first images of an index are compared by all parts, and the first of those, in that order, by
#: their geometry. With 70 in place of 170, too few are left among many on the same ground.
NEIGHBOURS, CANDIDATES = 170, 50
#: Neighbours asked for beyond those and topk, so that a few deleted ones cost no second round.
SPARE = 20
#: Comparing geometry takes at most so long, in seconds, and ends so long before the asker stops
#: waiting.
MOST_SECONDS, SPARE_SECONDS = 1.0, 0.5


@dataclass(frozen=True)
class Found:
    """An image that a search found."""

    image: ImageRow
    cosine: float  #: of the two best features
    score: float  #: by which images are put in order
    inliers: int = 0  #: local features that count; 0 if none were compared
    similarity: float = 0.0  #: the cosine, raised by the inliers; at least that of all that follow


def candidates() -> int:
    """Return how many images of a search are compared more closely, at least; 0 if none are."""
    return NEIGHBOURS if settings().geometry else 0


def ranked(
    near: Sequence[tuple[ImageRow, float]],
    model: Pipeline,
    parts: QueryParts,
    geometry: QueryGeometry | None,
    box: Box,
    deadline: float,
) -> list[Found]:
    """Return images, the best first; `near` has those that an index found, with their cosine.

    If no geometry was compared the cosine decides, since all parts without it find less. `box`
    is the best one in the picture of `geometry`, of which only as much is compared as the time
    until `deadline` (of `time.monotonic`) suffices for.
    """
    listed = [Found(image, cosine, cosine) for image, cosine in near]
    until = min(time.monotonic() + MOST_SECONDS, deadline - SPARE_SECONDS)
    if geometry is None or time.monotonic() >= until:
        return _with_similarities(listed)
    found = listed[:NEIGHBOURS]
    if model.has_whole:
        vectors = catalog().vectors.get([one.image.label for one in found], model.model_id)
        found = _in_order([_compared(one, parts, vectors.get(one.image.label)) for one in found])
    counts = geometry.inliers([one.image.label for one in found[:CANDIDATES]], box, until)
    if not counts:
        return _with_similarities(listed)
    verified = [_verified(one, counts.get(one.image.label, 0)) for one in found]
    return _with_similarities(_in_order(verified) + listed[NEIGHBOURS:])


def _compared(one: Found, parts: QueryParts, vectors: NDArray[np.float32] | None) -> Found:
    """Return an image with the score of its parts; as it is if its vectors can't be used."""
    if vectors is None:
        return one
    if vectors.shape[1] != parts.features.shape[1] or not np.isfinite(vectors).all():
        log.warning("vectors can't be used, the cosine counts", label=one.image.label)
        return one
    return replace(one, score=parts.score(vectors))


def _verified(one: Found, inliers: int) -> Found:
    return replace(one, inliers=inliers, score=raised(one.score, inliers))


def _in_order(found: list[Found]) -> list[Found]:
    # Images of the same score stay in their order.
    return sorted(found, key=lambda one: -one.score)


def _with_similarities(found: list[Found]) -> list[Found]:
    """Return images with their similarities, which fall.

    Clients are promised the cosine, raised where geometry agrees, and a list that falls by it. An
    image that comes first by its score is as similar as any that follows.
    """
    own = [raised(one.cosine, one.inliers) for one in found]
    falling = np.maximum.accumulate(own[::-1])[::-1].tolist()
    return [replace(one, similarity=value) for one, value in zip(found, falling, strict=True)]
