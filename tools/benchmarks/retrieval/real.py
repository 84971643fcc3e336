"""Real photographs with one product each, boxed by hand: the set *real*.

The boxes are in `real.json`; the photographs are in Debian packages, which are fetched.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tools.benchmarks.composition import Scene, retaken
from tools.benchmarks.packages import PackageUnavailable, debian_package
from tools.benchmarks.retrieval.pictures import Picture, Search, SearchSet, composing
from vision.box import Box

BOXES = Path(__file__).with_name("real.json")


@dataclass(frozen=True)
class Photograph:
    """The name of a product, and a photograph of it with its true box and its hash."""

    product: str
    sha256: str
    scene: Scene

    def picture(self) -> Picture:
        """Return the photograph as it is."""
        return Picture(f"real {self.sha256} {self.scene.boxes}", lambda: self.scene)

    def retaken(self, seed: str) -> Picture:
        """Return what is in the box, as another photograph could show it."""
        key = f"retaken {seed} {composing()} {self.sha256} {self.scene.boxes}"
        return Picture(key, lambda: retaken(self.scene, random.Random(seed)))


def photographs(folder: Path, boxes: Path = BOXES) -> list[Photograph]:
    """Return the photographs; raises PackageUnavailable if one is missing or has other bytes."""
    found = []
    for row in json.loads(boxes.read_text(encoding="utf-8")):
        path = debian_package(row["package"], folder) / row["path"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PackageUnavailable(f"{row['package']} has no {row['path']}") from error
        # Some are concatenated in one file without compression.
        start = row.get("offset", 0)
        data = data[start : start + row.get("length", len(data))]
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise PackageUnavailable(f"{row['package']} has another {row['path']}")
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
        scene = Scene(picture, (Box(*row["box"]),))
        found.append(Photograph(row["product"], row["sha256"], scene))
    return found


def searches(taken: Sequence[Photograph], behind: Sequence[Picture], seed: int) -> SearchSet:
    """Return the set *real*: searches with the photographs, and `behind` in the gallery, too."""
    gallery = [one.retaken(f"{seed} real {place}") for place, one in enumerate(taken)]
    found = [Search(one.picture(), place, one.product) for place, one in enumerate(taken)]
    return SearchSet("real", (*gallery, *behind), tuple(found))
