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

#: Pixels, longest side of the picture that features are taken from; a larger one is scaled down.
#: With 320 or 360, fewer of the benchmark's queries were right, and each took more time.
SIDE = 240
#: The most features of an image, and of a query, which is not stored: the strongest ones.
MOST_FEATURES, MOST_QUERY_FEATURES = 200, 500
#: Numbers of a descriptor, and the greatest, which the square root of OpenCV's 255 is cut to.
DESCRIPTOR, MOST_CODE = 128, 15


@dataclass(frozen=True)
class LocalFeatures:
    """Features of one picture, the strongest first; each has a place and a descriptor."""

    points: NDArray[np.float32]  #: (n, 2), x and y in pixels of the scaled picture
    sizes: NDArray[np.float32]  #: (n,), diameters in the same pixels
    angles: NDArray[np.float32]  #: (n,), directions in radians, 0 to a whole turn
    codes: NDArray[np.uint8]  #: (n, DESCRIPTOR), 0 to MOST_CODE: square roots of SIFT's descriptors

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """The codes as unit vectors, whose products are Hellinger's kernel of the descriptors.

        Kept, since those of a query are compared with many others. Arandjelovic and Zisserman,
        "Three things everyone should know to improve object retrieval", 2012.
        """
        values = self.codes.astype(np.float32)
        lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
        directions: NDArray[np.float32] = values / lengths
        return directions


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
    return _found(picture, MOST_FEATURES)


def query_features(picture: Image.Image) -> LocalFeatures:
    """Return those of a query's picture, in which the product may be small, so more of them."""
    return _found(picture, MOST_QUERY_FEATURES)


def scaled_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the scaled picture, in whose pixels points are."""
    share = min(SIDE / max(size), 1)
    width, height = size
    return max(round(share * width), 1), max(round(share * height), 1)


def _found(picture: Image.Image, most: int) -> LocalFeatures:
    grey = _grey(picture)
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
    # Half a byte of each number finds as many of the benchmark's queries as a whole one.
    codes = np.minimum(np.rint(np.sqrt(descriptors[chosen])), MOST_CODE).astype(np.uint8)
    return _features(places[chosen], codes)


def _features(places: NDArray[np.float32], codes: NDArray[np.uint8]) -> LocalFeatures:
    return LocalFeatures(places[:, :2], places[:, 2], places[:, 3], codes)


def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    """Return a picture in levels of grey, scaled down to at most SIDE pixels a side."""
    grey: NDArray[np.uint8] = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
    size = scaled_size(picture.size)
    return grey if size == picture.size else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
