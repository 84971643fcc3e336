"""Features: their shape and length, and the models of torchvision's registry."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import nn

from vision.backbone import EfficientNetLite0
from vision.embedders.efficientnet_lite import EfficientNetLiteEmbedder
from vision.embedders.embedder import Embedder
from vision.embedders.torchvision_registry import TorchvisionEmbedder, _drop_last_layer

MODEL = "mobilenet_v3_small"


def shapes(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (300, 260), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = rng.integers(0, 200, 3).tolist()
        draw.ellipse((x, y, x + size + 9, y + 60), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def save_state(path: Path, **building: Any) -> str:
    torch.manual_seed(3)
    model = torchvision.models.get_model(building.pop("name", MODEL), weights=None, **building)
    torch.save(model.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def lite() -> EfficientNetLiteEmbedder:
    return EfficientNetLiteEmbedder(EfficientNetLite0())


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_state(tmp_path_factory.mktemp("weights") / "embedder.pth")


@pytest.fixture(scope="module", params=["lite", "torchvision"])
def embedder(
    request: pytest.FixtureRequest, lite: EfficientNetLiteEmbedder, weights_file: str
) -> Embedder:
    return lite if request.param == "lite" else TorchvisionEmbedder(MODEL, weights_file)


def test_features_have_the_shape_the_type_and_length_one(embedder: Embedder) -> None:
    features = embedder.embed([shapes(1), shapes(2), shapes(3).resize((2, 900))])
    assert features.shape == (3, embedder.dimensions)
    assert features.dtype == np.float32
    assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_no_pictures_give_no_features(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_the_same_picture_gives_the_same_feature_alone_or_among_others(embedder: Embedder) -> None:
    alone = embedder.embed([shapes(1)])[0]
    among = embedder.embed([shapes(2), shapes(1), shapes(3)])[1]
    assert np.array_equal(alone, among)


def test_a_changed_copy_is_nearer_than_another_picture(lite: EfficientNetLiteEmbedder) -> None:
    picture = shapes(1)
    copy = picture.resize((200, 190)).point(lambda value: min(255, int(value * 1.1)))
    first, second, other = lite.embed([picture, copy, shapes(9)])
    assert first @ second > 0.9
    assert first @ second > first @ other + 0.1


def test_efficientnet_lite0_has_1280_dimensions(lite: EfficientNetLiteEmbedder) -> None:
    assert lite.dimensions == 1280


def test_efficientnet_lite0_gets_the_input_scale_that_it_was_trained_with() -> None:
    network = EfficientNetLite0()
    seen = []

    def extract_features(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return batch

    network._network.extract_features = extract_features
    network.feature_map(Image.new("RGB", (50, 70), (127, 255, 0)), 64)
    assert seen[0].shape == (1, 3, 64, 64)
    assert seen[0][0, :, 9, 9].tolist() == [0.0, 1.0, -127 / 128]


def test_the_pooling_is_the_generalised_mean_of_exponent_three() -> None:
    class Stub(EfficientNetLite0):
        def __init__(self) -> None:
            self.fingerprint = "stub"

        def feature_map(self, _image: Image.Image, _side: int) -> torch.Tensor:
            cells = torch.zeros(1280, 1, 2)
            cells[0, 0] = torch.tensor([1.0, 2.0])
            cells[1, 0] = torch.tensor([2.0, 2.0])
            return cells

    feature = EfficientNetLiteEmbedder(Stub()).embed([shapes(1)])[0]
    assert feature[0] / feature[1] == pytest.approx(4.5 ** (1 / 3) / 2)


def test_a_file_with_a_network_of_other_classes_serves_efficientnet_lite0(
    lite: EfficientNetLiteEmbedder, tmp_path: Path
) -> None:
    state = lite._network._network.state_dict()
    state["_fc.weight"], state["_fc.bias"] = state["_fc.weight"][:7], state["_fc.bias"][:7]
    torch.save(state, tmp_path / "own.pth")
    own = EfficientNetLiteEmbedder(EfficientNetLite0(str(tmp_path / "own.pth")))
    assert np.array_equal(own.embed([shapes(1)]), lite.embed([shapes(1)]))
    assert own.fingerprint != lite.fingerprint


def test_a_torchvision_feature_is_the_input_of_the_models_last_layer(weights_file: str) -> None:
    embedder = TorchvisionEmbedder(MODEL, weights_file)
    model = torchvision.models.get_model(MODEL, weights=None)
    model.load_state_dict(torch.load(weights_file, weights_only=True))
    seen = []
    model.eval().classifier[3].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    transforms = torchvision.models.get_model_weights(MODEL).DEFAULT.transforms()
    with torch.inference_mode():
        model(transforms(shapes(1)).unsqueeze(0))
    expected = nn.functional.normalize(seen[0], dim=1).numpy()
    assert embedder.dimensions == 1024
    assert embedder.embed([shapes(1)]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        ("mobilenet_v3_small", 1024),
        ("squeezenet1_1", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("resnet18", 512),
        ("mnasnet0_5", 1280),
    ],
)
def test_each_family_of_classifiers_loses_its_last_layer_alone(name: str, dimensions: int) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    assert _drop_last_layer(model) == dimensions
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64)).flatten().shape == (dimensions,)


def test_the_number_of_classes_is_taken_from_the_file(tmp_path: Path) -> None:
    path = save_state(tmp_path / "five.pth", num_classes=5)
    embedder = TorchvisionEmbedder(MODEL, path)
    assert embedder.embed([shapes(1)]).shape == (1, 1024)


def test_the_fingerprint_changes_with_the_weights_and_not_with_the_files_name(
    weights_file: str, tmp_path: Path
) -> None:
    state = torch.load(weights_file, weights_only=True)
    torch.save(state, tmp_path / "copy.pth")
    state["features.0.0.weight"][0, 0, 0, 0] += 1
    torch.save(state, tmp_path / "changed.pth")
    first, copy, changed = (
        TorchvisionEmbedder(MODEL, str(path)).fingerprint
        for path in (weights_file, tmp_path / "copy.pth", tmp_path / "changed.pth")
    )
    assert first == copy != changed


def test_an_unknown_model_name_says_how_to_see_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'resnet19'.*list_models\(module=torchvision.models\)"):
        TorchvisionEmbedder("resnet19", "DEFAULT")


def test_unknown_weights_name_the_registered_ones() -> None:
    with pytest.raises(ValueError, match=r"neither a file nor one of.*IMAGENET1K_V1"):
        TorchvisionEmbedder(MODEL, "no such thing")


def test_a_file_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    path = save_state(tmp_path / "other.pth", name="squeezenet1_1")
    for load in (lambda: TorchvisionEmbedder(MODEL, path), lambda: EfficientNetLite0(path)):
        with pytest.raises(ValueError, match="another network") as caught:
            load()
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_state_dict_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "harmed"), "w"))

    files = {"text": b"hello", "empty": b"", "harm": pickle.dumps(Harm())}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"model": {}}, tmp_path / "nested")
    torch.save([torch.zeros(1)], tmp_path / "list")
    for name in [*files, "nested", "list"]:
        with pytest.raises(ValueError, match="weights file") as caught:
            TorchvisionEmbedder(MODEL, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="weights file"):
        EfficientNetLite0(str(tmp_path / "missing"))
    assert not (tmp_path / "harmed").exists()
