"""Local features of images and queries, and how many of them agree.

The setting `geometry` decides whether any of it is done. OpenCV is loaded by the children of a
pool alone, at their start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import structlog

from config.settings import settings
from vision.similarity import counted, inside
from workers.support.resources import catalog

if TYPE_CHECKING:
    from PIL import Image

    from vision.box import Box
    from vision.geometry.local_features import LocalFeatures

log = structlog.get_logger(__name__)


def prepare_geometry() -> None:
    """Load OpenCV with the threads of the settings, where geometry is used."""
    if settings().geometry:
        from vision.geometry.local_features import limit_threads

        limit_threads(settings().torch_threads)


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


class QueryGeometry:
    """The local features of a query, made in a thread while the model sees the picture."""

    def __init__(self, picture: Image.Image) -> None:
        """Begin with an upright RGB picture, or what the client chose of it."""
        from vision.geometry.local_features import query_features

        self._size = picture.size
        self._made = _thread().submit(query_features, picture)

    def inliers(self, labels: Sequence[int], box: Box, until: float) -> dict[int, int]:
        """Return by label how many local features of images count, if `box` is the query's best.

        Images without local features are left out, and those for which the time until `until` (of
        `time.monotonic`) does not suffice.
        """
        from vision.geometry import verification
        from vision.geometry.local_features import scaled_size

        stored = catalog().local_features.get(labels)
        try:
            query = self._made.result(timeout=max(until - time.monotonic(), 0))
        except TimeoutError:
            return {}
        seen = box.scaled(self._size, scaled_size(self._size))
        found = {}
        for label, data in stored.items():
            candidate = _read(label, data)
            if candidate is not None and time.monotonic() < until:
                points = verification.inliers(query, candidate)
                in_box = inside(points, seen)
                found[label] = counted(in_box, len(points) - in_box)
        return found


@cache
def _thread() -> ThreadPoolExecutor:
    # Made by a child of a pool, since threads do not outlive a fork.
    return ThreadPoolExecutor(1, "local-features")


def _read(label: int, data: bytes) -> LocalFeatures | None:
    """Return stored local features, None if they can't be read."""
    from vision.geometry.stored import UnusableFeaturesError, unpack

    try:
        return unpack(data)
    except UnusableFeaturesError as error:
        log.warning("local features can't be read, its cosine counts", label=label, why=str(error))
        return None
