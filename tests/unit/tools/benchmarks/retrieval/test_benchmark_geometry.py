from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.geometry import Geometry
from tools.benchmarks.retrieval.pictures import Picture
from vision.box import Box


class Modules:
    """Stand-ins: a local feature is the size of a picture; inliers lie on its diagonal."""

    def __init__(self, folder: Path, code: str = "code") -> None:
        self.pairs: list[tuple[Any, Any]] = []
        files = [str(folder / name) for name in ("features.py", "verification.py")]
        for file in files:
            Path(file).write_text(code)
        self.features: Any = SimpleNamespace(
            __file__=files[0],
            query_features=lambda seen: (seen.size, "query"),
            image_features=lambda seen: (seen.size, "image"),
            scaled_size=lambda size: size,
        )
        self.verification: Any = SimpleNamespace(__file__=files[1], inliers=self._inliers)

    def _inliers(self, query: Any, image: Any) -> np.ndarray:
        """As many points as the query is wide, one pixel apart."""
        self.pairs.append((query, image))
        return np.arange(query[0][0], dtype=np.float32)[:, None].repeat(2, axis=1)

    def counting(self, folder: Path) -> closing[Geometry]:
        path = folder / "inliers.sqlite"
        return closing(Geometry(path, self.features, self.verification))


def sized(width: int, height: int) -> Picture:
    picture = Image.new("RGB", (width, height))
    return Picture(f"{width} x {height}", lambda: Scene(picture, ()))


BOX = Box(0, 0, 10, 10)


def test_a_pair_is_counted_once_and_kept(tmp_path: Path) -> None:
    for known in (False, True):
        modules = Modules(tmp_path)
        with modules.counting(tmp_path) as count:
            # The box is a little larger when inliers are counted: 0 to 11.
            assert [count(sized(30, 20), BOX, sized(5, 5), False) for _ in range(3)] == [
                (12, 18)
            ] * 3
            assert count(sized(5, 5), BOX, sized(5, 5), False) == (5, 0)
        assert len(modules.pairs) == (0 if known else 2)


def test_a_query_and_an_image_have_features_of_their_kind(tmp_path: Path) -> None:
    modules = Modules(tmp_path)
    with modules.counting(tmp_path) as count:
        count(sized(30, 20), BOX, sized(30, 20), False)
    assert modules.pairs == [(((30, 20), "query"), ((30, 20), "image"))]


def test_a_box_that_the_client_chose_is_the_query(tmp_path: Path) -> None:
    modules = Modules(tmp_path)
    with modules.counting(tmp_path) as count:
        assert count(sized(30, 20), Box(10, 5, 14, 20), sized(5, 5), True) == (4, 0)
        assert count(sized(30, 20), Box(10, 5, 15, 20), sized(5, 5), True) == (5, 0)
    assert [query[0] for query, _ in modules.pairs] == [(4, 15), (5, 15)]


def test_other_code_takes_no_counts_of_the_first(tmp_path: Path) -> None:
    for code, counted in (("old", 1), ("new", 1), ("old", 0)):
        modules = Modules(tmp_path, code)
        with modules.counting(tmp_path) as count:
            count(sized(30, 20), BOX, sized(5, 5), False)
        assert len(modules.pairs) == counted
