"""The network of the default detector: torchvision's FCOS on EfficientNet-Lite0, for one class."""

from __future__ import annotations

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from vision.backbone import fold_norms
from vision.detectors.product import INPUT_SIDE, WEIGHTS_FILE
from vision.engine import loaded
from vision.onnx_network import LoadedNetwork
from vision.options import DEFAULT_WEIGHTS, TORCH
from vision.weights import content_hash, fill, read_safetensors

#: Numbers per cell of the pyramid.
PYRAMID_CHANNELS = 64
#: The number of first blocks, up to a stride of 8, that are not trained.
FROZEN_BLOCKS = 5
#: The number of blocks up to a stride of 16.
MIDDLE_BLOCKS = 11
#: The sizes of the levels, whose strides are 16, 32 and 64. By FCOS's rule a level learns objects
#: that reach 4 to 8 times its size from a cell; the first also smaller, the last also larger ones.
LEVEL_SIZES = (12, 24, 48)
#: How far around the centre of an object cells learn it, in sizes of the level.
CENTRE_RADIUS = 2.0
HEAD_CONVOLUTIONS = 2


class LitePyramid(nn.Module):
    """EfficientNet-Lite0 without its classifier, and a pyramid of three levels.

    The batch norms are folded into the convolutions, which saves their time.
    """

    out_channels = PYRAMID_CHANNELS

    def __init__(self, network: EfficientNet) -> None:
        """Take the layers of `network`, which must not be used afterwards."""
        super().__init__()
        fold_norms(network)
        blocks = list(network._blocks)
        self.early = nn.Sequential(network._conv_stem, network._swish, *blocks[:FROZEN_BLOCKS])
        self.middle = nn.Sequential(*blocks[FROZEN_BLOCKS:MIDDLE_BLOCKS])
        self.late = nn.Sequential(*blocks[MIDDLE_BLOCKS:])
        self.from_early = nn.Conv2d(40, PYRAMID_CHANNELS, 3, stride=2, padding=1)
        self.from_middle = nn.Conv2d(112, PYRAMID_CHANNELS, 1)
        self.from_late = nn.Conv2d(320, PYRAMID_CHANNELS, 1)
        self.fine = nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, padding=1)
        self.coarse = nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, stride=2, padding=1)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the levels of strides 16, 32 and 64 for pixels of shape (n, 3, side, side)."""
        early = self.early(pixels)
        middle = self.middle(early)
        late = self.from_late(self.late(middle))
        wide = nn.functional.interpolate(late, scale_factor=2.0, mode="nearest")
        fine = self.fine(self.from_early(early) + self.from_middle(middle) + wide)
        return {"fine": fine, "middle": late, "coarse": self.coarse(late)}


def product_network(
    network: EfficientNet, score_threshold: float = 0.05, most_boxes: int = 10
) -> FCOS:
    """Return the detection network on the layers of `network`; its head and pyramid are untrained.

    It takes RGB pixels of 0 to 1, shape (3, `INPUT_SIDE`, `INPUT_SIDE`), and scales them to
    (pixel - 127) / 128 of 8-bit pixels, as EfficientNet-Lite was trained.
    """
    return FCOS(
        LitePyramid(network),
        num_classes=1,
        fixed_size=(INPUT_SIDE, INPUT_SIDE),
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        anchor_generator=AnchorGenerator(
            tuple((size,) for size in LEVEL_SIZES), ((1.0,),) * len(LEVEL_SIZES)
        ),
        head=FCOSHead(PYRAMID_CHANNELS, 1, 1, num_convs=HEAD_CONVOLUTIONS),
        center_sampling_radius=CENTRE_RADIUS,
        score_thresh=score_threshold,
        detections_per_img=most_boxes,
        topk_candidates=200,
    )


class ProductBoxes(nn.Module):
    """The network for inference: a score and a box for each cell, in tensors of fixed shape.

    The output is that of FCOS before its suppression of overlapping boxes, without lists and
    conditions, so that it can be exported to ONNX.
    """

    anchors: torch.Tensor

    def __init__(self, network: FCOS) -> None:
        """Take the layers of `network`."""
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        blank = torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE)
        with torch.no_grad():
            levels = list(self.backbone(blank).values())
        square = ImageList(blank, [(INPUT_SIDE, INPUT_SIDE)])
        self.register_buffer("anchors", network.anchor_generator(square, levels)[0], False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores, shape (cells,), 0 to 1, and corners, shape (cells, 4), in the square.

        `pixels` have shape (1, 3, side, side), scaled as EfficientNet-Lite's are. A score is
        the geometric mean of class and centredness (Tian and others, "FCOS: a simple and
        strong anchor-free object detector", 2020).
        """
        outputs = self.head(list(self.backbone(pixels).values()))
        product, centred = (outputs[name][0, :, 0] for name in ("cls_logits", "bbox_ctrness"))
        corners = self.head.box_coder.decode(outputs["bbox_regression"][0], self.anchors)
        return torch.sqrt(product.sigmoid() * centred.sigmoid()), corners


def trained_boxes(weights: str) -> tuple[ProductBoxes, str]:
    """Return the network for inference with `weights` filled in, and their hash.

    `weights` is DEFAULT_WEIGHTS for the project's own, or the path of a safetensors file. Raises
    ValueError if the file can't be read or does not fit.
    """
    path = str(WEIGHTS_FILE) if weights == DEFAULT_WEIGHTS else weights
    network = product_network(EfficientNet.from_name("efficientnet-lite0"))
    fill(network, read_safetensors(path), path)
    return ProductBoxes(network.eval()).eval(), content_hash(network)


def load(weights: str = DEFAULT_WEIGHTS, device: str = "cpu", engine: str = TORCH) -> LoadedNetwork:
    """Return the network with `weights`, see `trained_boxes`, run by `engine` on `device`.

    `engine` is one of `vision.options`. Raises ValueError if the weights can't be loaded, or
    the engine can't be used.
    """
    boxes, weights_hash = trained_boxes(weights)
    return loaded(boxes, weights_hash, INPUT_SIDE, device, engine)
