"""Boxes on composed pictures, and the detectors of torchvision's registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image, ImageDraw

from vision.backbone import EfficientNetLite0
from vision.box import Box
from vision.detectors.activation_map import ActivationMapDetector
from vision.detectors.torchvision_registry import TorchvisionDetector

MODEL = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0()


def bottle(image: Image.Image, left: int, top: int, side: int) -> Box:
    """Draw a labelled bottle; its height is `side` pixels."""
    draw = ImageDraw.Draw(image)
    wide = side // 2
    draw.rectangle((left + wide // 3, top, left + 2 * wide // 3, top + side // 3), fill="brown")
    draw.rounded_rectangle(
        (left, top + side // 4, left + wide, top + side), radius=wide // 5, fill="darkgreen"
    )
    draw.rectangle((left + 4, top + side // 2, left + wide - 4, top + 3 * side // 4), fill="ivory")
    draw.ellipse(
        (left + wide // 3, top + side // 2, left + 2 * wide // 3, top + 3 * side // 4), fill="red"
    )
    return Box(left, top, left + wide, top + side)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    common = max(width, 0) * max(height, 0)
    areas = [(b.right - b.left) * (b.bottom - b.top) for b in (one, other)]
    return common / (sum(areas) - common)


@pytest.mark.parametrize("place", [(40, 40), (380, 30), (60, 200), (400, 190), (200, 100)])
@pytest.mark.parametrize("background", ["white", "wood"])
def test_the_best_box_is_where_the_object_is(
    network: EfficientNetLite0, place: tuple[int, int], background: str
) -> None:
    image = Image.new("RGB", (640, 480), "white" if background == "white" else (150, 110, 70))
    if background == "wood":
        draw = ImageDraw.Draw(image)
        for y in range(0, 480, 24):
            draw.line((0, y, 640, y + 9), fill=(130, 92, 58), width=5)
    truth = bottle(image, *place, 260)
    best = ActivationMapDetector(network).detect(image)[0]
    assert overlap(best, truth) > 0.45


def test_boxes_lie_within_the_picture_and_the_stronger_object_comes_first(
    network: EfficientNetLite0,
) -> None:
    image = Image.new("RGB", (900, 400), "white")
    large, small = bottle(image, 60, 20, 340), bottle(image, 740, 200, 120)
    boxes = ActivationMapDetector(network).detect(image)
    assert len(boxes) == 2
    assert overlap(boxes[0], large) > overlap(boxes[0], small) == 0
    assert overlap(boxes[1], small) > 0
    for box in boxes:
        assert 0 <= box.left < box.right <= 900
        assert 0 <= box.top < box.bottom <= 400


@pytest.mark.parametrize("colour", ["white", "black", "gray", "red"])
def test_nothing_is_found_in_a_plain_surface(network: EfficientNetLite0, colour: str) -> None:
    assert ActivationMapDetector(network).detect(Image.new("RGB", (400, 300), colour)) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (4000, 3)])
def test_extreme_shapes_give_boxes_within_the_picture(
    network: EfficientNetLite0, size: tuple[int, int]
) -> None:
    for box in ActivationMapDetector(network).detect(Image.new("RGB", size, "orange")):
        assert 0 <= box.left < box.right <= size[0]
        assert 0 <= box.top < box.bottom <= size[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 40.0])
def test_a_map_without_an_object_gives_no_boxes_or_good_ones(value: float) -> None:
    class Stub(EfficientNetLite0):
        def __init__(self) -> None:
            self.fingerprint = "stub"

        def feature_map(self, _image: Image.Image, side: int) -> torch.Tensor:
            return torch.full((1280, side // 32, side // 32), value)

    assert ActivationMapDetector(Stub()).detect(Image.new("RGB", (300, 300))) == []


def test_the_fingerprint_changes_with_the_threshold(network: EfficientNetLite0) -> None:
    one, same, other = (ActivationMapDetector(network, threshold=t) for t in (0.4, 0.4, 0.5))
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(5)
    model = torchvision.models.get_model(MODEL, weights=None, weights_backbone=None, num_classes=4)
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(model.state_dict(), path)
    return str(path)


def test_a_torchvision_detector_loads_a_file_with_its_own_number_of_classes(
    weights_file: str,
) -> None:
    detector = TorchvisionDetector(MODEL, weights_file, score_threshold=0.0)
    image = Image.new("RGB", (500, 300), "white")
    bottle(image, 50, 20, 240)
    boxes = detector.detect(image)
    assert boxes
    for box in boxes:
        assert 0 <= box.left < box.right <= 500
        assert 0 <= box.top < box.bottom <= 300
    assert boxes == detector.detect(image)


def test_a_torchvision_detector_keeps_boxes_over_the_score_best_first(
    weights_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = TorchvisionDetector(MODEL, weights_file, score_threshold=0.5)
    found_by_the_model = [
        {
            "scores": torch.tensor([0.6, 0.9, 0.49, 0.8]),
            "boxes": torch.tensor(
                [[1.2, 2.8, 30.1, 40.0], [-5, -5, 900, 900], [0, 0, 9, 9], [7, 7, 7, 7]]
            ),
        }
    ]
    monkeypatch.setattr(detector, "_model", lambda _: found_by_the_model)
    found = detector.detect(Image.new("RGB", (200, 100)))
    assert found == [Box(0, 0, 200, 100), Box(1, 2, 31, 40)]


def test_the_fingerprint_of_a_torchvision_detector_changes_with_weights_and_score(
    weights_file: str, tmp_path: Path
) -> None:
    state = torch.load(weights_file, weights_only=True)
    name = next(iter(state))
    state[name] = state[name] + 0.5
    torch.save(state, tmp_path / "other.pth")
    fingerprints = {
        TorchvisionDetector(MODEL, path, score_threshold=score).fingerprint
        for path, score in [
            (weights_file, 0.5),
            (weights_file, 0.5),
            (weights_file, 0.6),
            (str(tmp_path / "other.pth"), 0.5),
        ]
    }
    assert len(fingerprints) == 3


def test_an_unknown_model_name_says_how_to_see_the_choices() -> None:
    with pytest.raises(
        ValueError, match=r"'resnet18'.*list_models\(module=.*detection\)"
    ) as caught:
        TorchvisionDetector("resnet18", "DEFAULT")
    assert "\n" not in str(caught.value)
