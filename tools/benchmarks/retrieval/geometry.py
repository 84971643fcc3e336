"""The inliers of pairs of pictures, by the project's own geometric verification."""

from __future__ import annotations

import hashlib
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.pictures import Picture
from vision import similarity
from vision.box import Box
from vision.geometry import local_features, verification

if TYPE_CHECKING:
    from types import ModuleType

TABLE = """
    create table if not exists inliers (
        code text, query text, image text, in_box integer, elsewhere integer,
        primary key (code, query, image)
    ) without rowid
"""
#: Pictures whose local features are in memory, some 100 kB each.
IN_MEMORY = 4096
#: Pairs between two writes.
BLOCK = 1000


class Geometry:
    """Counts the inliers of pairs; each pair is counted once, and stored."""

    def __init__(self, path: Path, features: ModuleType, verification: ModuleType) -> None:
        """Take the file for the counts, and the modules that make local features and match them."""
        self._file = sqlite3.connect(path, timeout=60)
        self._file.execute(TABLE)
        self._features, self._verification = features, verification
        self._code = _code_of(features, verification, similarity)
        found = self._file.execute(
            "select query, image, in_box, elsewhere from inliers where code = ?", (self._code,)
        )
        self._counts: dict[tuple[str, str], tuple[int, int]] = {
            (query, image): (in_box, elsewhere) for query, image, in_box, elsewhere in found
        }

        @lru_cache(maxsize=IN_MEMORY)
        def of_query(picture: Picture) -> Any:
            seen = picture.make().picture
            return features.query_features(seen), seen.size

        @lru_cache(maxsize=IN_MEMORY)
        def of_image(picture: Picture) -> Any:
            return features.image_features(picture.make().picture)

        self._of_query, self._of_image = of_query, of_image

    def close(self) -> None:
        """Write what was counted, and close the file."""
        self._file.commit()
        self._file.close()

    def __call__(
        self, query: Picture, box: Box, image: Picture, in_box_alone: bool
    ) -> tuple[int, int]:
        """Return the inliers of a query and an image, in the box of the query and elsewhere.

        If `in_box_alone`, the query is what is in the box.
        """
        pair = (f"{query.key} {box} {in_box_alone}", image.key)
        if pair not in self._counts:
            self._counts[pair] = self._counted(query, box, image, in_box_alone)
            self._file.execute(
                "insert into inliers values (?, ?, ?, ?, ?)",
                (self._code, *pair, *self._counts[pair]),
            )
            if len(self._counts) % BLOCK == 0:
                self._file.commit()
        return self._counts[pair]

    def _counted(
        self, query: Picture, box: Box, image: Picture, in_box_alone: bool
    ) -> tuple[int, int]:
        seen, size = self._of_query(_cut(query, box) if in_box_alone else query)
        points = self._verification.inliers(seen, self._of_image(image))
        if in_box_alone:
            return len(points), 0
        in_box = similarity.inside(points, box.scaled(size, self._features.scaled_size(size)))
        return in_box, len(points) - in_box


def geometry(path: Path) -> Geometry:
    """Return what counts inliers, with its counts in a file."""
    local_features.limit_threads(1)
    return Geometry(path, local_features, verification)


def _code_of(*modules: ModuleType) -> str:
    digest = hashlib.sha256()
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]


def _cut(picture: Picture, box: Box) -> Picture:
    def make() -> Scene:
        corners = (box.left, box.top, box.right, box.bottom)
        return Scene(picture.make().picture.crop(corners), ())

    return Picture(f"{picture.key} {box}", make)
