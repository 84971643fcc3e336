"""The boxes and features of a picture, as a search worker computes them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contract.errors import NoAvailableFeature
from vision.box import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.composition import Scene
    from vision.pipeline import Pipeline

#: The most boxes of a picture that any design uses.
BOXES = 3


@dataclass(frozen=True)
class Described:
    """The best boxes of a picture with a feature each, the whole picture's, and the true boxes'.

    The only box is the whole picture if nothing was detected. Features have shape (n, dimensions),
    and are zeros where the model makes none. `milliseconds` is the time of the processor for boxes
    and features, the true ones left out.
    """

    boxes: tuple[Box, ...]
    features: NDArray[np.float32]
    whole: NDArray[np.float32]
    truths: tuple[Box, ...]
    true_features: NDArray[np.float32]
    milliseconds: float


def describe(pipeline: Pipeline, scene: Scene) -> Described:
    """Return boxes and features of a scene."""
    whole = Box(0, 0, *scene.picture.size)
    started = time.process_time()
    try:
        found, parts = pipeline.describe_query(scene.picture, BOXES)
        rows = parts.features
    except NoAvailableFeature:
        found, rows = [whole], np.zeros((1, pipeline.dimensions), np.float32)
    milliseconds = 1000 * (time.process_time() - started)
    boxes = tuple(found[:BOXES])
    return Described(
        boxes=boxes,
        features=rows[: len(boxes)],
        whole=rows[boxes.index(whole) if whole in boxes else -1][np.newaxis],
        truths=scene.boxes,
        true_features=np.array(
            [_feature(pipeline, scene, box) for box in scene.boxes], np.float32
        ).reshape(-1, pipeline.dimensions),
        milliseconds=milliseconds,
    )


def _feature(pipeline: Pipeline, scene: Scene, box: Box) -> NDArray[np.float32]:
    try:
        _, parts = pipeline.describe_query(scene.picture, 1, box=box)
    except NoAvailableFeature:
        return np.zeros(pipeline.dimensions, dtype=np.float32)
    feature: NDArray[np.float32] = parts.features[0]
    return feature
