"""EfficientNet-Lite0 as an embedder, with the weights that it was trained with to classify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from vision.backbone import CHANNELS, EfficientNetLite0

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
from vision.embedders.unit_rows import unit_rows

#: Side of EfficientNet-Lite0's input, in pixels.
INPUT_SIDE = 224


#: The exponent of the generalised mean; 1 is the average, infinity the maximum.
MEAN_EXPONENT = 3.0


class EfficientNetLiteEmbedder:
    """EfficientNet-Lite0's last feature map under a generalised mean.

    The mean, (mean of x^p)^(1/p) over the cells of each channel with p = 3, is that
    of Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no human
    annotation" (2019), equation 3.
    """

    dimensions = CHANNELS

    def __init__(self, network: EfficientNetLite0) -> None:
        self._network = network
        self.fingerprint = (
            f"efficientnet-lite0({network.fingerprint}, side={INPUT_SIDE}, mean={MEAN_EXPONENT})"
        )

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return features of shape (n, 1280), float32, each of norm 1, or zeros.

        Pictures are processed one by one: on a CPU the network is slower in batches.
        """
        rows = [self._pooled(image) for image in images]
        return unit_rows(rows, self.dimensions)

    def _pooled(self, image: Image.Image) -> torch.Tensor:
        cells = self._network.feature_map(image, INPUT_SIDE).flatten(1)
        return cells.pow(MEAN_EXPONENT).mean(1).pow(1.0 / MEAN_EXPONENT)
