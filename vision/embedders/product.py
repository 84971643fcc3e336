"""The default embedder: features that tell products apart, with weights of this project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vision.onnx_network import LoadedNetwork
from vision.pixels import square_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS_FILE = Path(__file__).parents[1] / "trained" / "product-embedder.safetensors"
#: Side of the square that a padded crop is resized to, in pixels.
INPUT_SIDE = 256
#: Numbers of a feature.
DIMENSIONS = 256
#: The padding of a crop that is not a square; the network's scale maps it to zero.
GREY = (127, 127, 127)


class ProductEmbedder:
    """EfficientNet-Lite0, trained to tell products apart on any background."""

    dimensions = DIMENSIONS

    def __init__(self, network: LoadedNetwork) -> None:
        """Take a network of `vision.embedders.product_network`."""
        self._run = network.run
        self.fingerprint = f"product-embedder({network.content_hash}, side={INPUT_SIDE})"

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return features of shape (n, `DIMENSIONS`), float32, each of norm 1.

        Pictures are processed one by one: on a CPU the network is slower in batches, and a
        picture must have exactly the same feature alone and among others.
        """
        features = np.empty((len(images), self.dimensions), dtype=np.float32)
        for row, image in enumerate(images):
            (feature,) = self._run(crop_pixels(image))
            features[row] = feature[0]
        return features


def crop_pixels(image: Image.Image) -> NDArray[np.float32]:
    """Return a crop as input of the network, padded to a square, shape (1, 3, side, side)."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square_pixels(square, INPUT_SIDE)
