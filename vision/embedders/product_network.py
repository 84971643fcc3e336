"""The network of the default embedder: EfficientNet-Lite0, a generalised mean, a linear map."""

from __future__ import annotations

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from vision.backbone import CHANNELS, fold_norms
from vision.embedders.product import DIMENSIONS, INPUT_SIDE, WEIGHTS_FILE
from vision.engine import loaded
from vision.onnx_network import LoadedNetwork
from vision.options import DEFAULT_WEIGHTS, TORCH
from vision.weights import content_hash, fill, read_safetensors

#: Exponent of the generalised mean.
MEAN_EXPONENT = 3.0
#: The number of first blocks, up to a stride of 16, that are not trained.
FROZEN_BLOCKS = 11
#: The lower bound of values before the root, which has no gradient at 0.
LEAST_VALUE = 1e-6


class FeatureNetwork(nn.Module):
    """The network from pixels to features of norm 1.

    The generalised mean is that of Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval
    with no human annotation" (2019), equation 3. The batch norms are folded into the convolutions.
    """

    def __init__(self, network: EfficientNet) -> None:
        """Take the layers of `network`, which must not be used afterwards."""
        super().__init__()
        fold_norms(network)
        blocks = list(network._blocks)
        self.early = nn.Sequential(network._conv_stem, network._swish, *blocks[:FROZEN_BLOCKS])
        self.late = nn.Sequential(*blocks[FROZEN_BLOCKS:], network._conv_head, network._swish)
        self.projection = nn.Linear(CHANNELS, DIMENSIONS, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features, shape (n, `DIMENSIONS`), of pixels scaled as for EfficientNet-Lite."""
        return self.feature(self.early(pixels))

    def feature(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the features of the output of `early`, shape (n, 112, side / 16, side / 16)."""
        return nn.functional.normalize(self.projection(self.pooled(maps)), dim=1)

    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the means before the linear map, shape (n, 1280), each of norm 1."""
        cells = self.late(maps).flatten(2).clamp(min=LEAST_VALUE)
        means = cells.pow(MEAN_EXPONENT).mean(2).pow(1 / MEAN_EXPONENT)
        return nn.functional.normalize(means, dim=1)


def trained_features(weights: str) -> tuple[FeatureNetwork, str]:
    """Return the network for inference with `weights` filled in, and their hash.

    `weights` is DEFAULT_WEIGHTS for the project's own, or the path of a safetensors file. Raises
    ValueError if the file can't be read or does not fit.
    """
    path = str(WEIGHTS_FILE) if weights == DEFAULT_WEIGHTS else weights
    network = FeatureNetwork(EfficientNet.from_name("efficientnet-lite0"))
    fill(network, read_safetensors(path), path)
    return network.eval(), content_hash(network)


def load(weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH) -> LoadedNetwork:
    """Return the network with `weights`, see `trained_features`, run by `engine` on `device`.

    `engine` is one of `vision.options`. Raises ValueError if the weights can't be loaded, or
    the engine can't be used.
    """
    network, weights_hash = trained_features(weights)
    return loaded(network, weights_hash, INPUT_SIDE, device, engine)
