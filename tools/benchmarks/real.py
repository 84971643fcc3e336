"""Real photographs with one product each, boxed by hand: the set *real*.

The boxes are in `real.json`; the photographs are in Debian packages, which are fetched.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tools.benchmarks.composition import Scene
from tools.benchmarks.packages import PackageUnavailable, debian_package
from vision.box import Box

BOXES = Path(__file__).with_name("real.json")


@dataclass(frozen=True)
class Photograph:
    """The name of a product, and a photograph of it with its true box."""

    product: str
    scene: Scene


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
        found.append(Photograph(row["product"], Scene(picture, (Box(*row["box"]),))))
    return found
