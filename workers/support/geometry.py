"""Local features of images and queries, and the order of the first images by them.

The setting `geometry` decides whether any of it is done. OpenCV is loaded by the children of a
pool alone, at their start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from catalog.rows.images import ImageRow
from config.settings import settings
from vision.geometry.score import similarity
from workers.support.resources import catalog

if TYPE_CHECKING:
    from PIL import Image

    from vision.box import Box
    from vision.geometry.local_features import LocalFeatures

log = structlog.get_logger(__name__)

#: The first images of a search whose geometry is compared.
CANDIDATES = 30
#: Comparing takes at most so long, in seconds, and ends so long before the asker stops waiting.
MOST_SECONDS, SPARE_SECONDS = 1.0, 0.5


@dataclass(frozen=True)
class Found:
    """An image that a search found."""

    image: ImageRow
    cosine: float  #: of the two best features
    inliers: int = 0  #: local features that agree in their places; 0 if none were compared

    @property
    def similarity(self) -> float:
        """The cosine, raised towards 1 by the inliers."""
        return similarity(self.cosine, self.inliers)


def prepare_geometry() -> None:
    """Load OpenCV with the threads of the settings, where geometry is used."""
    if settings().geometry:
        from vision.geometry.local_features import limit_threads

        limit_threads(settings().torch_threads)


def candidates() -> int:
    """Return how many images of a search are looked at for their geometry, 0 if none."""
    return CANDIDATES if settings().geometry else 0


def without_local_features(labels: Sequence[int]) -> set[int]:
    """Return the labels of stored images that are to get local features: those without any."""
    if not settings().geometry:
        return set()
    return set(labels) - catalog().local_features.present(labels)


def stored_features(picture: Image.Image) -> bytes:
    """Return the local features of an image's upright RGB picture as they are stored."""
    from vision.geometry.local_features import image_features
    from vision.geometry.stored import pack

    return pack(image_features(picture))


def in_order(
    found: Sequence[tuple[ImageRow, float]], picture: Image.Image, box: Box | None, deadline: float
) -> list[Found]:
    """Return images by falling similarity, of which `found` holds those with the highest cosine.

    The geometry of the first ones is compared with that of the picture, or of `box` in it. Those
    for which the time until `deadline` (of `time.monotonic`) does not suffice keep their cosine.
    """
    listed = [Found(image, cosine) for image, cosine in found]
    first = listed[: candidates()]
    until = min(time.monotonic() + MOST_SECONDS, deadline - SPARE_SECONDS)
    if not first or time.monotonic() >= until:
        return listed
    seen = picture if box is None else picture.crop((box.left, box.top, box.right, box.bottom))
    verified = _verified(first, seen, until)
    # A stable order: images of the same similarity stay as the cosine had them.
    verified.sort(key=lambda one: -one.similarity)
    return verified + listed[len(verified) :]


def _verified(first: Sequence[Found], seen: Image.Image, until: float) -> list[Found]:
    """Return images with their inliers, in the same order, as far as the time suffices."""
    from vision.geometry.local_features import query_features
    from vision.geometry.verification import inliers

    query = query_features(seen)
    if not len(query):
        return list(first)
    stored = catalog().local_features.get([one.image.label for one in first])
    verified = []
    for one in first:
        candidate = _read(one.image.label, stored.get(one.image.label))
        if candidate is not None and time.monotonic() < until:
            one = replace(one, inliers=inliers(query, candidate))
        verified.append(one)
    return verified


def _read(label: int, data: bytes | None) -> LocalFeatures | None:
    """Return stored local features, None if an image has none that can be read."""
    from vision.geometry.stored import UnusableFeaturesError, unpack

    try:
        return None if data is None else unpack(data)
    except UnusableFeaturesError as error:
        log.warning("local features can't be read, its cosine counts", label=label, why=str(error))
        return None
