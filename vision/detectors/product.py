"""The default detector: it finds products of any kind, with weights that come with the project."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from efficientnet_lite_pytorch import EfficientNet
from torchvision.ops import clip_boxes_to_image, nms

from vision.backbone import square_pixels
from vision.box import Box
from vision.detectors.product_network import INPUT_SIDE, ProductBoxes, product_network
from vision.engine import TORCH, compiled
from vision.weights import DEFAULT_WEIGHTS, content_hash, fill, read_safetensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

WEIGHTS_FILE = Path(__file__).parents[1] / "trained" / "product-detector.safetensors"
#: Boxes with a lower score are left out.
SCORE_THRESHOLD = 0.3
#: Boxes with a greater IoU with a better one count as the same product.
MOST_OVERLAP = 0.6
#: The most boxes that are returned.
MOST_BOXES = 10


class ProductDetector:
    """torchvision's FCOS on EfficientNet-Lite0, trained for one class: a product."""

    def __init__(
        self,
        weights: str = DEFAULT_WEIGHTS,
        device: str = "cpu",
        engine: str = TORCH,
        score_threshold: float = SCORE_THRESHOLD,
    ) -> None:
        """Load `weights`: DEFAULT_WEIGHTS for the project's own, or the path of a safetensors file.

        `engine` is one of `vision.engine`. Boxes with a score below `score_threshold` are left
        out. Raises ValueError if the file can't be read or does not fit, or the engine can't be
        used.
        """
        path = str(WEIGHTS_FILE) if weights == DEFAULT_WEIGHTS else weights
        network = product_network(EfficientNet.from_name("efficientnet-lite0"))
        fill(network, read_safetensors(path), path)
        boxes = ProductBoxes(network.eval()).eval().to(device)
        blank = torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE, device=device)
        self._run = compiled(boxes, blank, engine)
        self._device = device
        self._score_threshold = score_threshold
        self.fingerprint = (
            f"product-detector({content_hash(network)}, side={INPUT_SIDE},"
            f" score={score_threshold}, overlap={MOST_OVERLAP})"
        )

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of the products found, highest score first; [] if there are none."""
        scores, corners = self._run(square_pixels(image, INPUT_SIDE).to(self._device))
        chosen = scores >= self._score_threshold
        scores, corners = scores[chosen].float().cpu(), corners[chosen].float().cpu()
        corners = clip_boxes_to_image(corners, (INPUT_SIDE, INPUT_SIDE))
        kept = nms(corners, scores, MOST_OVERLAP)[:MOST_BOXES]
        shares: NDArray[np.float32] = corners[kept].numpy() / INPUT_SIDE
        return [box for row in shares if (box := _box(row, image.size)) is not None]


def _box(shares: NDArray[np.float32], size: tuple[int, int]) -> Box | None:
    """Return the box of corners that are shares of a picture's sides, None if it is empty."""
    width, height = size
    left, top = math.floor(shares[0] * width), math.floor(shares[1] * height)
    right = min(math.ceil(shares[2] * width), width)
    bottom = min(math.ceil(shares[3] * height), height)
    return Box(left, top, right, bottom) if left < right and top < bottom else None
