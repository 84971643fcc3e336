"""Local features: corners and blobs of a picture that another view of it shows again (SIFT).

They do not depend on the model: a picture has the same whichever detector and embedder are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

#: Pixels, longest side of the picture that features of an image are taken from, and of a query; a
#: larger one is scaled down. With 640 for either, no more of the benchmark's queries were right.
SIDE, QUERY_SIDE = 320, 360
#: The most features of an image, and of a query, which is not stored: the strongest ones.
MOST_FEATURES, MOST_QUERY_FEATURES = 200, 500
#: Numbers of a descriptor, a byte each.
DESCRIPTOR = 128


@dataclass(frozen=True)
class LocalFeatures:
    """Features of one picture, the strongest first; each has a place and a descriptor."""

    points: NDArray[np.float32]  #: (n, 2), x and y in pixels of the scaled picture
    sizes: NDArray[np.float32]  #: (n,), diameters in the same pixels
    angles: NDArray[np.float32]  #: (n,), directions in radians, 0 to a whole turn
    descriptors: NDArray[np.uint8]  #: (n, DESCRIPTOR)

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def roots(self) -> NDArray[np.float32]:
        """The descriptors as unit vectors whose products compare them as Hellinger's kernel does.

        Kept, since those of a query are compared with many others.
        """
        values = self.descriptors.astype(np.float32)
        sums = np.maximum(values.sum(axis=1, keepdims=True), 1)
        roots: NDArray[np.float32] = np.sqrt(values / sums)
        return roots


def limit_threads(threads: int) -> None:
    """Let OpenCV use so many threads of this process, no GPU, and numpy one for products.

    Numpy's threads spin while they wait for each other: on a busy machine with two cores, comparing
    30 images took 203 ms with two of them and 18 with one.
    """
    threadpool_limits(1, user_api="blas")
    cv2.setNumThreads(threads)
    cv2.ocl.setUseOpenCL(False)


def image_features(picture: Image.Image) -> LocalFeatures:
    """Return the local features of an image's upright RGB picture; none if it has no texture."""
    return _found(picture, SIDE, MOST_FEATURES)


def query_features(picture: Image.Image) -> LocalFeatures:
    """Return those of a query's picture, in which the product may be small, so more of them."""
    return _found(picture, QUERY_SIDE, MOST_QUERY_FEATURES)


def _found(picture: Image.Image, side: int, most: int) -> LocalFeatures:
    grey = _grey(picture, side)
    keypoints, descriptors = cv2.SIFT_create(nfeatures=most).detectAndCompute(grey, None)
    if descriptors is None:
        return _features(np.empty((0, 4), np.float32), np.empty((0, DESCRIPTOR), np.uint8))
    places = np.array(
        [(*keypoint.pt, keypoint.size, np.deg2rad(keypoint.angle)) for keypoint in keypoints],
        np.float32,
    )
    # Ties make OpenCV return more than were asked for.
    strength = np.array([keypoint.response for keypoint in keypoints])
    chosen = np.argsort(-strength, kind="stable")[:most]
    # OpenCV's numbers are whole, 0 to 255.
    return _features(places[chosen], descriptors[chosen].astype(np.uint8))


def _features(places: NDArray[np.float32], descriptors: NDArray[np.uint8]) -> LocalFeatures:
    return LocalFeatures(places[:, :2], places[:, 2], places[:, 3], descriptors)


def _grey(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return a picture in levels of grey, scaled down to at most `side` pixels a side."""
    grey: NDArray[np.uint8] = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
    share = side / max(picture.size)
    if share < 1:
        size = tuple(max(round(share * one), 1) for one in picture.size)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return grey
