"""Real photographs with one product each, boxed by hand: the set *real*.

The boxes are in `real.json`; the photographs are in Debian packages and are fetched. Knows where
in the packages they are; nothing of models.
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
    """What the product is, and the photograph with its true box."""

    product: str
    scene: Scene


def photographs(folder: Path, boxes: Path = BOXES) -> list[Photograph]:
    """Return the photographs, as packed. Raises PackageUnavailable, also for other bytes."""
    found = []
    for row in json.loads(boxes.read_text(encoding="utf-8")):
        path = debian_package(row["package"], folder) / row["path"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PackageUnavailable(f"{row['package']} has no {row['path']}") from error
        # Some lie one after another in a container without compression.
        start = row.get("offset", 0)
        data = data[start : start + row.get("length", len(data))]
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise PackageUnavailable(f"{row['package']} has another {row['path']}")
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
        found.append(Photograph(row["product"], Scene(picture, (Box(*row["box"]),))))
    return found
