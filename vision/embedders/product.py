"""The default embedder: features made for telling products apart, with weights of our own.

Sees RGB pictures, cut out already, and knows nothing of boxes, searches or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from vision.backbone import square_pixels
from vision.embedders.product_network import DIMENSIONS, INPUT_SIDE, FeatureNetwork
from vision.engine import TORCH, compiled
from vision.weights import DEFAULT_WEIGHTS, content_hash, fill, read_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS_FILE = Path(__file__).parents[1] / "trained" / "product-embedder.safetensors"
#: What is beside a crop that is no square: the value that the network takes for zero.
GREY = (127, 127, 127)


class ProductEmbedder:
    """EfficientNet-Lite0, trained to tell products apart on whatever ground they stand."""

    dimensions = DIMENSIONS

    def __init__(
        self, weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH
    ) -> None:
        """Load `weights`: DEFAULT_WEIGHTS, the project's own, or the path of a safetensors file.

        `engine` is one of `vision.engine`. Raises ValueError for a file that can't be read or
        does not fit, and for an engine that can't be used.
        """
        path = str(WEIGHTS_FILE) if weights == DEFAULT_WEIGHTS else weights
        network = FeatureNetwork(EfficientNet.from_name("efficientnet-lite0"))
        fill(network, read_safetensors(path), path)
        network = network.eval().to(device)
        blank = torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE, device=device)
        self._run = compiled(network, blank, engine)
        self._device = device
        self.fingerprint = f"product-embedder({content_hash(network)}, side={INPUT_SIDE})"

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return features of shape (n, `DIMENSIONS`), float32, each of length 1.

        The pictures go one by one: on a processor the network is slower in batches, and a picture
        is to have the same feature alone and among others, bit by bit.
        """
        features = np.empty((len(images), self.dimensions), dtype=np.float32)
        for row, image in enumerate(images):
            (feature,) = self._run(crop_pixels(image).to(self._device))
            features[row] = feature[0].cpu().numpy()
        return features


def crop_pixels(image: Image.Image) -> torch.Tensor:
    """Return a crop as the network takes it, shape (1, 3, side, side); its shape is kept."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square_pixels(square, INPUT_SIDE)
