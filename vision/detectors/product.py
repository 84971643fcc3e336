"""The default detector: it finds products of any kind, with weights that come with the project."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision.box import Box
from vision.onnx_network import LoadedNetwork
from vision.pixels import square_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

WEIGHTS_FILE = Path(__file__).parents[1] / "trained" / "product-detector.safetensors"
#: Side of the square that a picture is resized to, in pixels.
INPUT_SIDE = 320
#: Boxes with a lower score are left out.
SCORE_THRESHOLD = 0.3
#: Boxes with a greater IoU with a better one count as the same product.
MOST_OVERLAP = 0.6
#: The most boxes that are returned.
MOST_BOXES = 10


class ProductDetector:
    """torchvision's FCOS on EfficientNet-Lite0, trained for one class: a product."""

    def __init__(self, network: LoadedNetwork, score_threshold: float = SCORE_THRESHOLD) -> None:
        """Take a network of `vision.detectors.product_network`.

        Boxes with a score below `score_threshold` are left out.
        """
        self._run = network.run
        self._score_threshold = score_threshold
        self.fingerprint = (
            f"product-detector({network.content_hash}, side={INPUT_SIDE},"
            f" score={score_threshold}, overlap={MOST_OVERLAP})"
        )

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of the products found, highest score first; [] if there are none."""
        scores, corners = self._run(square_pixels(image, INPUT_SIDE))
        chosen = scores >= self._score_threshold
        scores, corners = scores[chosen], corners[chosen].clip(0, INPUT_SIDE)
        shares = corners[suppressed(corners, scores, MOST_OVERLAP, MOST_BOXES)] / INPUT_SIDE
        return [box for row in shares if (box := _box(row, image.size)) is not None]


def suppressed(
    corners: NDArray[np.float32], scores: NDArray[np.float32], most_overlap: float, most: int
) -> NDArray[np.intp]:
    """Return the indices of at most `most` boxes, highest score first, without overlapping ones.

    `corners` have shape (n, 4): left, top, right, bottom. A box is left out if its IoU with a
    better one that is kept is greater than `most_overlap`. The same boxes as torchvision's `nms`
    keeps, in the same order.
    """
    left, top, right, bottom = corners.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        united = areas[best] + areas[rest] - shared
        overlap = np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
        # As torchvision compares: the threshold is not rounded to float32.
        order = rest[~(overlap.astype(np.float64) > most_overlap)]
    return np.array(kept, dtype=np.intp)


def _box(shares: NDArray[np.float32], size: tuple[int, int]) -> Box | None:
    """Return the box of corners that are shares of a picture's sides, None if it is empty."""
    width, height = size
    left, top = math.floor(shares[0] * width), math.floor(shares[1] * height)
    right = min(math.ceil(shares[2] * width), width)
    bottom = min(math.ceil(shares[3] * height), height)
    return Box(left, top, right, bottom) if left < right and top < bottom else None
