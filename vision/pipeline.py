"""A detector and an embedder as one model.

A feature depends on the crop, so both networks, the margin between them and their weights make one
model with one id. So does the number of regions of a picture that have a feature: the same networks
serve a family of models, whose ids differ at their end.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from contract import causes
from vision.box import Box
from vision.detectors.detector import Detector
from vision.detectors.product import WEIGHTS_FILE as DETECTOR_WEIGHTS
from vision.detectors.product import ProductDetector
from vision.embedders.embedder import Embedder
from vision.embedders.product import WEIGHTS_FILE as EMBEDDER_WEIGHTS
from vision.embedders.product import ProductEmbedder
from vision.ground import is_of_one_colour
from vision.onnx_network import open_exported
from vision.options import VisionOptions
from vision.similarity import QueryParts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


#: The most boxes of a picture that have a feature beside the whole picture.
MOST_BOXES = 3


class Pipeline:
    """One detector and one embedder, and the crop between them."""

    def __init__(
        self, detector: Detector, embedder: Embedder, box_margin: float, boxes_indexed: int = 0
    ) -> None:
        """Take the networks, the margin at each edge of a crop as a share of its side, and a count.

        That is of the best boxes that are described beside the whole picture, MOST_BOXES at most;
        0: the best box alone.
        """
        self._detector = detector
        self._embedder = embedder
        self._box_margin = box_margin
        self._boxes_indexed = boxes_indexed
        made_of = f"{detector.fingerprint}|margin={box_margin}|{embedder.fingerprint}"
        self._family_id = hashlib.sha256(made_of.encode()).hexdigest()[:16]

    @property
    def model_id(self) -> str:
        """16 hex digits that differ whenever features could differ.

        With the whole picture, -w and the count of boxes follow.
        """
        return f"{self._family_id}-w{self._boxes_indexed}" if self.has_whole else self._family_id

    @property
    def has_whole(self) -> bool:
        """Whether the whole picture has a feature beside the best boxes."""
        return self._boxes_indexed > 0

    @property
    def parts(self) -> int:
        """The most features that `describe` returns of a picture."""
        return 1 + self._boxes_indexed

    def relatives(self) -> tuple[Pipeline, ...]:
        """Return the other models that the same networks serve."""
        counts = (count for count in range(MOST_BOXES + 1) if count != self._boxes_indexed)
        return tuple(
            Pipeline(self._detector, self._embedder, self._box_margin, count) for count in counts
        )

    @property
    def dimensions(self) -> int:
        """How many numbers a feature has."""
        return self._embedder.dimensions

    @property
    def detector(self) -> Detector:
        """The detector, for measurements of it alone."""
        return self._detector

    def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
        """Return the best box of an upright RGB picture, and the features to be found by.

        The features are those of the best boxes and of the whole picture after them, or of the best
        box alone, as this model says: shape (n, dimensions), float32, norm 1. The box is the whole
        picture if nothing is detected, and then there is one feature. Raises NoAvailableFeature if
        the picture is of one colour, or a feature is zero or not finite.
        """
        _require_something(image)
        boxes = self._detected(image)
        regions = _and_whole(boxes[: self._boxes_indexed], image) if self.has_whole else boxes[:1]
        return boxes[0], self._embedded(image, regions)

    def describe_query(
        self, image: Image.Image, boxes_searched: int, box: Box | None = None
    ) -> tuple[list[Box], QueryParts]:
        """Return all boxes of an upright RGB picture, best first, and the parts to search with.

        The parts are the best `boxes_searched` boxes and, if `boxes_searched` is more than one, the
        whole picture after them unless it is among them. If nothing is detected, the only box is
        the whole picture. A given `box` is used alone, as far as it lies in the picture. Raises
        NoAvailableFeature if the picture is of one colour, or a feature is zero or not finite.
        """
        _require_something(image)
        if box is not None:
            return [box], QueryParts(self._embedded(image, [box]), whole=None)
        boxes = self._detected(image)
        searched = boxes[:boxes_searched]
        # A query that shows a part of a product is found by the whole picture rather than by a
        # box in it. One box is for large catalogues, where further features find other products.
        if boxes_searched > 1:
            searched = _and_whole(searched, image)
        whole = Box(0, 0, *image.size)
        place = searched.index(whole) if whole in searched else None
        return boxes, QueryParts(self._embedded(image, searched), place)

    def _detected(self, image: Image.Image) -> list[Box]:
        return self._detector.detect(image) or [Box(0, 0, *image.size)]

    def _embedded(self, image: Image.Image, boxes: list[Box]) -> NDArray[np.float32]:
        features = self._embedder.embed([self._cut(image, box) for box in boxes])
        if not np.isfinite(features).all() or not features.any(axis=1).all():
            raise causes.FEATURE.fault("a feature is zero or not finite")
        return features

    def _cut(self, image: Image.Image, box: Box) -> Image.Image:
        left, right = self._widened(box.left, box.right, image.width)
        top, bottom = self._widened(box.top, box.bottom, image.height)
        return image.crop((left, top, right, bottom))

    def _widened(self, start: int, stop: int, side: int) -> tuple[int, int]:
        """Return both ends with the margin, within 0 to `side`, at least a pixel apart."""
        margin = self._box_margin * (stop - start)
        first = min(max(math.floor(start - margin), 0), side - 1)
        return first, max(min(math.ceil(stop + margin), side), first + 1)


def _and_whole(boxes: list[Box], image: Image.Image) -> list[Box]:
    """Return the boxes, and after them the whole picture if it is not among them."""
    whole = Box(0, 0, *image.size)
    return boxes if whole in boxes else [*boxes, whole]


def _require_something(image: Image.Image) -> None:
    # All pictures of one colour are alike to the model: each would be found by any of them.
    if is_of_one_colour(image):
        raise causes.FEATURE.fault("the picture is of one colour")


def load_pipeline(options: VisionOptions) -> Pipeline:
    """Return the model that `options` name.

    The default parts on a CPU are loaded without torch. For others, weights that are named in
    torchvision's registry may be downloaded; the project's own and files are not. Raises
    ValueError, with one line, for an unknown name, a device or an engine that is not available, or
    a file that does not fit.
    """
    if options.is_exported:
        detector: Detector = ProductDetector(open_exported(DETECTOR_WEIGHTS, options.threads))
        embedder: Embedder = ProductEmbedder(open_exported(EMBEDDER_WEIGHTS, options.threads))
    else:
        # Imported here: torch takes some four seconds and 1 GB.
        try:
            from vision import torch_models
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "torchvision"):
                raise
            raise ValueError(
                f"{options.detector} and {options.embedder} on {options.device} with engine "
                f"{options.engine} need torch, which is not installed"
            ) from error
        detector, embedder = torch_models.load(options)
    return Pipeline(detector, embedder, options.box_margin, options.boxes_indexed)
