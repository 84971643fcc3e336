"""Detector and embedder as one: what ingestion and search ask of a picture.

The crop decides the feature, so both parts, what lies between them and their
weights make one model, with one id. The module knows nothing of tasks, HTTP or
databases.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from contract.errors import NoAvailableFeature
from vision.backbone import EfficientNetLite0
from vision.box import Box
from vision.detectors.activation_map import ActivationMapDetector
from vision.detectors.detector import Detector
from vision.detectors.product import ProductDetector
from vision.detectors.torchvision_registry import TorchvisionDetector
from vision.embedders.efficientnet_lite import EfficientNetLiteEmbedder
from vision.embedders.embedder import Embedder
from vision.embedders.product import ProductEmbedder
from vision.embedders.torchvision_registry import TorchvisionEmbedder
from vision.engine import ONNXRUNTIME
from vision.weights import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

PRODUCT_DETECTOR = "product-detector"
PRODUCT_EMBEDDER = "product-embedder"
ACTIVATION_MAP = "activation-map"
EFFICIENTNET_LITE0 = "efficientnet-lite0"


@dataclass(frozen=True)
class VisionOptions:
    """Which model to load, and how to run it."""

    #: "product-detector", "activation-map", or a model of torchvision's detection registry.
    detector: str = PRODUCT_DETECTOR
    #: DEFAULT_WEIGHTS, another registered name, or the path of a file of weights.
    detector_weights: str = DEFAULT_WEIGHTS
    #: "product-embedder", "efficientnet-lite0", or a classification model of torchvision's
    #: registry.
    embedder: str = PRODUCT_EMBEDDER
    #: DEFAULT_WEIGHTS, another registered name, or the path of a file of weights.
    embedder_weights: str = DEFAULT_WEIGHTS
    #: A device of torch, such as "cpu" or "cuda:0".
    device: str = "cpu"
    #: Threads of torch in this process; 0 leaves torch's own choice.
    threads: int = 0
    #: What runs the default networks on a processor, one of `vision.engine`.
    engine: str = ONNXRUNTIME
    #: Share of a box's side that is cut out beyond each of its edges.
    box_margin: float = 0.0
    #: Activation map: strength that a place of an object has, 0 to 1.
    activation_threshold: float = 0.35
    #: torchvision's detectors: boxes with a lower score are left out, 0 to 1.
    score_threshold: float = 0.5


class Pipeline:
    """One detector and one embedder, and the crop between them."""

    def __init__(self, detector: Detector, embedder: Embedder, box_margin: float) -> None:
        """Join the parts; `box_margin` is the share of a side added at each edge of a crop."""
        self._detector = detector
        self._embedder = embedder
        self._box_margin = box_margin
        parts = f"{detector.fingerprint}|margin={box_margin}|{embedder.fingerprint}"
        self._model_id = hashlib.sha256(parts.encode()).hexdigest()[:16]

    @property
    def model_id(self) -> str:
        """16 hex digits that change with anything that could change a feature."""
        return self._model_id

    @property
    def dimensions(self) -> int:
        """How many numbers a feature has."""
        return self._embedder.dimensions

    @property
    def detector(self) -> Detector:
        """What finds the boxes, for whoever measures it alone."""
        return self._detector

    def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
        """Return the best box of an upright RGB picture, and its feature.

        The feature has shape (dimensions,), float32, length 1. The box is the whole
        picture where nothing is detected. Raises NoAvailableFeature.
        """
        boxes = self._detected(image)
        return boxes[0], self._embedded(image, boxes[:1])[0]

    def describe_query(
        self, image: Image.Image, boxes_searched: int, box: Box | None = None
    ) -> tuple[list[Box], NDArray[np.float32]]:
        """Return all boxes of an upright RGB picture, best first, and the features to search with.

        The features are those of the best `boxes_searched` boxes and, if these are more than
        one, of the whole picture after them: shape (n, dimensions), float32, length 1. Where
        nothing is detected the one box is the whole picture. A given `box` stands in for all of
        that; what of it lies outside the picture is not used. Raises NoAvailableFeature where a
        feature is zero or not finite.
        """
        if box is not None:
            return [box], self._embedded(image, [box])
        boxes = self._detected(image)
        searched = boxes[:boxes_searched]
        whole = Box(0, 0, *image.size)
        # A part of a product shot is found by itself rather than by a box in it. Whoever wants
        # one box alone has a large catalogue, where whatever else is searched finds others.
        if boxes_searched > 1 and whole not in searched:
            searched.append(whole)
        return boxes, self._embedded(image, searched)

    def _detected(self, image: Image.Image) -> list[Box]:
        return self._detector.detect(image) or [Box(0, 0, *image.size)]

    def _embedded(self, image: Image.Image, boxes: list[Box]) -> NDArray[np.float32]:
        features = self._embedder.embed([self._cut(image, box) for box in boxes])
        if not np.isfinite(features).all() or not features.any(axis=1).all():
            raise NoAvailableFeature("a feature is zero or not finite")
        return features

    def _cut(self, image: Image.Image, box: Box) -> Image.Image:
        left, right = self._widened(box.left, box.right, image.width)
        top, bottom = self._widened(box.top, box.bottom, image.height)
        return image.crop((left, top, right, bottom))

    def _widened(self, start: int, stop: int, side: int) -> tuple[int, int]:
        """Add the margin on both ends, stay within 0 to `side`, keep at least a pixel."""
        margin = self._box_margin * (stop - start)
        first = min(max(math.floor(start - margin), 0), side - 1)
        return first, max(min(math.ceil(stop + margin), side), first + 1)


def load_pipeline(options: VisionOptions) -> Pipeline:
    """Load the model that `options` name.

    Weights named by torchvision may be downloaded; the defaults and files never are.
    Raises ValueError with one line for an unknown name, a device or an engine that
    is not there, or a file that does not fit.
    """
    device = _checked_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    networks: dict[str, EfficientNetLite0] = {}

    def network(weights: str) -> EfficientNetLite0:
        if weights not in networks:
            networks[weights] = EfficientNetLite0(weights, device, options.engine)
        return networks[weights]

    detector: Detector
    if options.detector == PRODUCT_DETECTOR:
        detector = ProductDetector(options.detector_weights, device, options.engine)
    elif options.detector == ACTIVATION_MAP:
        detector = ActivationMapDetector(
            network(options.detector_weights), options.activation_threshold
        )
    else:
        detector = TorchvisionDetector(
            options.detector, options.detector_weights, device, options.score_threshold
        )
    embedder: Embedder
    if options.embedder == PRODUCT_EMBEDDER:
        embedder = ProductEmbedder(options.embedder_weights, device, options.engine)
    elif options.embedder == EFFICIENTNET_LITE0:
        embedder = EfficientNetLiteEmbedder(network(options.embedder_weights))
    else:
        embedder = TorchvisionEmbedder(options.embedder, options.embedder_weights, device)
    return Pipeline(detector, embedder, options.box_margin)


def _checked_device(device: str) -> str:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used: {reason}") from error
    return device
