from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.geometry import Geometry, geometry
from tools.benchmarks.retrieval.pictures import Picture
from vision.box import Box


class Modules:
    """Stand-ins: a local feature is the size of a picture; inliers are both widths together."""

    def __init__(self, folder: Path, code: str = "code") -> None:
        self.pairs: list[tuple[Any, Any]] = []
        files = [str(folder / name) for name in ("features.py", "verification.py")]
        for file in files:
            Path(file).write_text(code)
        self.features: Any = SimpleNamespace(
            __file__=files[0],
            query_features=lambda seen: (seen.size, "query"),
            image_features=lambda seen: (seen.size, "image"),
        )
        self.verification: Any = SimpleNamespace(__file__=files[1], inliers=self._inliers)

    def _inliers(self, query: Any, image: Any) -> int:
        self.pairs.append((query, image))
        return int(query[0][0] + image[0][0])

    def counting(self, folder: Path) -> closing[Geometry]:
        path = folder / "inliers.sqlite"
        return closing(Geometry(path, self.features, self.verification))


def sized(width: int, height: int) -> Picture:
    picture = Image.new("RGB", (width, height))
    return Picture(f"{width} x {height}", lambda: Scene(picture, ()))


def test_a_pair_is_counted_once_and_kept(tmp_path: Path) -> None:
    for known in (False, True):
        modules = Modules(tmp_path)
        with modules.counting(tmp_path) as count:
            assert [count(sized(30, 20), None, sized(5, 5)) for _ in range(3)] == [35] * 3
            assert count(sized(5, 5), None, sized(5, 5)) == 10
        assert len(modules.pairs) == (0 if known else 2)


def test_a_query_and_an_image_have_features_of_their_kind(tmp_path: Path) -> None:
    modules = Modules(tmp_path)
    with modules.counting(tmp_path) as count:
        count(sized(30, 20), None, sized(30, 20))
    assert modules.pairs == [(((30, 20), "query"), ((30, 20), "image"))]


def test_only_the_box_of_a_query_is_compared_if_there_is_one(tmp_path: Path) -> None:
    modules = Modules(tmp_path)
    with modules.counting(tmp_path) as count:
        assert count(sized(30, 20), Box(10, 5, 14, 20), sized(5, 5)) == 9
        assert count(sized(30, 20), Box(10, 5, 15, 20), sized(5, 5)) == 10
    assert [query[0] for query, _ in modules.pairs] == [(4, 15), (5, 15)]


def test_other_code_takes_no_counts_of_the_first(tmp_path: Path) -> None:
    for code, counted in (("old", 1), ("new", 1), ("old", 0)):
        modules = Modules(tmp_path, code)
        with modules.counting(tmp_path) as count:
            count(sized(30, 20), None, sized(5, 5))
        assert len(modules.pairs) == counted


def test_without_the_module_there_is_no_geometry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "vision.geometry", None)
    assert geometry(tmp_path / "inliers.sqlite") is None
