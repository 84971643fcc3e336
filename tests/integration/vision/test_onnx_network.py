"""The default networks in ONNX format are the networks of the weights, and need no torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import nms

from tools.training.export import in_half_precision
from vision.detectors import product as product_detector
from vision.detectors import product_network as product_boxes
from vision.detectors.product import suppressed
from vision.embedders import product as product_embedder
from vision.embedders import product_network as product_features
from vision.engine import onnx_content
from vision.onnx_network import LoadedNetwork, open_exported, run_in_onnxruntime
from vision.options import ONNXRUNTIME, TORCH, VisionOptions
from vision.pipeline import load_pipeline

ROOT = Path(__file__).parents[3]
NETWORKS = [
    pytest.param(product_detector.WEIGHTS_FILE, product_boxes.load, 320, id="detector"),
    pytest.param(product_embedder.WEIGHTS_FILE, product_features.load, 256, id="embedder"),
]
Load = Callable[..., LoadedNetwork]


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(side).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize(("weights", "load", "side"), NETWORKS)
def test_a_new_export_of_the_weights_gives_the_same_numbers(
    weights: Path, load: Load, side: int
) -> None:
    committed, anew = open_exported(weights, threads=1), load(engine=ONNXRUNTIME)
    assert committed.content_hash == anew.content_hash
    torch.set_num_threads(1)
    for one, other in zip(committed.run(noise(side)), anew.run(noise(side)), strict=True):
        assert one.dtype == np.float32
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("weights", "load", "side"), NETWORKS)
def test_torch_agrees_but_for_rounding(weights: Path, load: Load, side: int) -> None:
    committed, built = open_exported(weights, threads=0), load(engine=TORCH)
    for one, other in zip(committed.run(noise(side)), built.run(noise(side)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("weights", "load", "side"), NETWORKS)
def test_the_committed_file_is_the_one_of_the_card(weights: Path, load: Load, side: int) -> None:
    content = weights.with_suffix(".onnx").read_bytes()
    named = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["exported"]
    assert hashlib.sha256(content).hexdigest() == named["sha256"]
    assert len(content) == named["bytes"] < 12_000_000


def test_weights_that_half_precision_cannot_hold_are_left_as_they_are() -> None:
    torch.manual_seed(5)
    layer = torch.nn.Conv2d(3, 40, 9).eval()
    content = onnx_content(layer, torch.zeros(1, 3, 40, 40))
    assert len(in_half_precision(content)) > 0.99 * len(content)
    content = onnx_content(layer.half().float(), torch.zeros(1, 3, 40, 40))
    smaller = in_half_precision(content)
    assert len(smaller) < 0.7 * len(content)
    pixels = noise(40)
    (one,), (other,) = (run_in_onnxruntime(model, 1)(pixels) for model in (content, smaller))
    assert np.array_equal(one, other)


def test_the_default_model_is_loaded_and_used_without_torch(tmp_path: Path) -> None:
    Image.effect_noise((300, 200), 90).convert("RGB").save(tmp_path / "noise.png")
    program = """
import json, sys
from PIL import Image
from vision.options import VisionOptions
from vision.pipeline import load_pipeline
pipeline = load_pipeline(VisionOptions(threads=1))
box, (feature,) = pipeline.describe(Image.open("noise.png"))
heavy = sorted({"torch", "torchvision", "onnx", "efficientnet_lite_pytorch"} & set(sys.modules))
print(json.dumps([heavy, pipeline.model_id, [float(value) for value in feature]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    heavy, model_id, feature = json.loads(done.stdout)
    assert heavy == []
    in_torch = load_pipeline(VisionOptions(threads=1, engine=TORCH))
    assert model_id == in_torch.model_id
    with Image.open(tmp_path / "noise.png") as picture:
        _, (same,) = in_torch.describe(picture)
    assert float(np.dot(feature, same)) > 0.9999


@pytest.mark.parametrize("harm", ["missing", "damaged", "no card", "{}", "[]", '{"exported": {}}'])
def test_a_network_that_is_not_the_one_of_the_card_is_refused_in_one_line(
    tmp_path: Path, harm: str
) -> None:
    weights = tmp_path / "own.safetensors"
    source = product_embedder.WEIGHTS_FILE
    for suffix in (".onnx", ".json"):
        shutil.copy(source.with_suffix(suffix), weights.with_suffix(suffix))
    network, card = weights.with_suffix(".onnx"), weights.with_suffix(".json")
    if harm == "missing":
        network.unlink()
    elif harm == "damaged":
        content = bytearray(network.read_bytes())
        content[len(content) // 2] ^= 1
        network.write_bytes(content)
    elif harm == "no card":
        card.unlink()
    else:
        card.write_text(harm, encoding="utf-8")
    with pytest.raises(ValueError, match=r"the network .*own\.onnx") as caught:
        open_exported(weights, threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_the_boxes_kept_are_those_that_torchvision_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 60))
    # Whole numbers in a small space: equal boxes, empty ones and overlaps at the very threshold.
    firsts = rng.integers(0, 12, (count, 2))
    corners = np.hstack([firsts, firsts + rng.integers(0, 9, (count, 2))]).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32)
    expected = nms(torch.from_numpy(corners), torch.from_numpy(scores), 0.5).numpy()
    with np.errstate(all="raise"):
        kept = suppressed(corners, scores, 0.5, most=100)
        first = suppressed(corners, scores, 0.5, most=5)
    assert kept.tolist() == expected.tolist()
    assert first.tolist() == expected[:5].tolist()
