"""The detectors and embedders whose networks torch builds: all but the default ones on a CPU."""

from __future__ import annotations

from functools import cache

import torch

from vision.backbone import EfficientNetLite0
from vision.detectors import product_network as product_boxes
from vision.detectors.activation_map import ActivationMapDetector
from vision.detectors.detector import Detector
from vision.detectors.product import ProductDetector
from vision.detectors.torchvision_registry import TorchvisionDetector
from vision.embedders import product_network as product_features
from vision.embedders.efficientnet_lite import EfficientNetLiteEmbedder
from vision.embedders.embedder import Embedder
from vision.embedders.product import ProductEmbedder
from vision.embedders.torchvision_registry import TorchvisionEmbedder
from vision.options import (
    ACTIVATION_MAP,
    EFFICIENTNET_LITE0,
    PRODUCT_DETECTOR,
    PRODUCT_EMBEDDER,
    VisionOptions,
)


def load(options: VisionOptions) -> tuple[Detector, Embedder]:
    """Return the detector and the embedder that `options` name.

    Sets the number of torch's threads, if given. Raises ValueError, with one line, for an unknown
    name, a device or an engine that is not available, or a file that does not fit.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    device, engine = _checked_device(options.device), options.engine

    # Detector and embedder of the same weights share a network.
    @cache
    def backbone(weights: str) -> EfficientNetLite0:
        return EfficientNetLite0(weights, device, engine)

    weights = options.detector_weights
    detector: Detector
    if options.detector == PRODUCT_DETECTOR:
        detector = ProductDetector(product_boxes.load(weights, device, engine))
    elif options.detector == ACTIVATION_MAP:
        detector = ActivationMapDetector(backbone(weights), options.activation_threshold)
    else:
        detector = TorchvisionDetector(options.detector, weights, device, options.score_threshold)
    weights = options.embedder_weights
    embedder: Embedder
    if options.embedder == PRODUCT_EMBEDDER:
        embedder = ProductEmbedder(product_features.load(weights, device, engine))
    elif options.embedder == EFFICIENTNET_LITE0:
        embedder = EfficientNetLiteEmbedder(backbone(weights))
    else:
        embedder = TorchvisionEmbedder(options.embedder, weights, device)
    return detector, embedder


def _checked_device(device: str) -> str:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used: {reason}") from error
    return device
