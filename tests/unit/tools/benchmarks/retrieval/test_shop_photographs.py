from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.benchmarks.composition import cut_and_turned
from tools.benchmarks.packages import PackageUnavailable
from tools.benchmarks.retrieval import shop
from tools.benchmarks.retrieval.pictures import LONGEST, file_picture, opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two packages and one kind of produce."""
    grocery = tmp_path / "grocery"
    rows = ["class,kind", "Milk,package", "Kiwi,produce", "Juice,package"]
    for row in rows[1:]:
        name = row.split(",")[0]
        saved(grocery / "gallery" / f"{name}.jpg", len(name))
        for number in range(2):
            saved(grocery / "queries" / name / f"{number}.jpg", 10 * len(name) + number)
    (grocery / "kinds.csv").write_text("\n".join(rows) + "\n")
    for number in range(30):
        saved(tmp_path / "clothing" / f"{number:04}.jpg", 100 + number)
    return tmp_path


def saved(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (level,) * 3).save(path, quality=100)


def test_each_kind_is_searched_among_the_pictures_of_all(folder: Path) -> None:
    packages, produce = shop.grocery(folder)
    assert (packages.name, produce.name) == ("grocery packages", "grocery produce")
    assert [one.kind for one in packages.searches] == ["Juice", "Juice", "Milk", "Milk"]
    assert [one.right for one in packages.searches] == [0, 0, 2, 2]
    assert [one.kind for one in produce.searches] == ["Kiwi", "Kiwi"]
    assert [one.right for one in produce.searches] == [1, 1]
    assert packages.gallery == produce.gallery
    assert len(packages.gallery) == 3
    for made in (packages, produce):
        for search in made.searches:
            level = int(np.median(np.asarray(search.picture.make().picture)))
            shot = int(np.median(np.asarray(made.gallery[search.right].make().picture)))
            assert (level // 10, shot) == (len(search.kind), len(search.kind))


@pytest.mark.parametrize("name", ["kinds.csv", "gallery/Milk.jpg"])
def test_a_file_that_is_missing_is_named_in_one_line(folder: Path, name: str) -> None:
    (folder / "grocery" / name).unlink()
    with pytest.raises(PackageUnavailable, match=f"{name} is missing"):
        shop.grocery(folder)


def test_a_folder_without_clothes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageUnavailable, match="has no photographs"):
        shop.clothes(tmp_path)


def test_a_scene_is_searched_among_the_photographs_by_a_piece_of_itself(folder: Path) -> None:
    made = shop.scenes(shop.clothes(folder), 1)
    assert len(made.gallery) == len(made.searches) == 30
    for place, search in enumerate(made.searches):
        assert search.right == place
        piece, whole = search.picture.make().picture, made.gallery[place].make().picture
        level = np.asarray(whole)[0, 0, 0]
        assert abs(int(np.asarray(piece)[piece.height // 2, piece.width // 2, 0]) - level) <= 2
    keys = {one.picture.key for one in made.searches}
    assert len(keys) == 30
    assert not keys & {one.picture.key for one in shop.scenes(shop.clothes(folder), 2).searches}


@pytest.mark.parametrize("seed", range(8))
def test_a_piece_of_a_scene_has_75_to_92_percent_of_each_side(seed: int) -> None:
    piece = cut_and_turned(Image.new("RGB", (400, 300)), random.Random(seed))
    assert 0.74 < piece.width / 400 < 0.93
    assert 0.74 < piece.height / 300 < 0.93


def test_a_piece_of_a_scene_is_turned_by_eight_degrees_at_most() -> None:
    picture = Image.new("RGB", (400, 400), (255, 255, 255))
    picture.paste((0, 0, 0), (0, 200, 400, 400))
    turns = []
    for seed in range(20):
        piece = np.asarray(cut_and_turned(picture, random.Random(seed)).convert("L"))
        # The edge, away from what lay outside the picture.
        heights = (piece[:, 60:-60] > 127).sum(axis=0)
        slope = np.polyfit(np.arange(len(heights)), heights, 1)[0]
        turns.append(abs(np.degrees(np.arctan(slope))))
    assert max(turns) < 8.5
    assert max(turns) > 4


def test_a_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    for name, level in (("a.jpg", 5), ("b.jpg", 5), ("c.jpg", 90)):
        saved(tmp_path / name, level)
    one, same, other = (file_picture(tmp_path / f"{name}.jpg").key for name in "abc")
    assert one == same != other


def test_a_photograph_is_upright_and_not_larger_than_need_be(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (3000, 1000)).save(tmp_path / "large.jpg", exif=exif)
    picture = opened(tmp_path / "large.jpg")
    assert picture.height == LONGEST
    assert 520 < picture.width < 540
