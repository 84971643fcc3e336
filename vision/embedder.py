"""What a picture shows, as one vector: features whose cosine tells likeness.

Embedders see RGB pictures, cut out already, and know nothing of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torchvision
from torch import nn

from vision.backbone import CHANNELS, EfficientNetLite0
from vision.weights import content_hash, load_torchvision

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

#: Side of EfficientNet-Lite0's input, in pixels.
INPUT_SIDE = 224
#: Exponent of the generalised mean; 1 is the average, infinity the greatest value.
MEAN_EXPONENT = 3.0


class Embedder(Protocol):
    """Turns pictures into features."""

    @property
    def dimensions(self) -> int:
        """How many numbers a feature has."""

    @property
    def fingerprint(self) -> str:
        """Text that changes with anything that could change a feature."""

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Give one feature per RGB picture: shape (n, dimensions), each of length 1.

        A picture that the model sees nothing in may have a feature of zeros; one that
        upsets the model may have a feature that is not finite.
        """


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
        """Give features of shape (n, 1280), float32, each of length 1.

        The pictures go one by one: on a processor the network is slower in batches.
        """
        rows = [self._pooled(image) for image in images]
        return _unit_rows(rows, self.dimensions)

    def _pooled(self, image: Image.Image) -> torch.Tensor:
        cells = self._network.feature_map(image, INPUT_SIDE).flatten(1)
        return cells.pow(MEAN_EXPONENT).mean(1).pow(1.0 / MEAN_EXPONENT)


class TorchvisionEmbedder:
    """Any classification model of torchvision's registry, without its last layer."""

    def __init__(self, name: str, weights: str, device: str = "cpu") -> None:
        """Load the model `name`; `weights` is a registered name or a state_dict file.

        Raises ValueError for an unknown name or a file that does not fit.
        """
        model, self._transforms = load_torchvision(name, weights, torchvision.models)
        self.fingerprint = f"{name}({content_hash(model)}, {self._transforms!r})"
        self.dimensions = _drop_last_layer(model)
        self._model = model.to(device)
        self._device = device

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Give features of shape (n, dimensions), float32, each of length 1."""
        rows = []
        with torch.inference_mode():
            for image in images:
                batch = self._transforms(image).unsqueeze(0).to(self._device)
                rows.append(self._model(batch).flatten())
        return _unit_rows(rows, self.dimensions)


def _drop_last_layer(model: nn.Module) -> int:
    """Replace the last layer of a classifier by the identity; tell how many inputs it had.

    In every classification model of torchvision the layer that gives the classes
    stands last in the last child: a linear one, or (SqueezeNet) a convolution.
    """
    name, layer = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ][-1]
    parent, _, own_name = name.rpartition(".")
    setattr(model.get_submodule(parent), own_name, nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _unit_rows(rows: Sequence[torch.Tensor], dimensions: int) -> NDArray[np.float32]:
    """Stack `rows` as float32 of length 1 each; zeros stay zeros."""
    if not rows:
        return np.empty((0, dimensions), dtype=np.float32)
    stacked = torch.stack(list(rows)).float().cpu()
    unit: NDArray[np.float32] = nn.functional.normalize(stacked, dim=1).numpy()
    return unit
