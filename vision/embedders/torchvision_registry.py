"""The classification models of torchvision's registry as embedders, without the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from torch import nn

from vision.weights import content_hash, load_torchvision

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
from vision.embedders.unit_rows import unit_rows


class TorchvisionEmbedder:
    """A classification model of torchvision's registry, without its last layer."""

    def __init__(self, name: str, weights: str, device: str = "cpu") -> None:
        """Load the model `name`; `weights` is a registered name or the path of a state_dict.

        Raises ValueError for an unknown name or a file that does not fit.
        """
        model, self._transforms = load_torchvision(name, weights, torchvision.models)
        self.fingerprint = f"{name}({content_hash(model)}, {self._transforms!r})"
        self.dimensions = _drop_last_layer(model)
        self._model = model.to(device)
        self._device = device

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return features of shape (n, dimensions), float32, each of norm 1, or zeros."""
        rows = []
        with torch.inference_mode():
            for image in images:
                batch = self._transforms(image).unsqueeze(0).to(self._device)
                rows.append(self._model(batch).flatten())
        return unit_rows(rows, self.dimensions)


def _drop_last_layer(model: nn.Module) -> int:
    """Replace the last layer of a classifier by the identity, and return how many inputs it had.

    In every classification model of torchvision the last linear layer or convolution (SqueezeNet)
    computes the classes.
    """
    name, layer = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ][-1]
    parent, _, own_name = name.rpartition(".")
    setattr(model.get_submodule(parent), own_name, nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
