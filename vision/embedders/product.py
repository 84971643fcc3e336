"""The default embedder: features that tell products apart, with weights of this project."""

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
#: The padding of a crop that is not a square; the network's scale maps it to zero.
GREY = (127, 127, 127)


class ProductEmbedder:
    """EfficientNet-Lite0, trained to tell products apart on any background."""

    dimensions = DIMENSIONS

    def __init__(
        self, weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH
    ) -> None:
        """Load `weights`: DEFAULT_WEIGHTS for the project's own, or the path of a safetensors file.

        `engine` is one of `vision.engine`. Raises ValueError if the file can't be read or does
        not fit, or the engine can't be used.
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
        """Return features of shape (n, `DIMENSIONS`), float32, each of norm 1.

        Pictures are processed one by one: on a CPU the network is slower in batches, and a
        picture must have exactly the same feature alone and among others.
        """
        features = np.empty((len(images), self.dimensions), dtype=np.float32)
        for row, image in enumerate(images):
            (feature,) = self._run(crop_pixels(image).to(self._device))
            features[row] = feature[0].cpu().numpy()
        return features


def crop_pixels(image: Image.Image) -> torch.Tensor:
    """Return a crop as input of the network, padded to a square, shape (1, 3, side, side)."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square_pixels(square, INPUT_SIDE)
