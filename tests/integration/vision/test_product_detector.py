"""The default detector: its network in use, its weights, its boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.ops import box_iou

from tools.benchmarks.composition import trimmed
from tools.demo.manifest import load
from vision.box import Box
from vision.detectors.product import INPUT_SIDE, WEIGHTS_FILE, ProductDetector
from vision.detectors.product_network import ProductBoxes, product_network
from vision.detectors.product_network import load as load_network
from vision.onnx_network import LoadedNetwork
from vision.options import ONNXRUNTIME


@pytest.fixture(scope="module")
def detector() -> ProductDetector:
    return ProductDetector(load_network())


def test_the_network_in_use_gives_the_boxes_that_fcos_gives() -> None:
    torch.manual_seed(3)
    network = product_network(EfficientNet.from_name("efficientnet-lite0"), score_threshold=0.0)
    network = network.eval()
    pixels = torch.rand(3, INPUT_SIDE, INPUT_SIDE)
    with torch.inference_mode():
        expected = network([pixels])[0]
        scores, corners = ProductBoxes(network)(((pixels * 255 - 127) / 128)[None])
    best = int(scores.argmax())
    torch.testing.assert_close(scores[best], expected["scores"][0], rtol=1e-4, atol=1e-5)
    clipped = corners[best].clamp(0, INPUT_SIDE)
    torch.testing.assert_close(clipped, expected["boxes"][0], rtol=1e-4, atol=1e-2)
    assert scores.shape == (20 * 20 + 10 * 10 + 5 * 5,)


def test_folded_norms_leave_the_feature_map_as_it_was() -> None:
    torch.manual_seed(4)
    lite = EfficientNet.from_name("efficientnet-lite0").eval()
    for module in lite.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = lite._swish(lite._bn0(lite._conv_stem(pixels)))
        for block in lite._blocks:
            expected = block(expected)
        pyramid = product_network(lite).backbone
        found = pyramid.late(pyramid.middle(pyramid.early(pixels)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def pasted(
    cutout: Image.Image, ground: str, side: int, place: tuple[int, int]
) -> tuple[Image.Image, Box]:
    """Set a cut-out on a plain ground of 640 x 480; return the picture and the true box."""
    figure = trimmed(cutout)
    figure.thumbnail((side, side))
    picture = Image.new("RGB", (640, 480), ground)
    picture.paste(figure, place, figure)
    left, top = place
    return picture, Box(left, top, left + figure.width, top + figure.height)


def overlap(one: Box, other: Box) -> float:
    corners = [
        torch.tensor([[box.left, box.top, box.right, box.bottom]]).float() for box in (one, other)
    ]
    return float(box_iou(*corners))


@pytest.mark.parametrize("ground", ["white", "darkolivegreen", "tan"])
@pytest.mark.parametrize(("side", "place"), [(430, (100, 20)), (240, (20, 200)), (160, (420, 60))])
def test_the_first_box_is_around_the_product(
    detector: ProductDetector, ground: str, side: int, place: tuple[int, int]
) -> None:
    cutouts = list(load().cutouts.values())[:6]
    overlaps = []
    for path in cutouts:
        with Image.open(path) as opened:
            picture, truth = pasted(opened.convert("RGBA"), ground, side, place)
        boxes = detector.detect(picture)
        overlaps.append(overlap(boxes[0], truth) if boxes else 0.0)
    assert sum(value >= 0.5 for value in overlaps) >= len(overlaps) - 1, overlaps


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (4000, 3), (641, 479)])
def test_boxes_lie_within_the_picture(detector: ProductDetector, size: tuple[int, int]) -> None:
    for box in detector.detect(Image.effect_noise(size, 90).convert("RGB")):
        assert 0 <= box.left < box.right <= size[0]
        assert 0 <= box.top < box.bottom <= size[1]


def test_the_engines_find_the_same_boxes(detector: ProductDetector) -> None:
    other = ProductDetector(load_network(engine=ONNXRUNTIME))
    assert other.fingerprint == detector.fingerprint
    for path in list(load().cutouts.values())[:3]:
        with Image.open(path) as opened:
            picture, _ = pasted(opened.convert("RGBA"), "tan", 240, (200, 100))
        for one, same in zip(detector.detect(picture), other.detect(picture), strict=True):
            assert overlap(one, same) > 0.98


def test_of_two_boxes_around_one_product_the_better_is_given() -> None:
    scores = np.array([0.5, 0.9, 0.05, 0.4], dtype=np.float32)
    corners = np.array(
        [[10, 10, 110, 110], [12, 8, 112, 112], [200, 200, 300, 300], [-9, 240, 160, 400]],
        dtype=np.float32,
    )
    detector = ProductDetector(LoadedNetwork(lambda _: (scores, corners), "hash"))
    found = detector.detect(Image.new("RGB", (640, 320)))
    assert found == [Box(24, 8, 224, 112), Box(0, 240, 320, 320)]


def test_the_fingerprint_changes_with_weights_and_score(tmp_path: Path) -> None:
    state = load_file(WEIGHTS_FILE)
    name = next(name for name in state if name.endswith("bias"))
    state[name] = state[name] + 0.5
    save_file(state, tmp_path / "other.safetensors")
    fingerprints = [
        ProductDetector(load_network(path), score_threshold=score).fingerprint
        for path, score in [
            ("DEFAULT", 0.3),
            (str(WEIGHTS_FILE), 0.3),
            ("DEFAULT", 0.4),
            (str(tmp_path / "other.safetensors"), 0.3),
        ]
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_that_holds_no_weights_is_told_in_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read the weights file") as caught:
        load_network(str(path))
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="is of another network"):
        load_network(str(tmp_path / "weights.safetensors"))
