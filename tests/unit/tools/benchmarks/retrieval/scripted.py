"""Features and pictures for tests, without a model."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.features import Described
from tools.benchmarks.retrieval.pictures import Picture
from vision.box import Box

WHOLE = Box(0, 0, 100, 100)


def unit_rows(rng: np.random.Generator, count: int, dimensions: int = 6) -> np.ndarray:
    rows = rng.standard_normal((count, dimensions)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def described(
    features: list[list[float]] | np.ndarray,
    whole: list[float] | np.ndarray | None = None,
    boxes: tuple[Box, ...] = (),
    truths: tuple[Box, ...] = (),
) -> Described:
    """A picture with a feature for each box; without a whole picture of its own, it is zeros."""
    rows = np.array(features, np.float32)
    alone = np.zeros(rows.shape[1]) if whole is None else whole
    return Described(
        boxes=boxes or (WHOLE,) * len(rows),
        features=rows,
        whole=np.array([alone], np.float32),
        truths=truths,
        true_features=np.zeros((len(truths), rows.shape[1]), np.float32),
        milliseconds=1.0,
    )


def picture(name: str) -> Picture:
    return Picture(name, lambda: Scene(Image.new("RGB", (100, 100)), ()))


def no_inliers(_: Picture, __: Box, ___: Picture, ____: bool) -> tuple[int, int]:
    """Return that no features agree."""
    return 0, 0
