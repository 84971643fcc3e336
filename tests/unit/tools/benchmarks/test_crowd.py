from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.benchmarks import crowd, sets
from tools.benchmarks.composition import Scene
from vision.box import Box


class Counting:
    """A model whose feature is the picture's width; it may break down after some pictures."""

    model_id = "counting"
    dimensions = 1

    def __init__(self, most: int) -> None:
        self.left = most
        self.detector = SimpleNamespace(detect=self._detect)

    def _detect(self, picture: Image.Image) -> list[Box]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return [Box(0, 0, *picture.size)]

    def describe_query(self, picture: Image.Image, _: int, box: Box) -> Any:
        return [box], np.array([[picture.width]], dtype=np.float32)


def numbered(count: int, *_: object) -> Iterator[Scene]:
    start = int(str(_[-1]))
    for number in range(start, count):
        yield Scene(Image.new("RGB", (number + 1, 1)), (Box(0, 0, number + 1, 1),))


def test_a_stopped_crowd_goes_on_and_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sets, "distractors", numbered)
    monkeypatch.setattr(crowd, "BLOCK", 10)

    def made(model: Any) -> dict[str, sets.Features]:
        return crowd.crowd_features(model, 25, [], [], 1, tmp_path)

    with pytest.raises(KeyboardInterrupt):
        made(Counting(14))
    rest = Counting(100)
    features = made(rest)
    assert rest.left == 100 - 15
    for kind in crowd.KINDS:
        assert features[kind].ravel().tolist() == list(range(1, 26))


def test_another_model_takes_no_features_of_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sets, "distractors", numbered)
    crowd.crowd_features(Counting(3), 3, [], [], 1, tmp_path)  # type: ignore[arg-type]
    other = Counting(3)
    other.model_id = "other"
    crowd.crowd_features(other, 3, [], [], 1, tmp_path)  # type: ignore[arg-type]
    assert other.left == 0
