"""Photographs in a folder that the project may not contain: goods in a shop, and clothes.

The folder has `grocery/kinds.csv` (columns `class` and `kind`), `grocery/gallery/<class>.jpg`,
`grocery/queries/<class>/*.jpg` and `clothing/*.jpg`. Its README says what may be done with them.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tools.benchmarks.composition import Scene, cut_and_turned
from tools.benchmarks.packages import PackageUnavailable
from tools.benchmarks.retrieval.pictures import (
    Picture,
    Search,
    SearchSet,
    composing,
    file_hash,
    file_picture,
    opened,
)

#: Of the clothes, each so many-th is a scene.
SCENE_STRIDE = 10
KINDS = {"package": "packages", "produce": "produce"}


def grocery(folder: Path) -> list[SearchSet]:
    """Return the searches of packages and of produce, both among the pictures of all.

    Raises PackageUnavailable without a file.
    """
    root = folder / "grocery"
    listed = root / "kinds.csv"
    if not listed.is_file():
        raise PackageUnavailable(f"{listed} is missing")
    with listed.open(encoding="utf-8", newline="") as file:
        rows = [(row["class"], row["kind"]) for row in csv.DictReader(file)]
    names = sorted(name for name, _ in rows)
    shown = [root / "gallery" / f"{name}.jpg" for name in names]
    missing = [path for path in shown if not path.is_file()]
    if missing:
        raise PackageUnavailable(f"{missing[0]} is missing")
    gallery = tuple(map(file_picture, shown))
    kind_of = dict(rows)
    return [
        SearchSet(
            f"grocery {words}",
            gallery,
            tuple(
                Search(file_picture(path), place, name)
                for place, name in enumerate(names)
                if kind_of[name] == kind
                for path in sorted((root / "queries" / name).glob("*.jpg"))
            ),
        )
        for kind, words in KINDS.items()
    ]


def clothes(folder: Path) -> list[Path]:
    """Return the photographs of clothes; raises PackageUnavailable if there are none."""
    found = sorted((folder / "clothing").glob("*.jpg"))
    if not found:
        raise PackageUnavailable(f"{folder / 'clothing'} has no photographs")
    return found


def scenes(photographs: Sequence[Path], seed: int) -> SearchSet:
    """Return searches with pieces of photographs; the gallery has the photographs."""
    searches = tuple(
        Search(
            Picture(f"scene {seed} {composing()} {file_hash(path)}", partial(_piece, path, seed)),
            place,
            path.name,
        )
        for place, path in enumerate(photographs)
    )
    return SearchSet("scenes", tuple(map(file_picture, photographs)), searches)


def _piece(path: Path, seed: int) -> Scene:
    return Scene(cut_and_turned(opened(path), random.Random(f"{seed} scene {path.name}")), ())
