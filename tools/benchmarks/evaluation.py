"""Running a model over scenes, and the rows of the tables of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contract.errors import NoAvailableFeature
from tools.benchmarks.measures import (
    best_similarities,
    covered,
    intersection_over_union,
    mean_average_precision,
    recall_at,
    relevant_ranks,
)
from vision.box import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.composition import Scene
    from vision.pipeline import Pipeline

#: Boxes of a query that are searched in the columns "of 3" and "searched".
BOXES_SEARCHED = 3
#: The least IoU of a box that finds its object.
FOUND = 0.5
#: The least share of an object in a box that covers it.
COVERS = 0.9

WHOLE, DETECTED, TRUE = "whole picture", "detector", "true box"
HEADER = (
    f"{'':<24}{'n':>5}{'IoU':>7}{'>=.5':>7}{'>=.5 of 3':>11}{'covers':>8}"
    f"{'R@1':>7}{'searched':>10}{'R@5':>7}{'mAP':>7}{'detect':>8}{'embed':>7}"
)


@dataclass(frozen=True)
class Described:
    """The output of a model for one scene: the boxes and their features, by kind of box.

    A feature is zeros if the model makes none. The times are milliseconds of CPU time: of the
    detector for the picture, of the embedder for one box.
    """

    boxes: dict[str, list[Box]]
    features: dict[str, NDArray[np.float32]]
    detector_ms: float
    embedder_ms: float

    def searched(self) -> NDArray[np.float32]:
        """Return the features of a search: of the first three boxes, and of the whole picture."""
        return np.concatenate([self.features[DETECTED][:BOXES_SEARCHED], self.features[WHOLE]])


def describe(pipeline: Pipeline, scene: Scene, kinds: Sequence[str], most: int) -> Described:
    """Return boxes and features of a scene, for at most `most` detected boxes."""
    picture = scene.picture
    whole = Box(0, 0, *picture.size)
    started = time.process_time()
    found = pipeline.detector.detect(picture)[:most] if DETECTED in kinds else []
    detector_ms = 1000 * (time.process_time() - started)
    choices = {WHOLE: [whole], DETECTED: found or [whole], TRUE: list(scene.boxes)}
    boxes = {kind: choices[kind] for kind in kinds}
    features = {}
    started = time.process_time()
    for kind in kinds:
        features[kind] = np.stack([_feature(pipeline, scene, box) for box in boxes[kind]])
    spent = 1000 * (time.process_time() - started)
    return Described(boxes, features, detector_ms, spent / sum(map(len, boxes.values())))


def _feature(pipeline: Pipeline, scene: Scene, box: Box) -> NDArray[np.float32]:
    try:
        _, features = pipeline.describe_query(scene.picture, 1, box=box)
    except NoAvailableFeature:
        return np.zeros(pipeline.dimensions, dtype=np.float32)
    feature: NDArray[np.float32] = features[0]
    return feature


def describe_all(
    pipeline: Pipeline,
    scenes: Iterable[Scene],
    kinds: Sequence[str] = (WHOLE, DETECTED, TRUE),
    most: int = BOXES_SEARCHED,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Described]:
    """Return the output for each scene; `progress` is called with the count of scenes done."""
    rows = []
    for number, scene in enumerate(scenes, start=1):
        rows.append(describe(pipeline, scene, kinds, most))
        progress(number)
    return rows


def gallery_features(described: Sequence[Described], kind: str) -> NDArray[np.float32]:
    """Return the feature of the first box of each picture, as ingestion stores it."""
    return np.stack([one.features[kind][0] for one in described])


def _line(name: str, count: int, cells: Sequence[float | None]) -> str:
    widths = (7, 7, 11, 8, 7, 10, 7, 7)
    text = "".join(
        f"{'–' if cell is None else f'{cell:.3f}':>{width}}"
        for cell, width in zip(cells[:8], widths, strict=True)
    )
    times = "".join(
        f"{'–' if cell is None else f'{cell:.0f}':>{width}}"
        for cell, width in zip(cells[8:], (8, 7), strict=True)
    )
    return f"{name:<24}{count:>5}{text}{times}"


def _box_cells(boxes: Sequence[Sequence[Box]], truths: Sequence[Box]) -> list[float]:
    """Return the mean IoU, the shares found by the first and by any box, and the share covered."""
    overlaps = [
        [intersection_over_union(box, truth) for box in found]
        for found, truth in zip(boxes, truths, strict=True)
    ]
    covers = [covered(found[0], truth) for found, truth in zip(boxes, truths, strict=True)]
    return [
        float(np.mean([row[0] for row in overlaps])),
        float(np.mean([row[0] >= FOUND for row in overlaps])),
        float(np.mean([max(row) >= FOUND for row in overlaps])),
        float(np.mean([share >= COVERS for share in covers])),
    ]


def _times(described: Sequence[Described], kind: str) -> list[float | None]:
    detector = float(np.mean([one.detector_ms for one in described]))
    embedder = float(np.mean([one.embedder_ms for one in described]))
    return [detector if kind == DETECTED else 0.0, embedder]


def shot_rows(scenes: Sequence[Scene], described: Sequence[Described]) -> list[str]:
    """Return the table rows of product shots, which only measure boxes."""
    truths = [scene.boxes[0] for scene in scenes]
    return [
        _line(
            kind,
            len(scenes),
            [
                *_box_cells([one.boxes[kind] for one in described], truths),
                *[None] * 4,
                *_times(described, kind),
            ],
        )
        for kind in (WHOLE, DETECTED)
    ]


def query_rows(
    scenes: Sequence[Scene],
    described: Sequence[Described],
    gallery: dict[str, NDArray[np.float32]],
    left_out: NDArray[np.bool_] | None = None,
) -> list[str]:
    """Return the table rows of queries with one object each; query i shows gallery picture i.

    Each kind of box searches the gallery of the same kind. `left_out`, shape (queries, gallery
    pictures), is true for pictures that a query ignores.
    """

    def ranks(features: NDArray[np.float32], images: NDArray[np.float32], place: int) -> list[int]:
        similarities = best_similarities(features, images)
        if left_out is not None:
            similarities[left_out[place]] = -np.inf
        return relevant_ranks(similarities, [place])

    truths = [scene.boxes[0] for scene in scenes]
    lines = []
    for kind, images in gallery.items():
        first = [
            ranks(one.features[kind][:1], images, place) for place, one in enumerate(described)
        ]
        searched = [
            ranks(one.searched(), images, place)
            for place, one in enumerate(described)
            if kind == DETECTED
        ]
        cells: list[float | None] = [
            *_box_cells([one.boxes[kind] for one in described], truths),
            recall_at(first, 1),
            recall_at(searched, 1) if searched else None,
            recall_at(first, 5),
            mean_average_precision(first),
            *_times(described, kind),
        ]
        lines.append(_line(kind, len(scenes), cells))
    return lines


def several_rows(
    scenes: Sequence[Scene],
    described: Sequence[Described],
    products: Sequence[Sequence[int]],
    gallery: dict[str, NDArray[np.float32]],
) -> list[str]:
    """Return the table rows of pictures with several objects; `products` are gallery positions.

    Of the first three boxes, the one that overlaps an object most is the object's own, and only
    its results count. An object that none of them overlaps is not found.
    """
    lines = []
    for kind, images in gallery.items():
        own: list[list[Box]] = []
        truths: list[Box] = []
        ranks: list[list[int]] = []
        for scene, one, places in zip(scenes, described, products, strict=True):
            for truth, place in zip(scene.boxes, places, strict=True):
                overlaps = [intersection_over_union(box, truth) for box in one.boxes[kind]]
                best = int(np.argmax(overlaps))
                truths.append(truth)
                own.append([one.boxes[kind][best]])
                similarities = best_similarities(one.features[kind][best : best + 1], images)
                ranks.append(relevant_ranks(similarities, [place]) if overlaps[best] > 0 else [])
        iou, found, _, covers = _box_cells(own, truths)
        cells: list[float | None] = [iou, None, found, covers, recall_at(ranks, 1), None]
        cells += [recall_at(ranks, 5), mean_average_precision(ranks), *_times(described, kind)]
        lines.append(_line(kind, len(truths), cells))
    return lines
