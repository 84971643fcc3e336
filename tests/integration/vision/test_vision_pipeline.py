"""The model as a whole: its id, its boxes and its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from contract.errors import NoAvailableFeature
from vision.box import Box
from vision.detectors.activation_map import ActivationMapDetector
from vision.detectors.product import WEIGHTS_FILE as DETECTOR_FILE
from vision.embedders.efficientnet_lite import EfficientNetLiteEmbedder
from vision.embedders.product import WEIGHTS_FILE as EMBEDDER_FILE
from vision.ground import on_ground
from vision.options import VisionOptions
from vision.pipeline import Pipeline, load_pipeline


class StubDetector:
    def __init__(self, boxes: Iterable[Box] = (), fingerprint: str = "detector") -> None:
        self.boxes = list(boxes)
        self.fingerprint = fingerprint

    def detect(self, _image: Image.Image) -> list[Box]:
        return self.boxes


class StubEmbedder:
    """A feature that tells the size of the crop and its mean colour."""

    dimensions = 5

    def __init__(self, fingerprint: str = "embedder", value: float | None = None) -> None:
        self.fingerprint = fingerprint
        self.value = value

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        if self.value is not None:
            return np.full((len(images), 5), self.value, dtype=np.float32)
        return np.array(
            [[*image.size, *np.asarray(image).mean((0, 1))] for image in images], dtype=np.float32
        )


def scene() -> Image.Image:
    image = Image.new("RGB", (500, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((150, 90, 330, 300), radius=30, fill="navy")
    draw.ellipse((190, 130, 290, 230), fill="gold")
    return image


@pytest.fixture(scope="module")
def default() -> Pipeline:
    return load_pipeline(VisionOptions(threads=1))


def test_the_default_model_describes_a_picture_and_repeats_itself_bit_by_bit(
    default: Pipeline,
) -> None:
    box, feature = default.describe(scene())
    again_box, again = default.describe(scene())
    boxes, parts = default.describe_query(scene(), 3)
    features = parts.features
    assert default.dimensions == 256
    assert feature.shape == (1, 256)
    assert feature.dtype == np.float32
    assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-5)
    assert box == again_box == boxes[0]
    assert np.array_equal(feature, again)
    assert np.array_equal(feature, features[:1])


def test_the_activation_map_and_the_features_share_one_network() -> None:
    options = VisionOptions(detector="activation-map", embedder="efficientnet-lite0", threads=1)
    sharing = load_pipeline(options)
    detector, embedder = sharing._detector, sharing._embedder
    assert isinstance(detector, ActivationMapDetector)
    assert isinstance(embedder, EfficientNetLiteEmbedder)
    assert detector._network is embedder._network


def test_both_engines_give_the_same_boxes_and_features(default: Pipeline) -> None:
    other = load_pipeline(VisionOptions(threads=1, engine="torch"))
    boxes, parts = default.describe_query(scene(), 3)
    features = parts.features
    other_boxes, other_parts = other.describe_query(scene(), 3)
    other_features = other_parts.features
    assert boxes == other_boxes
    assert (features * other_features).sum(1) == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(features, other_features), "one engine ran both"


def test_the_plain_embedder_gives_all_numbers_and_is_another_model(default: Pipeline) -> None:
    plain = load_pipeline(VisionOptions(threads=1, embedder="efficientnet-lite0"))
    _, feature = plain.describe(scene())
    assert feature.shape == (1, 1280) == (1, plain.dimensions)
    assert plain.model_id != default.model_id


def test_the_default_parts_take_a_file_of_weights(default: Pipeline) -> None:
    files = VisionOptions(
        detector_weights=str(DETECTOR_FILE), embedder_weights=str(EMBEDDER_FILE), threads=1
    )
    assert load_pipeline(files).model_id == default.model_id


def test_a_picture_on_which_nothing_is_found_is_described_as_a_whole(default: Pipeline) -> None:
    gradient = Image.linear_gradient("L").resize((300, 210)).convert("RGB")
    boxes, parts = default.describe_query(gradient, 3)
    features = parts.features
    assert boxes == [Box(0, 0, 300, 210)]
    assert features.shape == (1, 256)


@pytest.mark.parametrize("colour", ["white", "black", "gray", (3, 200, 90)])
def test_a_picture_of_one_colour_has_no_feature(default: Pipeline, colour: Any) -> None:
    blank = Image.new("RGB", (300, 210), colour)
    with pytest.raises(NoAvailableFeature):
        default.describe(blank)
    for box in (None, Box(0, 0, 300, 210)):
        with pytest.raises(NoAvailableFeature):
            default.describe_query(blank, 3, box)


def test_white_goods_on_transparency_are_told_apart(default: Pipeline) -> None:
    """Nor are they alike to a white ground with another thing on it."""
    shapes = []
    for points in ([(50, 60), (250, 60), (150, 220)], [(40, 40), (120, 40), (260, 250), (30, 250)]):
        image = Image.new("RGBA", (300, 300), (255, 255, 255, 0))
        ImageDraw.Draw(image).polygon(points, fill=(255, 255, 255, 255))
        shapes.append(default.describe(on_ground(image))[1][0])
    other = default.describe(scene())[1][0]
    assert float(shapes[0] @ shapes[1]) < 0.9
    assert max(float(shape @ other) for shape in shapes) < 0.9


def test_a_given_box_replaces_detection(default: Pipeline) -> None:
    given = Box(150, 90, 331, 301)
    boxes, parts = default.describe_query(scene(), 3, given)
    features = parts.features
    assert boxes == [given]
    assert features.shape == (1, 256)


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 0, 1, 1),
        Box(499, 399, 500, 400),
        Box(10, 10, 10, 10),
        Box(20, 20, 5, 5),
        Box(-50, -50, -10, -10),
        Box(900, 900, 1000, 1000),
        Box(0, 200, 500, 201),
        Box(-9999, -9999, 9999, 9999),
    ],
)
def test_no_box_is_too_odd_to_be_described(default: Pipeline, box: Box) -> None:
    _, parts = default.describe_query(scene(), 1, box)
    assert np.isfinite(parts.features).all()


@pytest.mark.parametrize(("searched", "expected"), [(1, 1), (2, 3), (3, 4), (9, 4)])
def test_all_boxes_are_given_and_the_best_ones_and_the_whole_picture_described(
    searched: int, expected: int
) -> None:
    detected = [Box(0, 0, 50, 60), Box(10, 10, 90, 30), Box(5, 5, 9, 9)]
    pipeline = Pipeline(StubDetector(detected), StubEmbedder(), 0.0)
    boxes, parts = pipeline.describe_query(scene(), searched)
    features = parts.features
    assert boxes == detected
    assert features.shape == (expected, 5)
    assert features[0, :2].tolist() == [50, 60]
    assert searched == 1 or features[-1, :2].tolist() == [500, 400]
    assert parts.whole == (None if searched == 1 else expected - 1)


def test_a_box_that_is_the_whole_picture_is_not_searched_twice() -> None:
    detected = [Box(0, 0, 500, 400), Box(10, 10, 90, 30)]
    pipeline = Pipeline(StubDetector(detected), StubEmbedder(), 0.0)
    _, parts = pipeline.describe_query(scene(), 3)
    features = parts.features
    assert features[:, :2].tolist() == [[500, 400], [80, 20]]
    assert parts.whole == 0


def test_the_crop_is_the_box_with_its_margin_inside_the_picture() -> None:
    pipeline = Pipeline(StubDetector([Box(0, 100, 100, 300)]), StubEmbedder(), 0.1)
    box, feature = pipeline.describe(scene())
    assert box == Box(0, 100, 100, 300)
    assert feature[:, :2].tolist() == [[110, 240]]


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [
        (0, [[80, 20]]),
        (1, [[80, 20], [500, 400]]),
        (2, [[80, 20], [60, 50], [500, 400]]),
        (3, [[80, 20], [60, 50], [40, 40], [500, 400]]),
    ],
)
def test_an_image_has_the_features_of_its_best_boxes_and_of_the_whole_picture(
    boxes: int, wanted: list[list[int]]
) -> None:
    detected = [Box(10, 10, 90, 30), Box(0, 0, 60, 50), Box(0, 0, 40, 40), Box(0, 0, 30, 30)]
    pipeline = Pipeline(StubDetector(detected), StubEmbedder(), 0.0, boxes)
    box, features = pipeline.describe(scene())
    assert box == detected[0]
    assert features[:, :2].tolist() == wanted
    assert len(wanted) == pipeline.parts


@pytest.mark.parametrize("boxes", [0, 1, 3])
@pytest.mark.parametrize("detected", [[], [Box(0, 0, 500, 400)]])
def test_a_whole_picture_has_one_feature(boxes: int, detected: list[Box]) -> None:
    pipeline = Pipeline(StubDetector(detected), StubEmbedder(), 0.0, boxes)
    box, features = pipeline.describe(scene())
    assert box == Box(0, 0, 500, 400)
    assert features[:, :2].tolist() == [[500, 400]]


def test_the_same_networks_serve_a_family_of_models() -> None:
    plain = Pipeline(StubDetector([Box(10, 10, 90, 30)]), StubEmbedder(), 0.0)
    family = (plain, *plain.relatives())
    ids = [plain.model_id, *(f"{plain.model_id}-w{count}" for count in (1, 2, 3))]
    assert [one.model_id for one in family] == ids
    assert [one.parts for one in family] == [1, 2, 3, 4]
    assert {one.model_id for one in family[2].relatives()} == {*ids} - {ids[2]}
    assert all(one._detector is plain._detector for one in family)
    assert all(one._embedder is plain._embedder for one in family)
    assert len(family[1].describe(scene())[1]) == 2


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_feature_that_cannot_be_used_is_refused(value: float | None) -> None:
    pipeline = Pipeline(StubDetector(), StubEmbedder(value=value), 0.0)
    with pytest.raises(NoAvailableFeature):
        pipeline.describe(scene())
    with pytest.raises(NoAvailableFeature):
        pipeline.describe_query(scene(), 2)


def test_the_model_id_changes_with_every_part_and_with_nothing_else() -> None:
    ids = [
        Pipeline(StubDetector(fingerprint=one), StubEmbedder(two), margin).model_id
        for one, two, margin in [
            ("a", "b", 0.1),
            ("a", "b", 0.1),
            ("c", "b", 0.1),
            ("a", "c", 0.1),
            ("a", "b", 0.2),
        ]
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"threads": 2}, True),
        ({"engine": "torch"}, True),
        ({"box_margin": 0.2}, False),
        ({"detector": "activation-map"}, False),
        ({"score_threshold": 0.9}, True),
    ],
)
def test_the_model_id_follows_the_options_that_change_a_feature(
    default: Pipeline, change: dict[str, Any], same: bool
) -> None:
    changed = load_pipeline(dataclasses.replace(VisionOptions(threads=1), **change))
    assert (changed.model_id == default.model_id) is same


def test_models_of_torchvision_can_be_combined_with_the_default_ones(
    tmp_path: Path, default: Pipeline
) -> None:
    torch.manual_seed(1)
    embedder = torchvision.models.get_model("mobilenet_v3_small", weights=None)
    detector = torchvision.models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None
    )
    torch.save(embedder.state_dict(), tmp_path / "embedder.pth")
    torch.save(detector.state_dict(), tmp_path / "detector.pth")
    own_embedder: dict[str, Any] = {
        "embedder": "mobilenet_v3_small",
        "embedder_weights": str(tmp_path / "embedder.pth"),
    }
    own_detector: dict[str, Any] = {
        "detector": "ssdlite320_mobilenet_v3_large",
        "detector_weights": str(tmp_path / "detector.pth"),
    }
    ids = {default.model_id}
    for options, dimensions in [
        (own_embedder, 1024),
        (own_detector, 256),
        ({**own_embedder, **own_detector}, 1024),
    ]:
        pipeline = load_pipeline(VisionOptions(threads=1, **options))
        _, feature = pipeline.describe(scene())
        assert feature.shape == (1, dimensions) == (1, pipeline.dimensions)
        ids.add(pipeline.model_id)
    assert len(ids) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"detector": "nothing"},
        {"embedder": "nothing"},
        {"embedder_weights": "nothing"},
        {"detector": "ssdlite320_mobilenet_v3_large", "detector_weights": "nothing"},
        {"engine": "nothing"},
        {"device": "nothing"},
        {"device": "cuda:99"},
    ],
)
def test_options_that_name_nothing_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nothing|cuda:99") as caught:
        load_pipeline(VisionOptions(**options))
    assert "\n" not in str(caught.value)
