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

#: So many images of an index are compared by all parts, at least, and the first of them in that
#: order by their geometry. With 70 of an index, too few are left among many on the same ground.
NEIGHBOURS, CANDIDATES = 150, 50
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
    similarity: float
    inliers: int = 0  #: local features that count; 0 if none were compared


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
    """Return images by falling similarity; `near` has those that an index found, with their cosine.

    If no geometry was compared it is the cosine, since all parts without it find less. `box`
    is the best one in the picture of `geometry`, of which only as much is compared as the time
    until `deadline` (of `time.monotonic`) suffices for.
    """
    listed = [Found(image, cosine, min(cosine, 1.0)) for image, cosine in near]
    until = min(time.monotonic() + MOST_SECONDS, deadline - SPARE_SECONDS)
    if geometry is None or time.monotonic() >= until:
        return listed
    found = listed
    if model.has_whole:
        vectors = catalog().vectors.get([one.image.label for one in found], model.model_id)
        found = _falling([_compared(one, parts, vectors.get(one.image.label)) for one in found])
    counts = geometry.inliers([one.image.label for one in found[:CANDIDATES]], box, until)
    if not counts:
        return listed
    return _falling([_verified(one, counts.get(one.image.label, 0)) for one in found])


def _compared(one: Found, parts: QueryParts, vectors: NDArray[np.float32] | None) -> Found:
    """Return an image with the similarity of its parts; as it is if its vectors can't be used."""
    if vectors is None:
        return one
    if vectors.shape[1] != parts.features.shape[1] or not np.isfinite(vectors).all():
        log.warning("vectors can't be read, the cosine counts", label=one.image.label)
        return one
    return replace(one, similarity=parts.similarity(vectors))


def _verified(one: Found, inliers: int) -> Found:
    return replace(one, inliers=inliers, similarity=raised(one.similarity, inliers))


def _falling(found: list[Found]) -> list[Found]:
    # Images of the same similarity stay in their order.
    return sorted(found, key=lambda one: -one.similarity)
