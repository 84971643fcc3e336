from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from tools.benchmarks.composition import Scene, retaken
from tools.benchmarks.packages import PackageUnavailable
from tools.benchmarks.retrieval.real import BOXES, photographs, searches
from vision.box import Box


def listed(folder: Path, digest: str | None = None) -> Path:
    """A package that is already in the cache, whose photograph lies in a container."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(file, "PNG")
    data = file.getvalue()
    (folder / "some-package").mkdir()
    (folder / "some-package/pictures").write_bytes(b"before" + data + b"behind")
    row = {
        "package": "some-package",
        "path": "pictures",
        "offset": 6,
        "length": len(data),
        "sha256": digest or hashlib.sha256(data).hexdigest(),
        "product": "cup",
        "box": [1, 2, 30, 20],
    }
    boxes = folder / "boxes.json"
    boxes.write_text(json.dumps([row]))
    return boxes


def test_a_photograph_comes_out_of_its_container_with_its_box(tmp_path: Path) -> None:
    (one,) = photographs(tmp_path, listed(tmp_path))
    assert one.scene.picture.size == (40, 30)
    assert one.scene.picture.getpixel((5, 5)) == (200, 10, 10)
    assert one.scene.boxes == (Box(1, 2, 30, 20),)


def test_other_bytes_than_those_boxed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageUnavailable, match="another pictures"):
        photographs(tmp_path, listed(tmp_path, digest="0" * 64))


def test_every_committed_box_is_a_box_and_no_photograph_comes_twice() -> None:
    rows = json.loads(BOXES.read_text(encoding="utf-8"))
    assert len({row["sha256"] for row in rows}) == len(rows) >= 30
    for left, top, right, bottom in (row["box"] for row in rows):
        assert 0 <= left < right
        assert 0 <= top < bottom


def level(channel: Image.Image, at: tuple[int, int]) -> float:
    found = channel.getpixel(at)
    assert isinstance(found, float | int)
    return found


def test_a_product_taken_again_shows_only_what_was_in_its_box() -> None:
    picture = Image.new("RGB", (400, 300), (0, 0, 250))
    picture.paste((250, 0, 0), (100, 100, 300, 200))
    again = retaken(Scene(picture, (Box(100, 100, 300, 200),)), random.Random(1))
    blue = again.picture.getchannel("B")
    red = again.picture.getchannel("R")
    middle = (again.picture.width // 2, again.picture.height // 2)
    assert level(red, middle) > 120 > level(blue, middle)
    assert again.boxes == (Box(0, 0, *again.picture.size),)


def test_a_photograph_searches_for_what_was_in_its_box(tmp_path: Path) -> None:
    taken = photographs(tmp_path, listed(tmp_path))
    made = searches(taken, [taken[0].picture()], 1)
    (search,) = made.searches
    assert (search.right, search.kind) == (0, "cup")
    assert search.picture.make().picture.size == (40, 30)
    shot = made.gallery[0].make().picture
    assert max(shot.size) <= 40
    assert shot.tobytes() == made.gallery[0].make().picture.tobytes()
    assert len({one.key for one in made.gallery}) == 2
