"""The inliers of pairs of pictures, by the project's own geometric verification, where it is."""

from __future__ import annotations

import hashlib
import importlib
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmarks.composition import Scene
from tools.benchmarks.retrieval.pictures import Picture
from vision.box import Box

if TYPE_CHECKING:
    from types import ModuleType

TABLE = """
    create table if not exists inliers (
        code text, query text, image text, count integer, primary key (code, query, image)
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
        self._inliers = verification.inliers
        self._code = _code_of(features, verification)
        found = self._file.execute(
            "select query, image, count from inliers where code = ?", (self._code,)
        )
        self._counts: dict[tuple[str, str], int] = {
            (query, image): count for query, image, count in found
        }

        @lru_cache(maxsize=IN_MEMORY)
        def of_query(picture: Picture) -> Any:
            return features.query_features(picture.make().picture)

        @lru_cache(maxsize=IN_MEMORY)
        def of_image(picture: Picture) -> Any:
            return features.image_features(picture.make().picture)

        self._of_query, self._of_image = of_query, of_image

    def close(self) -> None:
        """Write what was counted, and close the file."""
        self._file.commit()
        self._file.close()

    def __call__(self, query: Picture, box: Box | None, image: Picture) -> int:
        """Return the inliers of a query, or of a box of it, and an image."""
        if box is not None:
            query = _cut(query, box)
        pair = (query.key, image.key)
        if pair not in self._counts:
            self._counts[pair] = self._counted(query, image)
            self._file.execute(
                "insert into inliers values (?, ?, ?, ?)", (self._code, *pair, self._counts[pair])
            )
            if len(self._counts) % BLOCK == 0:
                self._file.commit()
        return self._counts[pair]

    def _counted(self, query: Picture, image: Picture) -> int:
        return int(self._inliers(self._of_query(query), self._of_image(image)))


def geometry(path: Path) -> Geometry | None:
    """Return what counts inliers, with its counts in a file; None if it can't be loaded here."""
    try:
        features, verification = (
            importlib.import_module(f"vision.geometry.{name}")
            for name in ("local_features", "verification")
        )
    except ModuleNotFoundError:
        return None
    features.limit_threads(1)
    return Geometry(path, features, verification)


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
