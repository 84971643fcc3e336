from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.errors import NoAvailableFeature
from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.features import describe
from tools.benchmarks.retrieval.pictures import Picture
from tools.benchmarks.retrieval.store import FeatureStore
from vision.box import Box
from vision.similarity import QueryParts


class Counting:
    """A model whose feature is the size of the box; it may break down after some pictures."""

    model_id = "counting"
    dimensions = 2

    def __init__(self, most: int = 1000, boxes: int = 2) -> None:
        self.left = most
        self._boxes = boxes

    def describe_query(self, picture: Image.Image, count: int, box: Box | None = None) -> Any:
        if box is not None:
            return [box], QueryParts(self._rows([box]), None)
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        if picture.width == 13:
            raise NoAvailableFeature
        whole = Box(0, 0, *picture.size)
        found = [Box(0, 0, 1, number) for number in range(1, self._boxes + 1)] or [whole]
        searched = found[:count]
        searched = searched if whole in searched else [*searched, whole]
        return found, QueryParts(self._rows(searched), searched.index(whole))

    @staticmethod
    def _rows(boxes: list[Box]) -> np.ndarray:
        return np.array([[box.right, box.bottom] for box in boxes], np.float32)


def numbered(count: int) -> list[Picture]:
    def scene(number: int) -> Scene:
        return Scene(Image.new("RGB", (number, 7)), (Box(0, 0, number, 5),))

    return [Picture(f"picture {one}", partial(scene, one)) for one in range(1, count + 1)]


def stored(model: Any, folder: Path, pictures: list[Picture]) -> list[Any]:
    store = FeatureStore(model, folder / "features.sqlite")
    try:
        return store.described(pictures)
    finally:
        store.close()


def test_a_stopped_run_goes_on_and_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stored(Counting(14), tmp_path, numbered(25))
    rest = Counting(100)
    found = stored(rest, tmp_path, numbered(25))
    assert rest.left == 100 - (25 - 14)
    alone = [describe(Counting(), one.make()) for one in numbered(25)]  # type: ignore[arg-type]
    for one, other in zip(found, alone, strict=True):
        assert (one.boxes, one.truths) == (other.boxes, other.truths)
        for name in ("features", "whole", "true_features"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_a_picture_in_two_sets_is_described_once(tmp_path: Path) -> None:
    model = Counting(3)
    assert len(stored(model, tmp_path, numbered(3) + numbered(2))) == 5
    assert model.left == 0


def test_another_model_takes_no_features_of_the_first(tmp_path: Path) -> None:
    stored(Counting(3), tmp_path, numbered(3))
    other = Counting(3)
    other.model_id = "other"
    stored(other, tmp_path, numbered(3))
    assert other.left == 0


@pytest.mark.parametrize(("boxes", "kept"), [(0, 1), (1, 1), (3, 3), (8, 3)])
def test_features_are_those_of_three_boxes_the_whole_and_the_true_ones(
    boxes: int, kept: int
) -> None:
    (one,) = numbered(1)
    found = describe(Counting(boxes=boxes), one.make())  # type: ignore[arg-type]
    assert len(found.boxes) == len(found.features) == kept
    assert found.whole.tolist() == [[1, 7]]
    assert found.true_features.tolist() == [[1, 5]]
    assert found.features[0].tolist() == ([1, 1] if boxes else [1, 7])


def test_a_picture_without_a_feature_has_zeros(tmp_path: Path) -> None:
    for _ in range(2):
        one = stored(Counting(), tmp_path, numbered(13))[-1]
        assert one.boxes == (Box(0, 0, 13, 7),)
        assert not one.features.any()
        assert not one.whole.any()
