"""The default embedder: its features, its committed weights, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from vision.embedders.product import WEIGHTS_FILE, ProductEmbedder, crop_pixels
from vision.embedders.product_network import load


@pytest.fixture(scope="module")
def embedder() -> ProductEmbedder:
    return ProductEmbedder(load())


def shapes(seed: int, size: tuple[int, int] = (180, 120)) -> Image.Image:
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        left, top = int(rng.integers(0, size[0] - 60)), int(rng.integers(0, size[1] - 60))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((left, top, left + 60, top + 60), fill=colour)
    return picture


def test_features_have_length_one_and_are_the_same_alone_and_among_others(
    embedder: ProductEmbedder,
) -> None:
    pictures = [shapes(seed) for seed in range(3)]
    features = embedder.embed(pictures)
    assert features.shape == (3, embedder.dimensions) == (3, 256)
    assert features.dtype == np.float32
    assert np.linalg.norm(features, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert np.array_equal(embedder.embed(pictures[1:2])[0], features[1])
    assert embedder.embed([]).shape == (0, 256)


def test_the_same_thing_is_more_alike_than_another(embedder: ProductEmbedder) -> None:
    same = shapes(1).rotate(8, fillcolor=(127, 127, 127))
    one, turned, other = embedder.embed([shapes(1), same, shapes(2)])
    assert one @ turned > one @ other + 0.1


def test_a_crop_keeps_its_shape() -> None:
    pixels = crop_pixels(Image.new("RGB", (100, 50), (255, 0, 0)))[0]
    assert pixels.shape == (3, 256, 256)
    red = pixels[0] > 0.9
    assert red[66:190].all()
    assert not red[:62].any()
    assert not red[194:].any()
    assert float(np.abs(pixels[:, :60]).max()) == 0


def test_both_engines_give_the_same_features() -> None:
    pictures = [shapes(seed) for seed in range(3)]
    one, other = (ProductEmbedder(load(engine=name)) for name in ("torch", "onnxruntime"))
    assert one.fingerprint == other.fingerprint
    cosines = (one.embed(pictures) * other.embed(pictures)).sum(1)
    assert cosines.min() > 0.99999


def test_the_fingerprint_changes_with_the_weights(
    embedder: ProductEmbedder, tmp_path: Path
) -> None:
    state = load_file(WEIGHTS_FILE)
    save_file(state, tmp_path / "same")
    state["projection.weight"][0, 0] += 1
    save_file(state, tmp_path / "other")
    assert ProductEmbedder(load(str(tmp_path / "same"))).fingerprint == embedder.fingerprint
    assert ProductEmbedder(load(str(tmp_path / "other"))).fingerprint != embedder.fingerprint


def test_a_file_that_holds_no_such_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    save_file({"projection.weight": torch.zeros(2, 2)}, tmp_path / "other")
    for name in ("text", "other", "missing"):
        with pytest.raises(ValueError, match="weights file") as caught:
            load(str(tmp_path / name))
        assert "\n" not in str(caught.value)
