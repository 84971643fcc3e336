"""Runs one model over scenes, and turns what it found into the rows of a table.

Knows the pipeline by its interface, and scenes; nothing of packages or of how scenes are made.
"""

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

#: So many boxes of a query are searched in the columns "best of three".
BOXES_SEARCHED = 3
#: A box finds its object from this overlap on.
FOUND = 0.5
#: A box that has this share of the object in it covers the object.
COVERS = 0.9

WHOLE, DETECTED, TRUE = "whole picture", "detector", "true box"
HEADER = (
    f"{'':<24}{'n':>5}{'IoU':>7}{'>=.5':>7}{'>=.5 of 3':>11}{'covers':>8}"
    f"{'R@1':>7}{'searched':>10}{'R@5':>7}{'mAP':>7}{'detect':>8}{'embed':>7}"
)


@dataclass(frozen=True)
class Described:
    """What a model made of one scene: for each kind of box, the boxes and their features.

    A feature is of zeros where the model gives none. The times are milliseconds of processor
    time: of the detector once, of the embedder for one box.
    """

    boxes: dict[str, list[Box]]
    features: dict[str, NDArray[np.float32]]
    detector_ms: float
    embedder_ms: float

    def searched(self) -> NDArray[np.float32]:
        """Return what a search compares: the first three boxes, and the whole picture."""
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
    """Describe scenes one by one; `progress` is told how many are done."""
    rows = []
    for number, scene in enumerate(scenes, start=1):
        rows.append(describe(pipeline, scene, kinds, most))
        progress(number)
    return rows


def gallery_features(described: Sequence[Described], kind: str) -> NDArray[np.float32]:
    """Return one feature per picture, that of its first box: what ingestion keeps."""
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
    """Return mean IoU, share found by the first box, by any, and share covered by the first."""
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
    """Return the lines of pictures that nothing is searched with: how good their boxes are."""
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
    """Return the lines of queries with one object each; query i shows gallery picture i.

    Each kind of box searches the gallery that was made with the same kind. `left_out`, shape
    (queries, gallery pictures), tells which pictures do not count for a query.
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
    """Return the lines of pictures with several objects; `products` are their gallery places.

    An object's own box is that of the first three which overlaps it most, and only what that
    box finds counts; an object that none of them overlaps is not found.
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
