"""The order of the images that a search found, by all of their parts and by their geometry."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from catalog.rows.images import ImageRow
from vision.similarity import raised
from workers.support.resources import catalog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.box import Box
    from vision.pipeline import Pipeline
    from vision.similarity import QueryParts
    from workers.support.geometry import QueryGeometry

log = structlog.get_logger(__name__)

#: So many images are compared more closely than an index does, more if more are asked for, and the
#: geometry of the first ones of so many.
CANDIDATES = 50
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


def ranked(
    near: Sequence[tuple[ImageRow, float]],
    model: Pipeline,
    parts: QueryParts,
    geometry: QueryGeometry | None,
    box: Box,
    deadline: float,
) -> list[Found]:
    """Return images by falling similarity; `near` has those that an index found, with their cosine.

    `box` is the best one in the picture of `geometry`, of which only as much is compared as the
    time until `deadline` (of `time.monotonic`) suffices for.
    """
    found = _by_parts(near, model, parts)
    if geometry is not None:
        until = min(time.monotonic() + MOST_SECONDS, deadline - SPARE_SECONDS)
        counts = geometry.inliers([one.image.label for one in found[:CANDIDATES]], box, until)
        found = _falling([_verified(one, counts.get(one.image.label, 0)) for one in found])
    return found


def _by_parts(
    near: Sequence[tuple[ImageRow, float]], model: Pipeline, parts: QueryParts
) -> list[Found]:
    """Return images by the similarity of their parts; by the cosine if the model has no others."""
    listed = [Found(image, cosine, min(cosine, 1.0)) for image, cosine in near]
    if not model.has_whole:
        return listed
    vectors = catalog().vectors.get([one.image.label for one in listed], model.model_id)
    return _falling([_compared(one, parts, vectors.get(one.image.label)) for one in listed])


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
